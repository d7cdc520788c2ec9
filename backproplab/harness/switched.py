"""A program run with numbers as switches among its inputs: at 1 they change nothing, else an operation does something else.

`switches` says which there are and what each setting means in words.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var

from backproplab.harness import displaced, rearranged
from backproplab.harness.control import scan_sizes
from backproplab.harness.displaced import CUMULATIVE, occurrence
from backproplab.harness.error_rules import is_inexact
from backproplab.harness.rounding import body_of

OFF = 0.0
OTHER = 2.0  # the second of two things that a switch may do
STRICTER = {"lt": "le", "le": "lt", "gt": "ge", "ge": "gt"}
OPPOSITE = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt"}
NO_BOUND = {"max": (-jnp.inf, -jnp.inf), "min": (jnp.inf, jnp.inf), "clamp": (-jnp.inf, None, jnp.inf)}  # by operand
DISPLACED = {OFF: (-1, False), OTHER: (1, False), 3.0: (-1, True), 4.0: (1, True)}  # by how much; the value as well
STEPS = (OFF, OTHER, 3.0, 4.0)  # of a loop: the first alone, the last alone, all but the first, all but the last


def run_with(jaxpr: Jaxpr, consts: Sequence, inputs: Sequence, switches: dict[tuple, Any], after: Any = None) -> list:
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
                made = [_as_of(y, other, jnp.asarray(s == OFF, float)) for y, other in zip(made, others)]
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
        x = jnp.where(s == OFF, jnp.asarray(eqn.primitive.name in ("mul", "div"), jnp.result_type(x)), x)
    if (s := find("unbounded", k)) is not None:
        x = jnp.where(s == OFF, jnp.asarray(NO_BOUND[eqn.primitive.name][k], x.dtype), x)
    return x


def _made(eqn: Any, given: list, switches: dict[tuple, Any]) -> Any:
    """What an operation makes, switches within it included."""
    if not bodies_of(eqn):
        return eqn.primitive.bind(*given, **eqn.primitive.get_bind_params(eqn.params))
    inside = lambda body, inputs, after=None: run_with(
        body.jaxpr if isinstance(body, ClosedJaxpr) else body, getattr(body, "consts", ()), inputs, switches, after
    )
    if eqn.primitive.name == "cond":
        branches = [lambda *operands, body=body: inside(body, operands) for body in eqn.params["branches"]]
        return jax.lax.switch(given[0], branches, *given[1:])
    if eqn.primitive.name != "scan":
        return inside(bodies_of(eqn)[0][0], given)
    consts, carry = scan_sizes(eqn.params)
    split = consts + carry
    s = switches.get((id(eqn), "reversed", 0))
    flipped = lambda xs: xs if s is None else [jnp.where(s == OFF, jnp.flip(x, 0), x) for x in xs]

    def step(carried, xs):
        number, *held = carried
        used = [_in_steps(x, number, eqn, switches.get((id(eqn), "steps", k))) for k, x in enumerate(given[:consts])]
        body, of_step = eqn.params["jaxpr"], lambda held: [*used, *held, *xs]
        after = inside(body, of_step(held))[:carry]
        made = inside(body, of_step(held), dict(zip(carried_by(eqn), after)))
        if (s := switches.get((id(eqn), "after", 0))) is not None:
            others = inside(body, of_step([_moved_to(h, a) for h, a in zip(held, after)]))
            made = [_as_of(y, other, jnp.asarray(s == OFF, float)) for y, other in zip(made, others)]
        return [number + 1, *made[:carry]], made[carry:]

    options = {name: eqn.params[name] for name in ("length", "reverse")}
    (_, *last), ys = jax.lax.scan(step, [0, *given[consts:split]], flipped(given[split:]), **options)
    return [*last, *flipped(ys)]


def _in_steps(x: Any, number: Any, scan: Any, s: Any) -> Any:
    """What a step uses, of which not all steps count if a switch says so; `number`: of the step, as they are run."""
    if s is None:
        return x
    first, last = number == 0, number == scan.params["length"] - 1
    counts = [s == 1, *(s == setting for setting in STEPS)]
    return thinned(x, jnp.select(counts, [1.0, first * 1.0, last * 1.0, 1.0 - first, 1.0 - last], 1.0))


def _turned(eqn: Any, given: list, y: Any, find: Callable) -> Any:
    """A result, on its way out of an operation that may have done something else."""
    name = eqn.primitive.name
    if name in STRICTER and (s := find(f"as {STRICTER[name]}")) is not None:
        y = jnp.where(s == OFF, getattr(jax.lax, STRICTER[name])(*given), y)
        return jnp.where(find(f"as {OPPOSITE[name]}") == OTHER, ~y, y)
    if name in CUMULATIVE and (s := find("reversed")) is not None:
        other = eqn.primitive.bind(*given, **eqn.params | {"reverse": not eqn.params["reverse"]})
        y = jnp.where(s == OFF, other, y)
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
            for setting, (by, wholly) in DISPLACED.items():
                if (other := displaced.displaced(eqn, given, axis, by)) is not None:
                    on = jnp.asarray(s == setting, float)
                    y = jnp.where(on == 1, other, y) if wholly else _as_of(y, other, on)
    if name == "select_n" and find("always false") is not None:
        which, *cases = given
        always = _forced(jnp.asarray(which, jnp.int32), "always", find)
        return _as_of(jax.lax.select_n(always, *cases), jax.lax.select_n(_forced(always, "slope", find), *cases), 1.0)
    if (s := find("slope one")) is not None:
        return _as_of(y, given[operand_with_slope(eqn)], jnp.asarray(s == OFF, float))
    return y


def _instead(y: Any, other: Any, s: Any) -> Any:
    """`other` if the switch is off; `y` with the slope of `other` if it is at the second setting."""
    return _as_of(jnp.where(s == OFF, other, y), other, jnp.asarray(s == OTHER, float))


def _moved_to(x: Any, other: Any) -> Any:
    """The value of `other` with the derivative of `x`."""
    return x + jax.lax.stop_gradient(other - x) if is_inexact(x) else other


def _forced(index: Any, kind: str, find: Callable) -> Any:
    """Which case a selection takes, every entry the same if a switch says so."""
    return jnp.where(find(f"{kind} false") == OFF, 0, jnp.where(find(f"{kind} true") == OTHER, 1, index))


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
    return x, jnp.where(setting == OFF, jnp.conj(tangents[0]), tangents[0])


@jax.custom_jvp
def _as_of(y: Any, other: Any, share: Any) -> Any:
    """`y`, whose derivative is that of `other` if `share` is 1, its own if it is 0."""
    return y


@_as_of.defjvp
def _as_of_jvp(primals, tangents):
    y, _, share = primals
    dy, dother, _ = tangents
    return y, jnp.where(share == 1, dother, dy)


def carried_by(scan: Any) -> list[Var]:
    """What a step of a loop is handed from the one before."""
    consts, carry = scan_sizes(scan.params)
    return scan.params["jaxpr"].jaxpr.invars[consts : consts + carry]


def bodies_of(eqn: Any) -> list[tuple[Any, list]]:
    """The programs that an equation runs, each with the equation's operands that become its inputs."""
    if eqn.primitive.name == "scan":
        return [(eqn.params["jaxpr"], eqn.invars)]
    if eqn.primitive.name == "cond":
        return [(body, eqn.invars[1:]) for body in eqn.params["branches"]]
    # the derivative that a custom_jvp declares is part of what autodiff means
    body = None if eqn.primitive.name == "custom_jvp_call" else body_of(eqn)
    return [] if body is None else [(body, eqn.invars)]


def operand_with_slope(eqn: Any) -> int:
    """Which operand an elementwise function is a function of: of `max(0, x)`, the second."""
    if eqn.primitive.name == "clamp":
        return 1
    return next((k for k, v in enumerate(eqn.invars) if not isinstance(v, Literal)), 0)
