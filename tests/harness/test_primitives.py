"""The numpy counterparts of JAX's primitives yield what JAX yields, where the two libraries' conventions differ too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from backproplab.harness.backward import flat
from backproplab.harness.error_rules import Bounded, error_array, lifted, rule_for
from backproplab.harness.primitives import NUMPY, bind

X = np.array([[-2.5, -0.5, 0.5, 1.5], [2.5, 0.0, -0.0, 7.0], [np.inf, -np.inf, 3.0, -3.0]])
N = np.array([[-7, 7, 0, 3], [5, -5, 2, 1], [2**31 - 1, -(2**31), -1, 4]], np.int32)
D = np.array([[2, -2, 1, 0], [-3, 3, 0, 5], [2, 3, 4, -1]], np.int32)
SQUARES = np.random.default_rng(1).normal(size=(2, 3, 3))
A = np.random.default_rng(0).normal(size=(2, 3, 4))

CALLS = {
    "halves away from zero": lambda: (lambda x: lax.round(x), X), "halves to even": lambda: (lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN), X),
    "sign": lambda: (lax.sign, X), "integer division": lambda: (lax.div, N, D), "integer remainder": lambda: (lax.rem, N[:2], np.where(D == 0, 1, D)[:2]),
    "remainder": lambda: (lax.rem, X[:2], np.full((2, 4), 1.5)), "wrapping sum": lambda: (lambda n: lax.reduce_sum(n, (0,)), N), "wrapping product": lambda: (lax.mul, N, N),
    "reverse sums": lambda: (lambda x: lax.cumsum(x, 1, reverse=True), X[:2]), "running minimum": lambda: (lambda x: lax.cummin(x, 0), X),
    "first of ties": lambda: (lambda x: lax.argmax(x, 1, np.int32), np.array([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]])),
    "batched product": lambda: (lambda a, b: lax.dot_general(a, b, (((1,), (2,)), ((0,), (0,)))), A, np.swapaxes(A, 1, 2)),
    "slice with steps": lambda: (lambda a: lax.slice(a, (0, 1, 0), (2, 3, 4), (1, 1, 2)), A), "three options": lambda: (lambda i, a: lax.select_n(i, a, -a, a * 2), np.array([0, 2, 1], np.int32), A[0, :, 0]),
    "negative power": lambda: (lambda x: lax.integer_pow(x, -3), X), "integer power": lambda: (lambda n: lax.integer_pow(n, 3), N),
    "complex division": lambda: (lax.div, A[0] + 1j, A[1] - 2j), "modulus": lambda: (lax.abs, A[0] + 1j * A[1]), "clamp": lambda: (lambda x: lax.clamp(-1.0, x, 1.0), X),
    "broadcast": lambda: (lambda x: lax.broadcast_in_dim(x, (5, 4, 2), (1,)), X[0]), "split": lambda: (lambda a: lax.split(a, (1, 3), 2), A),
    "padding": lambda: (lambda a: lax.pad(a, 1.5, ((1, -1, 0), (0, 2, 1), (-2, 0, 3))), A), "padding of nothing": lambda: (lambda x: lax.pad(x, 0.0, ((0, 1, 2),)), A[0, 0, :0]),
    "slice at the end": lambda: (lambda a, i: lax.dynamic_slice(a, (i, -i, i), (1, 2, 3)), A, np.int32(5)),
    "update at the end": lambda: (lambda a, i: lax.dynamic_update_slice(a, a[:1, :2] * 2, (i, i + 2, i)), A, np.int32(0)),
    "convolution": lambda: (lambda a, w: lax.conv_general_dilated(a, w, (1,), "SAME"), A, A[:, :, :3]),
    "strides and dilations": lambda: (lambda a, w: lax.conv_general_dilated(a, w, (2, 3), ((2, -1), (0, 3)), (2, 1), (1, 2), ("NHWC", "HWIO", "HWNC")), np.arange(105.0).reshape(1, 7, 5, 3), A[:, :, None].repeat(3, 2)),
    "groups of features": lambda: (lambda a, w: lax.conv_general_dilated(a, w, (1,), "VALID", feature_group_count=3), A, A[:, :1, :2].repeat(3, 0)),
    "groups of examples": lambda: (lambda a, w: lax.conv_general_dilated(a, w, (1,), "VALID", batch_group_count=2), A, A[:, :, :2]),
    "no window": lambda: (lambda a, w: lax.conv_general_dilated(a, w, (1,), "VALID"), A[:, :, :1], A[:, :, :2]),
    "sums of windows": lambda: (lambda a: lax.reduce_window(a, 0.0, lax.add, (1, 2, 3), (1, 1, 2), ((0, 0), (1, 2), (0, 3)), (1, 2, 1), (1, 1, 2)), A),
    "whole numbers in windows": lambda: (lambda n: lax.reduce_window(n, 0, lax.add, (2, 2), (1, 1), "VALID"), N), "extremes of windows": lambda: (lambda a: (lax.reduce_window(a, -np.inf, lax.max, (1, 2, 2), (1, 1, 2), "SAME"), lax.reduce_window(a, np.inf, lax.min, (2, 1, 2), (2, 1, 1), "VALID")), A),
    "windows too large": lambda: (lambda a: lax.reduce_window(a, 0.0, lax.add, (3, 1, 1), (1, 1, 1), "VALID"), A), "windows of nothing but padding": lambda: (lambda a: lax.reduce_window(a, -np.inf, lax.max, (1, 1, 2), (1, 1, 2), ((0, 0), (0, 0), (2, 2))), A),
    "rows": lambda: (lambda a, i: a[i], A, np.array([[1, -1], [0, 7]], np.int32)), "columns": lambda: (lambda a, i: a[:, i, 1:3], A, np.array([2, 0, 2], np.int32)),
    "filled rows": lambda: (lambda a, i: a.at[i].get(mode="fill"), A, np.array([1, -1, 5], np.int32)), "filled whole numbers": lambda: (lambda n, i: n.at[i].get(mode="fill"), N, np.array([1, 5], np.int32)),
    "clipped rows": lambda: (lambda a, i: a.at[:, i].get(mode="clip"), A, np.array([1, 9], np.int32)), "along an axis": lambda: (lambda a, i: jnp.take_along_axis(a, i, 1), A, np.array([[[0, 2, 1, 1]], [[2, 2, 0, 1]]], np.int32)),
    "windows": lambda: (lambda a, i: jax.vmap(lambda j: lax.dynamic_slice(a, (j, 0 * j, j), (1, 2, 2)))(i), A, np.array([0, 3, 1], np.int32)),
    "windows of a batch": lambda: (lambda a, i: jax.vmap(lambda b, j: lax.dynamic_slice(b, (j, 0 * j), (2, 2)))(a, i), A, np.array([0, 3], np.int32)),
    "an entry": lambda: (lambda a: a[1, 2, jnp.array(3)], A), "entries at points": lambda: (lambda a, i: a[i, 1, i], A, np.array([0, 1, 1], np.int32)),
    "added rows": lambda: (lambda a, i: a.at[i].add(jnp.ones((4, 3, 4)), mode="drop"), A, np.array([1, 1, 0, 5], np.int32)), "set columns": lambda: (lambda a, i: a.at[:, i].set(2.0), A, np.array([2, 0], np.int32)),
    "largest that meets": lambda: (lambda a, i: a.at[i, 0].max(a[:, 1]), A, np.array([1, 1], np.int32)), "smallest that meets": lambda: (lambda n, i: n.at[i].min(n[0]), N, np.array([2], np.int32)),
    "product of what meets": lambda: (lambda a, i: a.at[..., i].multiply(3.0), A, np.array([3, 3, 0], np.int32)), "clipped places": lambda: (lambda a, i: a.at[i].add(1.0, mode="clip"), A, np.array([9, -9], np.int32)),
    "added to a batch": lambda: (lambda a, i: jax.vmap(lambda b, j: b.at[j].add(2.0))(a, i), A, np.array([[0, 0], [2, 1]], np.int32)),
    "windows added": lambda: (lambda a, i: jax.vmap(lambda j: lax.dynamic_update_slice(a, a[:1, :2] * 2, (j, j, 0 * j)))(i), A, np.array([0, 3], np.int32)),
    "lower triangle": lambda: (lambda a, b: lax.linalg.triangular_solve(a, b, left_side=True, lower=True), SQUARES, A),
    "upper triangle from the right": lambda: (lambda a, b: lax.linalg.triangular_solve(a, b, lower=False, unit_diagonal=True), SQUARES, np.swapaxes(A, 1, 2)),
    "transposed triangle": lambda: (lambda a, b: lax.linalg.triangular_solve(a, b, lower=True, transpose_a=True), SQUARES, np.swapaxes(A, 1, 2)),
    "triangle with zeros": lambda: (lambda a, b: lax.linalg.triangular_solve(a, b, left_side=True, lower=True), np.diag([1.0, 0.0]), A[0, :2]),
    "factors": lambda: (lax.linalg.lu, SQUARES), "largest of none": lambda: (lambda a: lax.reduce_max(a[:, :, :0], (2,)), A), "smallest whole number of none": lambda: (lambda n: lax.reduce_min(n[:0], (0,)), N),
    "square root": lambda: (lambda a: lax.linalg.cholesky(a @ np.swapaxes(a, 1, 2), symmetrize_input=False), SQUARES), "no square root": lambda: (lambda a: lax.linalg.cholesky(a), -np.eye(3)),
    "sorted, NaN last": lambda: (lambda x: lax.sort(x, 1), np.where(X == 1.5, np.nan, X)), "sorted by two": lambda: (lambda x, n: lax.sort((n, x, -x), 0, num_keys=2), X, N % 2),
    "two largest": lambda: (lambda x: lax.top_k(x, 2), np.array([[0.0, 2.0, -0.0, 2.0], [np.nan, 1.0, np.inf, 0.0], [-0.0, 0.0, -np.nan, -np.inf]])),
    "three largest whole numbers": lambda: (lambda n: lax.top_k(n, 3), N), "saturated": lambda: (lambda x: lax.convert_element_type(x * 1e9, np.int32), X), "saturated in 64 bits": lambda: (lambda x: lax.convert_element_type(x * 1e19, np.int64), X),
    "unsigned": lambda: (lambda x: lax.convert_element_type(x, np.uint8), X * 100), "truth": lambda: (lambda x: lax.convert_element_type(x, np.bool_), X),
    "shifted": lambda: (lambda n: lax.shift_left(n, np.abs(N) % 40), N), "shifted with its sign": lambda: (lambda n: lax.shift_right_arithmetic(n, np.abs(N) % 40), N), "shifted as bits": lambda: (lambda n: lax.shift_right_logical(n, np.abs(N) % 40), N),
    "bits": lambda: (lambda a, b: (a & b) ^ ~a | b, N, D), "iota": lambda: (lambda x: x + lax.broadcasted_iota(np.int32, (3, 4), 1), N),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_numpy_yields_what_jax_yields(call):
    """The analysis interprets small programs in numpy: its values are those of the program."""
    f, *inputs = CALLS[call]()
    with jax.enable_x64(True):
        closed = flat(jax.make_jaxpr(f)(*inputs))
        env = dict(zip(closed.jaxpr.invars, inputs)) | dict(zip(closed.jaxpr.constvars, closed.consts))
        read = lambda v: v.val if hasattr(v, "val") else env[v]
        assert any(eqn.primitive.name in NUMPY for eqn in closed.eqns)
        for eqn in closed.eqns:
            values = [np.asarray(read(v)) for v in eqn.invars]
            theirs = bind(eqn, [jnp.asarray(v) for v in values], jnp)
            with np.errstate(all="ignore"):
                ours = bind(eqn, values, np)
                known = rule_for(eqn)(eqn, [Bounded(v, None) for v in values], lifted())
            for a, b, of_one in zip(ours, theirs, known, strict=True):
                assert np.asarray(a).dtype == b.dtype and np.shape(a) == b.shape
                bound = 2 * error_array(Bounded(a, of_one.error), np)  # both are rounded
                same = (a == b) | (np.isnan(a) & np.isnan(b)) if np.issubdtype(b.dtype, np.inexact) else a == b
                with np.errstate(invalid="ignore"):
                    assert np.all(same | (np.abs(a - np.asarray(b)) <= bound)) if bound.any() else np.all(same)
            env.update(zip(eqn.outvars, ours))


def test_a_conjugated_triangle_solves_its_system():
    """Complex systems have no error rule to compare with: the residual is as small as substitution leaves it."""
    a, b = np.tril(SQUARES) * (1 + 2j), A + 1j
    with jax.enable_x64(True):
        solve = lambda a, b: lax.linalg.triangular_solve(
            a, b, left_side=True, lower=True, transpose_a=True, conjugate_a=True
        )
        (eqn,) = jax.make_jaxpr(solve)(a, b).eqns
        (x,) = bind(eqn, [a, b], np)
    adjoint = np.conj(np.swapaxes(a, 1, 2))
    roundings = 4 * a.shape[-1] * np.finfo(float).eps  # a complex product is four real ones
    assert np.all(np.abs(adjoint @ x - b) <= roundings * (np.abs(adjoint) @ np.abs(x) + np.abs(b)))
