"""Average-pooling: the mean of each window. Catalogue #115."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from backproplab.case import Case, full, normal
from backproplab.layers.convolution.max_pool import spread, windows
from backproplab.layers.gates.add import Shape
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("window", "strides", "padding", "count_include_pad"))
def average_pool(x, window=(2, 2), strides=None, padding="VALID", count_include_pad=True):
    """x (..., *space, c) -> y (..., *out, c): the mean of each window, per channel.

    window: one size for each axis of space, (2, 2) for images. strides: default that of the window. padding: "SAME", "VALID"
    or a pair (low, high) for each axis, of zeros.
    count_include_pad: whether the padding counts as entries; if not, windows at the edge are divided by what they hold,
    and a window of nothing but padding is 0.
    Summed in float32 or wider. Raises ValueError for x with too few axes.
    """
    leading, size, steps, pads = windows(x.shape, window, strides, padding)
    wide = widened(x)
    total = _window_sum(wide, leading, size, steps, pads)
    return (total / _count(x.shape, wide.dtype, window, strides, padding, count_include_pad)).astype(x.dtype)


def _window_sum(x, leading, window, strides, pads):
    one = (1,) * leading
    zero = np.array(0, x.dtype)
    return lax.reduce_window(
        x, zero, lax.add, (*one, *window, 1), (*one, *strides, 1), ((0, 0),) * leading + (*pads, (0, 0))
    )


def _count(shape, dtype, window, strides, padding, count_include_pad):
    """What each window is divided by: a number, or (*out, 1), 1 for a window of nothing but padding."""
    leading, window, strides, pads = windows(shape, window, strides, padding)
    if count_include_pad:
        return float(math.prod(window))
    return jnp.maximum(_window_sum(jnp.ones((*shape[leading:-1], 1), dtype), 0, window, strides, pads), 1)


def average_pool_fwd(x, window, strides, padding, count_include_pad):
    """Keeps nothing: the mean is linear."""
    return average_pool(x, window, strides, padding, count_include_pad), Shape(x.shape)


def average_pool_bwd(window, strides, padding, count_include_pad, shape, dy):
    """Each of the n entries of a window has weight 1/n in its mean: dy / n goes to every place of the window, and adds up
    where windows overlap. n is the number the mean was divided by, also in windows that hang over the edge."""
    wide = widened(dy)
    share = wide / _count(shape, wide.dtype, window, strides, padding, count_include_pad)
    _, window, strides, pads = windows(shape, window, strides, padding)
    return (spread([share] * math.prod(window), shape, window, strides, pads),)


defvjp(average_pool, average_pool_fwd, average_pool_bwd)

CASES = (
    Case(average_pool, (normal(2, 4, 6, 3),), residual_bytes=0, order=2),
    Case(average_pool, (normal(1, 7, 8, 2), (3, 3), (2, 2), "SAME"), name="overlapping, padded"),
    Case(
        average_pool, (normal(1, 7, 8, 2), (3, 3), (2, 2), "SAME", False), name="padding not counted", residual_bytes=0
    ),
    Case(average_pool, (normal(1, 5, 7, 2), (2, 3), (2, 2)), name="windows that do not reach the edge"),
    Case(
        average_pool,
        (normal(1, 3, 4, 1), (2, 2), (1, 1), ((3, 0), (0, 0)), False),
        name="windows of padding alone",
        expect=(np.outer([0.75, 0.5, 0.25], [1.0, 2.0, 2.0, 1.0]).reshape(1, 3, 4, 1),),
    ),
    Case(average_pool, (normal(4, 6, 2),), name="no batch axis"),
    Case(average_pool, (normal(2, 5, 3), (3,), (2,), "SAME", False), name="one axis"),
    Case(average_pool, (full(3.0, 1, 2, 2, 1),), name="constant", expect=(np.full((1, 2, 2, 1), 0.25),)),
)
