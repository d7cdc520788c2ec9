"""A function with a switch at every operation: what its gradient would be if one of them did something else.

The program is walked through operation by operation, as JAX would run it, with a number per switch as further inputs.
At 1 a switch changes nothing. Some act on derivatives alone (a path that is not followed, a slope that is taken to be
1), some on the function as well (a mask that is left out, a term, a factor, `<` in place of `<=`).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var

from backproplab.harness import displaced, rearranged
from backproplab.harness.backward import author_frame, is_authors, statement_names
from backproplab.harness.control import scan_sizes
from backproplab.harness.displaced import CUMULATIVE, occurrence
from backproplab.harness.error_rules import is_float, is_inexact
from backproplab.harness.rounding import body_of

_OFF = 0.0
_OTHER = 2.0  # the second of two things that a switch may do
_STRICTER = {"lt": "le", "le": "lt", "gt": "ge", "ge": "gt"}
_OPPOSITE = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt"}
_SIGN = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_SLOPES = ("exp", "log", "tanh", "logistic", "sin", "cos", "sqrt", "rsqrt", "square", "integer_pow", "abs", "max", "min", "clamp",
           "log1p", "expm1", "erf", "cbrt")  # fmt: skip
_NO_BOUND = {"max": (-jnp.inf, -jnp.inf), "min": (jnp.inf, jnp.inf), "clamp": (-jnp.inf, None, jnp.inf)}  # by operand
_DISPLACED = {_OFF: (-1, False), _OTHER: (1, False), 3.0: (-1, True), 4.0: (1, True)}  # by how much; the value as well
_STEPS = (_OFF, _OTHER, 3.0, 4.0)  # of a loop: the first alone, the last alone, all but the first, all but the last
# In which nothing is computed, or all of it.
_MOVES = ("broadcast_in_dim", "reshape", "squeeze", "expand_dims", "convert_element_type", "copy", "_broadcast_to", "closed_call",
          "checkpoint", "remat2")  # fmt: skip


@dataclass(frozen=True)
class Switch:
    """One switch.

    what: what it acts on, for a sentence. settings: numbers other than 1 that it may be set to, each with the sentence
    that then holds of the gradient; none for a path, of which any number may be the factor. named: whether the author
    has a name for it. repeated: whether it stands in the steps of a loop.
    """

    key: tuple
    what: str
    settings: tuple[tuple[float, str], ...] = ()
    named: bool = False
    repeated: bool = False

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
        return _run(closed.jaxpr, closed.consts, inputs, settings_of)

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
            yield Switch((id(eqn), "out", 0), result, named=i in assigned)
            if not is_float(made[0].aval):
                conjugated = f"conjugates what comes back through {result}, or does not where it should"
                yield Switch((id(eqn), "conjugate", 0), result, ((_OFF, conjugated),))


def _inside(eqn: Any, moving: set[Var], names: dict[Any, str], at: str) -> Iterator[Switch]:
    """Of the programs that an equation runs."""
    for body, outer in _bodies(eqn):
        inner = body.jaxpr if isinstance(body, ClosedJaxpr) else body
        pairs = list(zip(inner.invars, outer))
        names |= {v: _in_words(u, names) for v, u in pairs if isinstance(u, Literal) or u in names}
        moving |= {v for v, u in pairs if isinstance(u, Var) and u in moving}
        if eqn.primitive.name == "scan":  # what is carried moves as soon as anything does
            if any(v in moving for v in inner.invars):
                moving |= {v for v in _carried(eqn) if is_inexact(v.aval)}
            yield from _of_carried(eqn, names)
            yield from _of_steps(eqn, moving, names)
        within = _switches(inner, moving, names, "" if is_authors(eqn, inner) else at)
        yield from (replace(s, repeated=s.repeated or eqn.primitive.name == "scan") for s in within)


def _carried(scan: Any) -> list[Var]:
    """What a step of a loop is handed from the one before."""
    consts, carry = scan_sizes(scan.params)
    return scan.params["jaxpr"].jaxpr.invars[consts : consts + carry]


def _of_carried(scan: Any, names: dict[Any, str]) -> Iterator[Switch]:
    """Slopes at what is carried after a step in place of what it was before."""
    carried = [v for v in _carried(scan) if is_inexact(v.aval)]
    if carried:
        here = f"`scan`{_at(scan, '')}"
        words = f"takes, for the slopes of a step of {here}, what is carried as it is after the step, not before"
        yield Switch((id(scan), "after", 0), here, ((_OFF, words),))
    for eqn in scan.params["jaxpr"].jaxpr.eqns:
        here = f"`{_operation(eqn)}`{_at(eqn, '')}"
        for k, v in enumerate(eqn.invars):
            if isinstance(v, Var) and v in carried and _operation(eqn) not in (*_MOVES, "add", "sub"):
                words = f"takes, for the slope of {here}, {_name(v, names)} as it is after the step, not before"
                yield Switch((id(eqn), "after", k), here, ((_OFF, words),))


def _of_steps(scan: Any, moving: set[Var], names: dict[Any, str]) -> Iterator[Switch]:
    """What all steps of a loop use: the derivative of one step alone, or of all but one."""
    here = f"`scan`{_at(scan, '')}"
    constants = scan.params["jaxpr"].jaxpr.invars[: scan_sizes(scan.params)[0]]
    for k, v in enumerate(constants):
        if v in moving and scan.params["length"] > 1:
            alone = f"holds what the {{}} step of {here} makes of {_name(v, names)} alone: the steps overwrite each other where they should add up"
            without = f"leaves out what the {{}} step of {here} makes of {_name(v, names)}"
            sentences = zip(
                _STEPS, (alone.format("first"), alone.format("last"), without.format("first"), without.format("last"))
            )
            yield Switch((id(scan), "steps", k), here, tuple(sentences))


def _bodies(eqn: Any) -> list[tuple[Any, list]]:
    """The programs that an equation runs, each with the equation's operands that become its inputs."""
    if eqn.primitive.name == "scan":
        return [(eqn.params["jaxpr"], eqn.invars)]
    if eqn.primitive.name == "cond":
        return [(body, eqn.invars[1:]) for body in eqn.params["branches"]]
    # the derivative that a custom_jvp declares is part of what autodiff means
    body = None if eqn.primitive.name == "custom_jvp_call" else body_of(eqn)
    return [] if body is None else [(body, eqn.invars)]


