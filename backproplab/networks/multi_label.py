"""Many yes-or-no answers at once: a multi-layer perceptron with a sigmoid per output. Lecture L9."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from backproplab.case import Case, normal, uniform
from backproplab.layers.activations import relu, sigmoid
from backproplab.layers.losses import sigmoid_binary_cross_entropy
from backproplab.networks import mlp


def init(key: jax.Array, sizes: Sequence[int]) -> mlp.Params:
    """Random parameters; sizes of the input, of each hidden layer, and the number of labels. Raises ValueError."""
    return mlp.init(key, sizes)


def apply(params: mlp.Params, x: jax.Array) -> jax.Array:
    """x (..., inputs) -> the probability of each label (..., labels); they need not sum to 1."""
    return sigmoid(mlp.apply(params, x, relu))


def loss(params: mlp.Params, x: jax.Array, target: jax.Array) -> jax.Array:
    """Binary cross-entropy summed over the labels, averaged over the instances: target (..., labels) in [0, 1] -> ().

    Raises ValueError if a shape does not fit.
    """
    logits = mlp.apply(params, x, relu)
    mlp.check_target(target, logits.shape)
    return jnp.mean(jnp.sum(sigmoid_binary_cross_entropy(logits, target), -1))


CASES = (
    Case(apply, (mlp.samplers(5, 6, 3), normal(4, 5))),
    Case(loss, (mlp.samplers(5, 6, 3), normal(4, 5), uniform(0.0, 1.0, 4, 3))),
)
