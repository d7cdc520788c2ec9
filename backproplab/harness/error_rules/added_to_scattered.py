"""A sum of something and of what was scattered: XLA lets the scattering begin with the something, in place of adding it last.

`scatter_add(a, u) + b` is compiled as `scatter_add(a + b, u)`, which rounds once at the size of b for every term that
meets in an entry.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from jax.extend.core import Literal

from backproplab.harness.error_rules.arithmetic import error_array
from backproplab.harness.error_rules.contractions import scatter_add
from backproplab.harness.error_rules.elementwise import add
from backproplab.harness.error_rules.machine import Bounded, is_float

_SCATTERS = ("scatter-add", "scatter_add")


def added_to_scattered(eqn: Any, made_by: dict) -> tuple[Callable, tuple] | None:
    """For such a sum the rule of its bounds and the variables it reads; None for any other equation.

    made_by: the equation that makes a variable, of the program that `eqn` is in.
    """
    if eqn.primitive.name not in ("add", "add_any") or not is_float(eqn.outvars[0].aval):
        return None
    for place, start in enumerate(eqn.invars):
        scatters = []
        while not isinstance(start, Literal) and (maker := made_by.get(start)) and maker.primitive.name in _SCATTERS:
            scatters.append(maker)
            start = maker.invars[0]
        if scatters:
            reads = (*eqn.invars, start, *[v for maker in scatters for v in maker.invars[1:]])
            return partial(_in_either_order, scatters, 1 - place), reads
    return None


def _in_either_order(scatters, other, eqn, inputs, machine):
    """No further off than the worse of the two orders. other: which operand was not scattered."""
    xp = machine.xp
    (last,) = add(eqn, inputs[:2], machine)
    (first,) = add(eqn, [inputs[2], inputs[other]], machine)
    for k, scatter in reversed(list(enumerate(scatters))):
        (first,) = scatter_add(scatter, [first, *inputs[3 + 2 * k : 5 + 2 * k]], machine)
    return [Bounded(last.value, xp.maximum(error_array(last, xp), error_array(first, xp)))]
