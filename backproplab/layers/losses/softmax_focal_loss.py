"""The focal loss over classes: softmax cross-entropy that pays less attention to what is already right (Lin et al., 2017,
arXiv 1708.02002). Catalogue #65; `sigmoid_focal_loss` is that of a single logit.

The rule is that of the cross-entropy times a number per row.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, integers, normal
from backproplab.layers.losses.sigmoid_focal_loss import powers
from backproplab.layers.losses.softmax import softmax
from backproplab.layers.losses.softmax_cross_entropy_with_integer_labels import (
    softmax_cross_entropy_with_integer_labels,
    softmax_cross_entropy_with_integer_labels_bwd,
)
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("gamma",))
def softmax_focal_loss(logits, labels, gamma=2.0):
    """-(1-p)^gamma log p with p the probability that softmax(logits) gives to the label.

    logits (..., d), labels (...) integers in 0 .. d-1 -> loss (...), in the dtype of the logits; no mean is taken. gamma is a
    Python number, not negative; 0 is the plain cross-entropy. A label outside the range gives NaN. The weight alpha of a
    class is a factor of its rows.
    """
    cross_entropy, rest = _parts(widened(logits), labels)
    return (powers(rest, gamma)[0] * cross_entropy).astype(logits.dtype)


def _parts(z, labels):
    """-log p and 1 - p, the latter as the sum of the other probabilities; both exact where p is nearly 1."""
    rest = jnp.sum(softmax(z), -1, where=jnp.arange(z.shape[-1]) != jnp.expand_dims(labels, -1))
    near = rest < 0.5
    cross_entropy = softmax_cross_entropy_with_integer_labels(z, labels)
    return jnp.where(near, -jnp.log1p(-jnp.where(near, rest, 0)), cross_entropy), rest


def softmax_focal_loss_fwd(logits, labels, gamma):
    """Keeps its arguments, which the caller holds anyway: the probabilities follow."""
    return softmax_focal_loss(logits, labels, gamma), (logits, labels)


def softmax_focal_loss_bwd(gamma, residuals, dloss):
    """With c = -log p and u = 1 - p, du = -dp = p dc: both terms of the product rule are multiples of dc,

        dloss = u^gamma dc + gamma u^(gamma-1) c du = (u^gamma + gamma u^(gamma-1) c p) dc

    so the logits get what the cross-entropy gives them, times the bracket. Of two positive terms, it loses no digits.
    """
    logits, labels = residuals
    z = widened(logits)
    cross_entropy, rest = _parts(z, labels)
    power, slope = powers(rest, gamma)
    bracket = power + slope * cross_entropy * jnp.exp(-cross_entropy)
    return softmax_cross_entropy_with_integer_labels_bwd((z, labels), dloss * bracket)


defvjp(softmax_focal_loss, softmax_focal_loss_fwd, softmax_focal_loss_bwd)

_INF = float("inf")


def _kept(logits, labels, gamma=2.0):
    """The arguments."""
    return logits.nbytes + labels.nbytes


CASES = (
    Case(softmax_focal_loss, (normal(5, 7), integers(0, 7, 5)), residual_bytes=_kept, order=2),
    Case(softmax_focal_loss, (normal(2, 3, 4), integers(0, 4, 2, 3), 0.5), name="gamma 1/2, two batch axes"),
    # p = 1/2 and c = log 2: the slope is -(1/4 + log 2 / 2) / 2
    Case(
        softmax_focal_loss,
        (full(3.0, 1, 2), np.array([1])),
        name="ties",
        expect=((0.125 + np.log(2.0) / 4) * np.array([[1.0, -1.0]]),),
    ),
    Case(
        softmax_focal_loss,
        (np.array([[0.0, -30.0, -3.0], [20.0, 0.0, 0.5], [40.0, 0.0, 0.5]]), np.array([0, 0, 1]), 1.5),
        name="tails, right and wrong",
    ),
    Case(
        softmax_focal_loss,
        (np.array([[1000.0, 0.0], [1000.0, 0.0]]), np.array([0, 1]), 0.5),
        name="gamma 1/2 far out: no 0 times infinity",
        expect=(np.array([[0.0, 0.0], [1.0, -1.0]]),),
    ),
    Case(softmax_focal_loss, (np.array([[1.0, -_INF, 0.0]]), np.array([0])), name="masked class"),
)
