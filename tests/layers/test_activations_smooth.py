"""Smooth activations and functions of one number beside those of jax.nn's core: values, exact slopes, limits."""

import inspect
from functools import cache

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from compiled import compiled, pulled

from backproplab.layers import activations

_BOUND = 6e-7  # of a relative error in float32: 10 units in the last place
_LEAST_NORMAL = 2.0**-126

# Per function: the textbook form, to be differentiated with many digits; jax's own; where it is looked at.
_both = np.array([1e-20, 1e-6, 1e-4, 3e-3, 0.02, 0.2, 0.49, 0.51, 0.9, 1.7, 3, 9, 30])
_all = np.concatenate([_both, -_both])
SMOOTH = {
    "expm1": (mpmath.expm1, jnp.expm1, np.append(_all, [-40, -87, 80])),
    "gaussian": (lambda x: mpmath.exp(-x * x), lambda x: jnp.exp(-x * x), np.append(_all, [9.3, -8.77])),
    "log1mexp": (lambda x: mpmath.log(1 - mpmath.exp(-x)), jax.nn.log1mexp, np.append(_both, [0.69, 0.7, 80, 87])),
    "log1p": (lambda x: mpmath.log(1 + x), jnp.log1p, np.append(_both, [-0.5, -0.999, 1e6])),
    "logit": (lambda x: mpmath.log(x / (1 - x)), jax.scipy.special.logit, np.append(_both[:9], [1 - 2.0**-20])),
    "sin": (mpmath.sin, jnp.sin, _all),
    "sinc": (lambda x: mpmath.sincpi(x), jnp.sinc, np.append(_all, [64.25, -1000.125, 4096.75])),
    "soft_sign": (lambda x: x / (1 + abs(x)), jax.nn.soft_sign, np.append(_all, [1e4, -1e4])),
    "squareplus": (lambda x: (x + mpmath.sqrt(x * x + 4)) / 2, jax.nn.squareplus, np.append(_all, [-1e4, 1e4])),
    "tanh_shrink": (lambda x: x - mpmath.tanh(x), lambda x: x - jnp.tanh(x), _all),
}
LIMITS = {  # of the slopes, at -inf and inf
    "expm1": (0, np.inf),
    "gaussian": (0, 0),
    "log1mexp": (None, 0),
    "log1p": (None, 0),
    "soft_sign": (0, 0),
    "sparse_plus": (0, 1),
    "squareplus": (0, 1),
    "tanh_shrink": (1, 1),
}


def _value_and_slope(name, x):
    """Of a layer at up to 32 points: one program per layer and dtype serves all tests."""
    return tuple(np.asarray(part)[: len(x)] for part in _program(name)(np.resize(x, 32)))


@cache
def _program(name):
    fn = getattr(activations, name)

    def both(x):
        y, pull_back = jax.vjp(fn, x)
        return y, *pull_back(jnp.ones_like(y))

    return jax.jit(both)


def _slopes(name, x):
    return _value_and_slope(name, x)[1]


@pytest.mark.parametrize("name", SMOOTH)
def test_slopes_are_exact(name):
    """Relative error below 6e-7 in float32, near 0 and far out, wherever the slope is a normal number."""
    function, _, points = SMOOTH[name]
    points = points.astype(np.float32)
    with mpmath.workdps(80):
        for x, got in zip(points.tolist(), _slopes(name, points).tolist()):
            exact = mpmath.diff(function, mpmath.mpf(x))
            if abs(exact) < _LEAST_NORMAL:
                assert abs(got) <= 2 * _LEAST_NORMAL
            else:
                assert abs(got - exact) < _BOUND * abs(exact), (x, got, float(exact))


@pytest.mark.parametrize("name", SMOOTH)
def test_values_are_those_of_jax(name):
    """The same function in float64; not farther out, where jax.nn.squareplus cancels on the left."""
    with jax.enable_x64(True):
        points = SMOOTH[name][2]
        points = points[np.abs(points) < 5000]
        ours, theirs = _value_and_slope(name, points)[0], compiled(SMOOTH[name][1])(points)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["sparse_plus", "squareplus", "soft_sign", "log1mexp"])
def test_arguments_are_those_of_jax_nn(name):
    """The same names in the same order with the same defaults, so that who moves over changes an import and no more."""
    ours, theirs = (inspect.signature(getattr(room, name)).parameters.values() for room in (activations, jax.nn))
    assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in theirs]


def test_sparse_plus_is_that_of_jax_nn():
    """Values in float64, on all three pieces and at their ends."""
    with jax.enable_x64(True):
        x = np.linspace(-2, 2, 17)
        y, slope = _value_and_slope("sparse_plus", x)
        plus, sigmoid = compiled(lambda x: (jax.nn.sparse_plus(x), jax.nn.sparse_sigmoid(x)))(x)
        np.testing.assert_allclose(y, plus, rtol=1e-15)
        np.testing.assert_allclose(slope, sigmoid, rtol=1e-15)


