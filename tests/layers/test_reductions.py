"""logsumexp against 50 digits and jax.nn: gaps, far from 0, absent entries, axes, bfloat16."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from compiled import compiled, grad, pull, pulled

from backproplab.layers.reductions import logsumexp

_INF = np.inf
_ROUNDOFF = 2.0**-24  # of float32


def _exact(row):
    """Value and weights of one row, to 50 digits; -inf counts as absent."""
    with mpmath.workdps(50):
        exponentials = [mpmath.exp(mpmath.mpf(float(x))) for x in row]
        total = mpmath.fsum(exponentials)
        return mpmath.log(total), [e / total for e in exponentials]


def _weights(x, axis=-1):
    return pulled(lambda x: logsumexp(x, axis))(1.0, x)[1]


_of_all_entries = pulled(logsumexp)


@pytest.mark.parametrize(
    "row",
    [
        [0.0, -40.0],
        [40.0, 0.0, 0.5, -0.25],
        [-20.0, 20.0, 19.5],
        [1000.0, 960.0, 1000.5],
        [-1000.0, -1040.0, -999.0],
        [0.0, 86.0, 43.0],
        [3.0] * 50,
        [-_INF, 2.0, -38.0],
    ],
    ids=str,
)
def test_value_and_weights_have_all_their_digits(row):
    """Gaps of 40 and more, and rows far from 0: relative error below 1e-6 in float32 against 50 digits."""
    x = np.array(row, np.float32)
    value, weights = _exact(x)
    # two roundings of numbers of the size of y; where y is nearly 0, of the size of the largest entry and the logarithm
    largest = max(abs(float(value)), abs(float(x.max())))
    y, dx = _of_all_entries(1.0, x)
    assert abs(float(y) - float(value)) <= 4 * _ROUNDOFF * max(largest, 1)
    for got, exact in zip(dx.tolist(), weights, strict=True):
        assert abs(mpmath.mpf(got) - exact) <= 1e-6 * exact


def test_the_size_of_the_cotangent_does_not_matter():
    """dx is dy times the weights: for a large and a small dy, a row each."""
    x = np.array([[0.0, -40.0, 1.0]] * 3, np.float32)
    dy = np.array([1e18, -1.0, 1e-18], np.float32)
    _, got = pulled(lambda x: logsumexp(x, -1))(dy, x)
    weights = np.array(_exact(x[0])[1], float)
    np.testing.assert_allclose(got, dy[:, None].astype(float) * weights, rtol=1e-6)


@pytest.mark.parametrize(
    "axis", [(0, 2), *[pytest.param(a, marks=pytest.mark.slow) for a in (-1, 0, 1, (-1, 1), None, (0, 1, 2))]]
)
def test_axes_are_those_of_jax_nn(axis):
    """Value and gradient for one axis, several and all, counted from either end."""
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        x = random.normal(size=(3, 4, 5))
        dy = random.normal(size=x.sum(axis).shape)
        both = lambda *args: [pull(lambda x, f=f: f(x, axis=axis))(*args) for f in (logsumexp, jax.nn.logsumexp)]
        (ours, dx), (theirs, dx_theirs) = compiled(both)(dy, x)
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)
        np.testing.assert_allclose(dx, dx_theirs, rtol=1e-13, atol=1e-15)  # sums of at most 60


def test_absent_entries_are_those_that_where_leaves_out():
    """-inf, and where=False as in jax.nn.logsumexp: same value, same gradient, exact zeros at what is absent."""
    random = np.random.default_rng(1)
    with jax.enable_x64(True):
        x, present = random.normal(size=(6, 8)), random.random((6, 8)) < 0.6
        present[:, 0] = True
        masked = lambda x: logsumexp(jnp.where(present, x, -_INF), -1).sum()
        ours = lambda x: logsumexp(x, -1, where=present).sum()
        theirs = lambda x: jax.nn.logsumexp(x, -1, where=present).sum()
        want_value, want = jax.jit(jax.value_and_grad(theirs))(x)
        for fn in (masked, ours):
            value, got = jax.jit(jax.value_and_grad(fn))(x)
            np.testing.assert_allclose(value, want_value, rtol=1e-14)
            np.testing.assert_allclose(got, want, rtol=1e-13)
            assert not np.any(got[~present])


def test_what_absent_entries_hold_does_not_matter():
    """jax #23842: large numbers, infinities and NaN where `where` is False leave value and gradient as they are."""
    x, present = np.array([[0.5, 100.0, 1.0], [2.0, 3.0, 4.0]], np.float32), np.array([True, False, True])
    run = pulled(lambda x: logsumexp(x, 1, True, present))
    value, dx = run(1.0, x)
    assert value.shape == (2, 1)
    for poison in (1e30, _INF, -_INF, np.nan):
        x[:, 1] = poison
        poisoned, dx_poisoned = run(1.0, x)
        assert np.array_equal(poisoned, value)
        assert np.array_equal(dx_poisoned, dx)


def test_where_all_are_absent():
    """y = -inf and a gradient of exact zeros, in its row alone and whatever the cotangent, where jax.nn has NaN."""
    x = np.array([[-_INF] * 3, [0.0, 1.0, -_INF]], np.float32)
    run = pulled(lambda x: logsumexp(x, -1))
    for dy in (1.0, -3.0, 0.0, 1e30):
        y, got = run(dy, x)
        assert y[0] == -_INF and np.isfinite(y[1])
        assert got[0].tolist() == [0, 0, 0]
        assert np.isfinite(got[1]).all() and got[1, 2] == 0
    assert np.isnan(grad(lambda x: jax.nn.logsumexp(x, -1).sum())(x)[0]).any()


@pytest.mark.slow
def test_where_all_are_absent_under_every_axis():
    """All axes at once, a tuple, and the middle one: no NaN in any."""
    x = np.full((2, 3, 4), -_INF, np.float32)
    for axis in (None, 1, (0, 2)):
        assert np.all(logsumexp(x, axis) == -_INF)
        assert not np.any(_weights(x, axis))


def test_plus_infinity_takes_the_whole_weight():
    """One +inf is the limit of a growing entry; several share, and the others get nothing, -inf included."""
    x = np.array([[_INF, 1.0, -_INF], [_INF, 2.0, _INF]], np.float32)
    y, weights = pulled(lambda x: logsumexp(x, -1))(1.0, x)
    assert y.tolist() == [_INF, _INF]
    assert weights.tolist() == [[1, 0, 0], [0.5, 0, 0.5]]


def test_the_weights_sum_to_one():
    """logsumexp(x + c) = logsumexp(x) + c, so they must: a row of 1000, to the roundings of its own sum."""
    x = np.random.default_rng(2).normal(0, 10, (20, 1000)).astype(np.float32)
    # each weight has at most 8 roundings; the sum in the denominator is in blocks, and stays well below 1000 roundings
    assert np.abs(_weights(x).astype(np.float64).sum(-1) - 1).max() < 1000 * _ROUNDOFF


def test_bfloat16_adds_in_float32():
    """log of 10,000 in bfloat16, where a running sum of ones would stop at 256; the weights are rounded once."""
    y, weights = _of_all_entries(1.0, np.zeros(10_000, jnp.bfloat16))
    assert y.dtype == weights.dtype == jnp.bfloat16
    assert abs(float(y) - np.log(10_000)) <= 2.0**-8 * np.log(10_000)
    np.testing.assert_allclose(weights.astype(np.float64), 1e-4, rtol=2.0**-8)
