"""The largest row of each segment, entry by entry. Catalogue #89.

Autodiff keeps the data, the result and the ids; the rule one index per entry of the result.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, distinct, full
from backproplab.layers.gates.add import Shape
from backproplab.layers.reductions.segment_sum import gathered
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("num_segments",))
def segment_max(data, segment_ids, num_segments):
    """Entry by entry the largest of the rows of data whose id is s, as `jax.ops.segment_max`; -inf if there is none.

    data (n, ...), segment_ids (n,) of an integer dtype, in any order -> (num_segments, ...), in the dtype of data. Ids
    outside of [0, num_segments), negative ones too, take no part. Unlike in JAX num_segments must be given. Among equal
    entries the gradient goes to the first alone.
    """
    return jax.ops.segment_max(data, segment_ids, num_segments)


def segment_max_fwd(data, segment_ids, num_segments):
    """Keeps, per entry of the result, which row it came from: n, a row that is not there, for an empty segment."""
    y = segment_max(data, segment_ids, num_segments)
    rows = jax.lax.broadcasted_iota(jnp.int32, data.shape, 0)
    attains = ~(data < gathered(y, segment_ids, 0))  # true for NaN, which wins over all numbers
    winner = jax.ops.segment_min(jnp.where(attains, rows, len(data)), segment_ids, num_segments)
    return y, (Shape(data.shape), jnp.minimum(winner, len(data)))


def segment_max_bwd(num_segments, residuals, dy):
    """Each entry of y is that of one row, which gets its whole gradient. A row is in one segment only, so nothing meets:
    the gradients are set at the winners' places, and dropped for empty segments.

    On the kink, where several rows attain the maximum, all ways to share one whole among them are subgradients.
    Declared is the first row.
    """
    shape, winner = residuals
    others = jnp.indices(winner.shape, sparse=True)[1:]
    return jnp.zeros(shape, dy.dtype).at[(winner, *others)].set(dy, mode="drop"), None


defvjp(segment_max, segment_max_fwd, segment_max_bwd)


def _textbook(data, segment_ids, num_segments):
    """The same with a mask of the size of data for each segment."""
    inside = segment_ids == jnp.arange(num_segments)[:, None]
    inside = inside.reshape(*inside.shape, *(1,) * (data.ndim - 1))
    return jnp.max(jnp.where(inside, data, -jnp.inf), 1)


def _kept(data, segment_ids, num_segments):
    """Four bytes per entry of the result."""
    return 4 * num_segments * (data.size // len(data))


_ids = np.array([2, 0, 2, -1, 5, 4])
CASES = (
    Case(segment_max, (distinct(6, 3), np.array([1, 0, 1, 2, 1, 0]), 3), residual_bytes=_kept, reference=_textbook),
    Case(
        segment_max,
        (distinct(7), np.array([0, 0, 2, 1, 2, 2, 1]), 3),
        name="numbers",
        residual_bytes=_kept,
        reference=_textbook,
    ),
    Case(
        segment_max,
        (distinct(5, 2, 3), np.array([1, 1, 0, 0, 1]), 2),
        name="matrices",
        residual_bytes=_kept,
        reference=_textbook,
    ),
    Case(
        segment_max,
        (np.array([1.0, 2, 3, 9, 9, 4]), _ids, 5),
        name="empty segments, and ids that are none",
        expect=(np.array([0.0, 1, 1, 0, 0, 1]),),
    ),
    Case(
        segment_max,
        (full(1.0, 4), np.array([1, 0, 1, 0]), 2),
        name="ties: the first row",
        kink=True,
        expect=(np.array([1.0, 1, 0, 0]),),
    ),
)
