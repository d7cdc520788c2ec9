"""Normalisation: what gradients must be orthogonal to, the statistics' own gradients, accumulation, high orders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled, grad, pulled

from backproplab.harness.strip import strip
from backproplab.layers.normalization import (
    batch_norm,
    batch_norm_inference,
    dyt,
    group_norm,
    instance_norm,
    l2_normalize,
    layer_norm,
    rms_norm,
    singular_vectors,
    spectral_norm,
    weight_norm,
)

_ROUNDOFF = 2.0**-53  # of float64
_NO_EPS = 0.0  # with eps = 0 the output does not change at all when x moves along the directions below
_ONES = np.ones(4)


def _sample(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def test_layer_norm_gradient_is_orthogonal_to_what_is_normalised_away():
    """Shifting or scaling a row leaves y alone: dx is orthogonal to ones and to x - mean."""
    with jax.enable_x64(True):
        x, dy, scale, bias = _sample((6, 9), (6, 9), 9, 9)
        dx = pulled(lambda x: layer_norm(x, scale, bias, _NO_EPS))(dy, x)[1]
        size = np.abs(dx).sum(-1) * 9
        assert np.all(np.abs(dx.sum(-1)) < 20 * _ROUNDOFF * size)
        assert np.all(np.abs((dx * (x - x.mean(-1, keepdims=True))).sum(-1)) < 20 * _ROUNDOFF * size * np.abs(x).max())


def test_rms_norm_gradient_is_orthogonal_to_x():
    """Scaling a row leaves y alone; shifting it does not."""
    with jax.enable_x64(True):
        x, dy, scale = _sample((6, 9), (6, 9), 9)
        dx = pulled(lambda x: rms_norm(x, scale, _NO_EPS))(dy, x)[1]
        size = np.abs(dx).sum(-1) * 9
        assert np.all(np.abs((dx * x).sum(-1)) < 20 * _ROUNDOFF * size * np.abs(x).max())
        assert np.all(np.abs(dx.sum(-1)) > 1e-3)


def test_batch_norm_gradient_is_orthogonal_to_what_is_normalised_away():
    """Shifting or scaling a feature over the batch leaves y alone; the statistics' cotangents are zero here."""
    with jax.enable_x64(True):
        x, dy, scale, bias = _sample((4, 5, 3), (4, 5, 3), 3, 3)
        dx = pulled(lambda x: batch_norm(x, scale, bias, _NO_EPS)[0])(dy, x)[1]
        size = np.abs(dx).sum((0, 1)) * 20
        assert np.all(np.abs(dx.sum((0, 1))) < 20 * _ROUNDOFF * size)
        assert np.all(np.abs((dx * (x - x.mean((0, 1)))).sum((0, 1))) < 20 * _ROUNDOFF * size * np.abs(x).max())


def test_batch_norm_statistics_have_their_true_gradient():
    """d mean / d x = 1/N and d variance / d x = 2 (x - mean) / N, and both add to the gradient through y."""
    with jax.enable_x64(True):
        x, scale, bias = _sample((4, 5, 3), 3, 3)
        through = lambda i: grad(lambda x: batch_norm(x, scale, bias)[i].sum())(x)
        np.testing.assert_allclose(through(1), np.full_like(x, 1 / 20), rtol=2 * _ROUNDOFF)
        expected = 2 * (x - x.mean((0, 1))) / 20
        # x - mean is off by the rounding of the mean of 20 numbers, in both
        np.testing.assert_allclose(through(2), expected, rtol=0, atol=20 * _ROUNDOFF * np.abs(x).max())
        both = grad(lambda x: sum(part.sum() for part in batch_norm(x, scale, bias)[1:]))(x)
        np.testing.assert_allclose(both, through(1) + through(2), rtol=0, atol=4 * _ROUNDOFF)


def test_batch_norm_output_is_inference_with_its_own_statistics():
    """Value and whole gradient: composing the statistics with the inference page is the training page."""
    with jax.enable_x64(True):
        x, dy, scale, bias = _sample((7, 3), (7, 3), 3, 3)

        def composed(x, scale, bias):
            _, mean, variance = batch_norm(x, scale, bias)
            return batch_norm_inference(x, scale, bias, mean, variance)

        y, *gradients = pulled(composed)(dy, x, scale, bias)
        direct, *direct_gradients = pulled(lambda *args: batch_norm(*args)[0])(dy, x, scale, bias)
        np.testing.assert_allclose(y, direct, rtol=4 * _ROUNDOFF)
        for got, want in zip(gradients, direct_gradients):
            # three sums of 7 terms that partly cancel
            np.testing.assert_allclose(got, want, rtol=0, atol=100 * _ROUNDOFF * np.abs(want).max())


