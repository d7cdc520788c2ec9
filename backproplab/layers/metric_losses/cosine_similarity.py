"""The cosine of the angle between vectors, and 1 minus it. Catalogue #73.

The rules keep their arguments; autodiff keeps three arrays of their size, and is NaN for a zero vector (GRADIENT_BUGS E4).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.gates.add import sum_to
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("epsilon", "axis"))
def cosine_similarity(predictions, targets, epsilon=0.0, axis=-1, where=None):
    """a b / (|a| |b|) with a the predictions and b the targets.

    predictions (..., d), targets (..., d) of shapes that broadcast -> similarity (...), between -1 and 1, in the dtype of
    the predictions. axis: an integer, a tuple, or None for all axes; where: booleans, the entries that take part. Raises
    ValueError for vectors of different lengths.
    Argument names and order are those of `optax.losses.cosine_similarity`; so is the meaning of epsilon, a Python number:
    squared lengths count at least epsilon. A vector of squared length 0 (in float32: shorter than 1e-19) has similarity 0
    to all and no gradient, where optax's default gives NaN.
    """
    a, b, *_ = _units(predictions, targets, epsilon, axis, where)
    return jnp.sum(a * b, axis).astype(predictions.dtype)


def _units(predictions, targets, epsilon, axis, where):
    """a / |a| and b / |b|, 1 / |a| and 1 / |b|, in float32 or wider, and where |a| and |b| count as they are."""
    same_lengths(predictions, targets, axis, where)
    a, a_inverse, a_free = _unit(predictions, epsilon, axis, where)
    b, b_inverse, b_free = _unit(targets, epsilon, axis, where)
    return a, b, a_inverse, b_inverse, a_free, b_free


def same_lengths(predictions, targets, axis, where=None):
    """Raises ValueError unless the vectors along `axis` are of one length."""
    if _vectors(predictions, axis, where) != _vectors(targets, axis, where):
        raise ValueError(
            f"cosine of vectors along axis {axis} of shapes {jnp.shape(predictions)} and {jnp.shape(targets)}: their "
            "lengths must be equal, and for arrays of different ranks the axis negative"
        )


def _vectors(a, axis, where):
    """Which axes the vectors lie along, counted from the last, and their sizes."""
    shape = np.broadcast_shapes(jnp.shape(a), () if where is None else jnp.shape(where))
    axes = range(len(shape)) if axis is None else (axis,) if isinstance(axis, int) else axis
    return {(i % len(shape) - len(shape), shape[i]) for i in axes}


def _unit(a, epsilon, axis, where):
    a = widened(a if where is None else jnp.where(where, a, 0))
    square = jnp.sum(a * a, axis, keepdims=True)
    free = (square > epsilon) & (square > 0)
    inverse = jax.lax.rsqrt(jnp.where(free, square, epsilon or 1.0))
    return a * inverse, inverse, free


def cosine_similarity_fwd(predictions, targets, epsilon, axis, where):
    """Keeps its arguments, which the caller holds anyway: two lengths per row are quickly computed again."""
    return cosine_similarity(predictions, targets, epsilon, axis, where), (predictions, targets, where)


def cosine_similarity_bwd(epsilon, axis, residuals, dsimilarity):
    """With the units u = a / |a|, v = b / |b| and c = u v: du = (da - u (u da)) / |a|, and c changes by v du, so

        da = (v - c u) / |a| dc        db = (u - c v) / |b| dc

    the part of the other unit that is orthogonal to one's own. A length that epsilon holds is a constant, and the second
    term falls away. A zero vector has u = 0; with epsilon = 0 its direction has no slope, and its gradient is 0 by
    selection. (Every vector is the limit of some direction there.)
    """
    predictions, targets, where = residuals
    u, v, a_inverse, b_inverse, a_free, b_free = _units(predictions, targets, epsilon, axis, where)
    dc = jnp.reshape(dsimilarity, jnp.sum(u * v, axis, keepdims=True).shape).astype(u.dtype)
    c = jnp.sum(u * v, axis, keepdims=True)
    da = _pull(dc, v, jnp.where(a_free, c, 0) * u, a_inverse, a_free | (epsilon > 0), where)
    db = _pull(dc, u, jnp.where(b_free, c, 0) * v, b_inverse, b_free | (epsilon > 0), where)
    return sum_to(predictions.shape, da), sum_to(targets.shape, db), None


def _pull(dc, other, along, inverse, has_slope, where):
    """dc (other - along) / length, 0 where there is no slope and where an entry takes no part."""
    return jnp.where(has_slope if where is None else has_slope & where, dc * (other - along) * inverse, 0)


defvjp(cosine_similarity, cosine_similarity_fwd, cosine_similarity_bwd)


@partial(jax.custom_vjp, nondiff_argnames=("epsilon", "axis"))
def cosine_distance(predictions, targets, epsilon=0.0, axis=-1, where=None):
    """1 - cosine_similarity, arguments as there; names and order are those of `optax.losses.cosine_distance`.

    Computed as half the squared distance of the units, which for directions that are close keeps the digits that 1 - c
    has lost; a unit that epsilon or a zero has made shorter adds the half of what its square lacks to 1.
    """
    a, b, _, _, a_free, b_free = _units(predictions, targets, epsilon, axis, where)
    lacking = jnp.where(a_free, 0, 1 - jnp.sum(a * a, axis, keepdims=True))
    lacking = lacking + jnp.where(b_free, 0, 1 - jnp.sum(b * b, axis, keepdims=True))
    distance = 0.5 * (jnp.sum(jnp.square(a - b), axis, keepdims=True) + lacking)
    return jnp.sum(distance, axis).astype(predictions.dtype)


def cosine_distance_fwd(predictions, targets, epsilon, axis, where):
    """Keeps its arguments, which the caller holds anyway."""
    return cosine_distance(predictions, targets, epsilon, axis, where), (predictions, targets, where)


def cosine_distance_bwd(epsilon, axis, residuals, ddistance):
    """Minus the gradient of the similarity."""
    return cosine_similarity_bwd(epsilon, axis, residuals, -ddistance)


defvjp(cosine_distance, cosine_distance_fwd, cosine_distance_bwd)


def _kept(predictions, targets, epsilon=0.0, axis=-1, where=None):
    """The arguments."""
    return predictions.nbytes + targets.nbytes + (0 if where is None else where.nbytes)


_part = np.array([[True, True, False, True], [False, True, True, True], [True, True, True, True]])
_zero = (np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [0.0, 0.0]]))
CASES = (
    Case(cosine_similarity, (normal(4, 5), normal(4, 5)), residual_bytes=_kept, order=2),
    Case(cosine_similarity, (normal(1, 3, 4), normal(2, 1, 4)), name="every pair", residual_bytes=_kept),
    Case(
        cosine_similarity,
        (normal(3, 4), normal(3, 4), 0.0, None, _part),
        name="all axes, some entries",
        residual_bytes=_kept,
    ),
    Case(cosine_similarity, (normal(4, 3), normal(4, 3), 3.0, 0), name="epsilon holds some lengths"),
    Case(
        cosine_similarity,
        _zero,
        name="zero vectors: 0",
        by_design=True,  # the slope at a zero vector depends on the direction; it is declared 0
        expect=(np.zeros((2, 2)), np.zeros((2, 2))),
    ),
    Case(
        cosine_similarity,
        (full(0.0, 2, 3), normal(2, 3), 0.25),
        name="zero vectors with epsilon: b / (|b| sqrt epsilon)",
    ),
    Case(cosine_distance, (normal(4, 5), normal(4, 5)), residual_bytes=_kept, order=2),
    Case(
        cosine_distance,
        (normal(3, 4), normal(3, 4), 4.0, -1, _part),
        name="epsilon and some entries",
        residual_bytes=_kept,
    ),
    Case(
        cosine_distance,
        _zero,
        name="zero vectors: 0",
        by_design=True,
        expect=(np.zeros((2, 2)), np.zeros((2, 2))),
    ),
)
