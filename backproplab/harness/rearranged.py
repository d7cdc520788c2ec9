"""An operation on rearranged numbers: an operand the other way round, a result that is shared along one more axis."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from backproplab.harness.error_rules import is_complex

Change = Callable[[Any], Any]


def operand(eqn: Any, k: int) -> dict[str, Change]:
    """What may have been done to an operand, or not where it should, before a product or a convolution: in words."""
    name, v = eqn.primitive.name, eqn.invars[k].aval
    changes: dict[str, Change] = {}
    if name in ("mul", "dot_general") and is_complex(v):
        changes["conjugated"] = jnp.conj
    if name == "dot_general" and v.ndim > 1 and v.shape[-1] == v.shape[-2] > 1:
        changes["transposed"] = lambda x: jnp.swapaxes(x, -1, -2)
    if name == "conv_general_dilated" and k == 1:
        outward, inward, *space = eqn.params["dimension_numbers"].rhs_spec
        if any(v.shape[a] > 1 for a in space):
            changes["flipped along its spatial axes"] = lambda x: jnp.flip(x, space)
        if v.shape[outward] == v.shape[inward] > 1:
            changes["taken with its channels in and out exchanged"] = lambda x: jnp.swapaxes(x, outward, inward)
    return changes


def shared_axes(eqn: Any) -> list[int]:
    """The axes of a sum's result over which a mean might have gone, too."""
    y = eqn.outvars[0].aval
    return [a for a, n in enumerate(y.shape) if n > 1] if eqn.primitive.name == "reduce_sum" else []


def shared(y: Any, axis: int) -> Any:
    """The mean along an axis in place of each entry."""
    return jnp.broadcast_to(jnp.mean(y, axis, keepdims=True), y.shape)
