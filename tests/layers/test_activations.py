"""Activations: jax.nn's values and names, slopes exact in both tails, declared kinks, limits at the infinities."""

import inspect
from functools import cache

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from compiled import compiled, grad, pull, pulled

from backproplab.layers import activations
from backproplab.layers.activations.selu import ALPHA, SCALE

_BOUND = 1e-6  # of a relative error in float32: 17 units in the last place
_LEAST_NORMAL = 2.0**-126  # below it float32 loses digits, and XLA on the CPU takes numbers for 0


def _sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


def _elu(x):
    return x if x > 0 else mpmath.expm1(x)


# The textbook definitions, to be differentiated numerically with so many digits that no cancellation matters.
SMOOTH = {
    "celu": _elu,
    "elu": _elu,
    "gelu": lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
    "gelu_tanh": lambda x: x * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3))) / 2,
    "log_sigmoid": lambda x: mpmath.log(_sigmoid(x)),
    "mish": lambda x: x * mpmath.tanh(mpmath.log(1 + mpmath.exp(x))),
    "selu": lambda x: SCALE * (x if x > 0 else ALPHA * mpmath.expm1(x)),
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
    "softplus": lambda x: mpmath.log(1 + mpmath.exp(x)),
    "tanh": mpmath.tanh,
}
GATED = ("gelu", "gelu_tanh", "mish", "silu")  # x times a probability: the slope crosses 0 at the minimum
LINES = ("hard_sigmoid", "hard_swish", "hard_tanh", "leaky_relu", "relu", "relu6")
ONE_ARGUMENT = (*SMOOTH, *LINES)
LIMITS = {  # of the slopes, at -inf and at inf
    **dict.fromkeys(("celu", "elu", "gelu", "gelu_tanh", "hard_swish", "mish", "relu", "silu", "softplus"), (0, 1)),
    **dict.fromkeys(("hard_sigmoid", "hard_tanh", "relu6", "sigmoid", "tanh"), (0, 0)),
    "leaky_relu": (0.01, 1),
    "log_sigmoid": (1, 0),
    "selu": (0, SCALE),
}


def _points():
    """Float32 numbers over all of what is not underflow, dense where the functions bend, and some far out."""
    random = np.random.default_rng(0)
    ladder = np.geomspace(1e-30, 1, 8)
    named = [12, 30, 40, 44, -12, -30, -40, -44, 1e4, -1e4, 1e30, -1e30]
    parts = (np.linspace(-110, 110, 111), random.uniform(-14, 14, 80), ladder, -ladder, named)
    points = np.concatenate(parts).astype(np.float32)
    return points[points != 0]  # where some have a kink, see below


def _slopes(fn, x):
    return pulled(fn)(1.0, x)[1]


@cache
def _exact_slope(function, x):
    with mpmath.workdps(150):  # 1 - tanh^2 x takes 38 digits away at x = 44, the numerical derivative half of all
        return mpmath.diff(function, mpmath.mpf(x))


@pytest.mark.parametrize("name", SMOOTH)
def test_slope_is_exact_in_both_tails(name):
    """Relative error below 1e-6 in float32 against 50 digits, wherever the slope is a normal number."""
    function, points = SMOOTH[name], _points()
    checked = 0
    for x, got in zip(points.tolist(), _slopes(getattr(activations, name), points).tolist(), strict=True):
        if abs(x) > 200:  # exact from here on, see the limits; and exp(-x) would take long
            assert got == np.float32(LIMITS[name][x > 0])
            continue
        exact = _exact_slope(function, x)
        if abs(exact) < _LEAST_NORMAL:
            assert abs(got) <= 2 * _LEAST_NORMAL
            continue
        scale = abs(exact)
        if name in GATED:  # y / x and x (y / x)' cancel at the minimum: the error is measured against them there
            scale = max(scale, abs(function(mpmath.mpf(x)) / x))
        assert abs(mpmath.mpf(got) - exact) < _BOUND * scale, (x, got, float(exact))
        checked += 1
    assert checked > 100


@pytest.mark.parametrize(
    ("name", "x", "slope"),
    [
        ("sigmoid", 30, "9.3576229688392989479e-14"),
        ("tanh", 12, "1.5100538055995561087e-10"),
        ("elu", -40, "4.2483542552915889953e-18"),
    ],
)
def test_slopes_that_autodiff_has_as_0(name, x, slope):
    """Numbers that anybody can look up, where autodiff of y (1 - y), 1 - y^2 and expm1(x) has 0 in float32."""
    got = _slopes(getattr(activations, name), np.float32(x))
    assert abs(float(got) / float(slope) - 1) < _BOUND


