"""Max-pooling: the largest entry of each window. Lecture L16, catalogue #115.

Autodiff keeps x, four bytes per entry; this rule one byte per window.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from backproplab.case import Case, distinct, full
from backproplab.layers.gates.add import Shape
from backproplab.precision import widened
from backproplab.rule import defvjp


@functools.partial(jax.custom_vjp, nondiff_argnames=("window", "strides", "padding"))
def max_pool(x, window=(2, 2), strides=None, padding="VALID"):
    """x (..., *space, c) -> y (..., *out, c): the largest entry of each window, per channel.

    window: one size for each axis of space, (2, 2) for images. strides: default that of the window, so that windows do not
    overlap. padding: "SAME", "VALID" or a pair (low, high) for each axis, of -inf. Raises ValueError for x with too few axes.
    """
    leading, window, strides, pads = windows(x.shape, window, strides, padding)
    one = (1,) * leading
    lowest = np.array(-np.inf, x.dtype)
    return lax.reduce_window(
        x, lowest, lax.max, (*one, *window, 1), (*one, *strides, 1), ((0, 0),) * leading + (*pads, (0, 0))
    )


def windows(shape, window, strides, padding):
    """The number of leading axes, the window, the strides, and the padding in numbers."""
    leading = len(shape) - len(window) - 1
    if leading < 0:
        raise ValueError(f"pooling takes x (..., *space, c) with {len(window)} axes in space, not shape {shape}")
    strides = tuple(window if strides is None else strides)
    pads = lax.padtype_to_pads(shape[leading:-1], window, strides, padding) if isinstance(padding, str) else padding
    return leading, tuple(window), strides, tuple(pads)


def views(x, window, strides, pads, fill):
    """For each place in a window, row by row, the entries that all windows have there: each (..., *out, c)."""
    leading = x.ndim - len(window) - 1
    x = lax.pad(x, np.array(fill, x.dtype), ((0, 0, 0),) * leading + tuple((*p, 0) for p in pads) + ((0, 0, 0),))
    spans = [(size - k) // s * s + 1 if size >= k else 0 for size, k, s in zip(x.shape[leading:-1], window, strides)]
    for place in itertools.product(*map(range, window)):
        yield x[..., *(slice(i, i + span, stride) for i, span, stride in zip(place, spans, strides)), :]


def spread(parts, shape, window, strides, pads):
    """The transpose of `views`: each part back to where it was taken from, added up where windows overlap."""
    leading = len(shape) - len(window) - 1
    total = 0
    for place, part in zip(itertools.product(*map(range, window)), parts):
        config = []
        for offset, size, out, stride, (low, _) in zip(place, shape[leading:], part.shape[leading:], strides, pads):
            before = offset - low  # negative: these entries fell on the padding
            span = stride * (out - 1) + 1 if out else 0
            config.append((before, size - before - span, stride - 1))
        total = total + lax.pad(part, np.array(0, part.dtype), ((0, 0, 0),) * leading + (*config, (0, 0, 0)))
    return total


def max_pool_fwd(x, window, strides, padding):
    """Keeps, per window, which of its places won: one byte (four for windows of more than 256 places).

    The winner is a reduction over the places side by side: comparing them one by one needs less memory here, but XLA then
    compares them all again for each place that the backward pass fills. y is not one: XLA's maximum over an axis may lose
    a NaN on the CPU, that of two arrays keeps it, as the definition does.
    """
    _, window, strides, pads = windows(x.shape, window, strides, padding)
    places = list(views(x, window, strides, pads, -np.inf))
    winner = jnp.argmax(jnp.stack(places), 0).astype(jnp.uint8 if math.prod(window) <= 256 else jnp.int32)
    return functools.reduce(jnp.maximum, places), (Shape(x.shape), winner)


def max_pool_bwd(window, strides, padding, residuals, dy):
    """y = x at the winning place and nothing else: its gradient goes there whole, and adds up where windows overlap.

    Among equal entries the first of the window, row by row, takes it all: one element of the subdifferential, and the one
    that JAX's own rule takes. Padding is an entry of -inf: it wins over nothing but -inf, and then the gradient is lost.
    """
    shape, winner = residuals
    _, window, strides, pads = windows(shape, window, strides, padding)
    wide = widened(dy)
    parts = [jnp.where(winner == place, wide, 0) for place in range(math.prod(window))]
    return (spread(parts, shape, window, strides, pads),)


defvjp(max_pool, max_pool_fwd, max_pool_bwd)

CASES = (
    Case(max_pool, (distinct(2, 4, 6, 3),), residual_bytes=lambda x: x.size // 4),
    Case(max_pool, (distinct(1, 7, 8, 2), (3, 3), (2, 2), "SAME"), name="overlapping, padded"),
    Case(max_pool, (distinct(1, 5, 7, 2), (2, 3), (2, 2)), name="windows that do not reach the edge"),
    Case(max_pool, (distinct(1, 4, 4, 1), (3, 3), (1, 1), ((0, 2), (1, 1))), name="uneven padding"),
    Case(max_pool, (distinct(1, 6, 6, 1), (2, 2), (3, 3)), name="strides wider than the window"),
    Case(max_pool, (distinct(4, 6, 2),), name="no batch axis"),
    Case(max_pool, (distinct(2, 5, 3), (3,), (2,), "SAME"), name="one axis"),
    Case(max_pool, (distinct(2, 2, 4, 3, 1), (2, 2, 1)), name="three axes"),
    Case(
        max_pool,
        (full(1.0, 1, 2, 4, 1),),
        name="ties: the first",
        kink=True,
        expect=(np.array([[1.0, 0, 1, 0], [0, 0, 0, 0]]).reshape(1, 2, 4, 1),),
    ),
    Case(max_pool, (full(-1e30, 1, 3, 3, 1), (2, 2), (1, 1), "SAME"), name="padding never wins", kink=True),
)
