"""Affine maps and lookups: extended notation, rows that add up, ids that repeat, are padding or are out of bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled, pull, pulled

from backproplab.layers.affine import affine, embedding, squared_norm_of_linear


def test_extended_notation():
    """The bias is one more weight, on a constant input 1: same value, same gradients."""
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, w, b, dy = (random.normal(size=shape) for shape in ((7, 4), (4, 3), (3,), (7, 3)))
        y, dx, dw, db = pulled(affine)(dy, x, w, b)
        extended_x = np.concatenate([x, np.ones((7, 1))], axis=1)
        extended_w = np.concatenate([w, b[None]])
        extended_y, extended_dx, extended_dw, _ = pulled(affine)(dy, extended_x, extended_w, np.zeros(3))
        close = {"rtol": 1e-13, "atol": 1e-14}  # the same sums in another order, in float64
        np.testing.assert_allclose(y, extended_y, **close)
        np.testing.assert_allclose(dx, extended_dx[:, :-1], **close)
        np.testing.assert_allclose(dw, extended_dw[:-1], **close)
        np.testing.assert_allclose(db, extended_dw[-1], **close)


@pytest.mark.parametrize("batch", [(), (1,), (6,), (2, 3), (2, 1, 3), (0,)])
def test_leading_axes_are_rows(batch):
    """Any number of batch axes is the same as one, and parameter gradients are summed over all of them."""
    random = np.random.default_rng(1)
    with jax.enable_x64(True):
        x, w, b = (random.normal(size=shape) for shape in ((*batch, 4), (4, 3), (3,)))
        dy = random.normal(size=(*batch, 3))
        _, dx, dw, db = pulled(affine)(dy, x, w, b)
        flat_x, flat_dy = x.reshape(-1, 4), dy.reshape(-1, 3)
        close = {"rtol": 1e-13, "atol": 1e-14}  # the same sums in another order, in float64
        np.testing.assert_allclose(dx, (flat_dy @ w.T).reshape(x.shape), **close)
        np.testing.assert_allclose(dw, flat_x.T @ flat_dy, **close)
        np.testing.assert_allclose(db, flat_dy.sum(0), **close)


def test_vmap_is_the_batch_axis():
    """vmap with shared parameters gives the layer's own batched gradients."""
    random = np.random.default_rng(2)
    x, w, b, dy = (random.normal(size=s).astype(np.float32) for s in ((5, 4), (4, 3), (3,), (5, 3)))
    _, *batched = pulled(affine)(dy, x, w, b)
    _, *mapped = pulled(jax.vmap(affine, (0, None, None)))(dy, x, w, b)
    for got, expected in zip(mapped, batched, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)  # sums of 5 in float32, in another order


def test_affine_accumulates_in_float32():
    """In bfloat16 the weight and bias gradients of many rows are off by their final rounding alone."""
    random = np.random.default_rng(3)
    x, w, dy = (random.uniform(0.5, 1, s).astype(jnp.bfloat16) for s in ((4096, 3), (3, 2), (4096, 2)))
    _, _, dw, db = pulled(affine)(dy, x, w, np.zeros(2, jnp.bfloat16))
    assert dw.dtype == db.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float64(dw), np.float64(x).T @ np.float64(dy), rtol=2**-8)  # one rounding
    np.testing.assert_allclose(np.float64(db), np.float64(dy).sum(0), rtol=2**-8)


def _lookup(table, ids, dy, padding_index=None):
    """The rows and the gradient of the table."""
    of = lambda dy, table, ids: pull(lambda table: embedding(table, ids, padding_index))(dy, table)
    return compiled(of)(dy, table, ids)


def test_equal_ids_accumulate_in_float32():
    """10,000 equal ids in bfloat16 with gradients of 0.01 add up to 100, where autodiff stops at 4."""
    table, ids = np.zeros((3, 2), jnp.bfloat16), np.ones(10_000, np.int32)
    dy = np.full((10_000, 2), 0.01, jnp.bfloat16)
    expected = 1e4 * np.float64(dy[0, 0])  # 0.01 as bfloat16 has it
    _, got = _lookup(table, ids, dy)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float64(got[1]), expected, rtol=2**-8)  # one rounding to bfloat16
    np.testing.assert_array_equal(got[[0, 2]], 0)
    _, by_autodiff = pulled(lambda table: table[ids])(dy, table)
    assert by_autodiff[1, 0] < 10


