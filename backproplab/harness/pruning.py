"""The part of a program that its outputs need."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from backproplab.harness.control import scan_sizes

# Where loops and branches keep the bodies that may be edited.
BODIES = {"scan": "jaxpr", "while": "body_jaxpr", "cond": "branches"}


def pruned(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Without the equations that no output needs."""
    jaxpr = closed.jaxpr
    return ClosedJaxpr(jaxpr.replace(eqns=needed(jaxpr.eqns, jaxpr.outvars)), closed.consts)


def needed(equations: Sequence, outputs: Iterable) -> list:
    """Those of the equations that the outputs depend on."""
    asked = set(variables(outputs))
    kept = []
    for eqn in reversed(equations):
        if not asked.isdisjoint(eqn.outvars):
            kept.append(eqn)
            asked.update(variables(eqn.invars))
    return kept[::-1]


def needed_at_any_depth(jaxpr: Jaxpr, outputs: Iterable) -> Iterator[Any]:
    """The equations that the outputs depend on, those in the bodies of loops and branches included."""
    asked = set(variables(outputs))
    for eqn in reversed(jaxpr.eqns):
        wanted = {k for k, v in enumerate(eqn.outvars) if v in asked}
        if wanted:
            yield eqn
            asked.update(variables(eqn.invars))
            for body in bodies(eqn):
                yield from needed_at_any_depth(body.jaxpr, _made_for(eqn, body.jaxpr, wanted))


def bodies(eqn: Any) -> tuple[ClosedJaxpr, ...]:
    """Of a loop or a branch: the programs that it runs, but for what asks whether to go on."""
    value = eqn.params[BODIES[eqn.primitive.name]] if eqn.primitive.name in BODIES else ()
    return value if isinstance(value, tuple) else (value,)


def with_bodies(eqn: Any, changed: Sequence[ClosedJaxpr]) -> Any:
    """The equation with others in place of its `bodies`."""
    if not changed:
        return eqn
    name = BODIES[eqn.primitive.name]
    return eqn.replace(
        params=eqn.params | {name: tuple(changed) if isinstance(eqn.params[name], tuple) else changed[0]}
    )


def _made_for(eqn: Any, body: Jaxpr, wanted: set[int]) -> list:
    """What a body makes that the `wanted` results of its equation depend on: of a loop, from any step on."""
    if eqn.primitive.name == "while":
        return body.outvars
    if eqn.primitive.name == "cond":
        return [body.outvars[k] for k in wanted]
    consts, carry = scan_sizes(eqn.params)
    while True:
        made = [body.outvars[k] for k in sorted(wanted)]
        used = set(variables(made)).union(*(variables(e.invars) for e in needed(body.eqns, made)))
        more = {k for k in range(carry) if body.invars[consts + k] in used} - wanted
        if not more:
            return made
        wanted = wanted | more


def variables(atoms: Iterable) -> list:
    """Without the literals."""
    return [v for v in atoms if not isinstance(v, Literal)]
