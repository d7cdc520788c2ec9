"""Functions that are taken for one another: a GELU with tanh for the one with erf, a hard sigmoid for the smooth one."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.harness.evaluated import evaluated
from backproplab.harness.point import Point

FUNCTIONS: dict[str, Callable] = {
    "GELU (erf)": lambda x: jax.nn.gelu(x, approximate=False),
    "GELU (tanh)": lambda x: jax.nn.gelu(x, approximate=True),
    "GELU (sigmoid of 1.702 x)": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "SiLU": jax.nn.silu,
    "mish": jax.nn.mish,
    "softplus": jax.nn.softplus,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "ReLU": jax.nn.relu,
    "ReLU6": jax.nn.relu6,
    "leaky ReLU": jax.nn.leaky_relu,
    "ELU": jax.nn.elu,
    "CELU": jax.nn.celu,
    "SELU": jax.nn.selu,
    "hard tanh": jax.nn.hard_tanh,
    "hard sigmoid": jax.nn.hard_sigmoid,
    "hard SiLU": jax.nn.hard_silu,
    "softsign": jax.nn.soft_sign,
    "log-sigmoid": jax.nn.log_sigmoid,
    "logarithm of 1 + x": jnp.log1p,
    "exponential less 1": jnp.expm1,
    "sine": jnp.sin,
    "arctangent": jnp.arctan,
}


def relatives(p: Point, leaf: int, cotangents: list[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """For a function of one output that is as large as the argument: a sentence, and the gradient of which it is true."""
    x, c = p.view.diff[leaf], cotangents[0]
    if len(cotangents) > 1 or c.shape != x.shape or np.iscomplexobj(x) or np.iscomplexobj(c):
        return
    for name, function in FUNCTIONS.items():
        with jax.enable_x64(p.wide):
            program = jax.make_jaxpr(lambda x, c, f=function: jax.vjp(f, x)[1](c.astype(x.dtype))[0])(x, c)
        yield f"is that of {name}", evaluated(program, [x, c])[0]
