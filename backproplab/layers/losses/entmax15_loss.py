"""The loss of 1.5-entmax, whose gradient is entmax minus the label (a Fenchel-Young loss: Blondel, Martins & Niculae,
2020; Peters, Niculae & Martins, 2019, arXiv 1905.05702). Catalogue #68.

It is exactly 0, and so is its gradient, once the label is 2 above all others.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, integers, normal
from backproplab.layers.losses.entmax15 import roots_and_threshold
from backproplab.layers.losses.multiclass_sparsemax_loss import is_label_of, minus_label
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def entmax15_loss(scores, labels):
    """p s - s_label + 4/3 sum(p - p^(3/2)) with s the scores and p = entmax15(s).

    scores (..., d), labels (...) integers in 0 .. d-1 -> loss (...), in the dtype of the scores; no mean is taken. A label
    outside the range gives NaN.

    Computed without the cancellation: with r = sqrt p and s = 2 r + 2 tau on the support, p s = 2 sum r^3 + 2 tau, so the
    loss is 2/3 sum r^3 + 4/3 - 2 (s_label/2 - tau). For a label in the support the last bracket is r_label, and

        2/3 r^3 + 4/3 - 2 r = 2/3 (1 - r)^2 (2 + r)        1 - r = (1 - p) / (1 + r) = sum of the other p / (1 + r)

    For a label outside it r_label = 0 and 2 tau - s_label, which is positive, is added.
    """
    return _loss_and_probabilities(scores, labels)[0]


def _loss_and_probabilities(scores, labels):
    """The loss and p, in the dtype of the scores."""
    r, support, largest, tau = roots_and_threshold(scores)
    p, is_label = jnp.square(r), is_label_of(scores, labels)
    r_label = jnp.sum(r, -1, where=is_label)
    missing = jnp.sum(p, -1, where=~is_label) / (1 + r_label)
    inside = 2 / 3 * (jnp.sum(r * p, -1, where=~is_label) + missing * missing * (2 + r_label))
    below = jnp.sum(jnp.where(is_label & ~support, 2 * (tau - (widened(scores) / 2 - largest)), 0), -1)
    loss = jnp.where(is_label.any(-1), inside + below, jnp.nan)
    return loss.astype(scores.dtype), p.astype(scores.dtype)


def entmax15_loss_fwd(scores, labels):
    """Keeps p, which took a sort to find, and the labels."""
    loss, p = _loss_and_probabilities(scores, labels)
    return loss, (p, labels)


def entmax15_loss_bwd(residuals, dloss):
    """p is where the loss is at its maximum over all distributions, so its own change does not count:

    dloss / ds_j = p_j - delta_jc        with label c; at the label -sum_{j != c} p_j, which has all its digits
    """
    p, labels = residuals
    return minus_label(p, labels, dloss), None


defvjp(entmax15_loss, entmax15_loss_fwd, entmax15_loss_bwd)


def _kept(scores, labels):
    """p and the labels."""
    return scores.nbytes + labels.nbytes


CASES = (
    Case(entmax15_loss, (normal(5, 7), integers(0, 7, 5)), residual_bytes=_kept),
    Case(
        entmax15_loss, (normal(2, 3, 4, scale=3.0), integers(0, 4, 2, 3)), name="two batch axes", residual_bytes=_kept
    ),
    Case(entmax15_loss, (full(3.0, 1, 4), np.array([2])), name="ties", expect=(np.array([[0.25, 0.25, -0.75, 0.25]]),)),
    Case(
        entmax15_loss,
        (np.array([[3.0, 0.5, 0.0], [0.0, 3.0, 6.0]]), np.array([0, 1])),
        name="right by 2, wrong by far",
        expect=(np.array([[0.0, 0.0, 0.0], [0.0, -1.0, 1.0]]),),
    ),
    Case(entmax15_loss, (normal(3, 1), np.zeros(3, np.int32)), name="one class: loss 0", expect=(np.zeros((3, 1)),)),
)
