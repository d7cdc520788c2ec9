"""The numerical oracle: directional derivatives in float64 with an error bar, independent of autodiff.

A ladder of fourth-order central stencils with dyadic steps. The bar of a step counts rounding (the error analysis of the
function itself) and truncation (the change from the step before, and how much smaller it is than the one before that).
Steps whose stencil leaves the branch of the function that the point lies on are not used: the outcomes of all comparisons
must be the same at every point.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

_WIDEST, _NARROWEST = 8, 24  # binary exponents of the steps
_STAIRS = 18  # the narrowest that are taken across branches: what an iteration leaves open must stay far below
_OPEN = 2.0**-16  # of the slope: what an iteration that is cut off leaves open, at the narrowest of these
_SAFETY = 4.0
_ENOUGH = 2.0**-30  # of the slope: no finer bar is sought

# Where a fourth-order stencil samples, in steps, farthest first, and the weights, in units of 1 / (12 step).
_CENTRAL = [(-2, 1.0), (2, -1.0), (-1, -8.0), (1, 8.0)]
_ONE_SIDED = [(4, -3.0), (3, 16.0), (2, -36.0), (1, 48.0), (0, -25.0)]


class Slope(NamedTuple):
    """A directional derivative and how far it may be from the true one."""

    value: float
    bar: float


class Sample(NamedTuple):
    """The function at one point of the line: its value, the bound on its rounding error, and the branch it took."""

    value: float
    error: float
    branch: Any  # the same wherever every comparison comes out the same


def slope(line: Callable[[float], Sample], largest: float = 1.0) -> Slope | None:
    """The derivative of `line` at 0, from points up to a sixty-fourth of `largest` away.

    Where the point lies on a seam, so that no step stays on its branch, the slopes from both sides, each kept to a branch
    of its own, must agree. None if they do not, or no step stays on one branch.
    """
    samples: dict[float, Sample] = {}

    def at(t: float) -> Sample:
        if t not in samples:
            samples[t] = line(t)
        return samples[t]

    at(_CENTRAL[0][0] * largest * 2.0**-_WIDEST)  # where a line analyses rounding, for all that is nearer
    central = _best(at, _CENTRAL, largest, at(0.0).branch)
    if central is not None:
        return central
    right, left = (_best(at, [(sign * t, sign * w) for t, w in _ONE_SIDED], largest, None) for sign in (1, -1))
    if right is None or left is None or abs(right.value - left.value) > right.bar + left.bar:
        return None
    return Slope((right.value + left.value) / 2, max(right.bar, left.bar))


def across_branches(line: Callable[[float], Sample], largest: float = 1.0) -> Slope | None:
    """The same whichever branches the steps lie on, as those of a bisection do. None if the narrowest steps see another slope.

    What they see of the stairs that an iteration leaves when it is cut off counts as rounding of the function.
    """
    anywhere = lambda t: line(t)._replace(branch=0.0)
    best = _best(anywhere, _CENTRAL, largest, 0.0, _STAIRS)
    if best is None:
        return None
    stairs = 0.0
    for exponent in range(_STAIRS - 2, _STAIRS + 1):
        step = largest * 2.0**-exponent
        points = _on_branch(anywhere, _CENTRAL, step, 0.0)
        if points is None:
            return None
        value, rounding = _estimate(points, _CENTRAL, step)
        off = max(abs(value - best.value) - best.bar - rounding, 0.0)
        if off > _OPEN * abs(best.value):
            return None  # stairs, which from afar are a slope
        stairs = max(stairs, off * step)
    rougher = lambda t: (sample := anywhere(t))._replace(error=sample.error + _SAFETY * stairs)
    return _best(rougher, _CENTRAL, largest, 0.0, _STAIRS) if stairs else best


def _best(
    at: Callable[[float], Sample],
    stencil: list[tuple[int, float]],
    largest: float,
    branch: Any,
    narrowest: int = _NARROWEST,
) -> Slope | None:
    """The narrowest estimate of a ladder of steps; `branch` is that of every point but 0, None for any they share.

    As long as no step stays on the branch, every other one is left out.
    """
    best: Slope | None = None
    previous: float | None = None
    change = math.inf
    exponent = _WIDEST
    while exponent <= narrowest:
        step = largest * 2.0**-exponent
        points = _on_branch(at, stencil, step, branch)
        exponent += 2 if points is None and best is previous is None else 1
        if points is None:
            previous, change = None, math.inf
            continue
        value, rounding = _estimate(points, stencil, step)
        if previous is not None:
            before, change = change, abs(value - previous)
            bar = max(rounding + _SAFETY * change * _still_to_come(change, before), abs(value) * 2.0**-50)
            if math.isfinite(bar) and (best is None or bar < best.bar):
                best = Slope(value, bar)
            if best is not None and (rounding > best.bar or best.bar < _ENOUGH * abs(best.value)):
                break  # smaller steps round worse, or the bar will do
        previous = value
    return best


def _still_to_come(change: float, before: float) -> float:
    """All further changes, as a share of the last one, if each is smaller than the one before by as much as that was.

    Sixteen times per halving where the function is smooth, which is the best that the stencil does; two times where its
    second derivative jumps, as that of x |x| does at 0. By no less than four times if nothing is known yet.
    """
    shrinks = change / before if 0 < before < math.inf else 0.25
    return 1 / (1 / min(max(shrinks, 1 / 16), 0.9) - 1)


def _estimate(points: list[Sample], stencil: list[tuple[int, float]], step: float) -> tuple[float, float]:
    """The slope, and how far rounding may have moved it."""
    weights = [w / (12 * step) for _, w in stencil]
    return sum(w * p.value for p, w in zip(points, weights)), sum(abs(w) * p.error for p, w in zip(points, weights))


def _on_branch(
    at: Callable[[float], Sample], stencil: list[tuple[int, float]], step: float, branch: Any
) -> list[Sample] | None:
    """The samples of a stencil; None, as soon as it is known, if one is not finite or lies on another branch."""
    points = []
    for t, _ in stencil:
        sample = at(t * step)
        branch = sample.branch if branch is None else branch
        if not math.isfinite(sample.value) or (t != 0 and sample.branch != branch):
            return None
        points.append(sample)
    return points
