"""The p-norm of each window: the mean's and the maximum's common relative. Catalogue #115.

Written as it is read it overflows where |x|^p does, and in a window of zeros its gradient is NaN; here neither happens. The
rule keeps x and y, autodiff the powers of every place.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, away_from_zero, full
from backproplab.layers.convolution.max_pool import spread, views, windows
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("p", "window", "strides", "padding"))
def lp_pool(x, p=2.0, window=(2, 2), strides=None, padding="VALID"):
    """x (..., *space, c) -> y (..., *out, c): (sum of |x|^p)^(1/p) of each window, per channel.

    p: a number, 1 or more. window: one size for each axis of space. strides: default that of the window. padding: "SAME",
    "VALID" or a pair (low, high) for each axis, of zeros. Unlike torch.nn.LPPool2d it takes |x| for odd p, too. Raises
    ValueError for x with too few axes or p < 1.
    """
    if p < 1:
        raise ValueError(f"lp_pool: no norm for p = {p}, which is below 1")
    _, window, strides, pads = windows(x.shape, window, strides, padding)
    places = [jnp.abs(place) for place in views(widened(x), window, strides, pads, 0)]
    largest = jax.lax.stop_gradient(jnp.max(jnp.stack(places), 0))
    safe = jnp.where(largest == 0, 1, largest)  # |x|^p would overflow, or underflow
    total = sum(jnp.power(place / safe, p) for place in places)
    return jnp.where(largest == 0, 0, safe * jnp.power(jnp.where(largest == 0, 1, total), 1 / p)).astype(x.dtype)


def lp_pool_fwd(x, p, window, strides, padding):
    """Keeps x, which the caller holds anyway, and y, the output."""
    y = lp_pool(x, p, window, strides, padding)
    return y, (x, y)


def lp_pool_bwd(p, window, strides, padding, residuals, dy):
    """y^p = sum |x_i|^p, so y^(p-1) dy = |x_i|^(p-1) sign(x_i) dx_i, and

        dy / dx_i = sign(x_i) (|x_i| / y)^(p-1)

    a power of a number between 0 and 1. In a window of zeros it is declared 0, the least element of the subdifferential, and
    for p = 1 the slope of |x_i| at 0, a kink, likewise. The shares add up where windows overlap.
    """
    x, y = residuals
    _, window, strides, pads = windows(x.shape, window, strides, padding)
    wide, dy = widened(y), widened(dy)
    safe = jnp.where(wide == 0, 1, wide)
    share = jnp.where(wide == 0, 0, dy)
    parts = []
    for place in views(widened(x), window, strides, pads, 0):
        size = jnp.where(place == 0, 1, jnp.abs(place)) / safe
        parts.append(share * jnp.sign(place) * jnp.power(size, p - 1))
    return (spread(parts, x.shape, window, strides, pads),)


defvjp(lp_pool, lp_pool_fwd, lp_pool_bwd)


def _kept(x, p=2.0, window=(2, 2), strides=None, padding="VALID"):
    """x, and y, a quarter of it."""
    return x.nbytes + x.nbytes // 4


CASES = (
    Case(lp_pool, (away_from_zero(2, 4, 6, 3),), residual_bytes=_kept, order=2),
    Case(lp_pool, (away_from_zero(1, 5, 6, 2), 3.5, (3, 3), (2, 2), "SAME"), name="overlapping, padded"),
    Case(lp_pool, (away_from_zero(1, 5, 7, 2), 1.0, (2, 3), (2, 2)), name="p = 1: sums of sizes"),
    Case(lp_pool, (full(0.0, 1, 2, 2, 1),), name="zeros: slope 0", kink=True, expect=(np.zeros((1, 2, 2, 1)),)),
    Case(lp_pool, (full(1e30, 2, 2, 1), 4.0), name="no overflow", expect=(np.full((2, 2, 1), 4.0**-0.75),)),
)
