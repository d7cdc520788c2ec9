"""Activations that choose: shrinkage, maxout, crelu, clip, Gumbel-softmax. Values, conventions, exact zeros, samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backproplab.harness.strip import strip
from backproplab.layers import activations

_X = np.array([-2, -1, -0.5, -0.25, 0, 0.25, 0.5, 1, 2], np.float32)
_SEED = 7  # keys are made inside the tests, importing touches no device


def _gradients(fn, *args, dy=None):
    y, pull_back = jax.vjp(fn, *args)
    return [np.asarray(part) for part in pull_back(jnp.ones_like(y) if dy is None else dy)]


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
    np.testing.assert_array_equal(fn(_X), value)
    assert _gradients(fn, _X)[0].tolist() == slope.tolist()
    (dx,) = _gradients(fn, _X, dy=jnp.full(_X.shape, jnp.inf))
    assert np.all(dx[~slope] == 0)
    assert np.isnan(fn(jnp.array(jnp.nan)))


@pytest.mark.parametrize("name", ["hard_shrink", "soft_shrink"])
def test_thresholds_are_compared_in_float32(name):
    """bfloat16 has no 0.3 but 0.3008, which is above it and passes."""
    x = jnp.array([0.3, 0.299], jnp.bfloat16)
    assert _gradients(lambda x: getattr(activations, name)(x, 0.3), x)[0].tolist() == [1, 0]


def test_maxout_goes_to_the_first_of_ties():
    """Where autodiff would share; and a NaN is not hidden by what is larger."""
    x = jnp.array([[1.0, 3.0, 3.0, 2.0, 2.0, 2.0]])
    np.testing.assert_array_equal(activations.maxout(x, 3), [[3, 2]])
    assert _gradients(lambda x: activations.maxout(x, 3), x)[0].tolist() == [[0, 1, 0, 1, 0, 0]]
    assert np.isnan(activations.maxout(jnp.array([jnp.nan, 5.0]))).all()
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
    dy = jnp.concatenate([jnp.where(_X > 0, 2.0, jnp.nan), jnp.where(_X < 0, 3.0, jnp.inf)])
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
    dx, dlow, dhigh = _gradients(activations.clip, jnp.array([-1.0, 1.0, -3.0, 3.0, 4.0]), -1.0, 1.0)
    assert dx.tolist() == [1, 1, 0, 0, 0] and dlow == 1 and dhigh == 2


def test_clip_sums_over_what_shares_a_bound():
    """In float32 for bfloat16: a running sum of ones would stop at 256."""
    x = jnp.full(1000, 5, jnp.bfloat16)
    dx, dhigh = _gradients(lambda x, high: activations.clip(x, None, high), x, jnp.array(2, jnp.bfloat16))
    assert dhigh == 1000 and not dx.any()


def test_gumbel_softmax_samples_the_categories():
    """The largest entry falls on a category as often as softmax says: within five standard deviations."""
    logits = np.log(np.array([0.6, 0.3, 0.1], np.float32))
    many = np.tile(logits, (20_000, 1))
    draws = np.asarray(activations.gumbel_softmax(many, jax.random.key(_SEED), 0.5, hard=True))
    assert set(np.unique(draws)) == {0, 1}
    share = draws.mean(0)
    assert np.all(np.abs(share - np.exp(logits)) < 5 * np.sqrt(0.25 / 20_000))


def test_gumbel_softmax_is_a_softmax_of_its_noise():
    """Rows sum to 1; the noise, got back from y, has the mean and spread of Gumbel's distribution; all dtypes share it."""
    key = jax.random.key(_SEED)
    with jax.enable_x64(True):
        zeros = np.zeros((4000, 2))
        y = np.asarray(activations.gumbel_softmax(zeros, key, 2.0))
        np.testing.assert_allclose(y.sum(-1), 1, rtol=1e-14)
        logistic = 2 * np.diff(np.log(y))  # the difference of two Gumbel numbers
        assert abs(logistic.mean()) < 0.15 and abs(logistic.std() - np.pi / np.sqrt(3)) < 0.1
        narrow = np.asarray(activations.gumbel_softmax(zeros.astype("f4"), key, np.float32(2.0)))
        np.testing.assert_allclose(narrow, y, rtol=1e-5)


def test_gumbel_softmax_at_small_temperatures():
    """At 1e-30 it is one-hot and its gradient 0, not NaN; at a category of -inf both are exactly 0."""
    key, logits = jax.random.key(_SEED), jnp.array([[0.0, 1.0, -jnp.inf]])
    for temperature in (1e-30, 1.0):
        dy = jnp.array([[1.0, 2.0, jnp.nan]])
        y = np.asarray(activations.gumbel_softmax(logits, key, temperature))
        dlogits, dtemperature = _gradients(
            lambda z, t: activations.gumbel_softmax(z, key, t), logits, jnp.array(temperature), dy=dy
        )
        assert y[0, 2] == 0 and dlogits[0, 2] == 0
        assert np.isfinite(dlogits).all() and np.isfinite(dtemperature)
        assert temperature == 1 or sorted(y[0].tolist()) == [0, 0, 1]


def test_gumbel_softmax_hard_has_the_gradient_of_soft():
    """Straight-through: one-hot in value, the same cotangents for logits and temperature."""
    key, logits, dy = jax.random.key(_SEED), jnp.array([[0.3, -1.0, 0.5]]), jnp.array([[1.0, -2.0, 0.5]])
    soft, hard = (
        _gradients(lambda z, t, h=h: activations.gumbel_softmax(z, key, t, h), logits, jnp.array(0.7), dy=dy)
        for h in (False, True)
    )
    for a, b in zip(soft, hard):
        np.testing.assert_array_equal(a, b)
