"""Loops that say themselves when they end, and may not: at a point that the harness makes nobody has promised it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun

from backproplab.harness.at_rest import in_place, with_loops
from backproplab.harness.control import split
from backproplab.harness.jitted import jitted
from backproplab.harness.point import Point
from backproplab.harness.strip import holds

_MOST = 20_000  # steps


def ends(p: Point, seed: int) -> bool:
    """Whether all loops of the rule and of its function end, after some thousand steps at most, and all that comes of them are
    numbers."""
    if not holds(("while",), p.pair.by_hand):
        return True
    cpu, inputs = jax.devices("cpu")[0], p.inputs(p.cotangents("random", seed))
    with jax.enable_x64(p.wide), jax.default_device(cpu):
        run = p.once("limited", lambda: jitted(jaxpr_as_fun(with_loops(p.pair.by_hand, _limited)), 0, cpu))
        values = [np.asarray(y) for y in run(*inputs)]
    return not any(np.isnan(y).any() for y in values)


def _limited(eqn: Any) -> Any:
    """A loop that is left after so many steps, its floating numbers then none."""
    return in_place(eqn, lambda *operands: _run(eqn.params, operands)) if eqn.primitive.name == "while" else eqn


def _run(p: dict, operands: tuple) -> list:
    asks, does, carry = split(operands, p["cond_nconsts"], p["body_nconsts"])
    wanted = lambda carry: jaxpr_as_fun(p["cond_jaxpr"])(*asks, *carry)[0]
    goes_on = lambda state: wanted(state[0]) & (state[1] < _MOST)
    step = lambda state: (jaxpr_as_fun(p["body_jaxpr"])(*does, *state[0]), state[1] + 1)
    carry, _ = jax.lax.while_loop(goes_on, step, (carry, 0))
    left = wanted(carry)
    return [jnp.where(left, jnp.nan, x) if jnp.issubdtype(x.dtype, jnp.floating) else x for x in carry]
