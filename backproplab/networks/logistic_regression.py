"""Logistic regression: one sigmoid unit, P(class 1 given x). Lecture L3 and row S17."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.affine import affine
from backproplab.layers.gates import sigmoid_neuron
from backproplab.layers.losses import sigmoid_binary_cross_entropy
from backproplab.networks.mlp import check_target, check_width

Params = dict[str, jax.Array]


def init(key: jax.Array, inputs: int) -> Params:
    """Zero weights, in JAX's default float type: w (inputs,), b ().

    The problem is convex, so the start decides nothing and the key is not used.
    """
    del key
    return {"w": jnp.zeros(inputs), "b": jnp.zeros(())}


def apply(params: Params, x: jax.Array) -> jax.Array:
    """x (..., inputs) -> the probability of class 1 (...). Raises ValueError if the width of x does not fit."""
    check_width(x, params["w"].shape[0])
    return sigmoid_neuron(x, params["w"], params["b"])


def loss(params: Params, x: jax.Array, target: jax.Array) -> jax.Array:
    """Binary cross-entropy, averaged over the instances: x (..., inputs), target (...) in [0, 1] -> ().

    Computed from the logit, so that an instance that is far on the wrong side still has a gradient. Raises ValueError if
    a shape does not fit.
    """
    check_width(x, params["w"].shape[0])
    check_target(target, x.shape[:-1])
    logits = affine(x, params["w"][:, None], params["b"][None])[..., 0]
    return jnp.mean(sigmoid_binary_cross_entropy(logits, target))


# the truth table of AND, with zero weights: loss log 2, gradient (0, 0, 1/4)
_and = (np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0.0, 0, 0, 1]))

CASES = (
    Case(apply, ({"b": normal(), "w": normal(3)}, normal(4, 3)), order=2),
    Case(loss, ({"b": normal(), "w": normal(3)}, normal(6, 3), np.array([0.0, 1, 1, 0, 1, 0]))),
    Case(
        loss,
        ({"b": np.zeros(()), "w": np.zeros(2)}, *_and),
        name="AND from zero weights",
        argnums=(0,),
        expect=({"b": np.asarray(0.25), "w": np.zeros(2)},),
    ),
)
