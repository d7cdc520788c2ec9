"""Eigenvalues and eigenvectors of a general matrix. Catalogue #121.

`jnp.linalg.eig` has a derivative of the eigenvalues alone. `jax.lax.linalg.eig` has one of the vectors on request, which is
NaN or infinite wherever two eigenvalues are equal. This rule is finite and right there for losses that do not depend on
which of the many bases was found, as that of `eigh`. Both keep the output.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case
from backproplab.layers.linear_algebra.solve_triangular import adjoint, product, square, well_conditioned
from backproplab.rule import defvjp


class EigResult(NamedTuple):
    """a V = V diag(w)."""

    eigenvalues: jax.Array
    eigenvectors: jax.Array


@jax.custom_vjp
def eig(a):
    """a (..., n, n), real -> eigenvalues (..., n), in no order, and eigenvectors (..., n, n), one a column, all complex.

    As `jnp.linalg.eig`, which does not exist on TPUs; this page is verified on CPUs alone. Vectors have length 1 and their
    largest component is real, which is LAPACK's choice; their sign is free. A loss should depend neither on that choice, nor,
    with equal eigenvalues, on the basis, nor on the order. Computed in float32 or wider: complex64 or complex128.
    Raises ValueError if a is not square, TypeError for complex numbers.
    """
    return EigResult(*jax.lax.linalg.eig(square("eig", a), compute_left_eigenvectors=False, enable_eigvec_derivs=True))


def eig_fwd(a):
    """Keeps the output."""
    result: Any = eig(a)
    return result, result


def eig_bwd(result, cotangents):
    """Let P = V^{-1} da V. Differentiating a V = V diag(w), with dV = V K,

        P = diag(dw) + K_ij (w_j - w_i),    so    dw_i = P_ii    K_ij = P_ij / (w_j - w_i)

    and K_jj follows from how the vectors are scaled. With v one of them, u = V K without K_jj, and dv = u + c v: the length
    stays, Re(v^H u + c) = 0; and so does the phase, by which the largest component v_m is real, Im(u_m + c v_m) = 0:

        c = -Re(v^H u) - i Im(u_m) / v_m

    Let G be the cotangent of V, g one of its columns, and b = v^H g. The loss moves by Re(g^H dv), that is Re(h^H u) with

        h = g - Re(b) v - i Im(b) / v_m e_m        e_m the m-th column of the identity

    so the pair i, j has B = V^H H with B_jj = 0, and with the conjugates that transposing a complex product leaves,

        (cotangent of P)_ij = B_ij / conj(w_j - w_i)        (cotangent of P)_ii = (cotangent of w)_i
        (cotangent of a) = Re(V^{-H} (cotangent of P) V^H)

    A loss that does not depend on the phase has Im(b) = 0. G is in the sense of Re <G, dV>; JAX's cotangents are conjugates.

    Equal eigenvalues: the vectors i and j may be mixed at will. A loss that does not care has B_ij = 0, and its limit is 0,
    not 0 / 0. One that does care has no derivative, and gets the infinity that it deserves. Equal is what differs by no
    more than the rounding of the eigenvalues, each of which its condition, the length of its row of V^{-1}, multiplies; 0
    what is no more than the rounding of B. A matrix without a basis of eigenvectors has no derivative: V^{-1} is infinite, or
    rounding makes it large, and so the gradient. As in `eigh` the limit is another one for V f(w) V^{-1} with f' not
    constant 0 in the group.
    """
    w, v = result
    dw, dv = (jnp.conj(array) for array in cotangents)
    n = w.shape[-1]
    one = jnp.eye(n, dtype=w.real.dtype)
    # the largest of those that are real to the last digit: two may be of one size
    largest = jnp.argmax(jnp.where(v.imag == 0, jnp.abs(v.real), -1), -2, keepdims=True)
    b = jnp.sum(jnp.conj(v) * dv, -2, keepdims=True)
    phase = b.imag / jnp.take_along_axis(v.real, largest, -2)
    h = dv - b.real * v - 1j * jnp.where(jnp.arange(n)[:, None] == largest, phase, 0)
    inverse = jnp.linalg.inv(v)
    turns = product(adjoint(v), h)
    gaps = jnp.conj(w[..., None, :] - w[..., :, None])
    roundoff = 4 * n * jnp.finfo(w.dtype).eps
    conditions = jnp.sqrt(jnp.sum(jnp.abs(inverse) ** 2, -1))
    reach = jnp.max(jnp.abs(w), -1, keepdims=True, initial=0)[..., None]
    sizes = jnp.sqrt(jnp.sum(jnp.abs(dv) ** 2, -2))[..., None, :]
    free = (jnp.abs(gaps) <= roundoff * reach * (conditions[..., None, :] + conditions[..., :, None])) & (
        jnp.abs(turns) <= roundoff * sizes
    )
    free = free | (one > 0)
    inner = jnp.where(free, 0, turns / jnp.where(free, 1, gaps)) + dw[..., None] * one
    return (product(adjoint(inverse), inner, adjoint(v)).real,)


defvjp(eig, eig_fwd, eig_bwd)


def spread_over_the_line(*shape):
    """Matrices without symmetry, with eigenvalues near 1, 2, 3, ... and vectors that are far from dependent."""

    def sample(key, dtype):
        random = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        v = well_conditioned(*shape)(key, np.dtype(float))
        w = np.arange(1, shape[-1] + 1) + random.uniform(-0.2, 0.2, shape[:-1])
        return (v * w[..., None, :] @ np.linalg.inv(v)).astype(dtype)

    return sample


def _of(f, a):
    """f(a) as a function of a matrix: no scale, order or basis of the vectors matters."""
    result: Any = eig(a)
    return _with_values(result, f(result.eigenvalues), a.dtype)


def _with_values(result, values, dtype):
    """V diag(values) V^{-1}, where that is real."""
    v = result.eigenvectors
    return product(v * values[..., None, :], jnp.linalg.inv(v)).real.astype(dtype)


def _above_two(a):
    """The sum of the squares of the eigenvalues, and the projection on the space of those above 2."""
    result: Any = eig(a)
    w = result.eigenvalues
    return jnp.sum(w**2).real.astype(a.dtype), _with_values(result, (w.real > 2).astype(w.dtype), a.dtype)


def _above_two_by_iteration(a):
    """The same: half of 1 + sign(a - 2) by Newton's iteration, x -> (x + x^{-1}) / 2, without an eigenvalue."""
    wide = square("", a)
    one = jnp.eye(len(a), dtype=wide.dtype)
    x = wide - 2 * one
    for _ in range(4):
        x = (x + jnp.linalg.inv(x)) / 2
    return jnp.sum(wide * wide.T).astype(a.dtype), ((one + x) / 2).astype(a.dtype)