def _of_values(eqn: Any, touched: list[bool], at: str, names: dict[Any, str]) -> Iterator[Switch]:
    """Switches that make another function of it, or another derivative of the operation."""
    name, here = eqn.primitive.name, f"`{_operation(eqn)}`{at}"
    switch = lambda setting, sentence, kind, k=0: Switch((id(eqn), kind, k), here, ((setting, sentence),))
    is_that = "is that of a function "
    if name in _STRICTER:
        for setting, other in ((_OFF, _STRICTER[name]), (_OTHER, _OPPOSITE[name])):
            yield switch(setting, f"{is_that}in which `{_SIGN[name]}`{at} is `{_SIGN[other]}`", f"as {other}")
    if not any(touched):
        return
    if name == "select_n":
        for setting, side in ((_OFF, "false"), (_OTHER, "true")):
            mask = f"is that of a function whose `where`{at} finds its condition {side} everywhere"
            yield switch(setting, f"{mask}, as far as the slope goes", f"slope {side}")
            yield switch(setting, f"{mask}: a mask is left out, or one too many", f"always {side}")
    elif name in ("add", "sub", "mul", "div"):
        without = "the term" if name in ("add", "sub") else "the factor"
        for k in (0, 1):
            if touched[1 - k] and not (name in ("div", "sub") and k == 0):
                words = f"{is_that}without {without} {_name(eqn.invars[k], names)} in {here}"
                yield switch(_OFF, words, "without", k)
    elif name == "gather" and touched[0]:
        for setting, which in ((_OFF, "last"), (_OTHER, "first")):
            words = f"holds, where an index of {here} is there several times, the {which} contribution alone: they overwrite each other where they should add up"
            yield switch(setting, words, f"{which} alone")
    elif name in _NO_BOUND:
        for k, v in enumerate(eqn.invars):
            if _NO_BOUND[name][k] and any(touched[:k] + touched[k + 1 :]):
                words = f"{is_that}without the bound {_name(v, names)} in {here}"
                yield switch(_OFF, words, "unbounded", k)
    for k, v in enumerate(eqn.invars):
        for change in rearranged.operand(eqn, k):
            words = f"{is_that}in which {_name(v, names)} is {change} before {here}"
            settings = (_OFF, words), (_OTHER, f"{words}, as far as the slope goes")
            yield Switch((id(eqn), change, k), here, settings)
    for axis in rearranged.shared_axes(eqn):
        words = f"{is_that}whose {here} is averaged over axis {axis} of its result as well"
        settings = (_OFF, words), (_OTHER, f"{words}, as far as the slope goes")
        yield Switch((id(eqn), "shared", axis), here, settings)
    if name in (*CUMULATIVE, "scan"):
        yield switch(_OFF, f"{is_that}whose {here} runs the other way", "reversed")
    for axis in displaced.axes(eqn):
        settings = tuple((s, displaced.words(eqn, axis, by, here)) for s, (by, _) in _DISPLACED.items())
        yield Switch((id(eqn), "displaced", axis), here, settings)
    k = _operand_with_slope(eqn)
    if (name in _SLOPES or _is_call(eqn)) and touched[k] and _alike(eqn.invars[k], eqn.outvars):
        yield switch(_OFF, f"takes the slope of {here} to be 1", "slope one")