def test_one_element_has_no_gradient():
    """torch #188372: with one feature (layer norm) or one example (batch norm) y is the bias; dx and dscale are 0."""
    x, scale, bias = np.array([[1.7], [-3.1e6]], np.float32), np.ones(1, np.float32), np.ones(1, np.float32)
    dx, dscale, dbias = grad(lambda *args: (3.3 * layer_norm(*args)).sum(), (0, 1, 2))(x, scale, bias)
    assert not np.any(dx) and not np.any(dscale) and np.all(dbias > 0)
    dx, dscale, dbias = grad(lambda *args: (3.3 * batch_norm(*args)[0]).sum(), (0, 1, 2))(x[:1], scale, bias)
    assert not np.any(dx) and not np.any(dscale) and np.all(dbias > 0)


@pytest.mark.parametrize(
    "fn", [layer_norm, rms_norm, lambda *args: batch_norm(*args)[0]], ids=["layer", "rms", "batch"]
)
def test_parameter_gradients_are_accumulated_in_float32(fn):
    """4096 bfloat16 ones sum to 4096; added up in bfloat16 they stay at 256. (Liger #950, torch #190828)"""
    x = np.tile(np.array([1.0, -1.0], jnp.bfloat16), (4096, 1)) * np.where(np.arange(4096) % 2, 1, -1)[:, None]
    x = x.astype(jnp.bfloat16)
    parameters = [np.ones(2, jnp.bfloat16)] * (1 if fn is rms_norm else 2)
    run = pulled(fn)
    dscale = run(x, x, *parameters)[2]  # dy x_hat is 1 everywhere, up to eps
    assert dscale.dtype == jnp.bfloat16 and dscale.tolist() == [4096, 4096]
    _, _, _, *dbias = run(np.ones((4096, 2), jnp.bfloat16), x, *parameters)
    assert all(b.tolist() == [4096, 4096] for b in dbias)


def test_batch_norm_statistics_of_bfloat16_are_float32():
    """Running averages need more digits than the activations."""
    x = np.full((3, 2), 1.0, jnp.bfloat16)
    y, mean, variance = compiled(batch_norm)(x, x[0], x[0])
    assert (y.dtype, mean.dtype, variance.dtype) == (jnp.bfloat16, jnp.float32, jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fn",
    [lambda x: layer_norm(x, _ONES, _ONES), lambda x: rms_norm(x, _ONES), lambda x: batch_norm(x, _ONES, _ONES)[0]],
    ids=["layer", "rms", "batch"],
)
def test_third_derivatives_are_right(fn):
    """torch #175754, #186256: layer norm and batch norm from the third derivative on were silently wrong."""
    with jax.enable_x64(True):
        x, u = _sample((3, 4), (3, 4), seed=5)

        def third(f):
            first = jax.grad(lambda x: jnp.sum(jnp.sin(f(x)) * u))
            second = jax.grad(lambda x: jnp.sum(first(x) * u))
            return jax.grad(lambda x: jnp.sum(second(x) * u))(x)

        want = third(strip(fn))
        # third derivatives multiply the inverse deviation three times and cancel; 1e5 roundings are far below any bug
        np.testing.assert_allclose(third(fn), want, rtol=0, atol=1e5 * _ROUNDOFF * np.abs(want).max())


