"""Where a rule keeps a whole number in a type that is too short for it: the number that becomes another, with its line."""

from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from backproplab.harness.backward import author_frame, flat
from backproplab.harness.evaluated import evaluated
from backproplab.harness.point import Point


def wrapped(p: Point, cotangents: list[np.ndarray]) -> str | None:
    """`130 becomes -126 in int8 (rules.py:12)` at this point, unless the function does the like; bodies of loops left out."""
    if p.pair.numerical or _changed(p.stripped, [*p.view.diff, *p.view.rest]):
        return None
    found = _changed(p.pair.by_hand, p.inputs(cotangents))
    if found is None:
        return None
    eqn, was, made = found
    frame = author_frame(eqn)
    line = f" ({frame.file_name.rsplit('/', 1)[-1]}:{frame.start_line})" if frame else ""
    return f"{was} becomes {made} in {eqn.outvars[0].aval.dtype}{line}"


def _changed(program: ClosedJaxpr, inputs: list) -> tuple[Any, int, int] | None:
    """The first cast that changes a whole number, what it was and what it becomes."""
    program = flat(program)
    casts = [eqn for eqn in program.jaxpr.eqns if _shortens(eqn)]
    ends = [v for eqn in casts for v in (eqn.invars[0], eqn.outvars[0])]
    shown = program.replace(jaxpr=program.jaxpr.replace(outvars=ends))
    values = list(map(np.ravel, evaluated(shown, inputs))) if casts else []
    for eqn, was, made in zip(casts, values[::2], values[1::2]):
        for k in np.flatnonzero(was != made)[:1]:
            return eqn, int(was[k]), int(made[k])
    return None


def _shortens(eqn: Any) -> bool:
    """Whether an equation casts whole numbers to a type that does not hold all of them."""
    if eqn.primitive.name != "convert_element_type" or isinstance(eqn.invars[0], Literal):
        return False
    was, made = (v.aval.dtype for v in (eqn.invars[0], eqn.outvars[0]))
    return was.kind in "iu" and made.kind in "iu" and not np.can_cast(was, made)
