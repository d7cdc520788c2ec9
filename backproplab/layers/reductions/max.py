"""The largest and the smallest entry. Catalogue #88, lecture L13 for the gate.

Autodiff keeps x; the rule one index per result, a byte where at most 256 entries compete. `joined` and `parted` serve the
other pages that treat several axes as one, `selected` and `selection` those that leave entries out.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, booleans, distinct, full, normal
from backproplab.layers.gates.add import Shape
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis", "keepdims"))
def max(x, axis=None, keepdims=False, initial=None, where=None):
    """The largest entry over `axis`: an integer, a tuple of integers, or None for all axes, as `jnp.max`.

    x (..., d) -> y (...), in the dtype of x. Among equal entries the gradient goes to the first alone (`jnp.max`: in equal
    parts to all). initial: a number that comes before all entries. Where the booleans `where`, of a shape that broadcasts
    to that of x, are False, entries do not compete, whatever they hold. Raises ValueError where there is neither an entry
    nor an initial, for a where without an initial, and where it would enlarge x.
    """
    return jnp.max(x, axis, keepdims=keepdims, initial=initial, where=selection(where, x))


@partial(jax.custom_vjp, nondiff_argnames=("axis", "keepdims"))
def min(x, axis=None, keepdims=False, initial=None, where=None):
    """The smallest entry over `axis`, in all else as `max`."""
    return jnp.min(x, axis, keepdims=keepdims, initial=initial, where=selection(where, x))


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


def selection(where, x):
    """`where` in the shape of x, None for None. Raises ValueError where it has more entries than x."""
    return None if where is None else jnp.broadcast_to(where, jnp.shape(x))


def selected(x, where, other):
    """x where `where` is True or None, elsewhere `other`."""
    return x if where is None else jnp.where(where, x, other)


def small_index(index, count):
    """Indices below `count` in as few bytes as they need."""
    return index.astype(jnp.uint8 if count <= 256 else jnp.int32)


def max_fwd(x, axis, keepdims, initial, where):
    """Keeps the place of the largest entry among those it was compared with, and the initial, one number."""
    entries = _competing(x, axis, initial, where, -jnp.inf)
    winner = small_index(entries.argmax(-1), entries.shape[-1])
    return max(x, axis, keepdims, initial, where), (Shape(x.shape), initial, winner)


def _competing(x, axis, initial, where, loser):
    """The entries (..., n), those left out as `loser`. The initial is in front of them, so that no `loser` wins over it."""
    entries = joined(selected(x, where, loser), axis)
    if initial is None:
        return entries
    return jnp.concatenate([jnp.full((*entries.shape[:-1], 1), initial, entries.dtype), entries], -1)


def max_bwd(axis, keepdims, residuals, dy):
    """y is the winning entry and no other, so its gradient goes there whole.

    On the kink, where several entries are the largest, all ways to share one whole among them are subgradients. Declared
    is the first that comes, the initial before all, row by row if there are several axes. A NaN wins over all numbers.
    """
    return _route(axis, residuals, dy)


def _route(axis, residuals, dy):
    """dx, dinitial, and None for where."""
    shape, initial, winner = residuals
    dy = widened(dy).reshape(winner.shape)
    first = 0 if initial is None else 1
    places = jnp.arange(first, first + math.prod(shape[i] for i in reduced_axes(len(shape), axis)))
    dx = parted(jnp.where(places == winner[..., None], dy[..., None], 0), shape, axis)
    if initial is None or not jnp.issubdtype(initial.dtype, jnp.floating):
        return dx, None, None
    return dx, jnp.sum(jnp.where(winner == 0, dy, 0)), None


defvjp(max, max_fwd, max_bwd)


def min_fwd(x, axis, keepdims, initial, where):
    """Keeps the place of the smallest entry among those it was compared with, and the initial, one number."""
    entries = _competing(x, axis, initial, where, jnp.inf)
    winner = small_index(entries.argmin(-1), entries.shape[-1])
    return min(x, axis, keepdims, initial, where), (Shape(x.shape), initial, winner)


def min_bwd(axis, keepdims, residuals, dy):
    """As the rule of `max`: the gradient goes to the smallest entry, to the first of several."""
    return _route(axis, residuals, dy)


defvjp(min, min_fwd, min_bwd)


def _kept(x, axis=None, keepdims=False, initial=None, where=None):
    """A byte per result, and the initial."""
    return jnp.max(x, axis).size + (0 if initial is None else initial.nbytes)


_INF = float("inf")
_poisoned = np.array([[1.0, _INF, 3.0], [np.nan, 1.0, -_INF], [_INF, np.nan, 1e30]])
_where = np.array([[True, False, True], [False, True, False], [False] * 3])
CASES = (
    Case(max, (distinct(4, 5), -1), residual_bytes=_kept),
    Case(max, (distinct(3, 4),), name="all axes", residual_bytes=_kept),
    Case(max, (distinct(2, 3, 4), (2, 0), True), name="two axes, kept", residual_bytes=_kept),
    Case(max, (full(2.0, 2, 3), 1), name="ties: the first", kink=True, expect=(np.eye(3)[[0, 0]],)),
    Case(max, (distinct(257), 0), name="257 entries: an index of four bytes", residual_bytes=4),
    Case(max, (distinct(4, 5), -1, False, 0.5, booleans(4, 5)), name="where, initial", residual_bytes=_kept),
    Case(max, (distinct(3, 2, 4), (0, 2), True, -0.1, booleans(2, 1)), name="where, repeated", residual_bytes=_kept),
    Case(
        max,
        (_poisoned, 1, False, -5.0, _where),
        name="where: infinities and NaN absent, all absent",
        expect=(np.array([[0.0, 0, 1], [0, 1, 0], [0, 0, 0]]), np.array(1.0)),
    ),
    # autodiff has a tie there, of the initial with the -inf that stands for no entry, and halves the gradient
    Case(
        max,
        (normal(1, 3), 1, False, -_INF, np.array(False)),
        name="all absent: the initial, though it is -inf",
        reference=lambda x, axis, keepdims, initial, where: jnp.full(1, initial),
        expect=(np.zeros((1, 3)), np.array(1.0)),
    ),
    Case(
        max,
        (full(2.0, 2, 3), 1, False, 2.0),
        name="ties with the initial: the initial",
        kink=True,
        expect=(np.zeros((2, 3)), np.array(2.0)),
    ),
    Case(
        max,
        (np.arange(256.0) - np.array([[0.0], [300.0]]), 1, False, -1.0),
        name="of 257 with the initial the last, and the first",
        residual_bytes=16,
    ),
    Case(min, (distinct(4, 5), -1), residual_bytes=_kept),
    Case(min, (distinct(2, 3, 4), (0, 2), True), name="two axes, kept", residual_bytes=_kept),
    Case(min, (full(2.0, 2, 3), 1), name="ties: the first", kink=True, expect=(np.eye(3)[[0, 0]],)),
    Case(min, (distinct(4, 5), -1, False, -0.5, booleans(4, 5)), name="where, initial", residual_bytes=_kept),
    Case(
        min,
        (-_poisoned, 1, False, 5.0, _where),
        name="where: infinities and NaN absent, all absent",
        expect=(np.array([[0.0, 0, 1], [0, 1, 0], [0, 0, 0]]), np.array(1.0)),
    ),
)