def _is_call(eqn: Any) -> bool:
    return "name" in eqn.params and body_of(eqn) is not None


def _alike(v: Any, made: list) -> bool:
    return len(made) == 1 and (v.aval.shape, v.aval.dtype) == (made[0].aval.shape, made[0].aval.dtype)


def _operation(eqn: Any) -> str:
    return eqn.params["name"] if _is_call(eqn) else eqn.primitive.name


def _operand_with_slope(eqn: Any) -> int:
    """Which operand an elementwise function is a function of: of `max(0, x)`, the second."""
    if eqn.primitive.name == "clamp":
        return 1
    return next((k for k, v in enumerate(eqn.invars) if not isinstance(v, Literal)), 0)


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


def _run(jaxpr: Jaxpr, consts: Sequence, inputs: Sequence, switches: dict[tuple, Any], after: Any = None) -> list:
    """The program's outputs; `switches`: their settings by their keys; `after`: what a step makes of what is carried."""
    env: dict[Any, Any] = dict(zip(jaxpr.constvars, consts)) | dict(zip(jaxpr.invars, inputs))
    read = lambda v: v.val if isinstance(v, Literal) else env[v]
    for eqn in jaxpr.eqns:
        find = lambda kind, k=0, eqn=eqn: switches.get((id(eqn), kind, k))
        given = [_switched(eqn, k, read(v), find) for k, v in enumerate(eqn.invars)]
        made = _made(eqn, given, switches)
        made = [made] if not isinstance(made, (list, tuple)) else list(made)
        for k, v in enumerate(eqn.invars) if after else ():
            if (s := find("after", k)) is not None:
                others = _made(eqn, [*given[:k], _moved_to(given[k], after[v]), *given[k + 1 :]], switches)
                others = [others] if not isinstance(others, (list, tuple)) else others
                made = [_as_of(y, other, jnp.asarray(s == _OFF, float)) for y, other in zip(made, others)]
        made = [_turned(eqn, given, y, find) for y in made]
        if (s := find("out")) is not None:
            made = [thinned(y, s) if is_inexact(v.aval) else y for y, v in zip(made, eqn.outvars)]
        if (s := find("conjugate")) is not None:
            made = [_conjugated(y, s) for y in made]
        env.update(zip(eqn.outvars, made))
    return [read(v) for v in jaxpr.outvars]


def _switched(eqn: Any, k: int, x: Any, find: Callable) -> Any:
    """An operand, on its way into an operation."""
    if (s := find("into", k)) is not None:
        x = thinned(x, s)
    if (s := find("without", k)) is not None:
        x = jnp.where(s == _OFF, jnp.asarray(eqn.primitive.name in ("mul", "div"), jnp.result_type(x)), x)
    if (s := find("unbounded", k)) is not None:
        x = jnp.where(s == _OFF, jnp.asarray(_NO_BOUND[eqn.primitive.name][k], x.dtype), x)
    return x


def _made(eqn: Any, given: list, switches: dict[tuple, Any]) -> Any:
    """What an operation makes, switches within it included."""
    if not _bodies(eqn):
        return eqn.primitive.bind(*given, **eqn.primitive.get_bind_params(eqn.params))
    inside = lambda body, inputs, after=None: _run(
        body.jaxpr if isinstance(body, ClosedJaxpr) else body, getattr(body, "consts", ()), inputs, switches, after
    )
    if eqn.primitive.name == "cond":
        branches = [lambda *operands, body=body: inside(body, operands) for body in eqn.params["branches"]]
        return jax.lax.switch(given[0], branches, *given[1:])
    if eqn.primitive.name != "scan":
        return inside(_bodies(eqn)[0][0], given)
    consts, carry = scan_sizes(eqn.params)
    split = consts + carry
    s = switches.get((id(eqn), "reversed", 0))
    flipped = lambda xs: xs if s is None else [jnp.where(s == _OFF, jnp.flip(x, 0), x) for x in xs]

    def step(carried, xs):
        number, *held = carried
        used = [_in_steps(x, number, eqn, switches.get((id(eqn), "steps", k))) for k, x in enumerate(given[:consts])]
        body, of_step = eqn.params["jaxpr"], lambda held: [*used, *held, *xs]
        after = inside(body, of_step(held))[:carry]
        made = inside(body, of_step(held), dict(zip(_carried(eqn), after)))
        if (s := switches.get((id(eqn), "after", 0))) is not None:
            others = inside(body, of_step([_moved_to(h, a) for h, a in zip(held, after)]))
            made = [_as_of(y, other, jnp.asarray(s == _OFF, float)) for y, other in zip(made, others)]
        return [number + 1, *made[:carry]], made[carry:]

    options = {name: eqn.params[name] for name in ("length", "reverse")}
    (_, *last), ys = jax.lax.scan(step, [0, *given[consts:split]], flipped(given[split:]), **options)
    return [*last, *flipped(ys)]


