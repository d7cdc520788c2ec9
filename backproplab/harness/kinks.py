"""Where a function has a kink, any slope between its one-sided slopes is right; this module judges the one a rule chose.

At a kink autodiff yields one element of the subdifferential and a rule may yield another. Per output entry that has a
kink at the point, the rule's gradient g must satisfy, for every direction v tried, that <g, v> lies between the
derivatives along v from the two sides, or of points around (Clarke's subdifferential: a function that is not convex, such
as the middle of three numbers that are equal, has slopes near the point that no line through it meets). Entries without a
kink must agree with autodiff as everywhere else.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from backproplab.harness.compare import largest

AT_ONCE = 60  # directions
_ROWS, _FEW_ROWS = 64, 4
_DIRECTIONS = 12  # in all arguments
_ALONE, _PER_ARGUMENT = 8, 2  # arguments that are moved alone, and directions of each
_COORDINATES = 48
_AROUND = 360  # points, tried until one has the slope: of one order among many that equal numbers can be brought into
_STEP = 2.0**-26
_CURVATURE = 2.0**-16  # room for what the slopes change by within a step
_BESIDE = 2.0**-36  # the same beside larger ones, where a closer look decides between a jump and a bend
_ROUNDING = 2.0**-36  # and for slopes that are sums of larger terms


class Kink(NamedTuple):
    """The kinked output entries (flat indices), whether the slopes chosen there are admissible, and one line of words."""

    rows: np.ndarray
    admissible: bool
    words: str


def judge_kink(
    value_slopes: Callable[[Sequence[list], Sequence[list]], list[np.ndarray]],
    row_gradients: Callable[[list[tuple[int, int]]], list[np.ndarray]],
    diff: list[np.ndarray],
    seed: int,
    at_once: int = AT_ONCE,
) -> Kink | None:
    """None if the point is no kink. at_once: how many directions are looked in together; one if arguments or outputs are large.

    value_slopes: `(directions, offsets) -> directional derivatives of the entries of every output at x + offset`, from the
    oracle: a row each. row_gradients: `[(output, entry), ...] -> the rule's gradients of these entries`, along a leading axis.
    """
    looks = _Looks(diff, seed)
    chunks = lambda count: [range(i, min(i + at_once, count)) for i in range(0, count, at_once)]

    def slopes(vs, offsets):
        return np.concatenate(value_slopes(vs, offsets), 1)

    def along(ks, t):
        return slopes([looks.direction(k) for k in ks], [[t * d for d in looks.aside(k)] for k in ks])

    # a kink in any one entry is met by directions that move them all; single ones are for judging it
    rows = np.flatnonzero(np.any([_kinked(along, looks, ks) for ks in chunks(looks.alone)], 0))
    if rows.size == 0:
        return None
    sizes = [np.size(s) for s in value_slopes([looks.direction(0)], [[0.0 * d for d in looks.direction(0)]])]
    chosen_rows = rows[:: -(-len(rows) // (_ROWS if at_once > 1 else _FEW_ROWS))]
    sides = [_sides(along, looks, ks, chosen_rows) for ks in chunks(looks.count)]
    right, left, leeways = (np.concatenate(parts) for parts in zip(*sides))
    gradients = row_gradients([_locate(row, sizes) for row in chosen_rows])
    for i in range(looks.count):
        v = looks.direction(i)
        chosen, lows, highs, leeway = _along(gradients, v), *np.sort([right[i], left[i]], 0), leeways[i]
        outside = ~((lows - leeway <= chosen) & (chosen <= highs + leeway)) & np.isfinite(lows) & np.isfinite(highs)
        for k in np.flatnonzero(outside):
            low, high = lows[k], highs[k]
            for first in range(0, _AROUND, at_once):
                if low - leeway[k] <= chosen[k] <= high + leeway[k] or not np.isfinite([low, high]).all():
                    break
                offsets = [looks.offset(m) for m in range(first, first + at_once)]
                near = [low, high, *slopes([v] * len(offsets), offsets)[:, chosen_rows[k]]]
                low, high = np.nanmin(near), np.nanmax(near)
            if np.isfinite([low, high]).all() and not low - leeway[k] <= chosen[k] <= high + leeway[k]:
                words = f"at a kink of output entry {chosen_rows[k]} the slope {chosen[k]:.6g} is not between {low:.6g} and {high:.6g}"
                return Kink(rows, False, words)
    lie = "entry lies" if rows.size == 1 else "entries lie"
    widest = int(np.argmax(np.abs(right - left)[:, -1]))
    words = _chosen(_along(gradients, looks.direction(widest))[-1], right[widest, -1], left[widest, -1])
    return Kink(rows, True, f"{rows.size} output {lie} on a kink; {words}")


class _Looks:
    """The directions in which a point is looked at and the offsets of points around it.

    Each is as large as the arguments and made anew where it is needed.
    """

    def __init__(self, diff: list[np.ndarray], seed: int):
        self.diff, self.seed = diff, seed
        self.sizes = [np.size(x) for x in diff]
        # single coordinates, some of many: along those that the kink does not touch nothing is left open
        self.coordinates = np.random.default_rng(seed).permutation(sum(self.sizes))[:_COORDINATES]
        self.alone = _DIRECTIONS + (_PER_ARGUMENT * min(len(diff), _ALONE) if len(diff) > 1 else 0)
        self.count = self.alone + len(self.coordinates)

    def direction(self, k: int) -> list[np.ndarray]:
        """In the size of each argument, so that no entry's slope is lost beside another's."""
        return [_scaled(d, x, max(largest([x]), 1.0)) for d, x in zip(self._chosen(k), self.diff)]

    def aside(self, k: int) -> list[np.ndarray]:
        """The same way, in the size of each entry: in that of one of 1e6 a slope at 0 would bend, and one of 1e-15 cross it."""
        return [_in_own_size(d, x) for d, x in zip(self._chosen(k), self.diff)]

    def _chosen(self, k: int) -> list[np.ndarray]:
        """All ones first, which finds gradients given twice at a tie; then all random and signed, or positive; then one
        argument alone, whose slopes may be small beside the others'; then single entries."""
        if k >= self.alone:
            return self._coordinate(self.coordinates[k - self.alone])
        if k == 0:
            return [np.ones(np.shape(x)) for x in self.diff]
        drawn = [np.abs(d) for d in self._random(k)] if k % 3 == 0 else self._random(k)
        return drawn if k < _DIRECTIONS else [d if i == self.moves(k) else 0 * d for i, d in enumerate(drawn)]

    def moves(self, k: int) -> int:
        """The number of the argument that is moved alone, -1 if all are."""
        if k < _DIRECTIONS:
            return -1
        if k < self.alone:
            return (k - _DIRECTIONS) // _PER_ARGUMENT
        return int(np.searchsorted(np.cumsum(self.sizes), self.coordinates[k - self.alone], side="right"))

    def room(self, ks: Sequence[int], a: np.ndarray, b: np.ndarray, beside: float) -> np.ndarray:
        """How far slopes `a` and `b`, a row for each direction, may be apart where there is no kink.

        beside: the share of the largest slope in a direction by which a smaller one may change.
        """
        moved = np.array([self.moves(k) for k in ks])
        rounding = np.array([largest([a[moved == m], b[moved == m]]) for m in moved])[:, None]
        return _CURVATURE * (np.abs(a) + np.abs(b)) + beside * _largest_in_rows(a) + _ROUNDING * rounding

    def offset(self, k: int) -> list[np.ndarray]:
        """A step in a random direction of its own."""
        return [_STEP * _in_own_size(d, x) for d, x in zip(self._random(_DIRECTIONS + k), self.diff)]

    def _random(self, k: int) -> list[np.ndarray]:
        generator = np.random.default_rng([self.seed, k])
        return [generator.normal(size=np.shape(x)) for x in self.diff]

    def _coordinate(self, i: int) -> list[np.ndarray]:
        starts = np.cumsum([0, *self.sizes])[:-1]
        hot = [np.zeros(size) for size in self.sizes]
        for part, start in zip(hot, starts):
            if 0 <= i - start < part.size:
                part[i - start] = 1
        return [part.reshape(np.shape(x)) for part, x in zip(hot, self.diff)]


