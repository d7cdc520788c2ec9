"""What many tests share: a function and its gradients compiled as one program, not operation by operation.

An operation that is called by itself is a program too, and to compile it takes longer than all that the test computes.
Results are arrays of numpy, which are indexed and compared without another program.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


def compiled(f: Callable) -> Callable:
    """`f` as one program in which every operation is rounded to its dtype, as it is where each is called by itself."""
    program = jax.jit(f, compiler_options={"xla_allow_excess_precision": False})
    return lambda *args: jax.tree.map(np.asarray, program(*args))


def grad(f: Callable, argnums: int | tuple[int, ...] = 0) -> Callable:
    """`jax.grad`, compiled."""
    return compiled(jax.grad(f, argnums))


def value_and_grad(f: Callable, argnums: int | tuple[int, ...] = 0) -> Callable:
    """`jax.value_and_grad`, compiled."""
    return compiled(jax.value_and_grad(f, argnums))


def pull(f: Callable) -> Callable:
    """(dy, *args) -> the value of `f` and the gradient of each argument; dy as the value, or one number for all."""

    def value_and_gradients(dy, *args):
        y, pull_back = jax.vjp(f, *args)
        return y, *pull_back(dy if jnp.ndim(dy) else jnp.full_like(y, dy))

    return value_and_gradients


def pulled(f: Callable) -> Callable:
    """`pull`, compiled."""
    return compiled(pull(f))
