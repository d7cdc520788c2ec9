"""A small decoder of the usual kind: a language model that reads tokens and gives the probabilities of each next one.

Each block is attention with grouped queries and rotary positions, then a gated hidden layer, both around a residual
stream (Vaswani et al., 2017, arXiv 1706.03762; Touvron et al., 2023, arXiv 2302.13971). The loss holds no logits.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, integers, normal, uniform
from backproplab.layers.affine import affine, embedding
from backproplab.layers.attention import dot_product_attention, rotary_embedding
from backproplab.layers.fused import linear_cross_entropy
from backproplab.layers.gates import add
from backproplab.layers.gating import swiglu
from backproplab.layers.losses import softmax
from backproplab.layers.normalization import rms_norm
from backproplab.networks.mlp import check_target

Params = dict[str, Any]


def init(
    key: jax.Array,
    vocabulary: int = 256,
    features: int = 64,
    blocks: int = 2,
    heads: int = 4,
    key_heads: int = 2,
    hidden: int = 128,
) -> Params:
    """Random parameters in JAX's default float type.

    embedding (vocabulary, features), per block the weights below, norm (features,), output (features, vocabulary). A
    block has query (features, heads, D), key and value (features, key_heads, D), output (heads, D, features), gate and
    up (features, hidden), down (hidden, features), and the scales of its two norms, ones; D = features / heads.
    Variances are 1 / fan-in, for what is added to the stream divided by the number of additions.
    Raises ValueError for counts below 1 (0 for blocks), for heads that do not divide the features into even parts, and
    for key_heads that do not divide the heads.
    """
    counts = {"vocabulary": vocabulary, "features": features, "heads": heads, "key_heads": key_heads, "hidden": hidden}
    for name, count, least in (*((name, count, 1) for name, count in counts.items()), ("blocks", blocks, 0)):
        if count < least:
            raise ValueError(f"{name} must be {least} or more, not {count}")
    if features % (2 * heads) or heads % key_heads:
        raise ValueError(
            f"heads must divide features into even parts, and key_heads heads, not {features}, {heads} and {key_heads}"
        )
    first, last, *keys = jax.random.split(key, blocks + 2)
    return {
        "embedding": jax.random.normal(first, (vocabulary, features)),
        "blocks": [_block(key, features, heads, key_heads, hidden, 2 * blocks) for key in keys],
        "norm": jnp.ones(features),
        "output": jax.random.normal(last, (features, vocabulary)) * features**-0.5,
    }


def _block(key, features, heads, key_heads, hidden, additions):
    width = features // heads
    shapes = {
        "query": (features, heads, width),
        "key": (features, key_heads, width),
        "value": (features, key_heads, width),
        "output": (heads, width, features),
        "gate": (features, hidden),
        "up": (features, hidden),
        "down": (hidden, features),
    }
    fan_in = {"output": features * additions, "down": hidden * additions}
    weights = {
        name: jax.random.normal(k, shape) * fan_in.get(name, features) ** -0.5
        for k, (name, shape) in zip(jax.random.split(key, len(shapes)), shapes.items())
    }
    return weights | {"attention_norm": jnp.ones(features), "hidden_norm": jnp.ones(features)}


def block(params: Params, x: jax.Array, post_norm: bool = False) -> jax.Array:
    """One block: x (..., T, features) -> (..., T, features). Position t depends on the positions 0 .. t.

    post_norm: the sum of stream and layer is normalised, as in the first transformers; else what the layer reads is.
    """
    for layer, norm in ((_attention, "attention_norm"), (_hidden, "hidden_norm")):
        if post_norm:
            x = rms_norm(add(x, layer(params, x)), params[norm])
        else:
            x = add(x, layer(params, rms_norm(x, params[norm])))
    return x


def _attention(params, x):
    positions = jnp.arange(x.shape[-2])
    query = rotary_embedding(linear(x, params["query"]), positions)
    key = rotary_embedding(linear(x, params["key"]), positions)
    mixed: Any = dot_product_attention(query, key, linear(x, params["value"]), is_causal=True)
    heads, width, features = params["output"].shape
    return linear(mixed.reshape(*x.shape[:-1], heads * width), params["output"].reshape(heads * width, features))


def _hidden(params, x):
    return linear(swiglu(linear(x, params["gate"]), linear(x, params["up"])), params["down"])


def linear(x, w):
    """x (..., d), w (d, *shape) -> (..., *shape): affine with no bias."""
    flat = w.reshape(w.shape[0], -1)
    return affine(x, flat, jnp.zeros(flat.shape[1], w.dtype)).reshape(*x.shape[:-1], *w.shape[1:])


def _stream(params, tokens, post_norm):
    """What the last layer reads: (..., T, features)."""
    if not jnp.issubdtype(tokens.dtype, jnp.integer) or tokens.ndim == 0:
        raise ValueError(f"tokens must be integers (..., T), not {tokens.dtype}{list(tokens.shape)}")
    x: Any = embedding(params["embedding"], tokens)
    for weights in params["blocks"]:
        x = block(weights, x, post_norm)
    return rms_norm(x, params["norm"])


def apply(params: Params, tokens: jax.Array, post_norm: bool = False) -> jax.Array:
    """tokens (..., T) integers in 0 .. vocabulary-1 -> at each the probabilities of the next, (..., T, vocabulary).

    A token outside the vocabulary gives NaN from its place on. Raises ValueError if tokens are not integers.
    """
    return softmax(linear(_stream(params, tokens, post_norm), params["output"]))


def loss(params: Params, tokens: jax.Array, target: jax.Array, post_norm: bool = False) -> jax.Array:
    """Cross-entropy of the next tokens, averaged over those that are known: tokens (..., T), target (..., T) -> ().

    A target below 0 is unknown: padding, or a part of the text that is not to be learned. If all are, the loss is 0.
    Raises ValueError if a shape does not fit or tokens are not integers.
    """
    stream = _stream(params, tokens, post_norm)
    check_target(target, tokens.shape)
    known = target >= 0
    losses: Any = linear_cross_entropy(stream, params["output"], jnp.where(known, target, 0))
    return jnp.sum(jnp.where(known, losses, 0)) / jnp.maximum(jnp.sum(known), 1)


_weights = {
    "query": normal(4, 2, 2, scale=0.5),
    "key": normal(4, 1, 2, scale=0.5),
    "value": normal(4, 1, 2, scale=0.5),
    "output": normal(2, 2, 4, scale=0.5),
    "gate": normal(4, 3, scale=0.5),
    "up": normal(4, 3, scale=0.5),
    "down": normal(3, 4, scale=0.5),
    "attention_norm": uniform(0.5, 1.5, 4),
    "hidden_norm": uniform(0.5, 1.5, 4),
}
_model = {
    "embedding": normal(5, 4),
    "blocks": [_weights],
    "norm": uniform(0.5, 1.5, 4),
    "output": normal(4, 5, scale=0.5),
}
_digits = ("float64", "float32")  # in bfloat16 this many layers leave no digit of a gradient, by autodiff either
CASES = (
    Case(apply, (_model | {"blocks": []}, integers(0, 5, 4))),
    Case(partial(block, post_norm=True), (_weights, normal(3, 4)), name="post-norm", dtypes=_digits),
    Case(loss, (_model, integers(0, 5, 2, 3), np.array([[4, 0, -1], [2, 2, 3]])), name="one block", dtypes=_digits),
)