def test_lookup_is_a_product_with_one_hot_rows():
    """Value and gradient are those of the affine map that the lookup abbreviates."""
    random = np.random.default_rng(4)
    with jax.enable_x64(True):
        table, dy = random.normal(size=(6, 3)), random.normal(size=(4, 5, 3))
        ids = random.integers(0, 6, (4, 5))
        one_hot = np.eye(6)[ids]
        rows, dtable = _lookup(table, ids, dy)
        np.testing.assert_array_equal(rows, one_hot @ table)
        expected = np.tensordot(one_hot, dy, axes=((0, 1), (0, 1)))
        np.testing.assert_allclose(dtable, expected, rtol=1e-13, atol=1e-14)


def test_ids_out_of_bounds():
    """They give NaN, not some other row, and the table no gradient; negative ids count from the end, both ways."""
    table, ids = np.arange(6, dtype=np.float32).reshape(3, 2), np.array([-1, 3, -4, 0])
    rows, dtable = _lookup(table, ids, 1.0)
    np.testing.assert_array_equal(rows[[0, 3]], table[[2, 0]])
    assert np.isnan(rows[1:3]).all()
    np.testing.assert_array_equal(dtable, [[1, 1], [0, 0], [1, 1]])


@pytest.mark.parametrize("padding_index", [0, 2, -1, 7])
def test_padding_is_zero_both_ways(padding_index):
    """Padding gives rows of exact zeros and no gradient, even where the cotangent and the table hold NaN."""
    table, dy = np.ones((2, 4, 2), np.float32)
    if 0 <= padding_index < 4:
        table[padding_index] = np.nan
    ids = np.array([padding_index, 1, 1, padding_index])
    dy[[0, 3]] = np.nan
    rows, dtable = _lookup(table, ids, dy, padding_index)
    np.testing.assert_array_equal(rows, [[0, 0], [1, 1], [1, 1], [0, 0]])
    expected = np.zeros((4, 2))
    expected[1] = 2
    np.testing.assert_array_equal(dtable, expected)


def test_narrow_ids_reach_a_whole_table():
    """uint8 ids read and train all 256 rows of a table, and padding among them does not wrap round to row 0."""
    ids = np.arange(256, dtype=np.uint8)
    expected = np.ones((256, 1))
    expected[255] = 0
    np.testing.assert_array_equal(_lookup(np.ones((256, 1), np.float32), ids, 1.0, 255)[1], expected)


def test_lookup_keeps_the_ids_alone():
    """What goes from forward to backward pass is the ids: 4 bytes per row read, whatever the size of the table."""
    ids = jnp.array([3, 1, 3], jnp.int32)
    _, pull_back = jax.vjp(lambda table: embedding(table, ids), jnp.ones((1000, 16)))
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(pull_back)) == ids.nbytes


def test_squared_norm_is_the_length_of_the_affine_map():
    """||w x||^2 and its gradients, against autodiff of the same expression, with and without batch axes."""
    random = np.random.default_rng(5)
    with jax.enable_x64(True):
        w = random.normal(size=(3, 4))
        plain = lambda x, w: jnp.sum((x @ w.T) ** 2, -1)
        both = compiled(lambda *args: (pull(squared_norm_of_linear)(*args), pull(plain)(*args)))
        for batch in ((), (5,), (2, 3)):
            x, dy = random.normal(size=(*batch, 4)), random.normal(size=batch)
            (y, *gradients), (expected, *rights) = both(dy, x, w)
            np.testing.assert_allclose(y, expected, rtol=1e-14)  # the same sum in float64
            for got, right in zip(gradients, rights, strict=True):
                np.testing.assert_allclose(got, right, rtol=1e-12, atol=1e-13)
