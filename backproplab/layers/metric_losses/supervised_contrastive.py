"""Supervised contrastive learning: all of one's class are positives (Khosla et al., 2020, arXiv 2004.11362, L_out).

Catalogue #76. With two views per example as the classes it is NT-Xent (SimCLR). The rule keeps its arguments; autodiff
keeps arrays of all pairs.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal, uniform
from backproplab.layers.losses.softmax import close_rows, softmax
from backproplab.layers.metric_losses.info_nce import similarities
from backproplab.layers.reductions import logsumexp
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def supervised_contrastive(features, labels, temperature=0.1):
    """For each row i, the mean over its positives p of -log(exp L_ip / sum_{j != i} exp L_ij), L = features features^T / T.

    features (..., n, d), labels (..., n) integers; positives are the other rows of the same label. temperature T is a
    positive number or scalar array, differentiated too. -> loss (..., n), in the dtype of the features; no mean is taken.
    A row without positives has loss 0 and counts as a negative of others. Whoever wants cosines hands over vectors of
    unit length.
    """
    positive, others, has_positives = _pairs(labels)
    logits = similarities(features, features) / temperature
    total: Any = logsumexp(jnp.where(others, logits, -jnp.inf), -1)
    loss = jnp.where(has_positives, total, 0) - jnp.sum(positive * logits, -1)
    return loss.astype(features.dtype)


def _pairs(labels):
    """(..., n, n): 1 / |P_i| at the positives of row i and 0 elsewhere; which rows are others; and, (..., n), whether i has
    a positive."""
    positive, _ = same_and_other(labels)
    count = jnp.sum(positive, -1)
    return jnp.where(positive, 1 / jnp.maximum(count, 1)[..., None], 0), _apart_from_itself(labels), count > 0


def same_and_other(labels):
    """(..., n, n) twice: whether j is another row of the label of i, and whether it is one of another label."""
    same = labels[..., :, None] == labels[..., None, :]
    return same & _apart_from_itself(labels), ~same


def _apart_from_itself(labels):
    return ~jnp.eye(labels.shape[-1], dtype=bool)


def supervised_contrastive_fwd(features, labels, temperature):
    """Keeps its arguments, which the caller holds anyway: the logits are one matrix product."""
    return supervised_contrastive(features, labels, temperature), (features, labels, temperature)


def supervised_contrastive_bwd(residuals, dloss):
    """Row i is -sum_p L_ip / |P_i| + log sum_{j != i} exp L_ij. With P_ij the softmax over the others of i,

        G_ij = (P_ij - [j positive of i] / |P_i|) dloss_i        0 at j = i, and in rows without positives

    features stand on both sides of L = f f^T / T, so df = (G + G^T) f / T, and dT = -sum_ij G_ij L_ij / T. Rows of G sum
    to 0: the last sum may be taken of L_ij - max_j L_ij, and where one P_ij is near 1 `close_rows` has that entry as
    minus the others.
    """
    features, labels, temperature = residuals
    f = widened(features)
    positive, others, has_positives = _pairs(labels)
    logits = jnp.where(others, similarities(f, f) / temperature, -jnp.inf)
    probabilities = softmax(logits)
    g = jnp.where(has_positives, dloss, 0).astype(f.dtype)[..., None]
    g = close_rows(g * (probabilities - positive), probabilities)
    below = jnp.where(others, logits - jax.lax.stop_gradient(jnp.max(logits, -1, keepdims=True)), 0)
    dfeatures = jnp.einsum("...nm,...md->...nd", (g + g.mT) / temperature, f)
    return dfeatures, None, -jnp.sum(g * below) / temperature


defvjp(supervised_contrastive, supervised_contrastive_fwd, supervised_contrastive_bwd)

_positive = {2: (0.0, np.inf)}


def _kept(features, labels, temperature):
    """The arguments."""
    return features.nbytes + labels.nbytes + temperature.nbytes


_loss = supervised_contrastive
CASES = (
    Case(
        _loss,
        (normal(5, 4), np.array([0, 1, 0, 0, 1]), uniform(0.5, 2.0)),
        residual_bytes=_kept,
        order=2,
        domain=_positive,
    ),
    Case(
        _loss,
        (normal(2, 4, 3), np.array([[0, 1, 0, 2], [5, 5, 5, 5]]), uniform(0.5, 2.0)),
        name="rows without positives; one class alone",
        residual_bytes=_kept,
        domain=_positive,
    ),
    Case(
        _loss,
        (normal(3, 4), np.array([0, 1, 2]), full(1.0)),
        name="no positives at all: 0",
        domain=_positive,
        expect=(np.zeros((3, 4)), np.array(0.0)),
    ),
    Case(
        _loss,
        (normal(1, 4), np.array([0]), full(1.0)),
        name="one row: 0",
        domain=_positive,
        expect=(np.zeros((1, 4)), np.array(0.0)),
    ),
    Case(_loss, (np.eye(2)[[0, 0, 1, 1]], np.array([0, 0, 1, 1]), full(2.0**-4)), name="tails", domain=_positive),
)