@pytest.mark.parametrize("shape, groups", [((2, 6), 3), ((2, 3, 4, 6), 3), ((2, 3, 2, 2, 4), 1)])
def test_group_norm_is_layer_norm_of_the_groups(shape, groups):
    """Value and gradients at ranks 2 to 5 (Liger #1375): each group of each example is one row of layer norm."""
    with jax.enable_x64(True):
        x, dy, scale, bias = _sample(shape, shape, shape[-1], shape[-1], seed=1)

        def by_rows(x, scale, bias):
            grouped = x.reshape(2, -1, groups, shape[-1] // groups)
            rows = jnp.moveaxis(grouped, 2, 1).reshape(2, groups, -1)
            y = layer_norm(rows, jnp.ones(rows.shape[-1]), jnp.zeros(rows.shape[-1]))
            y = y.reshape(2, groups, -1, shape[-1] // groups)
            return jnp.moveaxis(y, 1, 2).reshape(shape) * scale + bias

        def both(fn):
            y, pull = jax.vjp(fn, x, scale, bias)
            return y, *pull(jnp.asarray(dy))

        both = jax.jit(both, static_argnums=0)
        for got, right in zip(both(lambda *args: group_norm(*args, groups)), both(by_rows)):
            np.testing.assert_allclose(got, right, rtol=1e-10, atol=1e-12)  # sums of up to 48 that partly cancel


def test_group_norm_counts_its_batch_axes():
    """Two batch axes are one of their product, none is a single example; instance norm is one channel per group."""
    x, scale, bias = (a.astype(np.float32) for a in _sample((2, 3, 5, 4), 4, 4))
    group = lambda x, groups, axes=1: compiled(lambda *args: group_norm(*args, groups, batch_axes=axes))(x, scale, bias)
    flat = group(x.reshape(6, 5, 4), 2)
    np.testing.assert_array_equal(group(x, 2, 2), flat.reshape(x.shape))
    np.testing.assert_allclose(group(x[0, 0], 2, 0), flat[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(compiled(instance_norm)(x, scale, bias), group(x, 4))


def test_groups_must_divide_the_channels():
    """Said in one line instead of a wrong grouping; so are too many batch axes."""
    x = np.ones((2, 3, 6), np.float32)
    for groups, batch_axes in ((4, 1), (3, 3), (3, -1)):
        with pytest.raises(ValueError, match="groups of channels after"):
            group_norm(x, x[0, 0], x[0, 0], groups, batch_axes=batch_axes)


def test_directions_have_length_one_however_short_the_vector():
    """From 1e-30 to 1e30 in float32; a zero vector stays zero with gradient 0, where autodiff of x / norm has NaN."""
    x = np.array([[3.0, 4.0]], np.float32) * np.array([[1e-30], [1.0], [1e30], [0.0]], np.float32)
    y, dx = pulled(l2_normalize)(np.tile(np.array([[1.0, 0.0]], np.float32), (4, 1)), x)
    np.testing.assert_allclose(y[:3], [[0.6, 0.8]] * 3, rtol=1e-6)
    np.testing.assert_allclose(dx[:3] * np.float32([[1e-30], [1.0], [1e30]]), [[0.128, -0.096]] * 3, rtol=1e-5)
    assert not np.any(y[3]) and not np.any(dx[3])


def test_what_moves_only_the_length_has_no_gradient():
    """dx is orthogonal to x for directions, and dv to v for weights, unit by unit."""
    with jax.enable_x64(True):
        x, dy, scale = _sample((5, 4), (5, 4), 4, seed=2)
        _, dx = pulled(l2_normalize)(dy, x)
        assert np.abs((dx * x).sum(-1)).max() < 1e-14
        _, dv, _ = pulled(weight_norm)(dy, x, scale)
        assert np.abs((dv * x).sum(0)).max() < 1e-14


def test_weights_have_the_length_that_scale_says():
    """Over all axes but the last, for dense and convolution kernels; scale has the gradient along the direction."""
    for shape in ((5, 3), (2, 2, 4, 3)):
        v, scale = (a.astype(np.float32) for a in _sample(shape, 3))
        w = compiled(weight_norm)(v, scale).reshape(-1, 3)
        np.testing.assert_allclose(np.linalg.norm(w, axis=0), np.abs(scale), rtol=1e-6)


@pytest.mark.slow
def test_spectral_norm_has_the_gradient_of_the_largest_singular_value():
    """With converged vectors value and gradient are those of w / norm(w, 2), though u and v are held constant."""
    with jax.enable_x64(True):
        w, dy, u = _sample((4, 3), (4, 3), 4, seed=3)
        u, v = jax.jit(singular_vectors, static_argnums=2)(w, u, 100)
        y, pull = jax.vjp(spectral_norm, w, u, v)
        want, pull_want = jax.vjp(lambda w: w / jnp.linalg.norm(w, 2), w)
        np.testing.assert_allclose(y, want, rtol=1e-12)
        dw, du, dv = pull(dy)
        np.testing.assert_allclose(dw, pull_want(dy)[0], rtol=1e-9, atol=1e-12)
        assert not np.any(du) and not np.any(dv)


def test_power_iteration_is_constant_to_the_gradient():
    """Whoever calls it inside of a loss trains w through `spectral_norm` alone."""
    w, u = np.eye(3, dtype=np.float32), np.ones(3, np.float32)
    assert not np.any(grad(lambda w: sum(a.sum() for a in singular_vectors(w, u)))(w))


def test_dyt_in_its_tails():
    """sech^2(30) in float32 is 3.5e-26 and not 0; alpha's gradient adds up over everything that it is shared by."""
    x, one, zero = np.array([[30.0, -30.0]], np.float32), np.ones(2, np.float32), np.zeros(2, np.float32)
    dx, dalpha = grad(lambda x, alpha: dyt(x, alpha, one, zero).sum(), (0, 1))(x, np.float32(1))
    np.testing.assert_allclose(dx, np.full((1, 2), 1 / np.cosh(30.0) ** 2), rtol=1e-6)
    assert dalpha == 0  # 30 sech^2 and -30 sech^2
