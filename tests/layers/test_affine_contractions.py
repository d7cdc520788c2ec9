"""Contractions, ragged products and bags: as jnp.einsum and jax.lax have them; letters of one operand, empty groups, padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled, grad, pull, pulled

from backproplab.layers.affine import bilinear, einsum, embedding_bag, low_rank_linear, ragged_dot


def _sample(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def _same_gradients(ours, theirs, *args, rtol=1e-12):
    """Value and all gradients of both, for one random cotangent."""
    (dy,) = _sample(jax.eval_shape(ours, *args).shape, seed=9)
    both = compiled(lambda *args: (pull(ours)(*args), pull(theirs)(*args)))
    for got, right in zip(*both(dy, *args), strict=True):
        np.testing.assert_allclose(got, right, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(
    "subscripts, shapes",
    [
        ("i,i", [(3,), (3,)]),
        ("ij -> ", [(2, 3)]),
        ("ba,ac", [(2, 3), (3, 4)]),
        ("b...,...a->...ab", [(2, 3, 4), (3, 4, 5)]),
        ("...ij,...jk", [(2, 1, 3, 4), (5, 4, 2)]),
        ("iij,jkk->ik", [(2, 2, 3), (3, 4, 4)]),
        ("iii->i", [(3, 3, 3)]),
        ("ij,k,l->il", [(2, 3), (4,), (5,)]),
    ],
    ids=str,
)
def test_einsum_is_that_of_jax_numpy(subscripts, shapes):
    """Value and gradients for results of no letters, no arrow, leading axes on either side, diagonals, lone letters."""
    with jax.enable_x64(True):
        args = _sample(*shapes)
        _same_gradients(lambda *a: einsum(subscripts, *a), lambda *a: jnp.einsum(subscripts, *a), *args)


def test_einsum_accumulates_in_float32():
    """4096 products of ones in bfloat16, in both passes."""
    x, w = np.ones((4096, 2), jnp.bfloat16), np.ones((2, 3), jnp.bfloat16)
    y, dx, dw = pulled(lambda x, w: einsum("ni,io->no", x, w))(1.0, x, w)
    assert y.dtype == dx.dtype == dw.dtype == jnp.bfloat16
    assert (dw == 4096).all() and (dx == 3).all()


def test_bilinear_is_its_sum():
    """Against the sum written out, with and without batch axes; with x2 = 1 it is the affine map."""
    with jax.enable_x64(True):
        w, b = _sample((3, 4, 2), 2)
        for batch in ((), (5,), (2, 3)):
            x1, x2 = _sample((*batch, 3), (*batch, 4), seed=1)
            plain = lambda x1, x2, w, b: jnp.einsum("...i,...j,ijm->...m", x1, x2, w) + b
            _same_gradients(bilinear, plain, x1, x2, w, b)


def test_low_rank_is_the_map_that_it_stands_for():
    """Value and gradients of scale x (a b); with b = 0, as at the start, a and x have none."""
    with jax.enable_x64(True):
        x, a, b = _sample((2, 3, 4), (4, 2), (2, 5))
        _same_gradients(lambda *args: low_rank_linear(*args, scale=0.5), lambda x, a, b: 0.5 * x @ (a @ b), x, a, b)
        dx, da, db = grad(lambda *args: low_rank_linear(*args).sum(), (0, 1, 2))(x, a, 0 * b)
        assert not np.any(dx) and not np.any(da) and np.any(db)


@pytest.mark.parametrize("sizes", [(2, 3, 1), (0, 6, 0), (1, 0, 2), (0, 0, 0)])
def test_ragged_dot_is_that_of_jax_lax(sizes):
    """Value and gradients; empty groups and rows of no group have exact zeros (tokamax #887)."""
    with jax.enable_x64(True):
        lhs, rhs = _sample((6, 3), (3, 3, 2))
        sizes = np.array(sizes, np.int32)
        _same_gradients(lambda a, b: ragged_dot(a, b, sizes), lambda a, b: jax.lax.ragged_dot(a, b, sizes), lhs, rhs)
        drhs = grad(lambda a, b: ragged_dot(a, b, sizes).sum(), 1)(lhs, rhs)
        assert not np.any(drhs[sizes == 0])


def test_rows_of_no_group_may_hold_anything():
    """NaN in them, or in what comes back for them, reaches neither value nor gradient."""
    lhs, rhs = (a.astype(np.float32) for a in _sample((4, 3), (2, 3, 2)))
    lhs[3], dy = np.nan, np.ones((4, 2), np.float32)
    dy[3] = np.nan
    y, dlhs, drhs = pulled(lambda a, b: ragged_dot(a, b, np.array([1, 2])))(dy, lhs, rhs)
    assert not np.any(y[3]) and not np.any(dlhs[3]) and np.isfinite(drhs).all()


def test_ragged_dot_under_vmap():
    """Over the rows alone, with the weights and sizes shared: the gradients of the weights add up."""
    lhs, rhs = (a.astype(np.float32) for a in _sample((2, 4, 3), (2, 3, 2)))
    sizes = np.array([1, 3], np.int32)
    mapped = lambda lhs, rhs: jax.vmap(lambda a: ragged_dot(a, rhs, sizes))(lhs)
    y, _, drhs = pulled(mapped)(1.0, lhs, rhs)
    alone = pulled(lambda a, rhs: ragged_dot(a, rhs, sizes))
    each = [alone(1.0, a, rhs) for a in lhs]
    np.testing.assert_allclose(y[1], each[1][0], rtol=1e-5)
    np.testing.assert_allclose(drhs, each[0][2] + each[1][2], rtol=1e-5, atol=1e-6)


_BAGS = np.array([[0, 2, 2, -1], [-1, -1, -1, -1], [4, -1, 1, -1]])


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_are_what_numpy_makes_of_the_rows_that_are_there(mode):
    """FlagGems #5220: each mode has its own gradient, here against dense weights; an empty bag is 0 and gives nothing."""
    table = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    want, weights = np.zeros((3, 3)), np.zeros((3, 5, 3))
    for bag, ids in enumerate(_BAGS):
        there = ids[ids >= 0]
        if len(there) == 0:
            continue
        want[bag] = getattr(np, mode)(table[there].astype(float), axis=0)
        for entry in range(3):
            if mode == "max":
                weights[bag, there[np.argmax(table[there, entry])], entry] = 1
            else:
                np.add.at(weights[bag, :, entry], there, 1 / len(there) if mode == "mean" else 1)
    dy = np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32)
    y, dtable = pulled(lambda table: embedding_bag(table, _BAGS, mode))(dy, table)
    np.testing.assert_allclose(y, want, rtol=1e-6)
    np.testing.assert_allclose(dtable, np.einsum("bre,be->re", weights, dy), rtol=1e-5, atol=1e-6)


