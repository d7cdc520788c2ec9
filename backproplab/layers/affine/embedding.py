"""Embedding lookup: a table of vectors, read by integers. Catalogue #14.

Autodiff adds the gradients of equal ids in the dtype of the table: in bfloat16 a running sum of 0.01 stops at 4, and
10,000 equal ids get 4 where 100 is right. The rule adds in float32, at the price of one float32 array of the size of
the table while it runs.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, integers, normal
from backproplab.layers.gates.add import Shape
from backproplab.precision import wide_dtype
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("padding_index",))
def embedding(table, ids, padding_index=None):
    """The rows of a table: table (v, d), ids (...) of an integer dtype -> (..., d).

    Negative ids count from the end of the table. An id outside [-v, v) gives a row of NaN, so that it is noticed, and
    no gradient. padding_index: an id that stands for no row at all, be it in the table or not (-1 will do): it gives
    zeros and no gradient.
    """
    return _look_up(table, ids, padding_index)


def _look_up(table, ids, padding_index):
    rows = jnp.asarray(table).at[ids].get(mode="fill", fill_value=jnp.nan)
    if padding_index is None:
        return rows
    return jnp.where((ids == padding_index)[..., None], 0, rows)


def embedding_fwd(table, ids, padding_index):
    """Keeps the ids alone: the lookup is linear in the table, so the gradient is the same whatever it holds."""
    return _look_up(table, ids, padding_index), (ids, Shape(table.shape))


def embedding_bwd(padding_index, residuals, dy):
    """y_n = table[ids_n], which is onehot(ids_n) table: an affine map whose input is never written out. So its gradient
    is onehot^T dy: row r of the table gets the sum of the dy_n of all places n that read it, none if none did.

        dtable_r = sum over n with ids_n = r of dy_n

    The sum is a scatter-add into float32 (or wider) zeros. It drops the ids out of bounds, and places that hold padding
    add a selected 0: backward and forward pass agree on who takes part.
    """
    ids, shape = residuals
    if padding_index is not None:
        dy = jnp.where((ids == padding_index)[..., None], 0, dy)
    zeros = jnp.zeros(shape, wide_dtype(dy))
    return zeros.at[ids].add(dy.astype(zeros.dtype), mode="drop"), None


defvjp(embedding, embedding_fwd, embedding_bwd)


def _kept(table, ids, padding_index=None):
    return ids.nbytes


_ids = np.array([[0, 2, 2], [-1, 4, 2]])
_counts = np.array([1.0, 0.0, 3.0, 0.0, 2.0])[:, None]  # 4 is read as 4 and as -1
CASES = (
    Case(embedding, (normal(7, 4), integers(0, 7, 5)), residual_bytes=_kept, order=2),
    Case(
        embedding,
        (normal(5, 2), _ids),
        name="two axes, repeated ids",
        expect=(np.tile(_counts, 2),),
        residual_bytes=_kept,
    ),
    Case(embedding, (normal(5, 3), np.array(2)), name="a single id", residual_bytes=_kept),
    Case(embedding, (normal(5, 3), integers(0, 5, 0)), name="no ids", expect=(np.zeros((5, 3)),)),
    Case(
        embedding, (normal(1, 3), np.zeros(10_000, np.int32)), name="10,000 equal ids", expect=(np.full((1, 3), 1e4),)
    ),
    Case(
        embedding,
        (normal(5, 2), _ids, 2),
        name="padding inside the table",
        expect=(np.tile(np.array([1.0, 0, 0, 0, 2])[:, None], 2),),
        residual_bytes=_kept,
    ),
    Case(
        embedding,
        (normal(5, 2), _ids, -1),
        name="padding outside the table",
        expect=(np.tile(np.array([1.0, 0, 3, 0, 1])[:, None], 2),),
        residual_bytes=_kept,
    ),
)
