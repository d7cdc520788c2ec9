"""The perceptron: one threshold unit and the rule that trains it without a gradient. Lecture L2, row S16."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.affine import affine
from backproplab.layers.gates import heaviside
from backproplab.layers.gates.heaviside import perceptron_rule
from backproplab.networks.mlp import check_target, check_width

Params = dict[str, jax.Array]


def init(key: jax.Array, inputs: int) -> Params:
    """Zero weights, in JAX's default float type: w (inputs,), b (). The key is not used; it is there as for every network."""
    del key
    return {"w": jnp.zeros(inputs), "b": jnp.zeros(())}


def apply(params: Params, x: jax.Array) -> jax.Array:
    """x (..., inputs) -> y (...), 0 or 1. Its gradient is declared 0: it says nothing about how to change the weights.

    Raises ValueError if the width of x does not fit.
    """
    check_width(x, params["w"].shape[0])
    return heaviside(affine(x, params["w"][:, None], params["b"][None])[..., 0])


def loss(params: Params, x: jax.Array, target: jax.Array) -> jax.Array:
    """The fraction of instances that the unit gets wrong: x (..., inputs), target (...) of 0 and 1 -> ().

    Flat in the parameters: to train, use `epoch`. Raises ValueError if a shape does not fit.
    """
    check_target(target, x.shape[:-1])
    return jnp.mean(jnp.abs(target - apply(params, x)))


@jax.jit
def epoch(params: Params, x: jax.Array, target: jax.Array, learning_rate: float = 1.0) -> Params:
    """The perceptron rule, one instance after the other: x (rows, inputs), target (rows,) -> new params.

    Raises ValueError if a shape does not fit.
    """
    check_width(x, params["w"].shape[0])
    check_target(target, x.shape[:1])

    def step(params, row):
        x, target = row
        w, b = perceptron_rule(params["w"], params["b"], x, target, learning_rate)
        return {"w": w, "b": b}, None

    return jax.lax.scan(step, params, (x, target))[0]


_params = {"b": normal(), "w": normal(3)}
_zeros = ({"b": np.zeros(()), "w": np.zeros(3)}, np.zeros((4, 3)))
_targets = np.array([0.0, 1, 1, 0])

CASES = (
    Case(apply, (_params, normal(4, 3)), by_design=True, expect=_zeros),
    Case(loss, (_params, normal(4, 3), _targets), argnums=(0, 1), by_design=True, expect=_zeros),
)
