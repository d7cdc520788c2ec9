"""A small program run in float64 throughout, by numpy: to compile it would take longer."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun

from backproplab.harness.error_rules import BRANCHING, Bounded, is_float, outcome
from backproplab.harness.primitives import bind
from backproplab.harness.pruning import needed, variables
from backproplab.harness.rounding import body_of
from backproplab.harness.unrolled import UNROLLED


def evaluated(closed: ClosedJaxpr, inputs: Sequence[Any], ways: list[float] | None = None) -> list:
    """The outputs of a program at `inputs`; its casts from one floating type to another are left out.

    ways: takes a number for each comparison that is passed, which tells how it came out.
    """
    with _in_double():
        try:
            return _run(closed, inputs, ways)
        except Exception:  # an operation that wants all of JAX around it
            return list(jaxpr_as_fun(closed)(*inputs))


def with_ways(closed: ClosedJaxpr, inputs: Sequence[Any]) -> tuple[list, list]:
    """The same as `evaluated`, with the numbers that its `ways` takes, for inputs that JAX traces; loops are unrolled."""
    ways: list[Any] = []
    return _run(closed, inputs, ways, jnp), ways


def evaluated_anew(jaxpr: Jaxpr, values: Mapping[Any, Any], changed: Mapping[Any, Any], known: Container[int]) -> list:
    """The outputs of a program of which most is known: all that reads what changed is evaluated.

    values: of all its variables as it was. changed: variables with other values. known: the `id` of each equation that
    it had; one that it has in place of another is evaluated, too.
    """
    differ, anew = set(changed), []
    for eqn in jaxpr.eqns:
        if id(eqn) not in known or not differ.isdisjoint(variables(eqn.invars)):
            anew.append(eqn)
            differ.update(eqn.outvars)
    env = {**values, **changed}
    with _in_double():
        _walk(needed(anew, jaxpr.outvars), env)
        return [_read(v, env) for v in jaxpr.outvars]


@contextmanager
def _in_double() -> Iterator[None]:
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]), np.errstate(all="ignore"):
        yield


def _run(program: ClosedJaxpr | Jaxpr, inputs: Sequence[Any], ways: list | None = None, xp: Any = np) -> list:
    jaxpr, consts = (program.jaxpr, program.consts) if isinstance(program, ClosedJaxpr) else (program, ())
    env: dict[Any, Any] = dict(zip(jaxpr.constvars, consts)) | dict(zip(jaxpr.invars, inputs))
    _walk(jaxpr.eqns, env, ways, xp)
    return [_read(v, env, xp) for v in jaxpr.outvars]


def _walk(equations: Iterable[Any], env: dict[Any, Any], ways: list | None = None, xp: Any = np) -> None:
    """Adds the values of what the equations make."""
    for eqn in equations:
        given = [_read(v, env, xp) for v in eqn.invars]
        name = eqn.primitive.name
        if (body := body_of(eqn)) is not None:
            made = _run(body, given, ways, xp)
        elif name in UNROLLED:
            made = UNROLLED[name](eqn, given, lambda body, inputs: _run(body, inputs, ways))
        elif name == "convert_element_type" and is_float(given[0]) and is_float(eqn.outvars[0].aval):
            made = given
        else:
            made = bind(eqn, given, xp)
            if ways is not None and name in BRANCHING:
                way = outcome(eqn, _exact(given), _exact(made), xp)
                ways.append(float(way) if xp is np else way)
        env.update(zip(eqn.outvars, made))


def _exact(values: Iterable[Any]) -> list[Bounded]:
    return [Bounded(x, None) for x in values]


def _read(v: Any, env: dict[Any, Any], xp: Any = np) -> Any:
    value = v.val if isinstance(v, Literal) else env[v]
    return xp.asarray(value, np.float64) if is_float(value) else value