def _kept(a):
    """The output, in complex64 or wider."""
    return 2 * max(4, a.itemsize) * (a.size + a.size // a.shape[-1])


_fixed = {0: "fixed"}
_with_a_pair = np.array([[1.0, -2.0, 0.5], [1.0, 0.0, 0.25], [0.25, 0.125, 3.0]])
_degenerate = np.eye(3) + 2 * np.outer([1.0, 2.0, 0.0], [0.5, 0.25, 1.0])
CASES = (
    # signs are free, and come out otherwise when the input is rounded: in other dtypes judge what does not depend on them
    Case(eig, (spread_over_the_line(4, 4),), residual_bytes=_kept, domain=_fixed, dtypes=("float64",)),
    Case(eig, (_with_a_pair,), name="a complex pair", residual_bytes=_kept, domain=_fixed, dtypes=("float64",)),
    Case(eig, (spread_over_the_line(2, 3, 3),), name="batch", residual_bytes=_kept, domain=_fixed, dtypes=("float64",)),
    Case(
        partial(_of, jnp.sin),
        (spread_over_the_line(4, 4),),
        name="a function of a matrix",
        domain=_fixed,
        dtypes=("float64", "float32"),  # a rounding of the matrix in bfloat16 moves the gradient by its size
    ),
    Case(
        partial(_of, jnp.exp),
        (_with_a_pair,),
        name="a function of a matrix with a complex pair",
        reference=jax.scipy.linalg.expm,
        domain=_fixed,
        dtypes=("float64", "float32"),  # that takes no others
    ),
    Case(
        _above_two,
        (_degenerate,),
        name="equal eigenvalues: their projection",
        reference=_above_two_by_iteration,
        domain=_fixed,
        dtypes=("float64", "float32"),  # in bfloat16 the matrix is another one, whose eigenvalues differ
    ),
)