def _kinked(along: Callable, looks: _Looks, ks: Sequence[int]) -> np.ndarray:
    """The output entries whose slopes along some of these directions jump."""
    right, left, here = along(ks, _STEP), along(ks, -_STEP), along(ks, 0.0)
    jumps = np.abs(left - right) > looks.room(ks, left, right, _BESIDE)
    # between two formulas autodiff's own slope may be neither
    seams = np.abs(here - right) > looks.room(ks, here, right, _BESIDE)
    doubtful = np.flatnonzero((jumps | seams).any(1))
    if doubtful.size == 0:
        return np.zeros(right.shape[1], bool)
    closer = [ks[int(k)] for k in doubtful]  # a slope that only bends, as that of x^2 at 0, differs less from nearer by
    near_right, near_left = along(closer, _STEP / 4), along(closer, -_STEP / 4)
    jumps = jumps[doubtful] & (np.abs(near_left - near_right) > 0.5 * np.abs(left - right)[doubtful])
    seams = seams[doubtful] & (np.abs(here[doubtful] - near_right) > 0.5 * np.abs(here - right)[doubtful])
    return (jumps | seams).any(0)


def _sides(
    along: Callable, looks: _Looks, ks: Sequence[int], rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The slopes of some output entries from either side, and the room there is beside them."""
    right, left = along(ks, _STEP), along(ks, -_STEP)
    return right[:, rows], left[:, rows], looks.room(ks, right, left, _CURVATURE)[:, rows]


def _along(gradients, v) -> np.ndarray:
    """The slopes in direction `v` of the output entries whose gradients, along a leading axis, these are."""
    return np.sum([np.reshape(g, (len(g), -1)) @ np.ravel(d) for g, d in zip(gradients, v)], 0)


def _largest_in_rows(a):
    return np.max(np.where(np.isfinite(a), np.abs(a), 0.0), 1, initial=0.0, keepdims=True)


def _chosen(slope, one, other) -> str:
    low, high = sorted((one, other))
    if not np.isfinite([low, high]).all():
        return "from one side at least its slope is not finite"
    share = (slope - low) / (high - low) if high > low else 0.0
    return f"the rule's slope there lies {share:.0%} of the way from the lower to the higher one-sided slope"


def _in_own_size(direction, x):
    """Of 0 that of the smallest other entry: beside it, a point that is as near to a kink lies on none."""
    sizes = np.abs(x)
    least = np.min(sizes, where=sizes > 0, initial=1.0)
    return _scaled(direction, x, np.where(sizes > 0, sizes, least))


def _scaled(direction, x, size):
    """Infinite entries stay where they are."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(x), size * direction, 0.0)


def _locate(row: int, sizes: list[int]) -> tuple[int, int]:
    for output, size in enumerate(sizes):
        if row < size:
            return output, row
        row -= size
    raise IndexError(row)
