"""A classifier of sequences: an LSTM reads them, and its last state goes to a softmax output.

Lecture L16: it is a composition like any other. Sequences of different lengths share an array, filled up with anything.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, integers, normal
from backproplab.layers.affine import affine
from backproplab.layers.losses import softmax, softmax_cross_entropy_with_integer_labels
from backproplab.layers.recurrence import lstm
from backproplab.networks.mlp import check_target

Params = dict[str, dict[str, jax.Array]]


def init(key: jax.Array, inputs: int, units: int = 32, classes: int = 10) -> Params:
    """Random parameters, in JAX's default float type.

    lstm: w (inputs, 4 units) of variance 1 / inputs, u (units, 4 units) of variance 1 / units, b (4 units,) zeros, but ones for
    the forget gates, so that the memory lasts from the start (Jozefowicz et al., 2015); output: w (units, classes) of
    variance 1 / units, b (classes,) zeros. Raises ValueError for counts below 1.
    """
    if min(inputs, units, classes) < 1:
        raise ValueError(f"inputs, units and classes must be 1 or more, not {inputs}, {units} and {classes}")
    first, second, last = jax.random.split(key, 3)
    return {
        "lstm": {
            "w": jax.random.normal(first, (inputs, 4 * units)) / math.sqrt(inputs),
            "u": jax.random.normal(second, (units, 4 * units)) / math.sqrt(units),
            "b": jnp.zeros(4 * units).at[units : 2 * units].set(1),  # gates i, f, g, o
        },
        "output": {"w": jax.random.normal(last, (units, classes)) / math.sqrt(units), "b": jnp.zeros(classes)},
    }


def _logits(params, x, lengths):
    inputs = params["lstm"]["w"].shape[0]
    if x.ndim < 2 or x.shape[-1] != inputs or not x.shape[-2]:
        raise ValueError(f"x must be (..., time, {inputs}) with at least one step, not {x.shape}")
    if lengths is not None and jnp.shape(lengths) != x.shape[:-2]:
        raise ValueError(f"lengths must have shape {x.shape[:-2]}, not {jnp.shape(lengths)}")
    outputs: Any = lstm(x, params["lstm"]["w"], params["lstm"]["u"], params["lstm"]["b"], lengths)
    last = outputs[0][..., -1, :]  # beyond its length a sequence's state stays as it was
    return affine(last, params["output"]["w"], params["output"]["b"])


def apply(params: Params, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
    """x (..., time, inputs), lengths (...) integers, the steps that are real (None: all) -> probabilities (..., classes).

    Raises ValueError if a shape does not fit.
    """
    return softmax(_logits(params, x, lengths))


def loss(params: Params, x: jax.Array, target: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
    """Cross-entropy, averaged over the sequences: x (..., time, inputs), target (...) integer classes, lengths (...) -> ().

    Raises ValueError if a shape does not fit.
    """
    logits = _logits(params, x, lengths)
    check_target(target, logits.shape[:-1])
    return jnp.mean(softmax_cross_entropy_with_integer_labels(logits, target))


_params = {
    "lstm": {"w": normal(3, 8), "u": normal(2, 8), "b": normal(8)},
    "output": {"w": normal(2, 4), "b": normal(4)},
}
CASES = (
    Case(apply, (_params, normal(3, 5, 3))),
    Case(loss, (_params, normal(3, 5, 3), integers(0, 4, 3), np.array([5, 0, 2]))),
)
