"""Softmax cross-entropy against one right class per row. Lecture L8, catalogue #62.

Autodiff's label entry, p - 1, is 0 in float32 from a gap of 17 between the logits on; the rule's is not.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, integers, normal
from backproplab.layers.losses.softmax import softmax
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def softmax_cross_entropy_with_integer_labels(logits, labels):
    """-log of the probability that softmax(logits) gives to the label.

    logits (..., d), labels (...) integers in 0 .. d-1 -> loss (...), in the dtype of the logits; no mean is taken. Classes
    at -inf are masked. A label outside the range gives NaN, also a negative one (optax counts those from the end): select
    padded rows away with `jnp.where(valid, loss, 0)` and they have gradient 0.
    """
    wide = widened(logits)
    largest = jax.lax.stop_gradient(jnp.max(wide, -1))
    total = jnp.sum(jnp.exp(wide - largest[..., None]), -1)
    is_label = _is_label(logits, labels)
    label_logit = jnp.where(is_label.any(-1), jnp.sum(wide, -1, where=is_label), jnp.nan)
    return (largest - label_logit + jnp.log(total)).astype(logits.dtype)


def _is_label(logits, labels):
    """(..., d) booleans: a comparison and not a gather, so that the class axis may be sharded."""
    return jnp.arange(logits.shape[-1]) == jnp.expand_dims(labels, -1)


def softmax_cross_entropy_with_integer_labels_fwd(logits, labels):
    """Keeps its arguments, which the caller holds anyway: the probabilities follow."""
    return softmax_cross_entropy_with_integer_labels(logits, labels), (logits, labels)


def softmax_cross_entropy_with_integer_labels_bwd(residuals, dloss):
    """loss = log sum_k exp(z_k) - z_c with label c. The first term has slope p = softmax(z), the second -1 at c:

        dloss / dz_j = p_j - delta_jc

    At the label this is p_c - 1, which rounds to 0 once p_c rounds to 1. The probabilities sum to 1, so write it as

        dloss / dz_c = -sum_{j != c} p_j

    a sum of numbers of one sign, exact as far as the smallest of them. Each row is multiplied by its own dloss.
    """
    logits, labels = residuals
    probabilities = softmax(widened(logits))
    is_label = _is_label(logits, labels)
    others = jnp.sum(probabilities, -1, keepdims=True, where=~is_label)
    return dloss[..., None] * jnp.where(is_label, -others, probabilities), None


defvjp(
    softmax_cross_entropy_with_integer_labels,
    softmax_cross_entropy_with_integer_labels_fwd,
    softmax_cross_entropy_with_integer_labels_bwd,
)

_cross_entropy = softmax_cross_entropy_with_integer_labels
_INF = float("inf")


def _kept(logits, labels):
    """The arguments."""
    return logits.nbytes + labels.nbytes


CASES = (
    Case(_cross_entropy, (normal(5, 7), integers(0, 7, 5)), residual_bytes=_kept, order=2),
    Case(_cross_entropy, (normal(2, 3, 4), integers(0, 4, 2, 3)), name="two batch axes", residual_bytes=_kept),
    Case(_cross_entropy, (normal(6), np.array(2)), name="no batch axis"),
    Case(
        _cross_entropy,
        (full(3.0, 2, 4), np.array([0, 3])),
        name="ties",
        expect=(np.array([[-0.75, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, -0.75]]),),
    ),
    Case(_cross_entropy, (normal(3, 1), np.zeros(3, np.int32)), name="one class: loss 0", expect=(np.zeros((3, 1)),)),
    Case(
        _cross_entropy,
        (
            np.array([[0.0, -40.0, -3.0], [40.0, 0.0, 0.5], [40.0, 0.0, 0.5], [0.0, -40.0, -38.0]]),
            np.array([0, 0, 1, 0]),
        ),
        name="tails, right and wrong",
    ),
    Case(_cross_entropy, (normal(3, 5, mean=1000.0), np.array([0, 2, 4])), name="common offset"),
    Case(
        _cross_entropy,
        (np.array([[1.0, -_INF, 1.0]]), np.array([0])),
        name="masked class: gradient 0",
        expect=(np.array([[-0.5, 0.0, 0.5]]),),
    ),
    Case(_cross_entropy, (np.array([[-2.85, 0.86, 0.28]]), np.array([2])), name="lecture S12"),
    Case(_cross_entropy, (normal(9, 65), integers(0, 65, 9)), name="odd width"),
)
