"""The lifted structure loss: each pair of one class against all negatives of both of its ends (Oh Song, Xiang, Jegelka &
Savarese, 2016, arXiv 1511.06452, equation 4). Catalogue #75. The rule keeps its arguments; autodiff keeps arrays of all pairs.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.losses.softmax import softmax
from backproplab.layers.metric_losses.semi_hard_triplet_loss import count, labelled, within
from backproplab.layers.reductions import logsumexp
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("margin",))
def lifted_structure_loss(embeddings, labels, margin=1.0):
    """Half the mean of max(0, J_ij)^2 over all pairs i, j of one class, D the Euclidean distances, with

        J_ij = D_ij + log(sum_k exp(margin - D_ik) + sum_l exp(margin - D_jl))        k, l of other classes than i and j

    embeddings (..., n, d), labels (..., n) integers -> loss (...), one number per batch, in the dtype of the embeddings.
    margin is a Python number, in the unit of the embeddings. Values are those of TensorFlow Addons' `lifted_struct_loss`,
    except that without a pair of one class, or without a second class, the loss is 0 and has no gradient (there: NaN).
    Raises ValueError if the numbers of rows differ.
    """
    _, distances, pairs, other = labelled("lifted_structure_loss", embeddings, labels)
    _, excess = _excess(distances, pairs, other, margin)
    return (0.5 * jnp.sum(excess * excess, (-1, -2)) / count(pairs)).astype(embeddings.dtype)


def _excess(distances, pairs, other, margin):
    """The logarithm of the sum for each row (..., n), 0 if it is empty; and max(0, J) (..., n, n), 0 where there is no pair."""
    crowd = jnp.where(jnp.any(other, -1), logsumexp(margin - distances, -1, where=other), 0)
    j = distances + jnp.logaddexp(crowd[..., :, None], crowd[..., None, :])
    return crowd, jnp.where(pairs, jnp.maximum(0, j), 0)


def lifted_structure_loss_fwd(embeddings, labels, margin):
    """Keeps its arguments, which the caller holds anyway: nothing of n times n."""
    return lifted_structure_loss(embeddings, labels, margin), (embeddings, labels)


def lifted_structure_loss_bwd(margin, residuals, dloss):
    """With the P ordered pairs, each unordered one twice, loss = sum_ij max(0, J_ij)^2 / (2 P), so J_ij has the cotangent

        H_ij = max(0, J_ij) / P dloss        symmetric, 0 where there is no pair

    D_ij gets it as it is. With c_i = log sum_k exp(margin - D_ik), J_ij = D_ij + log(exp c_i + exp c_j), and c_i stands in
    row i and in column i, each time with the share sigmoid(c_i - c_j). So c_i has 2 sum_j H_ij sigmoid(c_i - c_j), which
    D_ik, k of another class, gets with the weight -softmax_k(margin - D_ik). From there on it is `cdist_bwd`, with the
    embeddings on both sides.

    The square is smooth where J_ij passes 0. The distance of identical points has gradient 0.
    """
    embeddings, labels = residuals
    x, distances, pairs, other = labelled("lifted_structure_loss", embeddings, labels)
    crowd, excess = _excess(distances, pairs, other, margin)
    h = excess * (dloss.astype(x.dtype) / count(pairs))[..., None, None]
    share = jax.nn.sigmoid(crowd[..., :, None] - crowd[..., None, :])
    weights = softmax(jnp.where(other, margin - distances, -jnp.inf))
    return within(x, distances, h - weights * jnp.sum(2 * h * share, -1, keepdims=True)), None


defvjp(lifted_structure_loss, lifted_structure_loss_fwd, lifted_structure_loss_bwd)


def _kept(embeddings, labels, margin=1.0):
    """The arguments."""
    return embeddings.nbytes + labels.nbytes


_labels = np.array([0, 1, 0, 1, 1, 2])
CASES = (
    Case(lifted_structure_loss, (normal(6, 4), _labels), residual_bytes=_kept, order=2),
    Case(
        lifted_structure_loss,
        (normal(2, 5, 3), np.array([[0, 0, 1, 1, 1], [2, 1, 2, 1, 0]]), 0.25),
        name="two batches",
        residual_bytes=_kept,
    ),
    # exp(margin - D) alone would be 0, or infinite
    Case(lifted_structure_loss, (normal(5, 3, scale=2000.0), _labels[:5], 5000.0), name="large distances"),
    Case(
        lifted_structure_loss,
        (normal(5, 3, scale=0.125), _labels[:5], -3.0),
        name="none active: 0",
        expect=(np.zeros((5, 3)),),
    ),
    # J = log 2 for the pair that is alike
    Case(
        lifted_structure_loss,
        (np.array([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]]), np.array([0, 0, 1]), 5.0),
        name="identical points: 0",
        kink=True,
        expect=(np.array([[0.3, 0.4], [0.3, 0.4], [-0.6, -0.8]]) * np.log(2),),
    ),
    Case(
        lifted_structure_loss,
        (normal(3, 4), np.array([0, 1, 2])),
        name="no pair of one class: 0",
        expect=(np.zeros((3, 4)),),
    ),
    Case(lifted_structure_loss, (normal(3, 4), np.zeros(3, int)), name="no other class: 0", expect=(np.zeros((3, 4)),)),
)
