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

_ROWS = 64
_DIRECTIONS = 12
_COORDINATES = 48
_AROUND = 360  # points, tried until one has the slope: of one order among many that equal numbers can be brought into
_AT_ONCE = 60
_STEP = 2.0**-26
_CURVATURE = 2.0**-16  # room for what the slopes change by within a step
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
) -> Kink | None:
    """None if the point is no kink.

    value_slopes: `(directions, offsets) -> directional derivatives of the entries of every output at x + offset`, from the
    oracle: a row each. row_gradients: `[(output, entry), ...] -> the rule's gradients of these entries`, along a leading axis.
    """
    generator = np.random.default_rng(seed)
    directions = [_direction(diff, i, generator) for i in range(_DIRECTIONS)] + _coordinates(diff, generator)

    def slopes(vs, offsets):
        return np.concatenate(value_slopes(vs, offsets), 1)

    def along(vs, t):
        return slopes(vs, [[t * d for d in v] for v in vs])

    right, left = along(directions, _STEP), along(directions, -_STEP)
    here = along(directions, 0.0)  # on a seam between two formulas autodiff's own slope may be neither
    rounding = _ROUNDING * largest([right, left])

    def room(a, b):
        return _CURVATURE * (np.abs(a) + np.abs(b) + _largest_in_rows(a)) + rounding

    jumps, seams = (np.abs(a - right) > room(a, right) for a in (left, here))
    doubtful = np.flatnonzero((jumps | seams).any(1))
    if doubtful.size == 0:
        return None
    closer = [
        directions[k] for k in doubtful
    ]  # a slope that only bends, as that of x^2 at 0, differs less from nearer by
    near_right, near_left = along(closer, _STEP / 4), along(closer, -_STEP / 4)
    jumps = jumps[doubtful] & (np.abs(near_left - near_right) > 0.5 * np.abs(left - right)[doubtful])
    seams = seams[doubtful] & (np.abs(here[doubtful] - near_right) > 0.5 * np.abs(here - right)[doubtful])
    rows = np.flatnonzero((jumps | seams).any(0))
    if rows.size == 0:
        return None
    sizes = [np.size(s) for s in value_slopes(directions[:1], [[0.0 * d for d in directions[0]]])]
    around = [[_STEP * d for d in _direction(diff, 1, generator)] for _ in range(_AROUND)]
    chosen_rows = rows[:: max(1, len(rows) // _ROWS)]
    gradients = row_gradients([_locate(row, sizes) for row in chosen_rows])
    leeways = room(right, left)
    for k, row in enumerate(chosen_rows):
        gradient = [g[k] for g in gradients]
        for v, one, other, leeway in zip(directions, right[:, row], left[:, row], leeways[:, row]):
            chosen = _along(gradient, v)
            low, high = sorted((one, other))
            for first in range(0, _AROUND, _AT_ONCE):
                if low - leeway <= chosen <= high + leeway or not np.isfinite([low, high]).all():
                    break
                offsets = around[first : first + _AT_ONCE]
                near = [low, high, *slopes([v] * len(offsets), offsets)[:, row]]
                low, high = np.nanmin(near), np.nanmax(near)
            if np.isfinite([low, high]).all() and not low - leeway <= chosen <= high + leeway:
                words = (
                    f"at a kink of output entry {row} the slope {chosen:.6g} is not between {low:.6g} and {high:.6g}"
                )
                return Kink(rows, False, words)
    lie = "entry lies" if rows.size == 1 else "entries lie"
    words = _chosen(_along(gradient, directions[-1]), right[-1, row], left[-1, row])
    return Kink(rows, True, f"{rows.size} output {lie} on a kink; {words}")


def _along(gradient, v) -> float:
    return sum(float(np.vdot(g, d)) for g, d in zip(gradient, v))


def _largest_in_rows(a):
    return np.max(np.where(np.isfinite(a), np.abs(a), 0.0), 1, initial=0.0, keepdims=True)


def _chosen(slope, one, other) -> str:
    low, high = sorted((one, other))
    share = (slope - low) / (high - low) if high > low else 0.0
    return f"the rule's slope there lies {share:.0%} of the way from the lower to the higher one-sided slope"


def _direction(diff, i, generator):
    """All ones first, which finds gradients given twice at a tie; then all random and signed, or positive."""
    draw = lambda x: np.ones(np.shape(x)) if i == 0 else generator.normal(size=np.shape(x))
    return [_scaled(np.abs(draw(x)) if i % 3 == 0 else draw(x), x) for x in diff]


def _scaled(direction, x):
    """In the size of the argument; its infinite entries stay where they are."""
    return np.where(np.isfinite(x), max(largest([x]), 1.0) * direction, 0.0)


def _coordinates(diff, generator):
    """Single coordinates, some of many: along those that the kink does not touch nothing is left open."""
    sizes = [np.size(x) for x in diff]
    chosen = generator.permutation(sum(sizes))[:_COORDINATES]
    ends = np.cumsum(sizes)[:-1]
    hot = [np.split(np.arange(sum(sizes)) == i, ends) for i in chosen]
    return [[_scaled(part.reshape(np.shape(x)), x) for part, x in zip(parts, diff)] for parts in hot]


def _locate(row: int, sizes: list[int]) -> tuple[int, int]:
    for output, size in enumerate(sizes):
        if row < size:
            return output, row
        row -= size
    raise IndexError(row)
