"""Bags of embeddings: the vectors of several ids added up, with weights or without, averaged, or their maximum.
Catalogue #15.

The rule keeps the ids, for the maximum one index per number of the result besides, and its arguments where there are
weights; the vectors read from the table are not kept. As in `embedding`, sums are taken in float32.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, distinct, integers, normal
from backproplab.layers.affine.embedding import embedding, embedding_bwd
from backproplab.layers.gates.add import Shape
from backproplab.layers.reductions.max import small_index
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("mode", "padding_index"))
def embedding_bag(table, ids, mode="sum", padding_index=-1, weights=None):
    """The sum, the mean or the maximum of the rows of a table that each bag of ids names.

    table (v, d), ids (..., n) of an integer dtype: n ids a bag, ids equal to padding_index stand for none -> y (..., d), in
    the dtype of the table. An empty bag gives zeros. mode: "sum", "mean" over those that are there, or "max", entry by
    entry. weights: None, or for a sum (..., n), floating, what each row is multiplied by, as `per_sample_weights` in
    PyTorch; those of padding do not matter. An id outside of [-v, v) gives NaN, as in `embedding`. Raises ValueError for
    another mode, for weights in another mode than "sum" and for weights of another shape than the ids.
    """
    if weights is not None and (mode != "sum" or jnp.shape(weights) != jnp.shape(ids)):
        raise ValueError(
            f'weights are for mode "sum", in the shape of the ids: {mode!r}, {jnp.shape(weights)} and {jnp.shape(ids)}'
        )
    rows = widened(embedding(table, ids, padding_index))
    if mode == "max":
        y = jnp.where(_present(ids, padding_index).any(-2), jnp.max(_candidates(rows, ids, padding_index), -2), 0)
    elif mode in ("sum", "mean"):
        y = jnp.sum(rows * _share(ids, mode, padding_index, weights), -2)
    else:
        raise ValueError(f'mode must be "sum", "mean" or "max", not {mode!r}')
    return y.astype(table.dtype)


def _present(ids, padding_index):
    return (ids != padding_index)[..., None]


def _candidates(rows, ids, padding_index):
    """Padding can win over nothing. A bag of padding alone is kept off -inf, though its maximum is not used."""
    return jnp.where(_present(ids, padding_index), rows, -jnp.inf)


def _share(ids, mode, padding_index, weights):
    """What each row of a bag counts: its weight or 1 in a sum, one over their number in a mean."""
    if weights is not None:
        return jnp.where(_present(ids, padding_index), widened(weights)[..., None], 0)
    count = jnp.sum(_present(ids, padding_index), -2, keepdims=True)
    return 1 / jnp.maximum(count, 1) if mode == "mean" else 1


def embedding_bag_fwd(table, ids, mode, padding_index, weights):
    """Keeps the ids, for the maximum, entry by entry, which row of the bag it came from, and the table and the weights,
    which the caller holds anyway, if there are weights.
    """
    y = embedding_bag(table, ids, mode, padding_index, weights)
    winner = None
    if mode == "max":
        candidates = _candidates(embedding(table, ids, padding_index), ids, padding_index)
        winner = small_index(jnp.argmax(candidates, -2), ids.shape[-1])
    return y, (ids, Shape(table.shape), winner, None if weights is None else table, weights)


def embedding_bag_bwd(mode, padding_index, residuals, dy):
    """Row j of a bag counts s_j = 1 in the sum, s_j = w_j with weights and s_j = 1 / (number of ids that are there) in the
    mean, so it has the gradient s_j dy. In the maximum entry e of y is that of one row, which gets dy_e, and the others 0;
    among equal rows it is the first of the bag. Then the rows give to the table by the rule of `embedding`: equal ids add
    up, padding is out.

    With weights y = sum_j w_j row_j, so dw_j = row_j . dy; those of padding have none.
    """
    ids, shape, winner, table, weights = residuals
    dy = widened(dy)[..., None, :]
    if winner is None:
        drows = jnp.broadcast_to(dy * _share(ids, mode, padding_index, weights), (*ids.shape, shape[1]))
    else:
        drows = jnp.where(jnp.arange(ids.shape[-1])[:, None] == winner[..., None, :], dy, 0)
    dtable, dids = embedding_bwd(padding_index, (ids, shape), drows)
    if weights is None:
        return dtable, dids, None
    slopes = jnp.sum(widened(embedding(table, ids, padding_index)) * dy, -1)
    return dtable, dids, jnp.where(ids == padding_index, 0, slopes)


defvjp(embedding_bag, embedding_bag_fwd, embedding_bag_bwd)


def _kept(table, ids, mode="sum", padding_index=-1, weights=None):
    if weights is not None:
        return table.nbytes + ids.nbytes + weights.nbytes
    return ids.nbytes + (ids[..., 0].size * table.shape[1] if mode == "max" else 0)


_ids = np.array([[0, 2, 2, -1], [-1, -1, -1, -1], [4, -1, 1, -1]])
CASES = (
    Case(embedding_bag, (normal(7, 4), integers(0, 7, 5, 3)), residual_bytes=_kept, order=2),
    Case(embedding_bag, (normal(7, 4), integers(0, 7, 5, 3), "mean"), name="mean", residual_bytes=_kept),
    # FlagGems #5220: the maximum got the gradient of the mean
    Case(embedding_bag, (distinct(7, 4), integers(0, 7, 5, 3), "max"), name="maximum", residual_bytes=_kept),
    Case(
        embedding_bag,
        (normal(5, 2), _ids),
        name="sum: padding and an empty bag",
        expect=(np.tile(np.array([1.0, 1, 2, 0, 1])[:, None], 2),),
    ),
    Case(
        embedding_bag,
        (normal(5, 2), _ids, "mean"),
        name="mean: padding and an empty bag",
        expect=(np.tile(np.array([1 / 3, 1 / 2, 2 / 3, 0, 1 / 2])[:, None], 2),),
    ),
    Case(
        embedding_bag,
        (np.array([[5.0], [1], [-3], [0], [-2]]), _ids, "max"),
        name="maximum: padding and an empty bag",
        expect=(np.array([[1.0], [1], [0], [0], [0]]),),
    ),
    Case(embedding_bag, (normal(5, 2), np.array([3, 0]), "mean"), name="one bag"),
    Case(
        embedding_bag,
        (normal(7, 4), integers(0, 7, 5, 3), "sum", -1, normal(5, 3)),
        name="weights",
        residual_bytes=_kept,
        order=2,
    ),
    Case(
        embedding_bag,
        (
            np.arange(10.0).reshape(5, 2),
            _ids,
            "sum",
            -1,
            np.array([[1.0, 2, 3, np.nan], [np.inf] * 4, [0.5, np.nan, -1, 0]]),
        ),
        name="weights: padding and an empty bag",
        expect=(
            np.tile(np.array([1.0, -1, 5, 0, 0.5])[:, None], 2),
            np.array([[1.0, 9, 9, 0], [0, 0, 0, 0], [17, 0, 5, 0]]),
        ),
    ),
)
