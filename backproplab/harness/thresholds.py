"""The numbers that a program compares with, cuts off at or shifts by: where it may go another way."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from backproplab.harness.backward import flat

_MEETING = {"gt", "lt", "ge", "le", "max", "min", "clamp", "add", "sub"}
_THE_SAME = {"convert_element_type", "broadcast_in_dim", "reshape", "copy"}
_MOST = 5
_USUAL = (1e-6, 1e6)  # smaller ones keep from dividing by 0, larger ones stand for infinity


def thresholds(programs: Iterable[ClosedJaxpr]) -> list[float]:
    """Sizes of such numbers, the first few, each once. Loops' bodies are not looked into."""
    found: dict[float, None] = {}
    for program in map(flat, programs):
        known = {v: _number(c) for v, c in zip(program.jaxpr.constvars, program.consts)}
        for eqn in program.jaxpr.eqns:
            numbers = [_number(v.val) if isinstance(v, Literal) else known.get(v) for v in eqn.invars]
            if eqn.primitive.name in _THE_SAME:
                known[eqn.outvars[0]] = numbers[0]
            elif eqn.primitive.name in _MEETING:
                found.update((abs(n), None) for n in numbers if n is not None and _USUAL[0] <= abs(n) <= _USUAL[1])
    return list(found)[:_MOST]


def _number(value: Any) -> float | None:
    """A single floating number, if it is one."""
    single = np.size(value) == 1 and getattr(value, "dtype", np.dtype(type(value))).kind == "f"
    return float(np.reshape(value, ())) if single else None
