"""Products and running reductions: as jax.lax has them, with zeros, ties, gaps and absent entries."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from compiled import compiled, pulled

from backproplab.layers import reductions
from backproplab.layers.reductions import cumlogsumexp, cummax, cumprod, cumsum, logaddexp, prod

_INF = np.inf


def _gradient(fn, x, dy):
    return pulled(fn)(dy, x)[1]


@pytest.mark.parametrize("axis, reverse", [(-1, True), pytest.param(0, False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["cumsum", "cumprod", "cummax", "cumlogsumexp"])
def test_values_and_arguments_are_those_of_jax_lax(name, axis, reverse):
    """Switching the import is enough, by keyword or in place; negative axes, which jax.lax refuses, count from the end."""
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=(5, 6))
        ours, theirs = getattr(reductions, name), getattr(jax.lax, name)
        got, want = compiled(lambda x: (ours(x, axis, reverse=reverse), theirs(x, axis % 2, reverse)))(x)
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)  # sums and products of 6 in another order


def test_products_are_those_of_jax_numpy():
    """One axis, several and all, kept or not; of no entries it is 1."""
    with jax.enable_x64(True):
        x = np.random.default_rng(1).normal(size=(3, 2, 4))
        for axis, keepdims in ((None, False), (1, True), ((0, -1), False)):
            got, want = (fn(x, axis=axis, keepdims=keepdims) for fn in (prod, jnp.prod))
            np.testing.assert_allclose(got, want, rtol=1e-14)
    assert prod(np.zeros((2, 0), np.float32), 1).tolist() == [1, 1]


@pytest.mark.parametrize("zeros", [1, 2])
def test_products_with_zeros(zeros):
    """pytorch #773: no division by an entry. Against the product of all the others, entry by entry."""
    x = np.array([2.0, 3.0, -5.0, 7.0])
    x[1 : 1 + zeros] = 0
    want = [np.prod(np.delete(x, i)) for i in range(4)]
    np.testing.assert_array_equal(_gradient(prod, x.astype(np.float32), np.float32(1)), want)
    # cumprod has y_k with k >= i in the gradient of x_i
    want = [sum(np.prod(np.delete(x[: k + 1], i)) for k in range(i, 4)) for i in range(4)]
    np.testing.assert_array_equal(_gradient(cumprod, x.astype(np.float32), np.ones(4, np.float32)), want)


def test_the_running_maximum_sends_its_gradient_to_the_record():
    """A cotangent of distinct powers of two shows who got what: each record its own stretch, equals later nothing."""
    x = np.array([1.0, 0.0, 1.0, 5.0, 5.0, 2.0, 7.0], np.float32)
    dy = 2.0 ** np.arange(7, dtype=np.float32)
    assert _gradient(cummax, x, dy).tolist() == [7, 0, 0, 56, 0, 0, 64]
    backwards = lambda x: cummax(x, reverse=True)
    assert _gradient(backwards, x[::-1].copy(), dy[::-1].copy()).tolist() == [64, 0, 0, 56, 0, 0, 7]
    assert _gradient(cummax, np.full(3, -_INF, np.float32), dy[:3]).tolist() == [7, 0, 0]


def test_an_infinite_cotangent_stays_in_its_stretch():
    """Records before the next one are separated by selection: infinity times 0 would be NaN."""
    x, dy = np.array([1.0, 2.0, 1.0], np.float32), np.array([1.0, _INF, 1.0], np.float32)
    assert _gradient(cummax, x, dy).tolist() == [1, _INF, 0]


@pytest.mark.parametrize("offset", [1000.0, pytest.param(-3e4, marks=pytest.mark.slow)])
def test_running_weights_have_all_their_digits(offset):
    """exp(x_j - y_i) far from 0, in float32 against 50 digits of the same numbers."""
    x = (np.array([0.0, -30.0, 2.0, 20.0, 19.5, -10.0]) + offset).astype(np.float32)
    got = _gradient(cumlogsumexp, x, np.ones(6, np.float32))
    with mpmath.workdps(50):
        e = [mpmath.exp(mpmath.mpf(float(v))) for v in x]
        want = [float(sum(e[j] / mpmath.fsum(e[: i + 1]) for i in range(j, 6))) for j in range(6)]
    np.testing.assert_allclose(got, want, rtol=2e-6)


def test_absent_entries_have_weight_zero():
    """Entries at -inf in front: y = -inf and gradients of exactly 0. jax.lax.cumlogsumexp has NaN gradients there."""
    x, ones = np.array([-_INF, -_INF, 1.0, -_INF], np.float32), np.ones(4, np.float32)
    y, dx = pulled(cumlogsumexp)(ones, x)
    assert y.tolist() == [-_INF, -_INF, 1, 1]
    assert dx.tolist() == [0, 0, 2, 0]
    assert np.isnan(_gradient(jax.lax.cumlogsumexp, x, ones)).any()


def test_weights_of_a_pair():
    """logaddexp: value of jnp.logaddexp, weights to all digits at gaps of 80 and at 1000, and a share of 1 in all."""
    a = np.array([0.0, -80.0, 1000.0, 3.0, -_INF, -_INF, _INF, _INF], np.float32)
    b = np.array([0.0, 0.0, 1000.5, -40.0, 2.0, -_INF, 1.0, _INF], np.float32)
    y, da, db = pulled(logaddexp)(1.0, a, b)
    np.testing.assert_allclose(y, compiled(jnp.logaddexp)(a, b), rtol=1e-6)
    with mpmath.workdps(50):
        gaps = [mpmath.mpf(float(p)) - mpmath.mpf(float(q)) for p, q in zip(a[:4], b[:4])]
        np.testing.assert_allclose(da[:4], [float(1 / (1 + mpmath.exp(-g))) for g in gaps], rtol=3e-7)
        np.testing.assert_allclose(db[:4], [float(1 / (1 + mpmath.exp(g))) for g in gaps], rtol=3e-7)
    assert da[4:].tolist() == [0, 0, 1, 0.5] and db[4:].tolist() == [1, 0, 0, 0.5]


def test_bfloat16_sums_in_float32():
    """A running sum of 1000 ones reaches 1000, and so does the gradient of the first of them."""
    y, got = pulled(cumsum)(1.0, np.ones(1000, jnp.bfloat16))
    assert y[-1] == 1000
    assert got.dtype == jnp.bfloat16 and got[0] == 1000
