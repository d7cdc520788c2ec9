"""A mixture of experts: each row is sent to the k of many small networks that a router thinks best of.

Shazeer et al., 2017 (arXiv 1701.06538). No row is dropped: rows are sorted by expert, and each expert takes all that
it is sent (Gale et al., 2022, arXiv 2211.15841).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from backproplab.case import Case, normal
from backproplab.layers.affine import embedding, ragged_dot
from backproplab.layers.gates import add, multiply
from backproplab.layers.gating import swiglu
from backproplab.layers.losses import square_error
from backproplab.layers.reductions import moe_router
from backproplab.networks.mlp import check_target, check_width
from backproplab.networks.transformer import linear

Params = dict[str, jax.Array]


def init(key: jax.Array, features: int, hidden: int, experts: int) -> Params:
    """Random parameters of variance 1 / fan-in, in JAX's default float type.

    router (features, experts), gate and up (experts, features, hidden), down (experts, hidden, features).
    Raises ValueError for counts below 1.
    """
    if min(features, hidden, experts) < 1:
        raise ValueError(f"features, hidden and experts must be 1 or more, not {features}, {hidden} and {experts}")
    shapes = {
        "router": (features, experts),
        "gate": (experts, features, hidden),
        "up": (experts, features, hidden),
        "down": (experts, hidden, features),
    }
    keys = jax.random.split(key, len(shapes))
    return {name: jax.random.normal(k, shape) * shape[-2] ** -0.5 for k, (name, shape) in zip(keys, shapes.items())}


def _mixed(params, x, k):
    """x plus what its experts make of it, and the router's two losses."""
    check_width(x, params["router"].shape[0])
    experts = params["router"].shape[1]
    if not 1 <= k <= experts:
        raise ValueError(f"k must be from 1 to the number of experts, {experts}, not {k}")
    rows = x.reshape(-1, x.shape[-1])
    routed: Any = moe_router(linear(rows, params["router"]), k)
    gates, indices, balance, z_loss = routed
    by_expert = jnp.argsort(indices.reshape(-1))  # of the assignments, k per row
    sizes = jnp.bincount(indices.reshape(-1), length=experts)
    sent = embedding(rows, by_expert // k)
    inside = swiglu(ragged_dot(sent, params["gate"], sizes), ragged_dot(sent, params["up"], sizes))
    made: Any = embedding(ragged_dot(inside, params["down"], sizes), jnp.argsort(by_expert))
    weighted: Any = multiply(gates[..., None], made.reshape(*indices.shape, -1))
    return add(x, jnp.sum(weighted, -2).reshape(x.shape)), balance, z_loss


def apply(params: Params, x: jax.Array, k: int = 2) -> jax.Array:
    """x (..., features) -> x + sum over its k best experts of gate * expert(x), (..., features); the gates sum to 1.

    Raises ValueError if the width of x does not fit, or k is not between 1 and the number of experts.
    """
    return _mixed(params, x, k)[0]


def loss(
    params: Params, x: jax.Array, target: jax.Array, k: int = 2, balance: float = 0.01, z: float = 0.001
) -> jax.Array:
    """Half the squared distance to target (..., features), averaged over the rows, plus the router's losses -> ().

    balance weighs the load-balancing loss, which keeps the experts equally busy, z that on large router logits.
    Raises ValueError if a shape does not fit.
    """
    y, balance_loss, z_loss = _mixed(params, x, k)
    check_target(target, y.shape)
    return (jnp.mean(square_error(y, target)) + balance * balance_loss + z * z_loss).astype(y.dtype)


def _every_expert(params, x, k=2):
    """What `_mixed` is, in JAX's own functions; every expert is asked about every row, with a gate of 0 if not sent."""
    logits = x @ params["router"]
    chosen, indices = jax.lax.top_k(logits, k)
    sent = jax.nn.one_hot(indices, logits.shape[-1], dtype=x.dtype)
    gates = jnp.einsum("nk,nke->ne", jax.nn.softmax(chosen), sent)
    inside = jax.nn.silu(jnp.einsum("nd,edh->neh", x, params["gate"])) * jnp.einsum("nd,edh->neh", x, params["up"])
    y = x + jnp.einsum("ne,neh,ehd->nd", gates, inside, params["down"])
    balance = logits.shape[-1] * jnp.sum(sent.mean((0, 1)) * jax.nn.softmax(logits).mean(0))
    return y, balance, jnp.mean(jax.nn.logsumexp(logits, -1) ** 2)


def _textbook(params, x, target, k=2, balance=0.01, z=0.001):
    y, balance_loss, z_loss = _every_expert(params, x, k)
    error = jnp.mean(jnp.sum((y - target) ** 2, -1)) / 2
    return (error + balance * balance_loss + z * z_loss).astype(y.dtype)


_params = {
    "router": normal(4, 3),
    "gate": normal(3, 4, 2, scale=0.5),
    "up": normal(3, 4, 2, scale=0.5),
    "down": normal(3, 2, 4, scale=0.5),
}
# in bfloat16 what reaches the router is a small difference of large numbers, by autodiff too
_digits = ("float64", "float32")
CASES = (
    Case(
        apply,
        (_params, normal(5, 4)),
        name="two experts each",
        reference=lambda params, x: _every_expert(params, x)[0],
    ),
    Case(
        partial(loss, k=1),
        (_params, normal(1, 4), normal(1, 4)),
        name="one row: the experts it is not sent to have gradient 0",
        reference=partial(_textbook, k=1),
        dtypes=_digits,
    ),
    Case(loss, (_params, normal(5, 4), normal(5, 4)), reference=_textbook, dtypes=_digits),
)
