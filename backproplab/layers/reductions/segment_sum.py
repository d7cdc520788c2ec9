"""Sums over segments: the rows of each id added up. Catalogue #89.

Autodiff keeps the ids alone too; what the rule adds is that sums of narrower numbers are taken in float32. `gathered`
serves the other pages about segments.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, integers, normal
from backproplab.precision import wide_dtype
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("num_segments",))
def segment_sum(data, segment_ids, num_segments):
    """Row s is the sum of the rows of data whose id is s, as `jax.ops.segment_sum`; zeros if there is none.

    data (n, ...), segment_ids (n,) of an integer dtype, in any order -> (num_segments, ...), in the dtype of data. Ids
    outside of [0, num_segments), negative ones too, take no part. Unlike in JAX num_segments must be given.
    """
    return _added(data, segment_ids, num_segments).astype(data.dtype)


def _added(data, segment_ids, num_segments):
    """The sums in float32 or wider."""
    return jax.ops.segment_sum(data.astype(wide_dtype(data)), segment_ids, num_segments)


def gathered(rows, segment_ids, fill):
    """The transpose of `segment_sum`: for each id its row, and `fill` for ids that are no segment."""
    return jnp.asarray(rows).at[segment_ids].get(mode="fill", fill_value=fill, wrap_negative_indices=False)


def segment_sum_fwd(data, segment_ids, num_segments):
    """Keeps the ids alone: the map is linear."""
    return segment_sum(data, segment_ids, num_segments), segment_ids


def segment_sum_bwd(num_segments, segment_ids, dy):
    """Each row of data is in the sum of its segment once, so it gets that segment's gradient: ddata_i = dy at id_i.
    Rows of no segment get 0.
    """
    return gathered(dy, segment_ids, 0), None


defvjp(segment_sum, segment_sum_fwd, segment_sum_bwd)


def _kept(data, segment_ids, num_segments):
    return segment_ids.nbytes


_ids = np.array([2, 0, 2, -1, 5, 4])
CASES = (
    Case(segment_sum, (normal(6, 3), integers(0, 4, 6), 4), residual_bytes=_kept, order=2),
    Case(segment_sum, (normal(5), integers(0, 3, 5), 3), name="numbers", residual_bytes=_kept),
    Case(segment_sum, (normal(5, 2, 3), integers(0, 3, 5), 3), name="matrices", residual_bytes=_kept),
    Case(
        segment_sum,
        (normal(6), _ids, 5),
        name="empty segments, and ids that are none",
        expect=(np.array([1.0, 1, 1, 0, 0, 1]),),
    ),
    # in bfloat16 a running sum of ones stops at 256
    Case(segment_sum, (full(1.0, 1000), np.zeros(1000, np.int32), 1), name="a thousand rows in one"),
    Case(segment_sum, (normal(0, 3), integers(0, 2, 0), 2), name="no rows", expect=(np.zeros((0, 3)),)),
)
