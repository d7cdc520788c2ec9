"""The router of a mixture of experts: k experts per token, their weights, and the two losses that keep it in order.

Shazeer et al. (2017, arXiv 1701.06538), Fedus, Zoph & Shazeer (2022, arXiv 2101.03961) for the load-balancing loss, Zoph
et al. (2022, arXiv 2202.08906) for the z-loss. Catalogue #90. The rule keeps the logits and the indices, where autodiff
keeps several arrays of the size of the logits.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, distinct
from backproplab.layers.losses.softmax import softmax, softmax_bwd
from backproplab.layers.reductions.logsumexp import logsumexp
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("k", "renormalize"))
def moe_router(logits, k, renormalize=True):
    """For each token the k experts of the largest probability p = softmax(logits), and what they weigh.

    logits (..., experts) -> gates (..., k) in the dtype of the logits, indices (..., k) int32, and two numbers in float32
    or wider, not yet multiplied by their coefficients, over all tokens, which are the leading axes together:

        load_balancing_loss    experts times the sum over experts of their share of the assignments times their mean p;
                               1 when both are even
        z_loss                 the mean of the squares of logsumexp(logits)

    renormalize: divide the k gates of a token by their sum. Among equal logits the first expert is taken. Experts at -inf
    are masked. Tokens that a full expert then drops should have their gates set to 0 by `jnp.where`.
    """
    wide = widened(logits)
    chosen, indices = jax.lax.top_k(wide, k)
    probabilities = softmax(wide)
    # the chosen probabilities over their sum are the softmax of the chosen logits
    gates = softmax(chosen) if renormalize else jnp.take_along_axis(probabilities, indices, -1)
    tokens = tuple(range(logits.ndim - 1))
    balance = logits.shape[-1] * jnp.sum(_shares(indices, logits.shape[-1]) * jnp.mean(probabilities, tokens))
    z_loss = jnp.mean(jnp.square(logsumexp(wide, -1)))
    return gates.astype(logits.dtype), indices, balance.astype(wide.dtype), z_loss


def _shares(indices, experts):
    """The share of all assignments that each expert gets. A count: it has no gradient."""
    return jnp.sum(indices.reshape(-1, 1) == jnp.arange(experts), 0) / indices.size


def moe_router_fwd(logits, k, renormalize):
    """Keeps the logits, which the caller holds anyway, and the indices, which are a result."""
    outputs: Any = moe_router(logits, k, renormalize)
    return outputs, (logits, outputs[1])


def moe_router_bwd(k, renormalize, residuals, cotangents):
    """With N tokens, E experts, z the logits, p = softmax(z), f the shares. The choice itself is a step: no gradient.

    z-loss:     d/dz of mean (log sum exp z)^2 is 2/N logsumexp(z) p
    balance:    E sum_e f_e mean_n p_ne has d/dp_ne = E f_e / N, with f a constant
    gates:      if renormalised they are the softmax of the k chosen logits: its rule gives their gradients, the others
                get 0. If not, they are p at the chosen places, and dp there is dgates

    Whatever has reached p goes on to z by the rule of softmax.
    """
    logits, indices = residuals
    dgates, _, dbalance, dz_loss = cotangents
    z = widened(logits)
    p = softmax(z)
    tokens = indices.size // k
    placed = lambda values: jnp.put_along_axis(jnp.zeros_like(z), indices, widened(values), -1, inplace=False)
    dp = jnp.broadcast_to(dbalance * z.shape[-1] / tokens * _shares(indices, z.shape[-1]), z.shape)
    if renormalize:
        (dchosen,) = softmax_bwd(softmax(jnp.take_along_axis(z, indices, -1)), dgates)
        dlogits = placed(dchosen)
    else:
        dp += placed(dgates)
        dlogits = 0
    dlogits += 2 * dz_loss / tokens * logsumexp(z, -1, True) * p
    return (dlogits + softmax_bwd(p, dp)[0],)


defvjp(moe_router, moe_router_fwd, moe_router_bwd)


def _kept(logits, k, renormalize=True):
    """The logits, and four bytes per assignment."""
    return logits.nbytes + 4 * k * (logits.size // logits.shape[-1])


_INF = float("inf")
CASES = (
    Case(moe_router, (distinct(5, 4), 2), residual_bytes=_kept, order=2),
    Case(moe_router, (distinct(5, 4), 2, False), name="not renormalised", residual_bytes=_kept),
    Case(moe_router, (distinct(2, 3, 5), 3), name="two batch axes", residual_bytes=_kept),
    Case(moe_router, (distinct(4), 2), name="one token"),
    Case(moe_router, (distinct(4, 3), 1), name="one expert each: the gate is 1"),
    Case(moe_router, (distinct(3, 3), 3, False), name="all experts"),
    Case(moe_router, (np.array([[0.0, 3.0, -_INF, 1.0], [2.0, -_INF, -1.0, 0.5]]), 2), name="masked experts"),
    Case(moe_router, (np.array([[0.0, 30.0, -30.0, 1.0], [2.0, 1.0, -40.0, 0.5]]), 2), name="tails"),
)
