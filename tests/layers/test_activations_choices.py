"""Activations that choose: shrinkage, maxout, crelu, clip, Gumbel-softmax. Values, conventions, exact zeros, samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled, pulled

from backproplab.harness.strip import strip
from backproplab.layers import activations

_X = np.array([-2, -1, -0.5, -0.25, 0, 0.25, 0.5, 1, 2], np.float32)
_SEED = 7  # keys are made inside the tests, importing touches no device


def _gradients(fn, *args, dy=None):
    return pulled(fn)(1.0 if dy is None else dy, *args)[1:]


@pytest.mark.parametrize(
    ("name", "options", "value", "slope"),
    [
        ("hard_shrink", (), np.where(np.abs(_X) > 0.5, _X, 0), np.abs(_X) > 0.5),
        ("soft_shrink", (), np.sign(_X) * np.maximum(np.abs(_X) - 0.5, 0), np.abs(_X) > 0.5),
        ("threshold", (0.25, 20.0), np.where(_X > 0.25, _X, 20), _X > 0.25),
    ],
)
def test_shrinkage(name, options, value, slope):
    """Values by their formulas in numpy; slopes 1 and 0, and 0 at the thresholds; an infinite cotangent is selected away."""
    fn = lambda x: getattr(activations, name)(x, *options)
    run = pulled(fn)
    y, dx = run(1.0, _X)
    np.testing.assert_array_equal(y, value)
    assert dx.tolist() == slope.tolist()
    _, dx = run(np.inf, _X)
    assert np.all(dx[~slope] == 0)
    assert np.isnan(run(1.0, np.full_like(_X, np.nan))[0]).all()


@pytest.mark.parametrize("name", ["hard_shrink", "soft_shrink"])
def test_thresholds_are_compared_in_float32(name):
    """bfloat16 has no 0.3 but 0.3008, which is above it and passes."""
    x = np.array([0.3, 0.299]).astype(jnp.bfloat16)
    assert _gradients(lambda x: getattr(activations, name)(x, 0.3), x)[0].tolist() == [1, 0]


def test_maxout_goes_to_the_first_of_ties():
    """Where autodiff would share; and a NaN is not hidden by what is larger."""
    x = np.array([[1.0, 3.0, 3.0, 2.0, 2.0, 2.0]], np.float32)
    y, dx = pulled(lambda x: activations.maxout(x, 3))(1.0, x)
    np.testing.assert_array_equal(y, [[3, 2]])
    assert dx.tolist() == [[0, 1, 0, 1, 0, 0]]
    assert np.isnan(compiled(activations.maxout)(np.array([np.nan, 5.0], np.float32))).all()
    with pytest.raises(ValueError, match="multiple of 2 pieces, not 5"):
        activations.maxout(jnp.ones(5))


def test_maxout_keeps_a_byte_per_unit():
    """Of four numbers of four bytes, and autodiff keeps them all."""
    x = jnp.arange(1000.0)
    kept = [
        sum(leaf.nbytes for leaf in jax.tree.leaves(jax.vjp(fn, x)[1]))
        for fn in (lambda x: activations.maxout(x, 4), strip(lambda x: activations.maxout(x, 4)))
    ]
    assert kept[0] == 250 and kept[1] >= 4000


def test_crelu_loses_nothing():
    """The halves' difference is x, their sum |x|; a cotangent reaches x from the half that is on, and only from it."""
    y = np.asarray(activations.crelu(_X))
    np.testing.assert_array_equal(y[:9] - y[9:], _X)
    np.testing.assert_array_equal(y[:9] + y[9:], np.abs(_X))
    dy = np.concatenate([np.where(_X > 0, 2.0, np.nan), np.where(_X < 0, 3.0, np.inf)])
    assert _gradients(activations.crelu, _X, dy=dy)[0].tolist() == [-3, -3, -3, -3, 0, 2, 2, 2, 2]


