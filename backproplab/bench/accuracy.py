"""How many digits of a gradient are right, entry by entry, at the points that a page's cases name."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import jax
import numpy as np

from backproplab.case import Case
from backproplab.harness.error_rules import executed, lifted
from backproplab.harness.point import Point, point
from backproplab.harness.precise import NotPrecise, precise

_TINY, _HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_DIGITS = 1e-9  # relative: what float64 must be known to, to judge float32
_LAST_DIGITS = 4e-7  # relative, in float32


@dataclass(frozen=True)
class Gradients:
    """Of one function at one point, in float32: one array per differentiable argument in each list.

    hand: by the rule. autodiff: makes those by JAX, of the function without the rule. exact: the rule's own formula at
    the same inputs, in float64 or, where that is not known to 1e-9, in 120 digits; NaN where an operation cannot be had
    in so many. bounds: how far rounding can put autodiff's program off (running error analysis).
    """

    hand: list[np.ndarray]
    autodiff: Callable[[], list[np.ndarray]]
    exact: list[np.ndarray]
    bounds: list[np.ndarray]


def gradients(case: Case) -> Gradients | None:
    """At the case's arguments and random cotangents; None where no one gradient is the right one, or JAX has none."""
    if case.kink or case.by_design:
        return None
    try:
        p = point(case, 0, "float32", jax.devices("cpu")[0], 0.0)
    except ValueError:  # neither JAX nor finite differences can differentiate it
        return None
    if p.pair.numerical:
        return None
    inputs, count = p.inputs(p.cotangents("random", 0)), len(p.outputs)
    bounds = p.pair.analyse_oracle(inputs, executed(0.0))[1][count:]
    return Gradients(
        p.pair.rule(inputs)[count:],
        lambda: p.pair.oracle(inputs)[count:],
        _exact(p, inputs)[count:],
        [*map(np.asarray, bounds)],
    )


def _exact(p: Point, inputs: list) -> list[np.ndarray]:
    values, errors = p.pair.analyse_rule(inputs, lifted())
    known = [np.where(np.abs(e) <= _DIGITS * np.abs(v), v, np.nan) for v, e in zip(values, errors)]
    if any(np.isnan(v).any() for v in known):
        with suppress(NotPrecise):
            return [np.asarray(x, np.float64) for x in precise(p.pair.by_hand, inputs)]
    return known


def beyond_autodiff(g: Gradients) -> float:
    """The largest error of an entry by hand, over what is allowed: 1 or less where no digit is lost to autodiff.

    Allowed is how far rounding can put autodiff off there, and in any case 4e-7 of the entry.
    """
    worst = 0.0
    for hand, exact, bound in zip(g.hand, g.exact, g.bounds):
        counted = (np.abs(exact) <= _HUGE) & np.isfinite(bound)  # without a bound autodiff may yield anything
        error = np.abs(hand.astype(exact.dtype) - exact)[counted]
        allowed = np.maximum(bound, np.maximum(_LAST_DIGITS * np.abs(exact), _TINY))[counted]
        worst = max(worst, float(np.max(np.where(np.isnan(error), np.inf, error) / allowed, initial=0.0)))
    return worst


def worst_relative_errors(cases: Sequence[Case]) -> tuple[float, float] | None:
    """Of the rule's and of autodiff's gradients in float32, the largest relative error of an entry over all cases.

    Entries that are 0, no number or not known (see `Gradients`) are left out; None if none is left.
    """
    found = [g for case in cases if (g := gradients(case)) is not None and any(map(np.any, map(_counted, g.exact)))]
    if not found:
        return None
    return max(_worst(g.hand, g.exact) for g in found), max(_worst(g.autodiff(), g.exact) for g in found)


def _counted(exact: np.ndarray) -> np.ndarray:
    return np.isfinite(exact) & (np.abs(exact) >= _TINY)


def _worst(got: list[np.ndarray], exact: list[np.ndarray]) -> float:
    worst = 0.0
    for g, e in zip(got, exact):
        counted = _counted(e)
        if counted.any():
            error = np.abs(g[counted].astype(e.dtype) - e[counted]) / np.abs(e[counted])
            worst = max(worst, float(np.max(np.where(np.isnan(error), np.inf, error))))
    return worst
