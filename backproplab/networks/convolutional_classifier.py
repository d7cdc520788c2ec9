"""A small convolutional network for images: two convolutions, each with a rectifier and max-pooling, and a softmax output.

Lecture L16: it is a composition like any other.
"""

import math

import jax
import jax.numpy as jnp

from backproplab.case import Case, integers, normal
from backproplab.layers.activations import relu
from backproplab.layers.affine import affine
from backproplab.layers.convolution import conv2d, max_pool
from backproplab.layers.gates import add
from backproplab.layers.losses import softmax, softmax_cross_entropy_with_integer_labels
from backproplab.networks.mlp import check_target

Params = dict[str, dict[str, jax.Array]]
_KERNEL = 3


def init(
    key: jax.Array, shape: tuple[int, int, int] = (28, 28, 1), channels: tuple[int, int] = (16, 32), classes: int = 10
) -> Params:
    """Random parameters, in JAX's default float type, for images of `shape` (height, width, channels).

    Per layer w, of variance 2 / fan-in, (3, 3, in, out) or in the last (features, classes), and b (out,), zeros.
    channels: of the two convolutions. Raises ValueError for images of less than 4 x 4, of which pooling leaves nothing,
    and for counts below 1.
    """
    height, width, inputs = shape
    if height < 4 or width < 4:
        raise ValueError(f"images must be at least 4 x 4 pixels, not {height} x {width}")
    if min(inputs, *channels, classes) < 1:
        raise ValueError(f"channels and classes must be 1 or more, not {inputs}, {channels} and {classes}")
    first, second, last = jax.random.split(key, 3)
    features = (height // 4) * (width // 4) * channels[1]
    return {
        "conv1": _layer(first, (_KERNEL, _KERNEL, inputs, channels[0])),
        "conv2": _layer(second, (_KERNEL, _KERNEL, *channels)),
        "output": _layer(last, (features, classes)),
    }


def _layer(key, shape):
    """Weights of variance 2 / fan-in, for rectifiers (He et al., 2015); zero biases."""
    fan_in = math.prod(shape[:-1])
    return {"w": jax.random.normal(key, shape) * math.sqrt(2 / fan_in), "b": jnp.zeros(shape[-1])}


def _logits(params: Params, x: jax.Array) -> jax.Array:
    _check(params, x)
    for name in ("conv1", "conv2"):
        # adding a bias and rectifying keep the order of numbers: after the pooling they are the same and cost a quarter
        x = relu(add(max_pool(conv2d(x, params[name]["w"])), params[name]["b"]))
    x = x.reshape(*x.shape[:-3], math.prod(x.shape[-3:]))  # not -1: a minibatch may be empty
    return affine(x, params["output"]["w"], params["output"]["b"])


def _check(params, x):
    inputs, features = params["conv1"]["w"].shape[2], params["output"]["w"].shape[0]
    places = features // params["conv2"]["w"].shape[3]
    if x.ndim < 3 or x.shape[-1] != inputs or (x.shape[-3] // 4) * (x.shape[-2] // 4) != places:
        raise ValueError(
            f"x must be (..., height, width, {inputs}) with {places} blocks of 4 x 4 pixels, not {x.shape}"
        )


def apply(params: Params, x: jax.Array) -> jax.Array:
    """x (..., height, width, channels) -> the probability of each class (..., classes). Raises ValueError if x does not fit."""
    return softmax(_logits(params, x))


def loss(params: Params, x: jax.Array, target: jax.Array) -> jax.Array:
    """Cross-entropy, averaged over the images: x (..., height, width, channels), target (...) integer classes -> ().

    Raises ValueError if a shape does not fit.
    """
    logits = _logits(params, x)
    check_target(target, logits.shape[:-1])
    return jnp.mean(softmax_cross_entropy_with_integer_labels(logits, target))


_params = {
    "conv1": {"w": normal(3, 3, 1, 2, scale=0.5), "b": normal(2)},
    "conv2": {"w": normal(3, 3, 2, 3, scale=0.3), "b": normal(3)},
    "output": {"w": normal(3, 4), "b": normal(4)},
}
CASES = (
    Case(apply, (_params, normal(2, 4, 5, 1))),
    Case(loss, (_params, normal(2, 4, 5, 1), integers(0, 4, 2))),
)
