"""Bags of embeddings: the vectors of several ids added up, averaged, or their maximum. Catalogue #15.

The rule keeps the ids, for the maximum one index per number of the result besides; the table and the vectors read from it
are not kept. As in `embedding`, sums are taken in float32.
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
def embedding_bag(table, ids, mode="sum", padding_index=-1):
    """The sum, the mean or the maximum of the rows of a table that each bag of ids names.

    table (v, d), ids (..., n) of an integer dtype: n ids a bag, ids equal to padding_index stand for none -> y (..., d), in
    the dtype of the table. An empty bag gives zeros. mode: "sum", "mean" over those that are there, or "max", entry by
    entry. An id outside of [-v, v) gives NaN, as in `embedding`. Raises ValueError for another mode.
    """
    rows = widened(embedding(table, ids, padding_index))
    if mode == "max":
        y = jnp.where(_present(ids, padding_index).any(-2), jnp.max(_candidates(rows, ids, padding_index), -2), 0)
    elif mode in ("sum", "mean"):
        y = jnp.sum(rows, -2) * _share(ids, mode, padding_index)
    else:
        raise ValueError(f'mode must be "sum", "mean" or "max", not {mode!r}')
    return y.astype(table.dtype)


def _present(ids, padding_index):
    return (ids != padding_index)[..., None]


def _candidates(rows, ids, padding_index):
    """Padding can win over nothing. A bag of padding alone is kept off -inf, though its maximum is not used."""
    return jnp.where(_present(ids, padding_index), rows, -jnp.inf)


def _share(ids, mode, padding_index):
    """What each row of a bag counts: 1 in a sum, one over their number in a mean."""
    count = jnp.sum(_present(ids, padding_index), -2)
    return 1 / jnp.maximum(count, 1) if mode == "mean" else 1


def embedding_bag_fwd(table, ids, mode, padding_index):
    """Keeps the ids, and for the maximum, entry by entry, which row of the bag it came from."""
    y = embedding_bag(table, ids, mode, padding_index)
    if mode != "max":
        return y, (ids, Shape(table.shape), None)
    candidates = _candidates(embedding(table, ids, padding_index), ids, padding_index)
    return y, (ids, Shape(table.shape), small_index(jnp.argmax(candidates, -2), ids.shape[-1]))


def embedding_bag_bwd(mode, padding_index, residuals, dy):
    """Row j of a bag counts s = 1 in the sum and s = 1 / (number of ids that are there) in the mean, so it has the
    gradient s dy. In the maximum entry e of y is that of one row, which gets dy_e, and the others 0; among equal rows it
    is the first of the bag. Then the rows give to the table by the rule of `embedding`: equal ids add up, padding is out.
    """
    ids, shape, winner = residuals
    dy = widened(dy)
    if winner is None:
        drows = jnp.broadcast_to((dy * _share(ids, mode, padding_index))[..., None, :], (*ids.shape, shape[1]))
    else:
        places = jnp.arange(ids.shape[-1])[:, None]
        drows = jnp.where(places == winner[..., None, :], dy[..., None, :], 0)
    return embedding_bwd(padding_index, (ids, shape), drows)


defvjp(embedding_bag, embedding_bag_fwd, embedding_bag_bwd)


def _kept(table, ids, mode="sum", padding_index=-1):
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
)
