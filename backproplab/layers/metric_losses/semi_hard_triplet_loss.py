"""Triplets mined in a batch: for each pair of one class the negative that is just beyond it (Schroff, Kalenichenko &
Philbin, 2015, arXiv 1503.03832). Catalogue #75. The rule keeps its arguments; autodiff keeps arrays of all pairs.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.metric_losses.pairwise_distance import cdist, cdist_bwd
from backproplab.layers.metric_losses.supervised_contrastive import same_and_other
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("margin",))
def semi_hard_triplet_loss(embeddings, labels, margin=1.0):
    """The mean over all pairs of an anchor a and a positive p of max(0, D_ap - D_an + margin), D the Euclidean distances.

    The negative n is semi-hard: of those further from a than p, the nearest; if there is none, the furthest of all. As in
    TensorFlow Addons' `triplet_semihard_loss`, except where there is no triplet: without a pair of one class, or without a
    second class, the loss is 0 and has no gradient (there: NaN, and the mean of D_ap + margin).

    embeddings (..., n, d), labels (..., n) integers -> loss (...), one number per batch, in the dtype of the embeddings.
    margin is a Python number, in the unit of the embeddings. Raises ValueError if the numbers of rows differ.
    """
    _, distances, pairs, other = labelled("semi_hard_triplet_loss", embeddings, labels)
    chosen = _negatives(distances, other)
    hinges = jnp.maximum(0, distances - _taken(distances, chosen) + margin)
    return (jnp.sum(jnp.where(pairs, hinges, 0), (-1, -2)) / count(pairs)).astype(embeddings.dtype)


def labelled(name, embeddings, labels):
    """The embeddings in float32 or wider, all their distances, and (..., n, n) twice: which pairs are of one class and have a
    negative, and which are of two classes."""
    if embeddings.shape[:-1] != labels.shape:
        raise ValueError(
            f"{name} takes embeddings (..., n, d) and labels (..., n), not {embeddings.shape} and {labels.shape}"
        )
    x = widened(embeddings)
    distances: Any = cdist(x, x)
    same, other = same_and_other(labels)
    return x, distances, same & jnp.any(other, -1, keepdims=True), other


def within(x, distances, ddistances):
    """The gradient of x in distances that have x on both sides."""
    as_rows, as_columns = cdist_bwd(2.0, (x, x, distances), ddistances)
    return as_rows + as_columns


def _negatives(distances, other):
    """(..., n, n): for each pair the row of its negative."""
    candidates = jnp.where(other, distances, jnp.inf)[..., :, None, :]
    beyond = jnp.where(candidates > distances[..., :, :, None], candidates, jnp.inf)  # anchor, positive, negative
    furthest = jnp.argmax(jnp.where(other, distances, -jnp.inf), -1, keepdims=True)
    return jnp.where(jnp.min(beyond, -1) < jnp.inf, jnp.argmin(beyond, -1), furthest)


def _taken(distances, chosen):
    return jnp.take_along_axis(distances, chosen, -1)


def count(pairs):
    """Of each batch; 1 if there are none."""
    return jnp.maximum(1, jnp.sum(pairs, (-1, -2)))


def semi_hard_triplet_loss_fwd(embeddings, labels, margin):
    """Keeps its arguments, which the caller holds anyway: nothing of n times n."""
    return semi_hard_triplet_loss(embeddings, labels, margin), (embeddings, labels)


def semi_hard_triplet_loss_bwd(margin, residuals, dloss):
    """The choice of negatives is a constant. With P pairs, each that is active, D_ap - D_an + margin > 0, adds dloss / P to the
    cotangent of D_ap and takes as much from that of D_an; one negative may be chosen by many. From there on it is
    `cdist_bwd`, with the embeddings on both sides.

    Kinks: a triplet that just reaches its margin counts as inactive; of negatives at one distance the first is chosen; the
    distance of identical points has gradient 0. Where a negative passes the positive the choice changes and the loss
    jumps: the gradient is for changes that leave the order alone.
    """
    embeddings, labels = residuals
    x, distances, pairs, other = labelled("semi_hard_triplet_loss", embeddings, labels)
    chosen = _negatives(distances, other)
    active = pairs & (distances - _taken(distances, chosen) + margin > 0)
    share = dloss.astype(x.dtype) / count(pairs)
    g = jnp.where(active, share[..., None, None], 0)
    ddistances = g - _returned(g, chosen)
    return within(x, distances, ddistances), None


def _returned(g, chosen):
    """The transpose of `_taken`."""
    rows, places = (array.reshape(-1, g.shape[-1]) for array in (g, chosen))
    returned = jnp.zeros_like(rows).at[jnp.arange(len(rows))[:, None], places].add(rows)
    return returned.reshape(g.shape)


defvjp(semi_hard_triplet_loss, semi_hard_triplet_loss_fwd, semi_hard_triplet_loss_bwd)


def _kept(embeddings, labels, margin=1.0):
    """The arguments."""
    return embeddings.nbytes + labels.nbytes


# on a line, of classes 0 and 1: 0 and 2 are alike, and so are 3, 5 and 9
_line, _classes = np.array([[0.0], [2.0], [3.0], [5.0], [9.0]]), np.array([0, 0, 1, 1, 1])
CASES = (
    Case(semi_hard_triplet_loss, (normal(6, 4), np.array([0, 1, 0, 1, 1, 2]), 2.0), residual_bytes=_kept),
    Case(
        semi_hard_triplet_loss,
        (normal(2, 5, 3), np.array([[0, 0, 1, 1, 1], [2, 1, 2, 1, 0]])),
        name="two batches",
        residual_bytes=_kept,
    ),
    # the pair of the last and the one before: 4 - 7 + 3; the pair of the third and the last has no negative beyond it
    Case(
        semi_hard_triplet_loss,
        (_line, _classes, 3.0),
        name="one triplet on the margin: 0",
        kink=True,
        expect=(np.array([[2.0], [5.0], [-7.0], [-2.0], [2.0]]) / 8,),
    ),
    Case(
        semi_hard_triplet_loss,
        (np.array([[0.0], [0.0], [3.0]]), np.array([0, 0, 1]), 4.0),
        name="identical points: 0",
        kink=True,
        expect=(np.array([[0.5], [0.5], [-1.0]]),),
    ),
    Case(
        semi_hard_triplet_loss,
        (normal(3, 4), np.array([0, 1, 2])),
        name="no pair of one class: 0",
        expect=(np.zeros((3, 4)),),
    ),
    Case(
        semi_hard_triplet_loss, (normal(3, 4), np.zeros(3, int)), name="no other class: 0", expect=(np.zeros((3, 4)),)
    ),
    Case(
        semi_hard_triplet_loss,
        (np.eye(4, 5) * [8, 8, 1, 1, 0], np.array([0, 1, 2, 2])),
        name="none active: 0",
        expect=(np.zeros((4, 5)),),
    ),
)
