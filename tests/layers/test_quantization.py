"""Quantisation: values on the grid, gradients at the bounds, who shares a scale, unbiased rounding, codebooks."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled, pulled

from backproplab.layers import quantization
from backproplab.layers.quantization.vector_quantize import nearest_code

_SEED = 7  # keys are made inside the tests, importing touches no device


def _gradients(fn, *args, dy=None):
    return pulled(fn)(1.0 if dy is None else dy, *args)[1:]


@pytest.mark.parametrize(
    ("name", "value", "slope"),
    [
        ("round_ste", [-2, -2, -1, 0, 0, 0, 1, 2, 2], [1] * 9),  # halves to even
        ("sign_ste", [-1, -1, -1, -1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1, 0, 0]),
        ("ternary_ste", [-1, -1, -1, 0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1, 0, 0]),
    ],
)
def test_straight_through_estimators(name, value, slope):
    """Values and declared slopes, saturation included; where it is 0 it is selected, not multiplied."""
    x = np.array([-2.25, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2.25], np.float32)
    run = pulled(getattr(quantization, name))
    y, dx = run(1.0, x)
    assert y.tolist() == value
    assert dx.tolist() == slope
    _, dx = run(np.inf, x)
    assert np.all(dx[np.array(slope) == 0] == 0)


def test_fake_quantize_is_quantise_and_back():
    """By the formula in numpy, per tensor and per channel, with a zero point; all values lie on the grid."""
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    for scale, zero_point in ((np.float32(0.1), 3), (np.array([0.05, 0.1, 0.2, 0.4], np.float32), np.float32(-2.0))):
        q = np.clip(np.round(x / scale) + zero_point, -8, 7)
        y = compiled(lambda *args: quantization.fake_quantize(*args, -8, 7))(x, scale, zero_point)
        np.testing.assert_allclose(y, (q - zero_point) * scale, rtol=1e-6)


def test_the_bounds_of_the_integers_are_inside():
    """pytorch/ao#4806 and tensorflow#22977: what lands on the least or the largest integer has slope 1, not 0 and not 2."""
    x = np.arange(-10, 10, dtype=np.float32)
    inside = ((x >= -8) & (x <= 7)).tolist()
    assert _gradients(lambda x: quantization.fake_quantize(x, 1.0, 0.0, -8, 7), x)[0].tolist() == inside
    assert _gradients(lambda x: quantization.lsq(x, 1.0, -8, 7), x)[0].tolist() == inside


def test_gradients_of_scale_and_zero_point():
    """round(v) - v inside, the bound's distance outside; the zero point counts what is cut; an integer one has none."""
    x = np.float32([0.26, -0.52, 9.0, -9.0])
    _, dscale, dzero = _gradients(lambda *args: quantization.fake_quantize(*args, -8, 7), x, 0.1, 2.0)
    assert float(dscale) == pytest.approx((3 - 2.6) + (-5 + 5.2) + (7 - 2) + (-8 - 2), rel=1e-5)
    assert float(dzero) == pytest.approx(-0.2)
    _, same = _gradients(lambda x, s: quantization.fake_quantize(x, s, jnp.array(2), -8, 7), x, 0.1)
    assert same == dscale


def test_a_scale_per_channel_collects_its_channel():
    """The gradient per channel is that of each channel alone."""
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    scale = np.array([0.1, 0.2, 0.3], np.float32)
    for layer in (
        lambda x, s: quantization.fake_quantize(x, s, 0.0, -4, 3),
        lambda x, s: quantization.lsq(x, s, -4, 3),
    ):
        # operation by operation: one program rounds what a division by a scale cancels otherwise than for one channel
        slope = lambda x, s, layer=layer: jax.vjp(layer, x, s)[1](np.ones_like(x))[1]
        together, alone = slope(x, scale), [slope(x[:, i], scale[i]) for i in range(3)]
        np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_the_pace_of_lsq():
    """The step's gradient is that of fake quantisation over sqrt(N Q), here without entries between the two masks."""
    x = np.float32([0.26, -0.52, 9.0, -9.0])
    _, plain, _ = _gradients(lambda *args: quantization.fake_quantize(*args, -8, 7), x, 0.1, 0.0)
    _, slow = _gradients(lambda x, s: quantization.lsq(x, s, -8, 7), x, 0.1)
    np.testing.assert_allclose(slow, plain / math.sqrt(4 * 7), rtol=1e-5)


