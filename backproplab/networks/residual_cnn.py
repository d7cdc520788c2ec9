"""A small residual network for images (He et al., 2016, in its later form, where each block normalises what it reads).

Each block adds to its input what two convolutions make of it, so that every layer has a short way to the loss. The norm is
that of each place over its channels, which needs no batch; the mean over all places makes any image size fit.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from backproplab.case import Case, integers, normal
from backproplab.layers.activations import relu
from backproplab.layers.affine import affine
from backproplab.layers.convolution import adaptive_average_pool, average_pool, conv2d
from backproplab.layers.gates import add
from backproplab.layers.losses import softmax, softmax_cross_entropy_with_integer_labels
from backproplab.layers.normalization import layer_norm
from backproplab.networks.mlp import check_target

Params = dict[str, Any]
_KERNEL = 3


def init(key: jax.Array, inputs: int = 1, channels: int = 16, classes: int = 10) -> Params:
    """Random parameters, in JAX's default float type, for images with `inputs` channels.

    stem (3, 3, inputs, channels) and in each of two blocks two kernels (3, 3, channels, channels), of variance 2 / fan-in, and
    norms of scale 1 and bias 0; output: w (channels, classes) of variance 2 / channels, b zeros. The second kernel of a
    block is zeros, so that each block starts as the identity. Raises ValueError for counts below 1.
    """
    if min(inputs, channels, classes) < 1:
        raise ValueError(f"inputs, channels and classes must be 1 or more, not {inputs}, {channels} and {classes}")
    first, *blocks, last = jax.random.split(key, 4)
    square = (_KERNEL, _KERNEL, channels, channels)
    return {
        "stem": _kernel(first, (_KERNEL, _KERNEL, inputs, channels)),
        "blocks": [
            {
                "norm1": _norm(channels),
                "conv1": _kernel(block, square),
                "norm2": _norm(channels),
                "conv2": jnp.zeros(square),
            }
            for block in blocks
        ],
        "norm": _norm(channels),
        "output": {"w": _kernel(last, (channels, classes)), "b": jnp.zeros(classes)},
    }


def _kernel(key, shape):
    return jax.random.normal(key, shape) * math.sqrt(2 / math.prod(shape[:-1]))


def _norm(channels):
    return {"scale": jnp.ones(channels), "bias": jnp.zeros(channels)}


def _normed(norm, x):
    return relu(layer_norm(x, norm["scale"], norm["bias"]))


def _block(block, x):
    y = conv2d(_normed(block["norm1"], x), block["conv1"])
    return add(x, conv2d(_normed(block["norm2"], y), block["conv2"]))


def _logits(params, x):
    inputs = params["stem"].shape[2]
    if x.ndim < 3 or x.shape[-1] != inputs or min(x.shape[-3:-1]) < 2:
        raise ValueError(f"x must be (..., height, width, {inputs}) of at least 2 x 2 pixels, not {x.shape}")
    first, second = params["blocks"]
    x = _block(first, conv2d(x, params["stem"]))
    x = _normed(params["norm"], _block(second, average_pool(x)))
    mean: Any = adaptive_average_pool(x)
    return affine(mean.reshape(*mean.shape[:-3], mean.shape[-1]), params["output"]["w"], params["output"]["b"])


def apply(params: Params, x: jax.Array) -> jax.Array:
    """x (..., height, width, inputs) -> the probability of each class (..., classes). Raises ValueError if x does not fit."""
    return softmax(_logits(params, x))


def loss(params: Params, x: jax.Array, target: jax.Array) -> jax.Array:
    """Cross-entropy, averaged over the images: x (..., height, width, inputs), target (...) integer classes -> ().

    Raises ValueError if a shape does not fit.
    """
    logits = _logits(params, x)
    check_target(target, logits.shape[:-1])
    return jnp.mean(softmax_cross_entropy_with_integer_labels(logits, target))


_scales = {"scale": normal(2), "bias": normal(2)}
_weights = {"norm1": _scales, "conv1": normal(3, 3, 2, 2), "norm2": _scales, "conv2": normal(3, 3, 2, 2)}
_params = {
    "stem": normal(3, 3, 1, 2),
    "blocks": [_weights, _weights],
    "norm": _scales,
    "output": {"w": normal(2, 3), "b": normal(3)},
}
CASES = (
    Case(apply, (_params, normal(4, 5, 1)), name="one image", dtypes=("float64", "float32")),
    # channels of two numbers are normalised to +-1 where they nearly agree: at some draws bfloat16 has no digit left
    Case(loss, (_params, normal(2, 4, 5, 1), integers(0, 3, 2)), dtypes=("float64", "float32")),
)
