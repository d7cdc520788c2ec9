"""A point between two numbers, `a + c (b - a)`: as far off as they are, and no farther.

By the bounds of its operations alone it would be off by twice as much as `a` for c = 1/2, and an iteration that halves an
interval, in which the same two numbers are met over and over, by 2^n times as much after n steps.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jax.extend.core import Literal

from backproplab.harness.error_rules.arithmetic import plus, rounded
from backproplab.harness.error_rules.machine import dtype_of, is_float
from backproplab.harness.primitives import bind

_ROUNDED = 2.0**-40  # of a bound: more than its own sums are rounded by


def between(eqn: Any, made_by: dict) -> tuple[Callable, tuple] | None:
    """For such a sum the rule of its bounds and the variables it reads; None for any other equation.

    made_by: the equation that makes a variable, of the program that `eqn` is in.
    """
    if eqn.primitive.name != "add" or not is_float(eqn.outvars[0].aval):
        return None
    for place, (a, step) in enumerate((eqn.invars, eqn.invars[::-1])):
        share, way = _share(_of(step, made_by))
        way = _of(way, made_by)
        if way is not None and way.primitive.name == "sub" and way.invars[1] is a and not isinstance(a, Literal):
            return partial(_between, place, share), (*eqn.invars, way.invars[0])
    return None


def _share(eqn: Any) -> tuple[float, Any]:
    """By what share below 1 an equation multiplies, and which variable; None for any other."""
    if eqn is None or eqn.primitive.name not in ("mul", "div"):
        return 0.0, None
    sides = ((1, 0),) if eqn.primitive.name == "div" else ((1, 0), (0, 1))
    for number, other in sides:
        v = eqn.invars[number]
        if isinstance(v, Literal) and np.ndim(v.val) == 0 and v.val != 0:
            share = float(v.val) if eqn.primitive.name == "mul" else 1 / float(v.val)
            return (share, eqn.invars[other]) if 0 < share < 1 else (0.0, None)
    return 0.0, None


def _of(v: Any, made_by: dict) -> Any:
    return None if v is None or isinstance(v, Literal) else made_by.get(v)


def _between(place, share, eqn, inputs, machine):
    """Of what the way from `a` to `b` is off by, the part that `a` and `b` are to blame for is counted with its sign."""
    *sides, b = inputs
    a, step = sides[place], sides[1 - place]
    (out,) = bind(eqn, [x.value for x in sides], machine.xp)
    if step.error is None:
        return [rounded(out, a.error, dtype_of(eqn), machine)]
    off = [0.0 if x.error is None else x.error for x in (a, b)]
    rounding = machine.xp.maximum(step.error - share * (off[0] + off[1]), 0) + _ROUNDED * step.error
    error = plus((1 - share) * off[0] + share * off[1], rounding)
    return [rounded(out, machine.xp.broadcast_to(error, np.shape(out)), dtype_of(eqn), machine)]
