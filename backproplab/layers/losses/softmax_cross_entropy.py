"""Softmax cross-entropy against a distribution over the classes (soft targets, smoothed labels, distillation).

Lecture L8, catalogue #63.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal, simplex, uniform
from backproplab.layers.losses.log_softmax import log_softmax, log_softmax_bwd
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def softmax_cross_entropy(logits, labels):
    """-sum_j labels_j log softmax(logits)_j.

    logits (..., d), labels (..., d), floating -> loss (...), in the dtype of the logits; no mean is taken. The rows of labels
    need not sum to 1. 0 log 0 = 0: a class at logit -inf and label 0 adds nothing; with a positive label the loss is +inf.
    """
    return -jnp.sum(labels * _log_probabilities(logits, labels), -1).astype(logits.dtype)


def _log_probabilities(logits, labels):
    """In float32 or wider; 0 for classes that are masked and have label 0, which makes 0 log 0 = 0."""
    log_p = log_softmax(widened(logits))
    return jnp.where((labels == 0) & (log_p == -jnp.inf), 0, log_p)


def softmax_cross_entropy_fwd(logits, labels):
    """Keeps its arguments, which the caller holds anyway: the probabilities follow."""
    return softmax_cross_entropy(logits, labels), (logits, labels)


def softmax_cross_entropy_bwd(residuals, dloss):
    """loss = -sum_j d_j log p_j with p = softmax(z). It is linear in the labels d:

        dd = -log p dloss        (0 for a masked class of label 0)

    The logits enter through log p, whose cotangent is -d dloss; pulled back through log-softmax,

        dz = (p sum_j d_j - d) dloss

    which is p - d only where the labels sum to 1. At a one-hot label p - 1 rounds to 0 in the tail; the rule of
    log-softmax takes minus the sum of the others there.
    """
    logits, labels = residuals
    log_p = _log_probabilities(logits, labels)
    dloss = dloss[..., None].astype(log_p.dtype)
    (dlogits,) = log_softmax_bwd(logits, -labels * dloss)
    return dlogits, -log_p * dloss


defvjp(softmax_cross_entropy, softmax_cross_entropy_fwd, softmax_cross_entropy_bwd)

_INF = float("inf")


def _kept(logits, labels):
    """The arguments."""
    return logits.nbytes + labels.nbytes


CASES = (
    Case(softmax_cross_entropy, (normal(5, 7), simplex(5, 7)), residual_bytes=_kept, order=2),
    Case(softmax_cross_entropy, (normal(2, 3, 4), simplex(2, 3, 4)), name="two batch axes", residual_bytes=_kept),
    Case(softmax_cross_entropy, (normal(6), simplex(6)), name="no batch axis"),
    Case(softmax_cross_entropy, (normal(4, 5), uniform(0.0, 2.0, 4, 5)), name="labels that do not sum to 1"),
    Case(softmax_cross_entropy, (normal(3, 4), np.eye(4)[[0, 2, 2]]), name="one-hot labels"),
    Case(
        softmax_cross_entropy,
        (full(0.0, 2, 4), np.eye(4)[[0, 3]]),
        name="ties",
        expect=(0.25 - np.eye(4)[[0, 3]], np.full((2, 4), np.log(4.0))),
    ),
    Case(
        softmax_cross_entropy,
        (np.array([[0.0, -40.0, -3.0], [40.0, 0.0, 0.5], [40.0, 0.0, 0.5]]), np.eye(3)[[0, 0, 1]]),
        name="tails, right and wrong",
    ),
    Case(
        softmax_cross_entropy,
        (np.array([[1.0, -_INF, 1.0]]), np.array([[1.0, 0.0, 0.0]])),
        name="masked class of label 0",
        expect=(np.array([[-0.5, 0.0, 0.5]]), np.array([[np.log(2.0), 0.0, np.log(2.0)]])),
    ),
    Case(softmax_cross_entropy, (normal(3, 4), full(0.0, 3, 4)), name="all labels 0: loss 0"),
    Case(softmax_cross_entropy, (normal(9, 65), simplex(9, 65)), name="odd width"),
)