@pytest.mark.parametrize("parameter", [0.25, 2.0])
def test_a_parameter_that_is_a_power_of_two_costs_nothing(parameter):
    """celu, elu and swish with a parameter are as exact as without; swish in beta too."""
    points = _points()
    points = points[np.abs(points) * max(parameter, 1 / parameter) < 80]  # so that no slope is below the normal numbers
    definitions = {
        "celu": lambda x: x if x > 0 else parameter * mpmath.expm1(x / parameter),
        "elu": lambda x: x if x > 0 else parameter * mpmath.expm1(x),
        "swish": lambda x: x * _sigmoid(parameter * x),
    }
    layers = [lambda x, name=name: getattr(activations, name)(x, parameter) for name in definitions]
    slopes = compiled(lambda x: [pull(layer)(1.0, x)[1] for layer in layers])(points)
    for (name, function), got in zip(definitions.items(), slopes, strict=True):
        for x, slope in zip(points.tolist(), got.tolist()):
            exact = _exact_slope(function, x)
            scale = max(abs(exact), abs(function(mpmath.mpf(x)) / x)) if name == "swish" else abs(exact)
            assert abs(mpmath.mpf(slope) - exact) < _BOUND * scale, (name, x)
    x = points[np.abs(points) > 1e-15]
    got = _slopes(lambda beta: activations.swish(x, beta), np.full(x.shape, parameter, np.float32))
    for point, slope in zip(x.tolist(), got.tolist()):
        exact = mpmath.mpf(point) ** 2 * _sigmoid(parameter * mpmath.mpf(point)) * _sigmoid(-parameter * point)
        assert abs(mpmath.mpf(slope) - exact) < _BOUND * exact, point


def _theirs(name):
    """jax.nn's function of the same name, or the one that the page stands for."""
    special = {"gelu": lambda x: jax.nn.gelu(x, approximate=False), "gelu_tanh": jax.nn.gelu}
    return special.get(name) or getattr(jax.nn, name)


@pytest.mark.parametrize("name", ONE_ARGUMENT)
def test_values_are_those_of_jax_nn(name):
    """The same function in float64, with its defaults."""
    with jax.enable_x64(True):
        x = np.concatenate([np.linspace(-12, 12, 97), [-30.0, 30, -1e-12, 1e-12, 1000]])  # kinks among them
        # where 1 + tanh cancels, jax.nn's gelu is off by the rounding of a number of size 1, times x of up to 30
        ours, theirs = compiled(lambda x: (getattr(activations, name)(x), _theirs(name)(x)))(x)
        np.testing.assert_allclose(ours, theirs, rtol=1e-14, atol=30 * 2.0**-52)


@pytest.mark.parametrize("name", [name for name in (*ONE_ARGUMENT, "swish") if hasattr(jax.nn, name)])
def test_arguments_are_those_of_jax_nn(name):
    """The same names in the same order with the same defaults, so that who moves over changes an import and no more."""
    ours = list(inspect.signature(getattr(activations, name)).parameters.values())
    theirs = [p for p in inspect.signature(getattr(jax.nn, name)).parameters.values() if p.name != "approximate"]
    assert [(p.name, p.default) for p in ours[: len(theirs)]] == [(p.name, p.default) for p in theirs]
    assert all(p.default is not p.empty for p in ours[len(theirs) :])


def test_parameters_of_jax_nn():
    """alpha and negative_slope by name; prelu is leaky_relu with that slope, and swish with beta 1 is jax.nn's."""
    with jax.enable_x64(True):
        x = np.linspace(-3, 3, 13)
        for name, option in (("celu", "alpha"), ("elu", "alpha"), ("leaky_relu", "negative_slope")):
            of = lambda x, room, name=name, option=option: getattr(room, name)(x, **{option: 0.3})
            ours, theirs = compiled(lambda x, of=of: (of(x, activations), of(x, jax.nn)))(x)
            np.testing.assert_allclose(ours, theirs, rtol=1e-15, err_msg=name)
        ours = compiled(lambda x: (activations.prelu(x, 0.3), activations.swish(x)))(x)
        theirs = compiled(lambda x: (jax.nn.leaky_relu(x, 0.3), jax.nn.swish(x)))(x)
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-15)
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-15)