def _in_steps(x: Any, number: Any, scan: Any, s: Any) -> Any:
    """What a step uses, of which not all steps count if a switch says so; `number`: of the step, as they are run."""
    if s is None:
        return x
    first, last = number == 0, number == scan.params["length"] - 1
    counts = [s == 1, *(s == setting for setting in _STEPS)]
    return thinned(x, jnp.select(counts, [1.0, first * 1.0, last * 1.0, 1.0 - first, 1.0 - last], 1.0))


def _turned(eqn: Any, given: list, y: Any, find: Callable) -> Any:
    """A result, on its way out of an operation that may have done something else."""
    name = eqn.primitive.name
    if name in _STRICTER and (s := find(f"as {_STRICTER[name]}")) is not None:
        y = jnp.where(s == _OFF, getattr(jax.lax, _STRICTER[name])(*given), y)
        return jnp.where(find(f"as {_OPPOSITE[name]}") == _OTHER, ~y, y)
    if name in CUMULATIVE and (s := find("reversed")) is not None:
        other = eqn.primitive.bind(*given, **eqn.params | {"reverse": not eqn.params["reverse"]})
        y = jnp.where(s == _OFF, other, y)
    for k in range(len(given)):
        for words, change in rearranged.operand(eqn, k).items():
            if (s := find(words, k)) is not None:
                changed = [*given[:k], change(given[k]), *given[k + 1 :]]
                y = _instead(y, eqn.primitive.bind(*changed, **eqn.primitive.get_bind_params(eqn.params)), s)
    for axis in rearranged.shared_axes(eqn):
        if (s := find("shared", axis)) is not None:
            y = _instead(y, rearranged.shared(y, axis), s)
    if name == "gather":
        for which in ("last", "first"):
            if (s := find(f"{which} alone")) is not None:
                y = thinned(y, jnp.where(s == 1, 1.0, occurrence(eqn, given[1], which == "last")))
    for axis in displaced.axes(eqn):
        if (s := find("displaced", axis)) is not None:
            for setting, (by, wholly) in _DISPLACED.items():
                if (other := displaced.displaced(eqn, given, axis, by)) is not None:
                    on = jnp.asarray(s == setting, float)
                    y = jnp.where(on == 1, other, y) if wholly else _as_of(y, other, on)
    if name == "select_n" and find("always false") is not None:
        which, *cases = given
        always = _forced(jnp.asarray(which, jnp.int32), "always", find)
        return _as_of(jax.lax.select_n(always, *cases), jax.lax.select_n(_forced(always, "slope", find), *cases), 1.0)
    if (s := find("slope one")) is not None:
        return _as_of(y, given[_operand_with_slope(eqn)], jnp.asarray(s == _OFF, float))
    return y


def _instead(y: Any, other: Any, s: Any) -> Any:
    """`other` if the switch is off; `y` with the slope of `other` if it is at the second setting."""
    return _as_of(jnp.where(s == _OFF, other, y), other, jnp.asarray(s == _OTHER, float))


def _moved_to(x: Any, other: Any) -> Any:
    """The value of `other` with the derivative of `x`."""
    return x + jax.lax.stop_gradient(other - x) if is_inexact(x) else other


def _forced(index: Any, kind: str, find: Callable) -> Any:
    """Which case a selection takes, every entry the same if a switch says so."""
    return jnp.where(find(f"{kind} false") == _OFF, 0, jnp.where(find(f"{kind} true") == _OTHER, 1, index))


@jax.custom_jvp
def thinned(x: Any, factor: Any) -> Any:
    """`x`, whose derivative counts `factor` times."""
    return x


@thinned.defjvp
def _thinned_jvp(primals, tangents):
    x, factor = primals
    return x, (factor * tangents[0]).astype(x.dtype)


@jax.custom_jvp
def _conjugated(x: Any, setting: Any) -> Any:
    """`x`, whose derivative is conjugated if the switch is off."""
    return x


@_conjugated.defjvp
def _conjugated_jvp(primals, tangents):
    x, setting = primals
    return x, jnp.where(setting == _OFF, jnp.conj(tangents[0]), tangents[0])


@jax.custom_jvp
def _as_of(y: Any, other: Any, share: Any) -> Any:
    """`y`, whose derivative is that of `other` if `share` is 1, its own if it is 0."""
    return y


@_as_of.defjvp
def _as_of_jvp(primals, tangents):
    y, _, share = primals
    dy, dother, _ = tangents
    return y, jnp.where(share == 1, dother, dy)
