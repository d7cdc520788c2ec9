"""The multi-layer perceptron: affine layers with an activation between them. Lecture L4, L12 and L16."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from backproplab.case import Case, away_from_zero, normal
from backproplab.layers.activations import relu, sigmoid, tanh
from backproplab.layers.affine import affine
from backproplab.layers.losses import square_error

Params = list[dict[str, jax.Array]]


def init(key: jax.Array, sizes: Sequence[int]) -> Params:
    """Random parameters, in JAX's default float type: per layer w (in, out), of variance 2 / in, and b (out,), zeros.

    sizes: of the input, of each hidden layer and of the output. Raises ValueError for fewer than two, or one below 1.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes must be of the input, hidden layers and output, each 1 or more, not {tuple(sizes)}")
    keys = jax.random.split(key, len(sizes) - 1)
    return [_layer(key, inputs, outputs) for key, inputs, outputs in zip(keys, sizes, sizes[1:])]


def _layer(key, inputs, outputs):
    """He et al. (2015): with this spread a layer of rectifiers keeps the size of what passes through it."""
    return {"w": jax.random.normal(key, (inputs, outputs)) * (2 / inputs) ** 0.5, "b": jnp.zeros(outputs)}


def apply(params: Params, x: jax.Array, activation: Callable = tanh) -> jax.Array:
    """x (..., inputs) -> y (..., outputs). The output layer is affine, without an activation.

    activation: of the hidden layers, elementwise, the same for all. Raises ValueError if the width of x does not fit.
    """
    check_width(x, params[0]["w"].shape[0])
    *hidden, last = params
    for layer in hidden:
        x = activation(affine(x, layer["w"], layer["b"]))
    return affine(x, last["w"], last["b"])


def loss(params: Params, x: jax.Array, target: jax.Array, activation: Callable = tanh) -> jax.Array:
    """Half the squared distance, averaged over the instances: x (..., inputs), target (..., outputs) -> ().

    Raises ValueError if a shape does not fit.
    """
    y = apply(params, x, activation)
    check_target(target, y.shape)
    return jnp.mean(square_error(y, target))


def check_width(x: jax.Array, inputs: int) -> None:
    """Raises ValueError unless x is (..., inputs)."""
    if x.shape[-1:] != (inputs,):
        raise ValueError(f"x must have shape (..., {inputs}), not {x.shape}")


def check_target(target: jax.Array, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless target has the shape: (rows,) against (rows, 1) would broadcast to every pair of rows."""
    if target.shape != shape:
        raise ValueError(f"target must have shape {shape}, not {target.shape}")


def samplers(*sizes: int) -> list[dict]:
    """Parameters for cases."""
    return [{"w": normal(i, o, scale=i**-0.5), "b": normal(o)} for i, o in itertools.pairwise(sizes)]


CASES = (
    Case(apply, (samplers(3, 4, 2), normal(5, 3)), order=2),
    Case(apply, (samplers(3, 2), normal(3)), name="no hidden layer, no batch axis"),
    Case(loss, (samplers(3, 4, 4, 2), normal(5, 3), normal(5, 2)), name="two hidden layers"),
    Case(partial(loss, activation=relu), (samplers(4, 6, 1), away_from_zero(7, 4), normal(7, 1)), name="rectifiers"),
    Case(
        partial(loss, activation=sigmoid),
        (samplers(4, 3, 3, 3, 1), normal(2, 4), normal(2, 1)),
        name="four layers of sigmoids",
    ),
)
