"""The part of a program that its outputs need."""

from collections.abc import Iterable, Sequence

from jax.extend.core import ClosedJaxpr, Literal


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


def variables(atoms: Iterable) -> list:
    """Without the literals."""
    return [v for v in atoms if not isinstance(v, Literal)]
