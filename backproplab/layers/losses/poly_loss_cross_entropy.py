"""Poly-1: softmax cross-entropy whose first term, 1 - p of the label, counts more (Leng et al., 2022, arXiv 2204.12511).

Catalogue #69.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal, simplex
from backproplab.layers.losses.softmax import softmax, softmax_bwd
from backproplab.layers.losses.softmax_cross_entropy import softmax_cross_entropy, softmax_cross_entropy_bwd
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("epsilon",))
def poly_loss_cross_entropy(logits, labels, epsilon=2.0):
    """-sum_j labels_j log p_j + epsilon sum_j labels_j (1 - p_j) with p = softmax(logits).

    logits (..., d), labels (..., d), floating -> loss (...), in the dtype of the logits; no mean is taken. Argument names and
    order are those of `optax.losses.poly_loss_cross_entropy`, whose axis and where are left out; epsilon is a Python
    number. 0 log 0 = 0, as in `softmax_cross_entropy`.
    """
    z = widened(logits)
    loss = softmax_cross_entropy(z, labels) + epsilon * jnp.sum(labels * _rest(softmax(z)), -1)
    return loss.astype(logits.dtype)


def _rest(p):
    """1 - p, near p = 1 as the sum of the others."""
    near_one = p > 0.75
    return jnp.where(near_one, jnp.sum(p, -1, keepdims=True, where=~near_one), 1 - p)


def poly_loss_cross_entropy_fwd(logits, labels, epsilon):
    """Keeps its arguments, which the caller holds anyway: the probabilities follow."""
    return poly_loss_cross_entropy(logits, labels, epsilon), (logits, labels)


def poly_loss_cross_entropy_bwd(epsilon, residuals, dloss):
    """The first term has the rule of `softmax_cross_entropy`. The second has the cotangent -epsilon d dloss at p, with d the
    labels, pulled back through softmax, and the slope epsilon (1 - p) in the labels.
    """
    logits, labels = residuals
    z, dloss = widened(logits), widened(dloss)
    p = softmax(z)
    dlogits, dlabels = softmax_cross_entropy_bwd((z, labels), dloss)
    (more,) = softmax_bwd(p, -epsilon * labels * dloss[..., None])
    return dlogits + more, dlabels + epsilon * _rest(p) * dloss[..., None]


defvjp(poly_loss_cross_entropy, poly_loss_cross_entropy_fwd, poly_loss_cross_entropy_bwd)


def _kept(logits, labels, epsilon=2.0):
    """The arguments."""
    return logits.nbytes + labels.nbytes


CASES = (
    Case(poly_loss_cross_entropy, (normal(5, 7), simplex(5, 7)), residual_bytes=_kept, order=2),
    Case(
        poly_loss_cross_entropy, (normal(2, 3, 4), simplex(2, 3, 4), -0.5), name="epsilon below 0", residual_bytes=_kept
    ),
    # p = 1/2: the cross-entropy has 1/2, the second term epsilon p (1 - p) = 1/2
    Case(
        poly_loss_cross_entropy,
        (full(0.0, 1, 2), np.array([[1.0, 0.0]])),
        name="ties",
        expect=(np.array([[-1.0, 1.0]]), np.full((1, 2), np.log(2.0) + 1)),
    ),
    Case(
        poly_loss_cross_entropy,
        (np.array([[0.0, -40.0, -3.0], [40.0, 0.0, 0.5], [40.0, 0.0, 0.5]]), np.eye(3)[[0, 0, 1]]),
        name="tails, right and wrong",
    ),
)
