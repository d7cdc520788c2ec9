"""Dropout: the mask of the backward pass is that of the forward pass, its zeros are exact, its mean is right."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled, pulled

from backproplab.harness.strip import strip
from backproplab.layers.regularization import dropout

_KEY = 7  # a seed: keys are made inside the tests, importing touches no device


@pytest.mark.parametrize("rate", [0.5, *[pytest.param(rate, marks=pytest.mark.slow) for rate in (0.1, 0.9)]])
def test_gradient_is_the_forward_mask(rate):
    """y is x times a constant per entry, so dx / dy is y / x bit for bit; eager, compiled, as in autodiff."""
    key = jax.random.key(_KEY)
    with jax.enable_x64(True):
        x = np.exp2(np.random.default_rng(0).integers(-3, 4, (5, 7, 11))).astype(float)  # powers of two: exact ratios
        for wrap in (lambda f: f, jax.jit):
            y, pull_back = jax.vjp(wrap(lambda x: dropout(x, key, rate)), x)
            (dx,) = pull_back(np.ones_like(x))
            np.testing.assert_array_equal(dx, y / x)
            (own,) = jax.vjp(strip(lambda x: dropout(x, key, rate)), x)[1](np.ones_like(x))
            np.testing.assert_array_equal(dx, own)
            assert set(np.unique(dx)) == {0.0, 1 / (1 - rate)}


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_as_many_are_dropped_as_the_rate_says(rate):
    """The share of zeros is binomial: 100,000 draws are within five standard deviations of the rate."""
    y = compiled(lambda x: dropout(x, jax.random.key(_KEY), rate))(np.ones(100_000, np.float32))
    assert abs(np.mean(y == 0) - rate) < 5 * math.sqrt(rate * (1 - rate) / 100_000)


def test_dropped_entries_are_exact_zeros():
    """By selection: infinite and NaN inputs and cotangents do not come through, as they would times a mask of 0."""
    key = jax.random.key(_KEY)
    run = pulled(lambda x: dropout(x, key, 0.5))
    for bad in (np.inf, -np.inf, np.nan):
        x = np.full(64, bad, np.float32)
        dropped = run(1.0, np.ones_like(x))[0] == 0
        assert dropped.any() and not dropped.all()
        for part in run(x, x):
            assert np.all(part[dropped] == 0) and not np.any(np.isfinite(part[~dropped]))


@pytest.mark.parametrize("rate", [0, 0.0, 1, 1.0])
def test_edge_rates(rate):
    """Rate 0 is the identity and rate 1 is zeros, never 0 / 0; integers and floats alike."""
    key = jax.random.key(_KEY)
    x = np.array([1.0, -0.0, np.inf], np.float32)
    y, pull_back = jax.vjp(lambda x: dropout(x, key, rate), x)
    (dx,) = pull_back(x)
    np.testing.assert_array_equal(y, x if rate == 0 else np.zeros(3))
    np.testing.assert_array_equal(dx, x if rate == 0 else np.zeros(3))


def test_rates_next_to_the_edges_are_finite():
    """The smallest rates drop nothing and the largest leave the threshold inside 32 bits."""
    key, x = jax.random.key(_KEY), np.ones(1000, np.float32)
    assert np.all(np.asarray(dropout(x, key, 1e-12)) == 1)
    assert np.all(np.asarray(dropout(x, key, math.nextafter(1, 0))) == 0)


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_other_rates_are_refused(rate):
    """A ValueError that names the rate, at the call and not in the gradient."""
    with pytest.raises(ValueError, match="rate must be from 0 to 1"):
        dropout(np.ones(3, np.float32), jax.random.key(_KEY), rate)


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.7])
def test_bfloat16_scales_in_float32(rate):
    """In bfloat16 the 0.9 of rate 0.1 is 0.8984: 3 / 0.9 came out as 3.34375, where 3.328125 is nearest."""
    key = jax.random.key(_KEY)
    x = np.arange(1, 129).astype(jnp.bfloat16)
    y, dx = pulled(lambda x: dropout(x, key, rate))(x, x)
    kept = y != 0
    # rounded to float32, then to bfloat16, as the layer does
    nearest = (np.asarray(x, np.float32) / np.float32(1 - rate)).astype(jnp.bfloat16)
    for part in (y, dx):
        assert part.dtype == jnp.bfloat16
        np.testing.assert_array_equal(part[kept], nearest[kept])


def test_the_same_key_drops_the_same_entries_in_every_dtype():
    """The mask is drawn from 32 bits whatever x is; and from another key it is another one."""
    drop = compiled(lambda x, seed: dropout(x, jax.random.key(seed)))
    with jax.enable_x64(True):
        masks = [drop(np.ones(256, d), _KEY) == 0 for d in (np.float64, np.float32, jnp.bfloat16)]
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])
    assert np.any(masks[0] != (drop(np.ones(256, np.float32), _KEY + 1) == 0))


def test_keys_under_vmap():
    """One key per example: each example's gradient has the mask of its own key."""
    keys = jax.random.split(jax.random.key(_KEY), 5)
    x = np.ones((5, 33), np.float32)
    gradient = jax.grad(lambda x, key: jnp.sum(dropout(x, key, 0.25)))
    alone, mapped = compiled(gradient), compiled(jax.vmap(gradient))(x, keys)
    np.testing.assert_array_equal(mapped, np.stack([alone(row, key) for row, key in zip(x, keys)]))
    assert len({row.tobytes() for row in mapped}) == 5


def test_only_the_key_is_kept():
    """Eight bytes for a million entries, with keys of either kind; autodiff keeps the mask."""
    for key in (jax.random.key(_KEY), jax.random.PRNGKey(_KEY)):
        _, pull_back = jax.vjp(lambda x, key=key: dropout(x, key), jnp.ones(1_000_000))
        sizes = [leaf.size for leaf in jax.tree.leaves(pull_back)]
        assert sum(sizes) <= 2