def test_pact_cuts_and_rounds():
    """2^bits levels from 0 to alpha; x's gradient inside, alpha's above, and at alpha itself all of it."""
    x = np.float32([-1.0, 0.0, 0.4, 1.0, 2.0, 5.0])
    y, dx, dalpha = pulled(lambda x, a: quantization.pact(x, a, bits=2))(1.0, x, 2.0)
    np.testing.assert_allclose(y, [0, 0, 2 / 3, 4 / 3, 2, 2], rtol=1e-6)
    assert dx.tolist() == [0, 1, 1, 1, 0, 0] and dalpha == 2


def test_shared_scales_add_up_in_float32():
    """In bfloat16 a running sum of ones stops at 256."""
    x, one = np.full(1000, 5, jnp.bfloat16), jnp.bfloat16(1)
    assert _gradients(quantization.pact, x, one)[1] == 1000
    assert _gradients(lambda s: quantization.fake_quantize(x, s, 0.0, -1, 1), one)[0] == 1000


def test_stochastic_rounding_is_unbiased():
    """Its mean over many draws is x, within five standard deviations; whole numbers never move, neighbours only."""
    x = np.repeat(np.array([[0.25], [-1.75], [3.0], [7.5]], np.float32), 10_000, 1)
    y = compiled(lambda x: quantization.stochastic_round(x, jax.random.key(_SEED)))(x)
    assert np.all(np.abs(y.mean(1) - x[:, 0]) < 5 * 0.5 / 100)
    assert np.all(y[2] == 3) and np.all((y == np.floor(x)) | (y == np.ceil(x)))


def test_stochastic_rounding_by_key():
    """The same key rounds alike in every dtype, another key otherwise."""
    x = np.full(64, 2.5)
    drawn_from = compiled(lambda x, seed: quantization.stochastic_round(x, jax.random.key(seed)))
    with jax.enable_x64(True):
        drawn = [
            drawn_from(x.astype(dtype), seed).astype(np.float64)
            for dtype, seed in (("f8", _SEED), ("f4", _SEED), (jnp.bfloat16, _SEED), ("f8", _SEED + 1))
        ]
    np.testing.assert_array_equal(drawn[1], drawn[0])
    np.testing.assert_array_equal(drawn[2], drawn[0])
    assert np.any(drawn[3] != drawn[0])


def test_vectors_go_to_the_nearest_code():
    """By brute force in numpy; y is the code itself, bit for bit, and the loss its weighted squared distance."""
    random = np.random.default_rng(0)
    x, codebook = random.normal(size=(2, 7, 3)).astype(np.float32), random.normal(size=(5, 3)).astype(np.float32)
    distances = np.square(x[..., None, :] - codebook).sum(-1)
    np.testing.assert_array_equal(compiled(nearest_code)(x, codebook), distances.argmin(-1))
    y, loss = jax.tree.leaves(compiled(lambda *args: quantization.vector_quantize(*args, 0.5))(x, codebook))
    np.testing.assert_array_equal(y, codebook[distances.argmin(-1)])
    np.testing.assert_allclose(loss, 1.5 * distances.min(-1), rtol=1e-5)


def test_the_codebook_learns_from_the_loss_alone():
    """The output's gradient is copied to x and gives the codebook nothing; a code that nothing is nearest to gets 0."""
    x, codebook = np.array([[1, 0], [2, 1]], np.float32), np.array([[1, 1], [9, 9]], np.float32)
    pull_back = compiled(lambda dy, *args: jax.vjp(quantization.vector_quantize, *args)[1](dy))
    dx, dcodebook = pull_back((np.full((2, 2), 3, np.float32), np.zeros(2, np.float32)), x, codebook)
    assert np.all(dx == 3) and not dcodebook.any()
    dx, dcodebook = pull_back((np.zeros((2, 2), np.float32), np.ones(2, np.float32)), x, codebook)
    np.testing.assert_allclose(dx, 0.25 * 2 * (x - codebook[0]))
    np.testing.assert_allclose(dcodebook, np.stack([2 * (2 * codebook[0] - x[0] - x[1]), np.zeros(2)]))