@pytest.mark.parametrize("bounds", [(-1, 1), (-0.5, None), (None, 0.25), (1.0, -1.0), (None, None)])
def test_clip_is_that_of_numpy(bounds):
    """Values, with bounds left out and crossed; by name too; in x's dtype, integer bounds or not."""
    low, high = bounds
    theirs = _X if bounds == (None, None) else np.clip(_X, low, high)
    for y in (activations.clip(_X, *bounds), activations.clip(_X, min=low, max=high), jnp.clip(_X, low, high)):
        np.testing.assert_array_equal(y, theirs)
        assert y.dtype == jnp.float32


def test_clip_on_its_bounds_passes_to_x():
    """pytorch/ao#4806: with 0 there, what saturates exactly at the bound never trains again; jnp.clip has 1/2."""
    dx, dlow, dhigh = _gradients(activations.clip, np.array([-1.0, 1.0, -3.0, 3.0, 4.0], np.float32), -1.0, 1.0)
    assert dx.tolist() == [1, 1, 0, 0, 0] and dlow == 1 and dhigh == 2


def test_clip_sums_over_what_shares_a_bound():
    """In float32 for bfloat16: a running sum of ones would stop at 256."""
    x = np.full(1000, 5, jnp.bfloat16)
    dx, dhigh = _gradients(lambda x, high: activations.clip(x, None, high), x, jnp.bfloat16(2))
    assert dhigh == 1000 and not dx.any()


def test_gumbel_softmax_samples_the_categories():
    """The largest entry falls on a category as often as softmax says: within five standard deviations."""
    logits = np.log(np.array([0.6, 0.3, 0.1], np.float32))
    many = np.tile(logits, (20_000, 1))
    draws = compiled(lambda z: activations.gumbel_softmax(z, jax.random.key(_SEED), 0.5, hard=True))(many)
    assert set(np.unique(draws)) == {0, 1}
    share = draws.mean(0)
    assert np.all(np.abs(share - np.exp(logits)) < 5 * np.sqrt(0.25 / 20_000))


def test_gumbel_softmax_is_a_softmax_of_its_noise():
    """Rows sum to 1; the noise, got back from y, has the mean and spread of Gumbel's distribution; all dtypes share it."""
    sample = compiled(lambda z, temperature: activations.gumbel_softmax(z, jax.random.key(_SEED), temperature))
    with jax.enable_x64(True):
        zeros = np.zeros((4000, 2))
        y = sample(zeros, 2.0)
        np.testing.assert_allclose(y.sum(-1), 1, rtol=1e-14)
        logistic = 2 * np.diff(np.log(y))  # the difference of two Gumbel numbers
        assert abs(logistic.mean()) < 0.15 and abs(logistic.std() - np.pi / np.sqrt(3)) < 0.1
        narrow = sample(zeros.astype("f4"), np.float32(2.0))
        np.testing.assert_allclose(narrow, y, rtol=1e-5)


def test_gumbel_softmax_at_small_temperatures():
    """At 1e-30 it is one-hot and its gradient 0, not NaN; at a category of -inf both are exactly 0."""
    logits, dy = np.array([[0.0, 1.0, -np.inf]], np.float32), np.array([[1.0, 2.0, np.nan]], np.float32)
    run = pulled(lambda z, t: activations.gumbel_softmax(z, jax.random.key(_SEED), t))
    for temperature in (1e-30, 1.0):
        y, dlogits, dtemperature = run(dy, logits, np.float32(temperature))
        assert y[0, 2] == 0 and dlogits[0, 2] == 0
        assert np.isfinite(dlogits).all() and np.isfinite(dtemperature)
        assert temperature == 1 or sorted(y[0].tolist()) == [0, 0, 1]


def test_gumbel_softmax_hard_has_the_gradient_of_soft():
    """Straight-through: one-hot in value, the same cotangents for logits and temperature."""
    key, logits, dy = jax.random.key(_SEED), np.float32([[0.3, -1.0, 0.5]]), np.float32([[1.0, -2.0, 0.5]])
    soft, hard = (
        _gradients(lambda z, t, h=h: activations.gumbel_softmax(z, key, t, h), logits, np.float32(0.7), dy=dy)
        for h in (False, True)
    )
    for a, b in zip(soft, hard):
        np.testing.assert_array_equal(a, b)
