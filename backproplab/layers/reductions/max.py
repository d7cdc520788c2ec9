"""The largest and the smallest entry. Catalogue #88, lecture L13 for the gate.

Autodiff keeps x; the rule one index per result, a byte where at most 256 entries compete. `joined` and `parted` serve the
other pages that treat several axes as one.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, distinct, full
from backproplab.layers.gates.add import Shape
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis", "keepdims"))
def max(x, axis=None, keepdims=False):
    """The largest entry over `axis`: an integer, a tuple of integers, or None for all axes, as `jnp.max`.

    x (..., d) -> y (...), in the dtype of x. Among equal entries the gradient goes to the first alone (`jnp.max`: in equal
    parts to all). Raises ValueError where there is no entry.
    """
    return jnp.max(x, axis, keepdims=keepdims)


@partial(jax.custom_vjp, nondiff_argnames=("axis", "keepdims"))
def min(x, axis=None, keepdims=False):
    """The smallest entry over `axis`, in all else as `max`."""
    return jnp.min(x, axis, keepdims=keepdims)


def reduced_axes(rank, axis):
    """The axes that `axis` means, counted from the front and in order."""
    axes = range(rank) if axis is None else (axis,) if isinstance(axis, int) else axis
    return tuple(sorted(i + rank if i < 0 else i for i in axes))


def joined(x, axis):
    """x (...) -> (..., n): the axes that `axis` means at the end and made one, row by row."""
    axes = reduced_axes(x.ndim, axis)
    x = jnp.moveaxis(x, axes, range(x.ndim - len(axes), x.ndim))
    kept = x.shape[: x.ndim - len(axes)]
    return x.reshape(*kept, math.prod(x.shape[len(kept) :]))


def parted(x, shape, axis):
    """The way back from `joined`: x (..., n) -> an array of the given shape."""
    axes = reduced_axes(len(shape), axis)
    kept = x.shape[:-1]
    return jnp.moveaxis(x.reshape(*kept, *(shape[i] for i in axes)), range(len(kept), len(shape)), axes)


def small_index(index, count):
    """Indices below `count` in as few bytes as they need."""
    return index.astype(jnp.uint8 if count <= 256 else jnp.int32)


def max_fwd(x, axis, keepdims):
    """Keeps the place of the largest entry among those it was compared with."""
    entries = joined(x, axis)
    return jnp.max(x, axis, keepdims=keepdims), (Shape(x.shape), small_index(entries.argmax(-1), entries.shape[-1]))


def max_bwd(axis, keepdims, residuals, dy):
    """y is the winning entry and no other, so its gradient goes there whole.

    On the kink, where several entries are the largest, all ways to share one whole among them are subgradients. Declared
    is the first that comes, row by row if there are several axes. A NaN wins over all numbers.
    """
    shape, winner = residuals
    return (_route(winner, shape, axis, dy),)


def _route(winner, shape, axis, dy):
    places = jnp.arange(math.prod(shape[i] for i in reduced_axes(len(shape), axis)))
    return parted(jnp.where(places == winner[..., None], widened(dy).reshape(*winner.shape, 1), 0), shape, axis)


defvjp(max, max_fwd, max_bwd)


def min_fwd(x, axis, keepdims):
    """Keeps the place of the smallest entry among those it was compared with."""
    entries = joined(x, axis)
    return jnp.min(x, axis, keepdims=keepdims), (Shape(x.shape), small_index(entries.argmin(-1), entries.shape[-1]))


def min_bwd(axis, keepdims, residuals, dy):
    """As the rule of `max`: the gradient goes to the smallest entry, to the first of several."""
    shape, winner = residuals
    return (_route(winner, shape, axis, dy),)


defvjp(min, min_fwd, min_bwd)


def _kept(x, axis=None, keepdims=False):
    """A byte per result."""
    return jnp.max(x, axis).size


CASES = (
    Case(max, (distinct(4, 5), -1), residual_bytes=_kept),
    Case(max, (distinct(3, 4),), name="all axes", residual_bytes=_kept),
    Case(max, (distinct(2, 3, 4), (2, 0), True), name="two axes, kept", residual_bytes=_kept),
    Case(max, (full(2.0, 2, 3), 1), name="ties: the first", kink=True, expect=(np.eye(3)[[0, 0]],)),
    Case(max, (distinct(257), 0), name="257 entries: an index of four bytes", residual_bytes=4),
    Case(min, (distinct(4, 5), -1), residual_bytes=_kept),
    Case(min, (distinct(2, 3, 4), (0, 2), True), name="two axes, kept", residual_bytes=_kept),
    Case(min, (full(2.0, 2, 3), 1), name="ties: the first", kink=True, expect=(np.eye(3)[[0, 0]],)),
)
