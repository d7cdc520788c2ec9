"""Convolution along any axes, transposed convolution and adaptive pooling: against lax, numpy and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled, pulled
from jax import lax

from backproplab.layers.convolution import adaptive_average_pool, average_pool, conv, conv2d, conv_transpose, lp_pool

# shapes of x and w, then strides, padding, lhs_dilation, rhs_dilation, groups
CONVOLUTIONS = {
    "one axis": ((2, 7, 3), (4, 3, 2), (2,), ((2, 0),), (1,), (1,), 1),
    "one axis, dilated both ways": ((2, 5, 4), (3, 2, 6), (3,), ((1, -1),), (2,), (3,), 2),
    "three axes": ((1, 3, 4, 5, 2), (2, 1, 3, 2, 3), (1, 2, 1), ((1, 0), (0, 0), (1, 2)), (1, 2, 1), (1, 1, 2), 1),
}
TRANSPOSED = {
    "SAME": ((2, 4, 3, 3), (3, 2, 3, 2), (2, 3), "SAME", None),
    "VALID, dilated": ((1, 4, 2), (3, 2, 3), (2,), "VALID", (2,)),
    "strides beyond the kernel": ((1, 4, 2), (2, 2, 3), (4,), "SAME", None),
    "numbers": ((1, 3, 4, 2), (2, 3, 2, 2), (2, 1), ((1, 0), (-1, 3)), (1, 2)),
}


def _channels_last(rank):
    space = "DHW"[-rank:]
    return f"N{space}C", f"{space}IO", f"N{space}C"


def _same(ours, theirs, x, w):
    """Values and gradients in float64, where sums of fifty terms of size 1 are off by 1e-14."""

    def run(f):
        y, pull_back = jax.vjp(f, x, w)
        return y, *pull_back(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    for one, other in zip(*jax.jit(lambda: (run(ours), run(theirs)))(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_conv_is_laxs(name):
    """Value, dx and dw, for one and three axes and every option."""
    x_shape, w_shape, *options, groups = CONVOLUTIONS[name]
    numbers = _channels_last(len(w_shape) - 2)
    theirs = lambda x, w: lax.conv_general_dilated(x, w, *options, numbers, feature_group_count=groups)
    with jax.enable_x64(True):
        random = np.random.default_rng(0)
        _same(
            lambda x, w: conv(x, w, *options, groups), theirs, random.normal(size=x_shape), random.normal(size=w_shape)
        )


@pytest.mark.parametrize("transpose_kernel", [False, True])
@pytest.mark.parametrize("name", TRANSPOSED)
def test_conv_transpose_is_laxs(name, transpose_kernel):
    """jax#32267: the same arguments mean the same, numbers for the padding too; gradients as autodiff has them."""
    x_shape, w_shape, *options = TRANSPOSED[name]
    *kernel, inputs, outputs = w_shape
    options = (*options[:2], options[2])
    theirs = lambda x, w: lax.conv_transpose(
        x, w, *options, dimension_numbers=_channels_last(len(kernel)), transpose_kernel=transpose_kernel
    )
    with jax.enable_x64(True):
        random = np.random.default_rng(0)
        w = random.normal(size=(*kernel, outputs, inputs) if transpose_kernel else w_shape)
        _same(lambda x, w: conv_transpose(x, w, *options, transpose_kernel), theirs, random.normal(size=x_shape), w)


def test_conv_transpose_is_the_transpose():
    """<conv(x, w), y> = <x, conv_transpose(y, w)>: of a convolution with the same strides and padding, by its own kernel."""
    with jax.enable_x64(True):
        random = np.random.default_rng(1)
        x, w, y = (random.normal(size=shape) for shape in ((2, 7, 6, 3), (3, 2, 3, 4), (2, 3, 3, 4)))
        one = np.vdot(compiled(lambda x, w: conv2d(x, w, (2, 2), "VALID"))(x, w), y)
        transposed = lambda y, w: conv_transpose(y, w, (2, 2), ((2, 2), (1, 1)), None, True)
        other = np.vdot(x, compiled(transposed)(y, w))
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_the_weight_gradient_of_a_transposed_convolution_slides_over_no_zeros():
    """equinox#1259: nowhere in the backward pass is an array spread out; with strides 2 that would be a quarter full."""
    x, w = np.ones((2, 4, 4, 3), np.float32), np.ones((3, 3, 3, 2), np.float32)
    _, pull_back = jax.vjp(lambda x, w: conv_transpose(x, w, (2, 2), "SAME"), x, w)
    jaxpr = str(jax.make_jaxpr(pull_back)(np.ones((2, 8, 8, 2), np.float32)))
    assert jaxpr.count("conv_general_dilated[") == 2 and jaxpr.count("lhs_dilation=(1, 1)") == 2


