"""A function with a switch at every operation: what its gradient would be if one of them did something else.

The program is walked through operation by operation, as JAX would run it, with a number per switch as further inputs.
At 1 a switch changes nothing. Some act on derivatives alone (a path that is not followed, a slope that is taken to be
1), some on the function as well (a mask that is left out, a term, a factor, `<` in place of `<=`).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var

from backproplab.harness import displaced, rearranged
from backproplab.harness.backward import author_frame, is_authors, statement_names
from backproplab.harness.control import scan_sizes
from backproplab.harness.displaced import CUMULATIVE
from backproplab.harness.error_rules import is_float, is_inexact
from backproplab.harness.rounding import body_of
from backproplab.harness.switched import (
    DISPLACED,
    NO_BOUND,
    OFF,
    OPPOSITE,
    OTHER,
    STEPS,
    STRICTER,
    bodies_of,
    carried_by,
    operand_with_slope,
    run_with,
)

_SIGN = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_SLOPES = ("exp", "log", "tanh", "logistic", "sin", "cos", "sqrt", "rsqrt", "square", "integer_pow", "abs", "max", "min", "clamp",
           "log1p", "expm1", "erf", "cbrt")  # fmt: skip
# In which nothing is computed, or all of it.
_MOVES = ("broadcast_in_dim", "reshape", "squeeze", "expand_dims", "convert_element_type", "copy", "_broadcast_to", "closed_call",
          "checkpoint", "remat2")  # fmt: skip


@dataclass(frozen=True)
class Switch:
    """One switch.

    what: what it acts on, for a sentence. settings: numbers other than 1 that it may be set to, each with the sentence
    that then holds of the gradient; none for a path, of which any number may be the factor. named: whether the author
    has a name for it. repeated: whether it stands in the steps of a loop. extreme: whether it is the largest of several.
    """

    key: tuple
    what: str
    settings: tuple[tuple[float, str], ...] = ()
    named: bool = False
    repeated: bool = False
    extreme: bool = False

    @property
    def path(self) -> bool:
        """Whether it is a factor of a derivative."""
        return not self.settings


def with_switches(closed: ClosedJaxpr, active: Sequence[bool], names: Sequence[str]) -> tuple[Callable, list[Switch]]:
    """The program as a function `(inputs, settings) -> outputs`, and its switches, to which the settings belong.

    active: which of the program's inputs are differentiated; names: what they are called.
    """
    known = {v: name for v, name in zip(closed.jaxpr.invars, names)}
    moving = {v for v, is_active in zip(closed.jaxpr.invars, active) if is_active}
    switches = list({switch.key: switch for switch in _switches(closed.jaxpr, moving, known, "")}.values())

    def run(inputs: list, settings: list) -> list:
        settings_of = {switch.key: s for switch, s in zip(switches, settings)}
        return run_with(closed.jaxpr, closed.consts, inputs, settings_of)

    return run, switches


def _switches(jaxpr: Jaxpr, moving: set[Var], names: dict[Any, str], called: str) -> Iterator[Switch]:
    """Of a program that is called at the line `called`; adds to the variables that depend on what is differentiated
    (`moving`), and to the names."""
    uses: Counter[Any] = Counter(v for eqn in jaxpr.eqns for v in eqn.invars if isinstance(v, Var))
    assigned = statement_names(jaxpr.eqns)
    for i, eqn in enumerate(jaxpr.eqns):
        at = _at(eqn, called)
        here = f"`{_operation(eqn)}`{at}"
        touched = [isinstance(v, Var) and v in moving for v in eqn.invars]
        moved = _in_words(eqn.invars[0], names) if _operation(eqn) in _MOVES and eqn.invars else _operation(eqn)
        names |= dict.fromkeys(eqn.outvars, assigned.get(i, moved))
        yield from _inside(eqn, moving, names, at)
        yield from _of_values(eqn, touched, at, names)
        if not any(touched):
            continue
        made = [v for v in eqn.outvars if is_inexact(v.aval)]
        moving.update(made)
        for k, v in enumerate(eqn.invars):
            if touched[k] and uses[v] > 1:
                yield Switch((id(eqn), "into", k), f"{_name(v, names)} into {here}{_side(eqn, k)}")
        if made and _operation(eqn) not in _MOVES:
            result = f"{_name(made[0], names)}{at}"
            yield Switch((id(eqn), "out", 0), result, named=i in assigned, extreme=eqn.primitive.name == "reduce_max")
            if not is_float(made[0].aval):
                conjugated = f"conjugates what comes back through {result}, or does not where it should"
                yield Switch((id(eqn), "conjugate", 0), result, ((OFF, conjugated),))


def _inside(eqn: Any, moving: set[Var], names: dict[Any, str], at: str) -> Iterator[Switch]:
    """Of the programs that an equation runs."""
    for body, outer in bodies_of(eqn):
        inner = body.jaxpr if isinstance(body, ClosedJaxpr) else body
        pairs = list(zip(inner.invars, outer))
        names |= {v: _in_words(u, names) for v, u in pairs if isinstance(u, Literal) or u in names}
        moving |= {v for v, u in pairs if isinstance(u, Var) and u in moving}
        if eqn.primitive.name == "scan":  # what is carried moves as soon as anything does
            if any(v in moving for v in inner.invars):
                moving |= {v for v in carried_by(eqn) if is_inexact(v.aval)}
            yield from _of_carried(eqn, names)
            yield from _of_steps(eqn, moving, names)
        within = _switches(inner, moving, names, "" if is_authors(eqn, inner) else at)
        yield from (replace(s, repeated=s.repeated or eqn.primitive.name == "scan") for s in within)


def _of_carried(scan: Any, names: dict[Any, str]) -> Iterator[Switch]:
    """Slopes at what is carried after a step in place of what it was before."""
    carried = [v for v in carried_by(scan) if is_inexact(v.aval)]
    if carried:
        here = f"`scan`{_at(scan, '')}"
        words = f"takes, for the slopes of a step of {here}, what is carried as it is after the step, not before"
        yield Switch((id(scan), "after", 0), here, ((OFF, words),))
    for eqn in scan.params["jaxpr"].jaxpr.eqns:
        here = f"`{_operation(eqn)}`{_at(eqn, '')}"
        for k, v in enumerate(eqn.invars):
            if isinstance(v, Var) and v in carried and _operation(eqn) not in (*_MOVES, "add", "sub"):
                words = f"takes, for the slope of {here}, {_name(v, names)} as it is after the step, not before"
                yield Switch((id(eqn), "after", k), here, ((OFF, words),))


def _of_steps(scan: Any, moving: set[Var], names: dict[Any, str]) -> Iterator[Switch]:
    """What all steps of a loop use: the derivative of one step alone, or of all but one."""
    here = f"`scan`{_at(scan, '')}"
    constants = scan.params["jaxpr"].jaxpr.invars[: scan_sizes(scan.params)[0]]
    for k, v in enumerate(constants):
        if v in moving and scan.params["length"] > 1:
            alone = f"holds what the {{}} step of {here} makes of {_name(v, names)} alone: the steps overwrite each other where they should add up"
            without = f"leaves out what the {{}} step of {here} makes of {_name(v, names)}"
            sentences = zip(
                STEPS, (alone.format("first"), alone.format("last"), without.format("first"), without.format("last"))
            )
            yield Switch((id(scan), "steps", k), here, tuple(sentences))


def _of_values(eqn: Any, touched: list[bool], at: str, names: dict[Any, str]) -> Iterator[Switch]:
    """Switches that make another function of it, or another derivative of the operation."""
    name, here = eqn.primitive.name, f"`{_operation(eqn)}`{at}"
    switch = lambda setting, sentence, kind, k=0: Switch((id(eqn), kind, k), here, ((setting, sentence),))
    is_that = "is that of a function "
    if name in STRICTER:
        for setting, other in ((OFF, STRICTER[name]), (OTHER, OPPOSITE[name])):
            yield switch(setting, f"{is_that}in which `{_SIGN[name]}`{at} is `{_SIGN[other]}`", f"as {other}")
    if not any(touched):
        return
    if name == "select_n":
        for setting, side in ((OFF, "false"), (OTHER, "true")):
            mask = f"is that of a function whose `where`{at} finds its condition {side} everywhere"
            yield switch(setting, f"{mask}, as far as the slope goes", f"slope {side}")
            yield switch(setting, f"{mask}: a mask is left out, or one too many", f"always {side}")
    elif name in ("add", "sub", "mul", "div"):
        without = "the term" if name in ("add", "sub") else "the factor"
        for k in (0, 1):
            if touched[1 - k] and not (name in ("div", "sub") and k == 0):
                words = f"{is_that}without {without} {_name(eqn.invars[k], names)} in {here}"
                yield switch(OFF, words, "without", k)
    elif name == "gather" and touched[0]:
        for setting, which in ((OFF, "last"), (OTHER, "first")):
            words = f"holds, where an index of {here} is there several times, the {which} contribution alone: they overwrite each other where they should add up"
            yield switch(setting, words, f"{which} alone")
    elif name in NO_BOUND:
        for k, v in enumerate(eqn.invars):
            if NO_BOUND[name][k] and any(touched[:k] + touched[k + 1 :]):
                words = f"{is_that}without the bound {_name(v, names)} in {here}"
                yield switch(OFF, words, "unbounded", k)
    for k, v in enumerate(eqn.invars):
        for change in rearranged.operand(eqn, k):
            words = f"{is_that}in which {_name(v, names)} is {change} before {here}"
            settings = (OFF, words), (OTHER, f"{words}, as far as the slope goes")
            yield Switch((id(eqn), change, k), here, settings)
    for axis in rearranged.shared_axes(eqn):
        words = f"{is_that}whose {here} is averaged over axis {axis} of its result as well"
        settings = (OFF, words), (OTHER, f"{words}, as far as the slope goes")
        yield Switch((id(eqn), "shared", axis), here, settings)
    if name in (*CUMULATIVE, "scan"):
        yield switch(OFF, f"{is_that}whose {here} runs the other way", "reversed")
    for axis in displaced.axes(eqn):
        settings = tuple((s, displaced.words(eqn, axis, by, here)) for s, (by, _) in DISPLACED.items())
        yield Switch((id(eqn), "displaced", axis), here, settings)
    k = operand_with_slope(eqn)
    if (name in _SLOPES or _is_call(eqn)) and touched[k] and _alike(eqn.invars[k], eqn.outvars):
        yield switch(OFF, f"takes the slope of {here} to be 1", "slope one")


def _is_call(eqn: Any) -> bool:
    return "name" in eqn.params and body_of(eqn) is not None


def _alike(v: Any, made: list) -> bool:
    return len(made) == 1 and (v.aval.shape, v.aval.dtype) == (made[0].aval.shape, made[0].aval.dtype)


def _operation(eqn: Any) -> str:
    return eqn.params["name"] if _is_call(eqn) else eqn.primitive.name


def _name(v: Any, names: dict[Any, str]) -> str:
    return f"`{_in_words(v, names)}`"


def _in_words(v: Any, names: dict[Any, str]) -> str:
    return str(np.asarray(v.val)) if isinstance(v, Literal) else names.get(v, "a constant")


def _side(eqn: Any, k: int) -> str:
    """Which operand it is, of those that are the same."""
    return f" as its operand {k}" if sum(v is eqn.invars[k] for v in eqn.invars) > 1 else ""


def _at(eqn: Any, called: str) -> str:
    """The line of an operation in words, or that from which all this is called."""
    frame = None if called else author_frame(eqn)
    return f" ({frame.file_name.rsplit('/', 1)[-1]}:{frame.start_line})" if frame else called
