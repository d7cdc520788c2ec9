"""The dtype that rules compute in: float32 or wider, whatever their arguments are stored in."""

from typing import Any

import jax
import jax.numpy as jnp


def widened(x: Any) -> jax.Array:
    """x as an array of float32 or wider: 16-bit floats, integers and Python numbers become float32."""
    return jnp.asarray(x, wide_dtype(x))


def widened_beside(x: Any, other: Any) -> jax.Array:
    """x as an array of the dtype of `widened(other)`, or of its own if that is wider: a whole number gets all its digits."""
    return jnp.asarray(x, jnp.promote_types(wide_dtype(other), jnp.result_type(x)))


def wide_dtype(x: Any) -> Any:
    """What `widened` makes of x."""
    return jnp.promote_types(jnp.result_type(x), jnp.float32)


def floating_dtype(x: Any) -> Any:
    """The dtype of what a layer makes of x: x's own, or JAX's default for integers and Python numbers."""
    return jnp.result_type(x, float)
