"""How large a whole number may be: up to the end of the axis that a program looks it up in, or counts up to it on."""

import math
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from backproplab.harness.astray import indices
from backproplab.harness.backward import flat
from backproplab.harness.error_rules import is_float

MOVES = {"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "copy", "transpose", "rev", "slice", "concatenate",
          "convert_element_type"}  # fmt: skip
_UNSEEN = {"scan", "while", "cond", "pure_callback", "io_callback", "pallas_call"}
_COMPARED = {"lt", "le", "gt", "ge", "eq", "ne"}


def room(program: ClosedJaxpr, place: int) -> float | None:
    """The largest number that input number `place` of the program may hold; infinite for a count that is only computed with.

    None if that cannot be told, as of the length of a loop.
    """
    program = flat(program)
    jaxpr = program.jaxpr
    same = {jaxpr.invars[place]}
    shifted = set()  # with something added to it, as JAX does to count from an end
    counted = {v: float(np.max(c)) for v, c in zip(jaxpr.constvars, program.consts) if _is_whole(c)}
    largest = math.inf
    for eqn in jaxpr.eqns:
        name, given = eqn.primitive.name, [v for v in eqn.invars if not isinstance(v, Literal)]
        ours = [v for v in given if v in same]
        if name == "iota":
            counted[eqn.outvars[0]] = eqn.params["shape"][eqn.params["dimension"]] - 1.0
        elif (name in MOVES or name == "max") and ours:
            same.update(eqn.outvars)
        elif name in ("min", "clamp") and ours:
            continue  # what comes of it is as large as it may be, however large the number
        elif name in MOVES and given and given[0] in counted:
            counted[eqn.outvars[0]] = counted[given[0]]
        elif name == "select_n" and (ours or shifted.intersection(given)):
            if not {*given[1:]} <= same | shifted:
                return None
            same.update(eqn.outvars)
        elif name in _COMPARED and ours:
            others = [v for v in given if v not in same]
            if not all(v in counted for v in others):
                return None
            largest = min([largest, *(counted[v] + (name not in ("eq", "ne")) for v in others)])
        elif places := [(v, most) for v, most in indices(eqn) if v in same]:
            largest = min([largest, *(float(np.min(most)) for _, most in places)])
        elif name in ("add", "sub") and ours and len(given) == 1 and not is_float(eqn.outvars[0].aval):
            shifted.update(eqn.outvars)
        elif shifted.intersection(given) or (ours and (name in _UNSEEN or not all(is_float(v.aval) for v in ours))):
            return None
    return largest


def _is_whole(c: Any) -> bool:
    return getattr(getattr(c, "dtype", None), "kind", "") in ("i", "u") and bool(np.size(c))
