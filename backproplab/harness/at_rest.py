"""What a function's loops tend to: its program with more of their steps."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun
from jax.extend.core.primitives import closed_call_p

from backproplab.harness.compare import in_double, largest
from backproplab.harness.control import scan_sizes, split
from backproplab.harness.error_rules import is_float
from backproplab.harness.evaluated import evaluated
from backproplab.harness.opaque import by_differences
from backproplab.harness.point import Point, vjp_of
from backproplab.harness.programs import Pair, pair
from backproplab.harness.strip import holds, is_closed

AT_REST = (
    "the rule is the derivative of what the function's loops tend to: more of their steps change its value a little"
)
_TIMES = 8  # as many steps as before
_MORE = 1_000  # steps at most, of a loop that says itself when it ends


def unrest(p: Point) -> float:
    """How far more steps of its loops move the function's values, as a share of the largest."""
    if not holds(("while", "scan"), p.stripped):
        return 0.0
    inputs = [*p.view.diff, *p.view.rest]
    once, more = ([*map(in_double, evaluated(each, inputs))] for each in (p.stripped, _longer(p, p.stripped)))
    with np.errstate(all="ignore"):
        apart = [float(np.max(np.abs(a - b), initial=0.0)) / (largest([b]) or 1.0) for a, b in zip(once, more)]
    return max(apart, default=0.0)


def brought_to_rest(p: Point) -> Point:
    """`p` with all loops, of the function and of its rule, run until nothing moves, or eight times as long.

    An iteration is cut off where its value will do. A rule that is the derivative of what it tends to (a fixed point, a root) is
    off by about as much from the derivative of the steps taken; it is not wrong.
    """
    programs, kept = p.once("at rest", lambda: (_at_rest(p), {}))
    return replace(p, pair=programs, kept=kept, widened=None)


def _at_rest(p: Point) -> Pair:
    rule, function = (jaxpr_as_fun(_longer(p, program)) for program in (p.pair.by_hand, p.stripped))
    plain = lambda diff, rest: function(*diff, *rest)
    diff, rest = p.view.diff, p.view.rest
    domains = [p.case.domain.get(position) for position in p.view.positions]
    slopes = lambda: by_differences(plain, diff, rest, domains, jax.devices("cpu")[0])
    inputs, oracle = p.inputs(p.cotangents("zeros", 0)), vjp_of(plain, len(diff), len(rest))
    return pair(lambda inputs: rule(*inputs), oracle, inputs, p.wide, p.device, slopes)


def _longer(p: Point, program: ClosedJaxpr) -> ClosedJaxpr:
    with jax.enable_x64(p.wide):
        return longer(program, _TIMES)


def longer(node: Any, times: int) -> Any:
    """A program with so many times the steps in every loop that takes and yields nothing but what it carries; one that says
    itself when it ends goes on until its numbers are the same twice."""
    return with_loops(node, lambda eqn: _longer_loop(eqn, times))


def with_loops(node: Any, change: Callable[[Any], Any]) -> Any:
    """A program with each equation that is a loop changed, at any depth, those inside first."""
    if is_closed(node):
        return node.replace(jaxpr=with_loops(node.jaxpr, change))
    if isinstance(node, Jaxpr):
        eqns = [eqn.replace(params=with_loops(eqn.params, change)) for eqn in node.eqns]
        return node.replace(eqns=[change(eqn) if eqn.primitive.name in ("while", "scan") else eqn for eqn in eqns])
    if type(node) is dict:
        return {name: with_loops(value, change) for name, value in node.items()}
    return type(node)(with_loops(each, change) for each in node) if type(node) in (tuple, list) else node


def in_place(eqn: Any, run: Callable[..., list]) -> Any:
    """An equation that calls `run` with the operands of another one."""
    shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in eqn.invars]
    return eqn.replace(primitive=closed_call_p, params={"call_jaxpr": jax.make_jaxpr(run)(*shapes)})


def _longer_loop(eqn: Any, times: int) -> Any:
    if eqn.primitive.name == "while":
        return in_place(eqn, lambda *operands: _on(eqn, operands))
    consts, carried = scan_sizes(eqn.params)
    iterates = len(eqn.invars) == consts + carried and len(eqn.outvars) == carried
    return eqn.replace(params=eqn.params | {"length": times * eqn.params["length"]}) if iterates else eqn


def _on(eqn: Any, operands: tuple) -> list:
    """The loop, and then its body until the floating numbers that it carries stay the same."""
    _, does, _ = split(operands, eqn.params["cond_nconsts"], eqn.params["body_nconsts"])
    body = lambda carry: jaxpr_as_fun(eqn.params["body_jaxpr"])(*does, *carry)
    ended = eqn.primitive.bind(*operands, **eqn.params)
    differ = lambda one, two: [jnp.any(a != b) for a, b in zip(one, two) if is_float(a)]
    goes_on = lambda state: (state[2] < _MORE) & jnp.any(jnp.array([False, *differ(*state[:2])]))
    step = lambda state: (body(state[0]), state[0], state[2] + 1)
    return jax.lax.while_loop(goes_on, step, (body(ended), ended, 0))[0]