@pytest.mark.parametrize("step", [1, 3])
def test_causal_is_causal(step):
    """y up to t depends on x up to t, and on nothing later; the gradient of y_t is 0 after t."""
    x, w = np.random.default_rng(0).normal(size=(6, 2)), np.random.default_rng(1).normal(size=(3, 2, 2))
    layer = lambda x: conv(x, w, 1, "CAUSAL", 1, step)
    y, jacobian = compiled(lambda x: (layer(x), jax.jacrev(lambda x: layer(x).sum(-1))(x)))(x)
    jacobian = np.abs(jacobian).sum(-1)
    assert y.shape == x.shape
    assert all(bool(jacobian[t, s]) == (s in (t, t - step, t - 2 * step)) for t, s in np.ndindex(6, 6))


def test_conv_in_bfloat16_sums_in_float32():
    """A thousand ones: the weight's gradient is 1024, where a running sum in bfloat16 stops at 256; transposed likewise."""
    x, w = np.ones((4, 256, 1), jnp.bfloat16), np.ones((1, 1, 1), jnp.bfloat16)
    for layer in (conv, lambda x, w: conv_transpose(x, w, (1,), "SAME")):
        _, _, dw = pulled(layer)(1.0, x, w)
        assert dw.dtype == jnp.bfloat16 and dw[0, 0, 0] == 1024


def test_adaptive_average_pool_is_the_cells():
    """Each cell is the mean of x from floor(i n / m) to ceil((i + 1) n / m), gradients shared out alike."""
    with jax.enable_x64(True):
        for n, m in ((7, 3), (6, 2), (5, 5), (3, 4)):
            cells = [range(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
            x = np.random.default_rng(n).normal(size=(2, n, 1))
            dy = np.broadcast_to(np.arange(1.0, m + 1)[:, None], (2, m, 1))
            y, dx = pulled(lambda x, m=m: adaptive_average_pool(x, (m,)))(dy, x)
            np.testing.assert_allclose(y, np.stack([x[:, list(c)].mean(1) for c in cells], 1), rtol=1e-14)
            right = [sum((1.0 + i) / len(c) for i, c in enumerate(cells) if place in c) for place in range(n)]
            np.testing.assert_allclose(dx, np.broadcast_to(np.array(right)[:, None], x.shape), rtol=1e-14)


def test_adaptive_and_fixed_windows_agree():
    """Where the size divides, cells are windows; with one cell, the mean over the image."""
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    cells, whole = compiled(lambda x: (adaptive_average_pool(x, (2, 3)), adaptive_average_pool(x)))(x)
    np.testing.assert_allclose(cells, compiled(average_pool)(x), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(whole[:, 0, 0], x.mean((1, 2)), rtol=1e-5, atol=1e-7)


def test_lp_pool_is_between_the_sum_and_the_maximum():
    """p = 1 is four times the mean of |x|, p = 200 nearly the largest |x|, in float32, where 30^200 is no number."""
    x = 30 * np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype(np.float32)
    sums, means = compiled(lambda x: (lp_pool(x, 1), average_pool(jnp.abs(x))))(x)
    np.testing.assert_allclose(sums, 4 * means, rtol=1e-6)
    largest = np.abs(x).reshape(1, 2, 2, 2, 2, 2).max((2, 4))
    y, dx = pulled(lambda x: lp_pool(x, 200))(1.0, x)
    of_equal = 4 ** (1 / 200)  # times the largest of four is the most that the norm can be
    assert np.all((1 - 1e-5) * largest <= y)
    assert np.all(y <= (1 + 1e-5) * of_equal * largest)
    assert np.isfinite(dx).all()


def test_what_does_not_fit_is_named():
    """A ValueError that says what was expected."""
    x, w = np.ones((1, 4, 3), np.float32), np.ones((2, 2, 2), np.float32)
    for call, words in (
        (lambda: conv(x, w), "3 channels of x do not fit"),
        (lambda: conv(x[0, 0], w), "conv takes x"),
        (lambda: conv(x[..., :2], w, 1, "SAME", 2), "not defined for a dilated x"),
        (lambda: conv(x[:, None], np.ones((1, 2, 3, 2), np.float32), 1, "CAUSAL"), "along one axis"),
        (lambda: conv_transpose(x, w, (1,), "SAME"), "conv_transpose takes x"),
        (lambda: conv_transpose(x[..., :2], w, (1,), "CAUSAL"), "SAME, VALID"),
        (lambda: adaptive_average_pool(x, (1, 1, 1)), "takes x"),
        (lambda: lp_pool(x[None], 0.5), "no norm"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
