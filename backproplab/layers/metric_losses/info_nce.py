"""InfoNCE: which of the keys belongs to the query, as a classification (van den Oord, Li & Vinyals, 2018, arXiv
1807.03748). Catalogue #76. The rule keeps its arguments; autodiff keeps arrays of all pairs.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal, uniform
from backproplab.layers.losses.softmax_cross_entropy_with_integer_labels import (
    softmax_cross_entropy_with_integer_labels,
    softmax_cross_entropy_with_integer_labels_bwd,
)
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def info_nce(queries, keys, temperature=0.07):
    """-log softmax(queries keys^T / temperature) at the key of the same number as the query.

    queries (..., n, d), keys (..., m, d) with m >= n, of which those after the n-th are negatives for all, temperature a
    positive number or scalar array, differentiated too -> loss (..., n), in the dtype of the queries; no mean is taken.
    Whoever wants cosines hands over vectors of unit length. Raises ValueError for fewer keys than queries.
    """
    if keys.shape[-2] < queries.shape[-2]:
        raise ValueError(f"info_nce wants a key per query, not {keys.shape[-2]} keys for {queries.shape[-2]} queries")
    return cross_entropies(similarities(queries, keys) / temperature).astype(queries.dtype)


def similarities(x, y):
    """x y^T, (..., n, m), in float32 or wider."""
    return jnp.einsum("...nd,...md->...nm", widened(x), widened(y))


def cross_entropies(logits):
    """The cross-entropy of each row (..., n) of logits (..., n, m) with its own number as the label."""
    return softmax_cross_entropy_with_integer_labels(logits, _numbers(logits))


def _numbers(logits):
    return jnp.broadcast_to(jnp.arange(logits.shape[-2]), logits.shape[:-1])


def info_nce_fwd(queries, keys, temperature):
    """Keeps its arguments, which the caller holds anyway: the logits are one matrix product."""
    return info_nce(queries, keys, temperature), (queries, keys, temperature)


def info_nce_bwd(residuals, dloss):
    """The logits L = q k^T / T have the gradient of the cross-entropy, G_ij = (P_ij - delta_ij) dloss_i, P the softmax. So

        dq = G k / T        dk = G^T q / T        dT = sum_ij G_ij dL_ij / dT = -sum_ij G_ij L_ij / T

    Rows of G sum to 0. Therefore dT = -sum_ij G_ij (L_ij - L_ii) / T too, in which nothing large cancels.
    """
    queries, keys, temperature = residuals
    q, k = widened(queries), widened(keys)
    logits = similarities(q, k) / temperature
    g, g_times_logits = with_respect_to_logits(logits, dloss)
    g = g / temperature
    dqueries = jnp.einsum("...nm,...md->...nd", g, k)
    return dqueries, jnp.einsum("...nm,...nd->...md", g, q), -g_times_logits / temperature


def with_respect_to_logits(logits, dloss):
    """G = (P - I) dloss, its diagonal exact in the tail, and sum_ij G_ij (L_ij - L_ii)."""
    g, _ = softmax_cross_entropy_with_integer_labels_bwd((logits, _numbers(logits)), dloss.astype(logits.dtype))
    own = jnp.diagonal(logits, axis1=-2, axis2=-1)[..., None]
    return g, jnp.sum(g * (logits - own))


defvjp(info_nce, info_nce_fwd, info_nce_bwd)

_positive = {2: (0.0, np.inf)}


def _kept(queries, keys, temperature):
    """The arguments."""
    return queries.nbytes + keys.nbytes + temperature.nbytes


_apart = np.eye(3)[[1, 2, 0]]  # unit vectors, as a matrix that is not its own transpose
CASES = (
    Case(info_nce, (normal(4, 5), normal(4, 5), uniform(0.5, 2.0)), residual_bytes=_kept, order=2, domain=_positive),
    Case(
        info_nce,
        (normal(2, 3, 4), normal(2, 5, 4), uniform(0.5, 2.0)),
        name="two batches, more keys than queries",
        residual_bytes=_kept,
        domain=_positive,
    ),
    Case(
        info_nce,
        (normal(1, 4), normal(1, 4), full(1.0)),
        name="one pair: loss 0",
        domain=_positive,
        expect=(np.zeros((1, 4)), np.zeros((1, 4)), np.array(0.0)),
    ),
    # with unit vectors and 1/16: gaps of 16 in the logits, whose label entries p - 1 would be 0 in float32
    Case(info_nce, (_apart, _apart, full(2.0**-4)), name="tails", domain=_positive),
)
