"""A case at a size where costs show: the same function and the same proportions, more numbers."""

import math

import jax
import numpy as np

from backproplab.case import Case, static_argnums
from backproplab.harness.shapes import axis_sizes, with_sizes
from backproplab.harness.strip import strip
from backproplab.harness.view import view

_LARGE_AXIS = 4  # shorter axes are kernels, colours, pairs: what they count does not grow with the problem


def at_size(case: Case, numbers: int, dtype: str = "float32") -> tuple:
    """The case's arguments with every axis that may grow made longer by one factor, a power of two.

    numbers: most entries of an argument; what is between them and the value may have 16 times as many. Where the function
    does not take longer axes, or says that its arguments must not be moved (`domain` of "fixed"), they are the case's.
    """
    args, static = case.arguments(0, dtype), static_argnums(case.fn)
    growing = [n for n in axis_sizes(args, static) if n >= _LARGE_AXIS]
    factor = 1
    while growing and "fixed" not in case.domain.values():
        larger = with_sizes(args, static, {n: 2 * factor * n for n in growing}, 0)
        if max(map(np.size, jax.tree.leaves(larger))) > numbers or not _largest_between(case, larger) <= 16 * numbers:
            break
        factor *= 2
    return with_sizes(args, static, {n: factor * n for n in growing}, 0) if factor > 1 else args


def _largest_between(case: Case, args: tuple) -> float:
    """Entries of the largest array that the function makes on its way; inf if it does not take the arguments."""
    seen = view(case, args)
    try:
        jaxpr = jax.make_jaxpr(strip(seen.call(case.fn)))(seen.diff, seen.rest)
    except Exception:
        return math.inf
    return max((math.prod(v.aval.shape) for eqn in jaxpr.eqns for v in eqn.outvars), default=0)
