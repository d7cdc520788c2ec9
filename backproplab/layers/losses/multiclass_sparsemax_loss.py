"""The loss of sparsemax, whose gradient is sparsemax minus the label (Martins & Astudillo, 2016, arXiv 1602.02068; a
Fenchel-Young loss: Blondel, Martins & Niculae, 2020). Catalogue #68.

It is exactly 0, and so is its gradient, once the label is 1 above all others.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, integers, normal
from backproplab.layers.losses.sparsemax import sparsemax_and_threshold
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def multiclass_sparsemax_loss(scores, labels):
    """1/2 |p - e|^2 + (tau - s_label where p_label = 0), with p = sparsemax(scores), e the label's one-hot row, and tau
    the threshold of p.

    scores (..., d), labels (...) integers in 0 .. d-1 -> loss (...), in the dtype of the scores; no mean is taken. Argument
    names and order are those of `optax.losses.multiclass_sparsemax_loss`. A label outside the range gives NaN.

    It is the textbook's p s - s_label + 1/2 (1 - |p|^2) without the cancellation: on the support s = p + tau, so with
    p_label > 0 the first two terms are p p - p_label, and what is left of all is 1/2 |p - e|^2.
    """
    return _loss_and_probabilities(scores, labels)[0]


def _loss_and_probabilities(scores, labels):
    """The loss and p, in the dtype of the scores."""
    p, support, largest, tau = sparsemax_and_threshold(scores)
    is_label = is_label_of(scores, labels)
    distance = 0.5 * jnp.sum(jnp.square(p - is_label), -1)
    outside = is_label & ~support
    below = jnp.sum(jnp.where(outside, tau - (widened(scores) - largest), 0), -1)
    loss = jnp.where(is_label.any(-1), distance + below, jnp.nan)
    return loss.astype(scores.dtype), p.astype(scores.dtype)


def is_label_of(scores, labels):
    """(..., d) booleans: where the label is, nowhere for one outside the range."""
    return jnp.arange(scores.shape[-1]) == jnp.expand_dims(labels, -1)


def multiclass_sparsemax_loss_fwd(scores, labels):
    """Keeps p, which took a sort to find, and the labels."""
    loss, p = _loss_and_probabilities(scores, labels)
    return loss, (p, labels)


def multiclass_sparsemax_loss_bwd(residuals, dloss):
    """The loss is the maximum over distributions p of p s + 1/2 (1 - |p|^2), minus s_label. At a maximum the change of p
    does not count, so the slope is that of p s at fixed p:

        dloss / ds_j = p_j - delta_jc        with label c; at the label -sum_{j != c} p_j, which has all its digits

    No kink: p is continuous.
    """
    p, labels = residuals
    return minus_label(p, labels, dloss), None


def minus_label(p, labels, dloss):
    """dloss (p - e), with the label entry as minus the sum of the others."""
    is_label = is_label_of(p, labels)
    p = widened(p)
    others = jnp.sum(p, -1, keepdims=True, where=~is_label)
    return widened(dloss)[..., None] * jnp.where(is_label, -others, p)


defvjp(multiclass_sparsemax_loss, multiclass_sparsemax_loss_fwd, multiclass_sparsemax_loss_bwd)


def _kept(scores, labels):
    """p and the labels."""
    return scores.nbytes + labels.nbytes


_loss = multiclass_sparsemax_loss
CASES = (
    Case(_loss, (normal(5, 7), integers(0, 7, 5)), residual_bytes=_kept),
    Case(_loss, (normal(2, 3, 4, scale=0.3), integers(0, 4, 2, 3)), name="two batch axes", residual_bytes=_kept),
    Case(_loss, (full(3.0, 1, 4), np.array([2])), name="ties", expect=(np.array([[0.25, 0.25, -0.75, 0.25]]),)),
    Case(
        _loss,
        (np.array([[2.0, 0.5, 0.0], [0.0, 3.0, 5.0], [0.0, 0.0, 1.0]]), np.array([0, 1, 2])),
        name="right by 1, wrong by far, right on the border",
        expect=(np.array([[0.0, 0.0, 0.0], [0.0, -1.0, 1.0], [0.0, 0.0, 0.0]]),),
    ),
    Case(_loss, (normal(3, 1), np.zeros(3, np.int32)), name="one class: loss 0", expect=(np.zeros((3, 1)),)),
)
