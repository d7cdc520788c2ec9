"""The angle between vectors, as a fraction of half a turn. Catalogue #73.

Unlike 1 minus the cosine it obeys the triangle inequality. The arc cosine has lost half of the digits next to parallel
vectors, where its slope is infinite; this page never forms a cosine. The rule keeps its arguments.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.gates.add import sum_to
from backproplab.layers.metric_losses.cosine_similarity import same_lengths
from backproplab.layers.reductions.norm import unit_vector
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis",))
def angular_distance(predictions, targets, axis=-1):
    """arccos(a b / (|a| |b|)) / pi with a the predictions and b the targets.

    predictions (..., d), targets (..., d) of shapes that broadcast -> distance (...), 0 for parallel vectors, 1/2 for
    orthogonal and 1 for opposite ones, in the dtype of the predictions. axis: an integer, a tuple, or None for all axes.
    A zero vector has the distance 1/2 to all, as with `cosine_similarity`, and no gradient. Raises ValueError for vectors
    of different lengths.

    Computed as 2 atan2(|u - v|, |u + v|) / pi of the units u and v (Kahan, 2006), to a few roundings of 1 at every angle.
    """
    u, v, _, _, defined = _units(predictions, targets, axis)
    _, apart = unit_vector(u - v, axis)
    _, together = unit_vector(u + v, axis)
    distance = 2 / np.pi * jnp.arctan2(apart, jnp.where(defined, together, 1))
    return jnp.squeeze(jnp.where(defined, distance, 0.5), axis).astype(predictions.dtype)


def _units(predictions, targets, axis):
    """a / |a| and b / |b|, |a| and |b|, in float32 or wider, and where neither is 0."""
    same_lengths(predictions, targets, axis)
    u, a_length = unit_vector(predictions, axis)
    v, b_length = unit_vector(targets, axis)
    return u, v, a_length, b_length, (a_length > 0) & (b_length > 0)


def angular_distance_fwd(predictions, targets, axis):
    """Keeps its arguments, which the caller holds anyway: two lengths per row are quickly computed again."""
    return angular_distance(predictions, targets, axis), (predictions, targets)


def angular_distance_bwd(axis, residuals, ddistance):
    """The angle t grows fastest where u turns straight away from v: along minus the part of v across u, at one radian per
    radian. Turning a by dt takes a step of |a| dt. So, with n(x) = x / |x|,

        da = -n(v - c u) / (pi |a|) ddistance        db = -n(u - c v) / (pi |b|) ddistance        c = u v

    v - c u is all rounding where u and v are nearly parallel or opposite. With e = v - u, or e = v + u and s = -1, whichever
    is shorter, the same is e - (u e) u, and u - c v is -s (e - (v e) v): the difference e is exact, and what is taken away
    from it is smaller than it. Both are as long as the sine of the angle.

    Kinks: at parallel vectors the tip of a cone, at opposite ones that of another, upside down. Every direction across is
    as good as its opposite, and 0 is taken; also where what is across is rounding alone, as it may be between a and 3 a,
    since its direction is noise of full size. A zero vector has no direction, and the gradient of both is 0.
    """
    predictions, targets = residuals
    u, v, a_length, b_length, defined = _units(predictions, targets, axis)
    side = jnp.where(jnp.sum(u * v, axis, keepdims=True) < 0, -1, 1).astype(u.dtype)
    e = v - side * u
    across_a, across_b = (e - jnp.sum(unit * e, axis, keepdims=True) * unit for unit in (u, v))
    square = jnp.sum(across_a * across_a, axis, keepdims=True)
    turns = defined & (square > (4 * jnp.finfo(u.dtype).eps) ** 2)  # each unit is rounded twice
    g = jnp.reshape(ddistance, side.shape).astype(u.dtype) / np.pi * jax.lax.rsqrt(jnp.where(turns, square, 1))
    da = jnp.where(turns, -g * across_a / _or_one(a_length), 0)
    db = jnp.where(turns, side * g * across_b / _or_one(b_length), 0)
    return sum_to(predictions.shape, da), sum_to(targets.shape, db)


def _or_one(length):
    return jnp.where(length == 0, 1, length)


defvjp(angular_distance, angular_distance_fwd, angular_distance_bwd)


def _kept(predictions, targets, axis=-1):
    """The arguments."""
    return predictions.nbytes + targets.nbytes


_a, _b = np.array([[3.0, 4.0], [1.0, 2.0]]), np.array([[9.0, 12.0], [-7.0, -14.0]])
CASES = (
    Case(angular_distance, (normal(4, 5), normal(4, 5)), residual_bytes=_kept, order=2),
    Case(angular_distance, (normal(1, 3, 4), normal(2, 1, 4)), name="every pair", residual_bytes=_kept),
    Case(angular_distance, (normal(3, 4), normal(3, 4), None), name="all axes", residual_bytes=_kept),
    Case(angular_distance, (normal(4, 3), normal(4, 3), 0), name="axis 0", residual_bytes=_kept),
    # turning (1, 0) by 2^-12: across is (0, 1), and away from b (0, -1)
    Case(
        angular_distance,
        (np.array([[2.0, 0.0], [2.0, 0.0]]), np.array([[1.0, 2.0**-12], [-1.0, 2.0**-12]])),
        name="nearly parallel, nearly opposite",
    ),
    Case(
        angular_distance,
        (_a, _b),
        name="parallel and opposite: 0",
        by_design=True,  # of the cone that points down at opposite vectors 0 is no subgradient
        expect=(np.zeros((2, 2)), np.zeros((2, 2))),
    ),
    Case(
        angular_distance,
        (np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [0.0, 0.0]])),
        name="zero vectors: 0",
        by_design=True,  # the slope at a zero vector depends on the direction; it is declared 0
        expect=(np.zeros((2, 2)), np.zeros((2, 2))),
    ),
)
