"""How many digits of a gradient are right, entry by entry, at the points that a page's cases name."""

from collections.abc import Sequence

import jax
import numpy as np

from backproplab.case import Case
from backproplab.harness.point import point
from backproplab.harness.precise import NotPrecise, precise


def worst_relative_errors(cases: Sequence[Case]) -> tuple[float, float] | None:
    """Of the rule's and of autodiff's gradients in float32, the largest relative error of an entry over all cases.

    The right entry is the rule's own formula in 120 digits, at the same float32 inputs; entries that are 0 or no number
    are left out. None where the formula cannot be had in so many digits, or the function has no derivative of JAX's.
    """
    found = [errors for case in cases if (errors := _at(case)) is not None]
    return (max(e for e, _ in found), max(e for _, e in found)) if found else None


def _at(case: Case) -> tuple[float, float] | None:
    if case.kink or case.by_design:  # no one gradient is the right one
        return None
    try:
        p = point(case, 0, "float32", jax.devices("cpu")[0], 0.0)
    except Exception:  # a custom_vmap, say: JAX differentiates forwards through it but not backwards
        return None
    inputs, count = p.inputs(p.cotangents("random", 0)), len(p.outputs)
    try:
        exact = [np.asarray(x, np.float64) for x in precise(p.pair.jaxprs[0], inputs)[count:]]
    except NotPrecise:
        return None
    hand, autodiff = p.pair.rule(inputs)[count:], p.pair.oracle(inputs)[count:]
    return _worst(hand, exact), _worst(autodiff, exact)


def _worst(got: list[np.ndarray], exact: list[np.ndarray]) -> float:
    tiny = float(np.finfo(np.float32).tiny)
    worst = 0.0
    for g, e in zip(got, exact):
        counted = np.isfinite(e) & (np.abs(e) >= tiny)
        if counted.any():
            error = np.abs(np.asarray(g, np.float64)[counted] / e[counted] - 1)
            worst = max(worst, float(np.max(np.where(np.isnan(error), np.inf, error))))
    return worst
