"""Softmax within segments: the weights of graph attention (Velickovic et al., 2018, arXiv 1710.10903). Catalogue #89.

Compared with autodiff the rule keeps the result, which the caller holds, and the ids in place of six arrays.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.reductions.segment_sum import gathered
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("num_segments",))
def segment_softmax(data, segment_ids, num_segments):
    """exp(data) over its sum within each segment, entry by entry of the rows.

    data (n, ...), segment_ids (n,) of an integer dtype, in any order -> y (n, ...), in the dtype of data: the rows of one
    id are positive and sum to 1. Rows at -inf get 0, also where their whole segment is at -inf; so do rows whose id is
    outside of [0, num_segments), negative ones too.
    """
    wide = widened(data)
    largest = jax.lax.stop_gradient(jax.ops.segment_max(wide, segment_ids, num_segments))
    # rows of no segment are brought to -inf
    shifted = wide - gathered(jnp.where(largest == -jnp.inf, 0, largest), segment_ids, jnp.inf)
    exponentials = jnp.exp(shifted)
    total = jax.ops.segment_sum(exponentials, segment_ids, num_segments)
    return (exponentials / gathered(jnp.where(total == 0, 1, total), segment_ids, 1)).astype(data.dtype)


def segment_softmax_fwd(data, segment_ids, num_segments):
    """Keeps y and the ids: the Jacobian is a function of y alone."""
    y = segment_softmax(data, segment_ids, num_segments)
    return y, (y, segment_ids)


def segment_softmax_bwd(num_segments, residuals, dy):
    """Segments do not meet, so it is the rule of softmax in each: dy_i / dx_j = y_i (delta_ij - y_j), hence

        dx = y (dy - sum_j y_j dy_j)        with the sum over the row's segment

    Entries of probability 0 take no part, whatever their cotangent. Tail: where one probability is nearly 1 the
    difference loses all digits; as the gradient of a segment sums to 0, that entry is minus the sum of the others.
    """
    y, segment_ids = residuals
    y, dy = widened(y), widened(jnp.where(y > 0, dy, 0))
    total = lambda rows: gathered(jax.ops.segment_sum(rows, segment_ids, num_segments), segment_ids, 0)
    dx = y * (dy - total(y * dy))
    near_one = y > 0.75
    return jnp.where(near_one, -total(jnp.where(near_one, 0, dx)), dx), None


defvjp(segment_softmax, segment_softmax_fwd, segment_softmax_bwd)


def _kept(data, segment_ids, num_segments):
    return data.nbytes + segment_ids.nbytes


_INF = float("inf")
_ids = np.array([1, 0, 1, 2, 1, 0])
CASES = (
    Case(segment_softmax, (normal(6, 3), _ids, 3), residual_bytes=_kept, order=2),
    Case(segment_softmax, (normal(6), _ids, 3), name="numbers", residual_bytes=_kept),
    Case(segment_softmax, (normal(6), np.array([2, 0, 2, -1, 5, 0]), 4), name="empty segments, and ids that are none"),
    Case(segment_softmax, (full(2.0, 6), _ids, 3), name="ties", expect=(np.zeros(6),)),
    Case(segment_softmax, (np.array([0.0, 40.0, -40.0, 7.0, -3.0, 0.0]), _ids, 3), name="tails"),
    Case(
        segment_softmax,
        (np.array([1.0, -_INF, -_INF, 0.0, 2.0, -_INF]), _ids, 3),
        name="masked rows, and a whole segment",
    ),
)
