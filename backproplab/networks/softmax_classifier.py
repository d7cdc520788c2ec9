"""A classifier: a multi-layer perceptron with rectifiers and a softmax output. Lecture L8, row S15."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from backproplab.case import Case, integers, normal
from backproplab.layers.activations import relu
from backproplab.layers.losses import softmax, softmax_cross_entropy_with_integer_labels
from backproplab.networks import mlp


def init(key: jax.Array, sizes: Sequence[int]) -> mlp.Params:
    """Random parameters; sizes of the input, of each hidden layer, and the number of classes. Raises ValueError."""
    return mlp.init(key, sizes)


def apply(params: mlp.Params, x: jax.Array) -> jax.Array:
    """x (..., inputs) -> the probability of each class (..., classes)."""
    return softmax(mlp.apply(params, x, relu))


def loss(params: mlp.Params, x: jax.Array, target: jax.Array) -> jax.Array:
    """Cross-entropy, averaged over the instances: x (..., inputs), target (...) integer classes -> ().

    Raises ValueError if a shape does not fit.
    """
    logits = mlp.apply(params, x, relu)
    mlp.check_target(target, logits.shape[:-1])
    return jnp.mean(softmax_cross_entropy_with_integer_labels(logits, target))


CASES = (
    Case(apply, (mlp.samplers(5, 6, 3), normal(4, 5))),
    Case(loss, (mlp.samplers(5, 6, 3), normal(4, 5), integers(0, 3, 4))),
)