@pytest.mark.parametrize(
    ("name", "options", "x", "slope"),
    [
        ("celu", (0.5,), 0, 1),
        ("elu", (0.5,), 0, 0.5),
        ("hard_sigmoid", (), -3, 0),
        ("hard_sigmoid", (), 3, 0),
        ("hard_swish", (), -3, 0),
        ("hard_swish", (), 3, 1),
        ("hard_tanh", (), -1, 1),
        ("hard_tanh", (), 1, 1),
        ("leaky_relu", (), 0, 1),
        ("relu", (), 0, 0),
        ("relu6", (), 0, 0),
        ("relu6", (), 6, 0),
        ("selu", (), 0, SCALE * ALPHA),
    ],
)
def test_the_slope_at_a_kink_is_the_declared_one(name, options, x, slope):
    """In float32 and bfloat16, at -0 as at 0; and it is that of jax.nn."""
    points = np.array([x, -0.0 if x == 0 else x], np.float32)
    slopes = lambda room, x: pull(lambda x: getattr(room, name)(x, *options))(1.0, x)[1]
    wide, narrow, theirs = compiled(
        lambda x, x_16: (slopes(activations, x), slopes(activations, x_16), slopes(jax.nn, x))
    )(points, points.astype(jnp.bfloat16))
    for got, dtype in ((wide, jnp.float32), (narrow, jnp.bfloat16)):
        assert got.dtype == dtype
        assert np.array_equal(got, np.full(2, slope).astype(dtype)), dtype
    np.testing.assert_allclose(
        theirs, slope, rtol=2.0**-23
    )  # the constants of selu are rounded, and so is their product


def test_the_slopes_of_prelu_at_its_kink():
    """1 for x, as in leaky_relu, and nothing for alpha."""
    points = np.array([0.0, -0.0], np.float32)
    dx, dalpha = grad(lambda x, a: activations.prelu(x, a).sum(), (0, 1))(points, np.float32(0.25))
    assert dx.tolist() == [1, 1] and dalpha == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ONE_ARGUMENT)
def test_the_slope_has_its_limit_at_the_infinities(name, dtype):
    """0 times infinity is nowhere computed; the largest finite numbers are treated alike."""
    largest = float(jnp.finfo(dtype).max)
    x = np.array([-np.inf, -largest, np.inf, largest, np.nan]).astype(dtype)
    y, got = pulled(getattr(activations, name))(1.0, x)
    assert np.array_equal(got[:4], np.repeat(np.array(LIMITS[name]), 2).astype(dtype))
    assert np.isnan(y[4])


def test_the_slopes_with_parameters_have_their_limits_at_the_infinities():
    """swish in x and in beta, for either sign of beta; prelu in x."""
    x = np.array([-np.inf, np.inf], np.float32)
    swish = pulled(activations.swish)
    for beta, limits in ((1.5, [0, 1]), (-1.5, [1, 0])):
        _, dx, dbeta = swish(1.0, x, np.full(2, beta, np.float32))
        assert dx.tolist() == limits and dbeta.tolist() == [0, 0]
    assert _slopes(lambda x: activations.prelu(x, 0.25), x).tolist() == [0.25, 1]


@pytest.mark.parametrize("name", ONE_ARGUMENT)
def test_every_bfloat16_number_gets_its_slope_rounded_once(name):
    """All 65280 finite numbers: float32 has the slope to 1e-6, so bfloat16 is off by its own rounding alone."""
    bits = np.arange(2**16, dtype=np.uint16)
    x = bits[bits & 0x7F80 != 0x7F80].view(jnp.bfloat16)
    fn = getattr(activations, name)
    got = _slopes(fn, x)
    assert got.dtype == jnp.bfloat16
    exact = _slopes(fn, x.astype(np.float32)).astype(np.float64)
    normal = np.abs(exact) >= _LEAST_NORMAL
    assert np.all(np.abs(got.astype(np.float64) - exact)[normal] <= 2.0**-8 * np.abs(exact)[normal])
    assert np.all(np.abs(got.astype(np.float64))[~normal] <= _LEAST_NORMAL)


def test_cotangents_are_selected_and_not_multiplied():
    """A unit that is off stays at 0 even where an infinite cotangent arrives."""
    off = {"relu": -1.0, "relu6": 7.0, "hard_tanh": 2.0, "hard_sigmoid": -4.0, "hard_swish": -4.0}
    slopes = compiled(lambda dy, off: {name: pull(getattr(activations, name))(dy, x)[1] for name, x in off.items()})
    for name, dx in slopes(np.float32(np.inf), off).items():
        assert dx == 0, name
