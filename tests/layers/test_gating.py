"""Gated units: jax.nn's values, gates exact in both tails, shut gates shut, one rounding in bfloat16, what is kept."""

import inspect

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from compiled import compiled, pulled

from backproplab.harness.strip import strip
from backproplab.layers import gating

_BOUND = 1e-6  # of a relative error in float32: 17 units in the last place


def _tanh_form(x):
    return x * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3))) / 2


# Each unit as a function of gate and value, its textbook gate, and jax.nn's
UNITS = {
    "glu": (
        lambda gate, value: gating.glu(jnp.concatenate([value, gate])),
        lambda x: 1 / (1 + mpmath.exp(-x)),
        jax.nn.sigmoid,
    ),
    "swiglu": (gating.swiglu, lambda x: x / (1 + mpmath.exp(-x)), jax.nn.silu),
    "geglu": (gating.geglu, _tanh_form, jax.nn.gelu),
    "geglu, error function": (
        lambda gate, value: gating.geglu(gate, value, approximate=False),
        lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
        lambda x: jax.nn.gelu(x, approximate=False),
    ),
    "reglu": (gating.reglu, lambda x: max(x, 0), jax.nn.relu),
}


@pytest.mark.parametrize("name", UNITS)
def test_values_are_the_products_of_jax_nn(name):
    """gate through the activation of jax.nn, times value, in float64."""
    with jax.enable_x64(True):
        gate, value = np.linspace(-9, 9, 37), np.linspace(2, -1, 37)
        unit, _, activation = UNITS[name]
        ours, theirs = compiled(lambda gate, value: (unit(gate, value), activation(gate) * value))(gate, value)
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-14)


def test_glu_is_that_of_jax_nn():
    """Same halves, same names, same default, any axis: changing the import is enough."""
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=(2, 4, 6))
        of = lambda glu: lambda x: [glu(x), *(glu(x, axis=axis) for axis in (-1, 0, 1))]
        for ours, theirs in zip(compiled(of(gating.glu))(x), compiled(of(jax.nn.glu))(x), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-14)
    ours, theirs = (inspect.signature(f).parameters.values() for f in (gating.glu, jax.nn.glu))
    assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in theirs]


def test_an_odd_axis_is_refused():
    """Before anything is computed, in words."""
    with pytest.raises(ValueError, match="even length"):
        gating.glu(np.ones((2, 3), np.float32))


@pytest.mark.parametrize("name", UNITS)
def test_gradients_are_exact_in_both_tails_of_the_gate(name):
    """Relative error below 1e-6 in float32 for the gate; for the value the gate's own value, a rounded exponent and all."""
    unit, activation, _ = UNITS[name]
    gate = np.array([-60, -30, -17, -9, -5, -2, 0.5, 3, 9, 17, 30, 60], np.float32)
    value = np.linspace(0.5, 3, gate.size, dtype=np.float32)
    dgate, dvalue = (part.tolist() for part in pulled(unit)(1.0, gate, value)[1:])
    with mpmath.workdps(150):
        for g, v, dg, dv in zip(gate.tolist(), value.tolist(), dgate, dvalue):
            _close(dg, v * mpmath.diff(activation, mpmath.mpf(g)), _BOUND)
            _close(dv, activation(mpmath.mpf(g)), 2.0**-24 * (2 + g * g))


def _close(got, exact, bound):
    """Relative to the exact number, unless that is below the normal ones."""
    if abs(exact) < 2.0**-126:
        assert abs(got) <= 2.0**-126
    else:
        assert abs(got - exact) < bound * abs(exact)


@pytest.mark.parametrize("name", ["geglu", "swiglu", "glu", "reglu"])
def test_a_shut_gate_is_shut(name):
    """At -inf value, slope and what is let through are exact zeros."""
    unit = UNITS[name][0]
    for part in pulled(unit)(1.0, np.full(2, -np.inf, np.float32), np.array([2, -3], np.float32)):
        assert part.tolist() == [0, 0]


def test_a_closed_relu_gate_selects():
    """An infinite cotangent, and an infinite value, do not come through a gate that is shut."""
    for bad in (np.inf, np.nan):
        for part in pulled(gating.reglu)(bad, np.float32([-1, 0]), np.float32([bad, bad]))[1:]:
            assert part.tolist() == [0, 0]


@pytest.mark.parametrize("name", ["geglu", "glu", "swiglu"])
def test_bfloat16_is_rounded_once(name):
    """Value and gradients are those of float32, rounded: rounding the gate first would cost a second half unit."""
    random = np.random.default_rng(0)
    gate, value = (random.normal(size=512).astype(jnp.bfloat16) for _ in range(2))
    run = pulled(UNITS[name][0])
    for ours, wide in zip(run(1.0, gate, value), run(1.0, gate.astype("f4"), value.astype("f4")), strict=True):
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_array_equal(ours, wide.astype(jnp.bfloat16))


@pytest.mark.parametrize(("name", "arrays"), [("glu", 2), ("swiglu", 2), ("geglu", 2), ("reglu", 2)])
def test_only_the_arguments_are_kept(name, arrays):
    """And autodiff of the same page keeps more."""
    gate = value = jnp.ones(1000)
    kept = [
        sum(leaf.nbytes for leaf in jax.tree.leaves(jax.vjp(unit, gate, value)[1]))
        for unit in (UNITS[name][0], strip(UNITS[name][0]))
    ]
    assert kept[0] == arrays * gate.nbytes < kept[1]


def test_film_learns_from_a_scale_of_zero():
    """dx is 0 there but dscale is not; per image and channel the gradients are sums over the pixels."""
    random = np.random.default_rng(0)
    x, dy = random.normal(size=(2, 2, 3, 4, 5)).astype(np.float32)
    scale, shift = np.zeros((2, 1, 1, 5), np.float32), np.ones(5, np.float32)
    y, dx, dscale, dshift = pulled(gating.film)(dy, x, scale, shift)
    assert np.all(y == 1) and not dx.any()
    for got, terms, axes in ((dscale, dy * x, (1, 2)), (dshift, dy, (0, 1, 2))):
        right = terms.astype(np.float64).sum(axes).reshape(got.shape)
        rounding = (
            2.0**-24 * (terms.size // got.size) * np.abs(terms).sum(axes).reshape(got.shape)
        )  # of a sum in any order
        assert np.all(np.abs(got - right) <= rounding)
