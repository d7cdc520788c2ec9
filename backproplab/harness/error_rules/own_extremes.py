"""A number compared with the largest of several, of which it is one: `x == max(x)`, as the derivative of a maximum asks.

However large the errors, the largest is exactly one of them. So the outcome is in doubt only where a second one comes
within reach, and not, as between two numbers that have nothing to do with each other, where they are nearly equal.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jax.extend.core import Literal

from backproplab.harness.error_rules.arithmetic import plus
from backproplab.harness.error_rules.choices import compare, reachable_extreme, within_reach
from backproplab.harness.error_rules.machine import Bounded, is_float
from backproplab.harness.primitives import bind

_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_SPREADING = ("broadcast_in_dim", "reshape", "expand_dims", "squeeze", "stop_gradient", "copy", "copy_p")


def own_extreme(eqn: Any, made_by: dict) -> tuple[Callable, tuple] | None:
    """For such a comparison the rule of its bounds and the variables it reads; None for any other equation.

    made_by: the equation that makes a variable, of the program that `eqn` is in.
    """
    if eqn.primitive.name not in _COMPARISONS or not is_float(eqn.invars[0].aval):
        return None
    for place, (own, other) in ((1, eqn.invars), (0, eqn.invars[::-1])):
        maker = _maker(other, made_by)
        if maker is None:
            continue
        if maker.primitive.name in ("reduce_max", "reduce_min") and maker.invars[0] is own:
            return partial(_with_reduced, maker, place), tuple(eqn.invars)
        if maker.primitive.name in ("max", "min") and any(_same(own, x) for x in maker.invars):
            return _with_larger, (*eqn.invars, *maker.invars)
    return None


def _maker(v: Any, made_by: dict) -> Any:
    """The equation that a variable comes from, but for changes of its shape; None for inputs and literals."""
    while (eqn := _of(v, made_by)) is not None and eqn.primitive.name in _SPREADING:
        v = eqn.invars[0]
    return _of(v, made_by)


def _of(v: Any, made_by: dict) -> Any:
    return None if isinstance(v, Literal) else made_by.get(v)


def _same(a: Any, b: Any) -> bool:
    both = isinstance(a, Literal) and isinstance(b, Literal)
    return np.shape(a.val) == np.shape(b.val) == () and a.val == b.val if both else a is b


def _with_reduced(maker, other, eqn, inputs, machine):
    """In doubt are the entries that could be the extreme one, where there are several.

    other: which operand holds the extremes. If they have been spread along another axis than they are of, as those of a
    square matrix's rows down its columns, they are numbers like any others.
    """
    own, extreme = inputs[1 - other], inputs[other]
    xp = machine.xp
    (general,) = compare(eqn, inputs, machine)
    if own.error is None or general.error is None:
        return [general]
    axes = tuple(maker.params["axes"])
    reachable, _ = reachable_extreme(maker, own, xp)
    several = xp.sum(reachable, axes, keepdims=True) > 1
    doubt = xp.where(reachable & several & (own.error > 0), xp.inf, 0.0)
    found = (xp.max if maker.primitive.name == "reduce_max" else xp.min)(own.value, axes, keepdims=True)
    return [Bounded(general.value, xp.where(xp.all(extreme.value == found), doubt, general.error))]


def _with_larger(eqn, inputs, machine):
    """In doubt where the two are within each other's reach."""
    x, y, one, two = inputs
    (out,) = bind(eqn, [x.value, y.value], machine.xp)
    reach = plus(one.error, two.error)
    if reach is None:
        return [Bounded(out, None)]
    return [Bounded(out, machine.xp.broadcast_to(within_reach(one, two, reach, machine.xp), np.shape(out)))]
