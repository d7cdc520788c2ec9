"""Control flow in the running error analysis: loops are walked step by step, branches taken, and doubt passed on."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr

from backproplab.harness.error_rules import Bounded
from backproplab.harness.primitives import is_key

# A weight per step of a loop, so that two steps cannot swap their outcomes unnoticed.
_STEP_WEIGHT = 1.6180339887


def scan_sizes(params: dict) -> tuple[int, int]:
    """The number of constants and of carried arrays; from jax 0.12 on they are the lengths of two subtrees."""
    if "ft_in" in params:
        consts, carry, _ = params["ft_in"].unpack()
        return len(consts), len(carry)
    return params["num_consts"], params["num_carry"]


def split(items: Sequence, *sizes: int) -> list:
    """The items cut into runs of the given sizes and a rest."""
    parts, start = [], 0
    for size in sizes:
        parts.append(list(items[start : start + size]))
        start += size
    return [*parts, list(items[start:])]


def _scan(interpreter: Any, eqn, inputs):
    p, xp = eqn.params, interpreter.xp
    num_consts, num_carry = scan_sizes(p)
    consts, carry, xs = split(inputs, num_consts, num_carry)

    def step(state, x):
        carry, branches = state
        outputs, inner = interpreter.inside(p["jaxpr"], [*consts, *carry, *x])
        return (outputs[:num_carry], _STEP_WEIGHT * branches + inner), outputs[num_carry:]

    start = ([interpreter.full(c) for c in carry], xp.zeros(()))
    scan = _numpy_scan if xp is np else jax.lax.scan
    (carry, branches), ys = scan(
        step, start, [interpreter.full(x) for x in xs], length=p["length"], reverse=p["reverse"]
    )
    interpreter.branches = interpreter.branches + branches
    shapes = [v.aval.shape for v in eqn.outvars[num_carry:]]
    return [*carry, *(ys if ys is not None else [Bounded(np.zeros(s), np.zeros(s)) for s in shapes])]


def _numpy_scan(step, state, xs, length, reverse):
    """`jax.lax.scan` over lists of `Bounded`, step by step; no outputs (None) if there is no step."""
    ys = []
    for i in reversed(range(length)) if reverse else range(length):
        state, y = step(state, [Bounded(x.value[i], x.error[i]) for x in xs])
        ys.append(y)
    ys = ys[::-1] if reverse else ys
    stack = lambda items: Bounded(stacked([y.value for y in items]), np.stack([y.error for y in items]))
    return state, [stack(items) for items in zip(*ys)] if ys else None


def stacked(values: Sequence) -> Any:
    """What the steps of a loop hand out, as one array."""
    return jnp.stack(values) if is_key(values[0]) else np.stack(values)


# Steps after which a `while` is given up: a loop that ends in the precision of the device need not end in float64.
MOST_STEPS = 10_000


def _while(interpreter: Any, eqn, inputs):
    """If the loop's condition was ever in doubt, so is everything that leaves the loop."""
    p, xp = eqn.params, interpreter.xp
    cond_consts, body_consts, carry = split(inputs, p["cond_nconsts"], p["body_nconsts"])

    def condition(carry):
        (again,), inner = interpreter.inside(p["cond_jaxpr"], [*cond_consts, *carry])
        return again.value, xp.any(again.error > 0), inner

    def step(state):
        carry, count, unsure, branches = state
        _, now, inner = condition(carry)
        outputs, more = interpreter.inside(p["body_jaxpr"], [*body_consts, *carry])
        return outputs, count + 1, unsure | now, _STEP_WEIGHT * branches + inner + more

    goes_on = lambda state: condition(state[0])[0] & (state[1] < MOST_STEPS)
    state = ([interpreter.full(c) for c in carry], xp.zeros((), np.int32), xp.zeros((), bool), xp.zeros(()))
    if xp is np:
        while goes_on(state):
            state = step(state)
    else:
        state = jax.lax.while_loop(goes_on, step, state)
    carry, count, unsure, branches = state
    interpreter.branches = interpreter.branches + branches
    given_up = count >= MOST_STEPS
    if xp is np and given_up:
        return None  # as an operation without a rule: run by JAX
    unsure = unsure | condition(carry)[1] | given_up
    return [Bounded(c.value, xp.where(unsure, np.inf, c.error)) for c in carry]


def _cond(interpreter: Any, eqn, inputs):
    index, *operands = inputs
    bodies = eqn.params["branches"]
    branches = [lambda operands, body=body: interpreter.inside(body, operands) for body in bodies]
    operands = [interpreter.full(x) for x in operands]
    if interpreter.xp is np:
        outputs, inner = branches[int(np.clip(index.value, 0, len(bodies) - 1))](operands)
    else:
        outputs, inner = jax.lax.switch(jnp.asarray(index.value, jnp.int32), branches, operands)
    interpreter.branches = interpreter.branches + inner
    if index.error is None:
        return outputs
    return [Bounded(out.value, interpreter.xp.where(index.error > 0, np.inf, out.error)) for out in outputs]


def _linear_solve(interpreter: Any, eqn, inputs):
    return interpreter.call(*solver(eqn, inputs))


def solver(eqn: Any, inputs: Sequence) -> tuple[ClosedJaxpr, list]:
    """A solver that carries its own derivative: what runs is the solver, at some of the inputs."""
    p = eqn.params
    start = p["const_lengths"].matvec + p["const_lengths"].vecmat
    consts = inputs[start : start + p["const_lengths"].solve]
    return p["jaxprs"].solve, [*consts, *inputs[sum(p["const_lengths"]) :]]


CONTROL = {"scan": _scan, "while": _while, "cond": _cond, "custom_linear_solve": _linear_solve}