@pytest.mark.parametrize("name", LIMITS)
def test_the_slope_has_its_limit_at_the_infinities(name):
    """No infinity over infinity, no 0 times infinity; the largest finite number likewise."""
    largest = np.finfo(np.float32).max
    value, got = _value_and_slope(name, np.array([-np.inf, -largest, np.inf, largest, np.nan], np.float32))
    low, high = LIMITS[name]
    if low is not None:
        assert got[:2].tolist() == [low, low]
    assert got[2:4].tolist() == [high, high]
    assert np.isnan(value[4])


def test_ends_of_the_domain():
    """Where the functions go to an infinity, so do the slopes, and are not NaN."""
    for name, ends in (("log1p", [-1]), ("log1mexp", [0]), ("logit", [0, 1])):
        assert np.all(_slopes(name, np.array(ends, np.float32)) == np.inf), name


@pytest.mark.parametrize("name", [*SMOOTH, "relu_squared", "sparse_plus"])
def test_bfloat16_is_rounded_once(name):
    """Value and slope are those of float32, rounded."""
    x = np.abs(np.random.default_rng(0).normal(size=32)) / 4  # inside every domain
    x = x.astype(jnp.bfloat16)
    for ours, wide in zip(_value_and_slope(name, x), _value_and_slope(name, x.astype("f4"))):
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_array_equal(ours, wide.astype(jnp.bfloat16))


def test_squareplus_does_not_overflow():
    """Where x^2 is infinite in float32 the value is x or b / (4 |x|), and the gradients follow."""
    y, dx, db = pulled(activations.squareplus)(1.0, np.float32([1e30, -1e30]), np.float32(4))
    assert y.tolist() == pytest.approx([1e30, 1e-30], rel=1e-6)
    assert dx.tolist() == pytest.approx([1, 0]) and float(db) == pytest.approx(0.5e-30, rel=1e-6)


def test_squareplus_of_a_small_b_is_relu():
    """The smoothness goes to 0 without a NaN."""
    y, dx = pulled(lambda x: activations.squareplus(x, 1e-30))(1.0, np.float32([-2, 3]))
    assert y.tolist() == pytest.approx([0, 3])
    assert dx.tolist() == pytest.approx([0, 1])


def test_snake_is_smooth_in_alpha_at_0():
    """There x + sin^2(alpha x) / alpha is 0 / 0; on both sides the slope is 1 + sin(2 alpha x), as it is at 0."""
    x, run = np.float32([0.5, -2.0]), pulled(activations.snake)
    for alpha in (0.0, 1e-6, -1e-6):
        _, dx, dalpha = run(1.0, x, np.full(2, alpha, np.float32))
        np.testing.assert_allclose(dx, 1 + np.sin(2 * alpha * np.float64(x)), rtol=2 * np.finfo(np.float32).eps)
        np.testing.assert_allclose(dalpha, x * x, rtol=1e-5)


def test_snake_against_its_formula():
    """Value and both gradients in float64; and the slope is nowhere negative in float32."""
    with jax.enable_x64(True):
        x, alpha = np.linspace(-3, 3, 13), np.full(13, 1.3)
        y, dx, dalpha = pulled(activations.snake)(1.0, x, alpha)
        np.testing.assert_allclose(y, x + np.sin(alpha * x) ** 2 / alpha, rtol=1e-13)
        np.testing.assert_allclose(dx, 1 + np.sin(2 * alpha * x), rtol=1e-12, atol=1e-15)
        exact = x * np.sin(2 * alpha * x) / alpha - np.sin(alpha * x) ** 2 / alpha**2
        np.testing.assert_allclose(dalpha, exact, rtol=1e-12, atol=1e-14)
    assert _slopes("snake", np.linspace(2.356, 2.3565, 32, dtype=np.float32)).min() >= 0


def test_relu_squared_selects():
    """A unit that is off gives an exact 0, also to an infinite cotangent."""
    _, dx = pulled(activations.relu_squared)(np.inf, np.float32([-1, 0]))
    assert dx.tolist() == [0, 0]


def test_sinc_at_whole_numbers():
    """Exact zeros, where jnp.sinc has the rounding of pi; the slope alternates as 1 / x."""
    y, slope = _value_and_slope("sinc", np.array([1, 2, -3, 100, 4097], np.float32))
    assert y.tolist() == [0] * 5
    np.testing.assert_allclose(slope, [-1, 1 / 2, 1 / 3, 1 / 100, -1 / 4097], rtol=1e-7)
