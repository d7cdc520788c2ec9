"""The median. Catalogue #88. Autodiff keeps a permutation of x; the rule two indices per result."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, distinct, full
from backproplab.layers.gates.add import Shape
from backproplab.layers.reductions.max import joined, parted, reduced_axes, small_index
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis", "keepdims"))
def median(x, axis=None, keepdims=False):
    """The middle one of the sorted entries over `axis`, the mean of the middle two where their number is even.

    x (..., d) -> y (...), in the dtype of x, as `jnp.median`: axis is an integer, a tuple of integers, or None for all
    axes, and a NaN anywhere gives NaN. There must be an entry.
    """
    y, _ = _median(joined(x, axis))
    return _kept_axes(y, x.ndim, axis, keepdims)


def _median(entries):
    """The median over the last axis, and the two places in it that it is the mean of: one twice where the number is odd."""
    count = entries.shape[-1]
    order = jnp.argsort(entries, -1)
    middle = order[..., np.array([(count - 1) // 2, count // 2])]
    last = order[..., -1:]  # NaN sorts last
    places = jnp.where(jnp.isnan(jnp.take_along_axis(entries, last, -1)), last, middle)
    values = widened(jnp.take_along_axis(entries, places, -1))
    return jnp.sum(values / 2, -1).astype(entries.dtype), places


def _kept_axes(y, rank, axis, keepdims):
    return jnp.expand_dims(y, reduced_axes(rank, axis)) if keepdims else y


def median_fwd(x, axis, keepdims):
    """Keeps the two middle places among the entries that were compared."""
    entries = joined(x, axis)
    y, places = _median(entries)
    return _kept_axes(y, x.ndim, axis, keepdims), (Shape(x.shape), small_index(places, entries.shape[-1]))


def median_bwd(axis, keepdims, residuals, dy):
    """Around a point without ties the same places stay in the middle, so y = (x_a + x_b) / 2 and each gets dy / 2; with an
    odd number of entries a = b gets both halves.

    On the kink, where entries are equal to a middle one, the subgradients of the sorted value share among these. Declared
    are the places that a stable sort puts in the middle.
    """
    shape, places = residuals
    dy = widened(dy).reshape(*places.shape[:-1], 1)
    count = np.prod([shape[i] for i in reduced_axes(len(shape), axis)], dtype=int)
    hits = jnp.sum(jnp.arange(count) == places[..., None], -2)
    return (parted(jnp.where(hits > 0, dy / 2 * hits, 0), shape, axis),)


defvjp(median, median_fwd, median_bwd)


def _kept(x, axis=None, keepdims=False):
    """Two bytes per result."""
    return 2 * jnp.max(x, axis).size


CASES = (
    Case(median, (distinct(4, 5), -1), residual_bytes=_kept),
    Case(median, (distinct(3, 6), 1), name="even number", residual_bytes=_kept),
    Case(median, (distinct(3, 3),), name="all axes", residual_bytes=_kept),
    Case(median, (distinct(2, 3, 4), (2, 0), True), name="two axes, kept", residual_bytes=_kept),
    Case(median, (distinct(3, 1), 1), name="one entry: y = x", expect=(np.ones((3, 1)),)),
    Case(median, (full(1.0, 2, 3), 1), name="ties: the middle place", kink=True, expect=(np.eye(3)[[1, 1]],)),
)
