"""The numbers that a program compares with, cuts off at or shifts by: where it may go another way."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from backproplab.harness.backward import flat
from backproplab.harness.room import MOVES

_MEETING = {"gt", "lt", "ge", "le", "max", "min", "clamp", "add", "sub"}
_THE_SAME = {"convert_element_type", "broadcast_in_dim", "reshape", "copy"}
_AT, _ABOVE, _BELOW = {"eq", "ne"}, {"gt", "le"}, {"ge", "lt"}  # on which side of a number something else begins
_CUT = {"max", "min", "clamp"}
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


def whole_thresholds(program: ClosedJaxpr, place: int) -> list[int]:
    """Whole numbers at which the program itself says that input number `place` means something else, the first few, each once.

    An id that is left out, the first of those that are padding. Not the 0 that JAX compares an index with, to count from the
    end of an axis.
    """
    program = flat(program)
    jaxpr = program.jaxpr
    known = {v: _whole(c) for v, c in zip(jaxpr.constvars, program.consts)}
    same, shifted, from_end = {jaxpr.invars[place]}, set(), set()
    found: dict[Any, list[int]] = {}
    for eqn in jaxpr.eqns:
        name, given = eqn.primitive.name, eqn.invars
        numbers = [_whole(v.val) if isinstance(v, Literal) else known.get(v) for v in given]
        variables = [v for v in given if not isinstance(v, Literal)]
        ours = not same.isdisjoint(variables)
        number = next((n for n in numbers if n is not None), None)
        if name in _THE_SAME and numbers[0] is not None:
            known[eqn.outvars[0]] = numbers[0]
        elif name == "select_n" and not shifted.isdisjoint(variables):
            from_end.update(variables[:1])
            same.update(eqn.outvars)
        elif ours and number is not None and name in _AT | _ABOVE | _BELOW:
            found[eqn.outvars[0]] = [number + (name in _ABOVE) - (name in _BELOW), number]
        elif ours and name in MOVES | _CUT:
            same.update(eqn.outvars)
        elif ours and name == "add":
            shifted.update(eqn.outvars)
    numbers = (n for outcome, beside in found.items() if outcome not in from_end for n in beside)
    return list(dict.fromkeys(numbers))[:_MOST]


def _whole(value: Any) -> int | None:
    """A single whole number, if it is one."""
    single = np.size(value) == 1 and getattr(value, "dtype", np.dtype(type(value))).kind in "iu"
    return int(np.reshape(value, ())) if single else None


def _number(value: Any) -> float | None:
    """A single floating number, if it is one."""
    single = np.size(value) == 1 and getattr(value, "dtype", np.dtype(type(value))).kind == "f"
    return float(np.reshape(value, ())) if single else None
