"""Sorting, the k largest, segments and routers: as JAX has them; duplicates, ties, empty and missing segments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled, pulled

from backproplab.layers.losses import softmax
from backproplab.layers.reductions import (
    moe_router,
    segment_max,
    segment_softmax,
    segment_sum,
    sort,
    top_k,
)

_INF = np.inf


def _gradient(fn, x, dy):
    return pulled(fn)(dy, x)[1]


@pytest.mark.parametrize("axis, descending", [(-1, True), pytest.param(0, False, marks=pytest.mark.slow)])
def test_sort_is_that_of_jax_numpy(axis, descending):
    """Value and gradient, in both directions; NaN comes last."""
    x, dy = np.random.default_rng(0).normal(size=(2, 4, 5)).astype(np.float32)
    x[0, 0] = np.nan
    ours, theirs = (lambda x, f=f: f(x, axis, descending=descending) for f in (sort, jnp.sort))
    for one, other in zip(pulled(ours)(dy, x), pulled(theirs)(dy, x), strict=True):
        np.testing.assert_array_equal(one, other)


def test_equal_entries_are_sorted_in_their_order():
    """Ascending or descending, the first of two equals has the earlier place, and with it that place's gradient."""
    x, dy = np.array([1.0, 0.0, 1.0, 0.0], np.float32), np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    assert _gradient(sort, x, dy).tolist() == [3, 1, 4, 2]
    assert _gradient(lambda x: sort(x, descending=True), x, dy).tolist() == [1, 3, 2, 4]


def test_top_k_is_that_of_jax_lax():
    """Values, indices and the places that the gradient goes to (mlx #1428: the wrong ones), under vmap too."""
    x = np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)
    (values, indices), (want_values, want_indices) = compiled(lambda x: (top_k(x, 2), jax.lax.top_k(x, 2)))(x)
    np.testing.assert_array_equal(values, want_values)
    np.testing.assert_array_equal(indices, want_indices)
    dy = np.array([[1.0, 2.0]] * 3, np.float32)
    got = _gradient(lambda x: top_k(x, 2)[0], x, dy)
    want = np.zeros_like(x)
    np.put_along_axis(want, np.asarray(indices), dy, -1)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(_gradient(jax.vmap(lambda x: top_k(x, k=2)[0]), x, dy), want)


_IDS = np.array([2, 0, 2, -1, 5, 4], np.int32)  # of five segments: 1 and 3 are empty, -1 and 5 are none


@pytest.mark.parametrize("ours, theirs", [(segment_sum, jax.ops.segment_sum), (segment_max, jax.ops.segment_max)])
def test_segments_are_those_of_jax_ops(ours, theirs):
    """Value and gradient where all entries differ, with empty segments and ids that are none, negative ones too."""
    x = np.random.default_rng(2).normal(size=(6, 3)).astype(np.float32)
    dy = np.random.default_rng(3).normal(size=(5, 3)).astype(np.float32)
    both = [pulled(lambda x, f=f: f(x, _IDS, num_segments=5))(dy, x) for f in (ours, theirs)]
    for got, want in zip(*both, strict=True):
        np.testing.assert_array_equal(got, want)
    assert not np.any(both[0][1][3:5])


def test_segment_sum_adds_in_float32():
    """1000 ones of bfloat16 in one segment are 1000; jax.ops.segment_sum stops at 256."""
    ones, ids = np.ones(1000, jnp.bfloat16), np.zeros(1000, np.int32)
    ours, theirs = compiled(lambda x: [f(x, ids, 1) for f in (segment_sum, jax.ops.segment_sum)])(ones)
    assert ours[0] == 1000 and theirs[0] == 256


def test_segment_max_sends_each_gradient_once():
    """Equals in one segment: the first row has it all, per column; NaN wins; an empty segment's cotangent is dropped."""
    x = np.array([[1.0, 5.0], [1.0, 2.0], [np.nan, 0.0], [7.0, 5.0]], np.float32)
    got = _gradient(
        lambda x: segment_max(x, np.array([0, 0, 2, 2]), 3), x, np.array([[1, 2], [_INF, _INF], [4, 8.0]], np.float32)
    )
    assert got.tolist() == [[1, 2], [0, 0], [4, 0], [0, 8]]