def test_weights_of_a_bag():
    """torch's per_sample_weights: the same row twice with its own weight each, and what padding weighs is of no account."""
    table, weights = np.random.default_rng(0).normal(size=(5, 3)), np.random.default_rng(1).normal(size=(3, 4))
    there = _BAGS >= 0
    dense = np.where(there, weights, 0)[..., None] * np.eye(5)[_BAGS]
    with jax.enable_x64(True):
        bags = lambda table, weights: embedding_bag(table, _BAGS, weights=weights)
        dy = np.random.default_rng(2).normal(size=(3, 3))
        y, dtable, dweights = pulled(bags)(dy, table, np.where(there, weights, np.nan))
        _is_sum_of_products(y, "bnr,re->be", dense, table)
        _is_sum_of_products(dtable, "bnr,be->re", dense, dy)
        _is_sum_of_products(dweights, "bne,be->bn", there[..., None] * table[_BAGS], dy)


def _is_sum_of_products(got, subscripts, *factors):
    """Both sides round each of the at most twelve products once and each sum of them: 24 times half an eps of their sizes."""
    room = 24 * 2.0**-52 * np.einsum(subscripts, *map(np.abs, factors))
    assert np.all(np.abs(got - np.einsum(subscripts, *factors)) <= room)


def test_nan_for_an_empty_bag_is_lost():
    """And so is that for padding: nothing of it reaches the table."""
    table, dy = np.ones((5, 2), np.float32), np.zeros((3, 2), np.float32)
    dy[1] = np.nan
    for mode in ("sum", "mean", "max"):
        _, dtable = pulled(lambda table, mode=mode: embedding_bag(table, _BAGS, mode))(dy, table)
        assert not np.any(dtable)


def test_one_bag_of_many_equal_ids_adds_in_float32():
    """10,000 equal ids of bfloat16 ones: their sum, and the gradient of the row that they read."""
    table, ids = np.ones((2, 1), jnp.bfloat16), np.zeros(10_000, np.int32)
    y, dtable = pulled(lambda table: embedding_bag(table, ids))(1.0, table)
    assert abs(float(y[0]) - 10_000) <= 2.0**-8 * 10_000
    assert abs(float(dtable[0, 0]) - 10_000) <= 2.0**-8 * 10_000


def test_a_bag_has_one_of_three_modes_and_weights_in_one():
    """Said in one line."""
    with pytest.raises(ValueError, match='mode must be "sum", "mean" or "max"'):
        embedding_bag(np.ones((2, 2), np.float32), np.zeros(2, np.int32), "min")
    for mode, weights in (("mean", np.ones(2)), ("max", np.ones(2)), ("sum", np.ones(1)), ("sum", 1.0)):
        with pytest.raises(ValueError, match='weights are for mode "sum", in the shape of the ids'):
            embedding_bag(np.ones((2, 2), np.float32), np.zeros(2, np.int32), mode, -1, weights)
