"""The arithmetic of errors: what every rule is put together from."""

import math
from typing import Any

import numpy as np

from backproplab.harness.error_rules.machine import Bounded, Machine, is_complex

# The error that a rule gives what it has no bound for; the interpreter puts inf in its place and names the primitive.
UNBOUNDED = object()


def error_array(x: Bounded, xp: Any) -> Any:
    """The error as an array of the value's shape, zeros for exact."""
    shape = np.shape(x.value)
    if x.error is None:
        return xp.zeros(shape)
    return x.error if np.shape(x.error) == shape else xp.broadcast_to(x.error, shape)


def values(inputs: list[Bounded]) -> list:
    return [x.value for x in inputs]


def plus(*errors):
    """The sum of errors of which any may be None."""
    errors = [e for e in errors if e is not None]
    return sum(errors[1:], errors[0]) if errors else None


def times(factor, error, xp):
    """|factor| error: an exact operand passes nothing on, but 0 times what may not be a number is none."""
    if error is None:
        return None
    return xp.where(error == 0, 0.0, xp.where(xp.isinf(error), xp.inf, xp.abs(factor) * error))


def largest_size(x: Bounded, xp):
    """The most that |x| can be."""
    return xp.abs(x.value) if x.error is None else xp.abs(x.value) + x.error


def rounded(value, error, dtype: str, machine: Machine, units: Any = 1.0) -> Bounded:
    """`value` with the error passed on, plus `units` roundings of the result, its possible flush to 0 and overflow."""
    xp = machine.xp
    size = xp.abs(value) if error is None else xp.abs(value) + error
    rounding = units * machine.roundoff[dtype] * size + machine.smallest[dtype] * (2.0 if is_complex(value) else 1.0)
    rounding = xp.where(size + rounding >= machine.largest[dtype], xp.inf, rounding)
    # an exact zero stays one, and an infinity is not rounded
    rounding = xp.where((size == 0) | xp.isinf(value), 0.0, rounding)
    return Bounded(value, rounding if error is None else error + rounding)


def within_range(value, error, dtype: str, machine: Machine) -> Bounded:
    """What is not rounded may still be flushed to 0, or overflow."""
    xp = machine.xp
    size = xp.abs(value) if error is None else xp.abs(value) + error
    small = size * machine.roundoff[dtype] < machine.smallest[dtype]
    left = xp.where(small, xp.minimum(size, machine.smallest[dtype]), 0.0)
    left = xp.where(size > machine.largest[dtype], xp.inf, left)
    left = xp.where(xp.isinf(value), 0.0, left)
    if xp is np and not left.any():
        return Bounded(value, error)
    return Bounded(value, plus(left, error))


def accumulated(count: Any, unit: Any, xp) -> Any:
    """gamma_n of Higham: the relative error of n operations in any order; inf where the model says nothing."""
    product = count * unit
    return xp.where(product < 0.5, product / (1 - xp.minimum(product, 0.5)), xp.inf)


def tree_depth(count: int) -> int:
    """Additions on the way from an entry to any result of a running sum made as a tree, up and down."""
    return 2 * math.ceil(math.log2(max(count, 1)))


def doubt(xp, *errors):
    """inf where any of the errors is positive: for results that are whole numbers, indices, choices."""
    total = plus(*errors)
    return None if total is None else xp.where(total > 0, xp.inf, 0.0)


def doubt_anywhere(shape, xp, *errors):
    """inf everywhere if any entry of any of the errors is positive."""
    found = [xp.max(e, initial=0.0) for e in errors if e is not None]
    return xp.broadcast_to(xp.where(sum(found) > 0, xp.inf, 0.0), shape) if found else None