def test_segment_softmax_is_softmax_where_segments_are_rows():
    """Value and gradient with the tails of the page `softmax`, whatever the order of the rows."""
    random = np.random.default_rng(4)
    x = np.array([[0.0, 40.0, 1.0], [3.0, -2.0, 0.5]], np.float32)
    dy, order = random.normal(size=(2, 3)).astype(np.float32), random.permutation(6)
    ids = np.repeat([0, 1], 3)[order]
    y, dx = pulled(lambda x: segment_softmax(x, ids, 2))(dy.ravel()[order], x.ravel()[order])
    want, want_dx = pulled(softmax)(dy, x)
    np.testing.assert_allclose(y, want.ravel()[order], rtol=1e-6)
    np.testing.assert_allclose(dx, want_dx.ravel()[order], rtol=1e-5)


def test_segment_softmax_leaves_out_what_is_masked():
    """Rows at -inf, whole segments of them and rows of no segment have 0 and gradient 0, even under a NaN cotangent."""
    x = np.array([1.0, -_INF, 1.0, -_INF, 3.0], np.float32)
    dy = np.array([1.0, np.nan, -1.0, np.nan, np.nan], np.float32)
    y, got = pulled(lambda x: segment_softmax(x, np.array([0, 0, 0, 1, -1]), 2))(dy, x)
    assert y.tolist() == [0.5, 0, 0.5, 0, 0]
    assert got.tolist() == [0.5, 0, -0.5, 0, 0]


def _plain_router(logits, k, renormalize):
    """From the definitions, in one dense array of gates per expert."""
    p = jax.nn.softmax(logits)
    threshold = jnp.sort(p, -1)[..., -k][..., None]
    taken = p >= threshold
    gates = jnp.where(taken, p, 0)
    gates = gates / gates.sum(-1, keepdims=True) if renormalize else gates
    share = taken.reshape(-1, taken.shape[-1]).mean(0) / k
    balance = p.shape[-1] * jnp.sum(share * p.reshape(-1, p.shape[-1]).mean(0))
    return gates, balance, jnp.mean(jax.nn.logsumexp(logits, -1) ** 2)


@pytest.mark.parametrize("renormalize", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_router_is_what_its_parts_say(renormalize):
    """Gates, both losses and the gradient of all together, against dense formulas that never sort."""
    with jax.enable_x64(True):
        random = np.random.default_rng(5)
        logits, weights = random.normal(size=(2, 4, 6)), jnp.asarray(random.normal(size=6))
        gates, indices, balance, z_loss = jax.jit(moe_router, static_argnums=(1, 2))(logits, 2, renormalize)
        dense, want_balance, want_z = jax.jit(_plain_router, static_argnums=(1, 2))(logits, 2, renormalize)
        np.testing.assert_allclose(gates, jnp.take_along_axis(dense, indices, -1), rtol=1e-13)
        np.testing.assert_allclose([balance, z_loss], [want_balance, want_z], rtol=1e-13)

        def ours(logits):
            gates, indices, balance, z_loss = moe_router(logits, 2, renormalize)
            return jnp.sum(gates * weights[indices]) + 3 * balance + z_loss / 5

        def plain(logits):
            gates, balance, z_loss = _plain_router(logits, 2, renormalize)
            return jnp.sum(gates * weights) + 3 * balance + z_loss / 5

        np.testing.assert_allclose(*(jax.jit(jax.grad(f))(logits) for f in (ours, plain)), rtol=1e-11, atol=1e-14)


def test_router_in_balance_and_out_of_it():
    """The load-balancing loss is 1 with even shares and probabilities, and the number of experts when one gets all."""
    even = np.where(np.eye(4), 1e-6, 0).astype(np.float32)
    route = compiled(lambda logits: moe_router(logits, 1))
    np.testing.assert_allclose(route(even)[2], 1, rtol=1e-5)
    one = np.tile(np.array([50.0, 0, 0, 0], np.float32), (4, 1))
    np.testing.assert_allclose(route(one)[2], 4, rtol=1e-6)


def test_router_gates_that_cannot_move_have_no_gradient():
    """One expert per token, renormalised: the gate is 1. And experts that are not chosen get nothing from the gates."""
    logits = np.random.default_rng(6).normal(size=(3, 5)).astype(np.float32)
    got = _gradient(lambda z: moe_router(z, 1)[0], logits, np.ones((3, 1), np.float32))
    assert not np.any(got)
    got = _gradient(lambda z: moe_router(z, 2)[0][..., 0], logits, np.ones(3, np.float32))
    assert ((got != 0).sum(-1) == 2).all()
