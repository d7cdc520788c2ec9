"""The triplet loss: an anchor nearer to its positive than to its negative, by a margin (Schroff, Kalenichenko & Philbin,
2015, arXiv 1503.03832). Catalogue #75. One number per triplet; the mean over those that are active, of which there may be
none (0/0 in another library), is the caller's to take.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis", "norm_degree", "margin", "eps"))
def triplet_margin_loss(anchors, positives, negatives, axis=-1, norm_degree=2, margin=1.0, eps=1e-6):
    """max(0, D(anchor, positive) - D(anchor, negative) + margin) with D(a, b) = (sum |a - b|^norm_degree + eps)^(1/norm_degree).

    anchors, positives and negatives (..., d), of one shape -> loss (...), in the dtype of the anchors; no mean is taken.
    Argument names and order are those of `optax.losses.triplet_margin_loss`, which for odd norm_degree takes powers of
    negative differences; here they are positive. norm_degree, at least 1, margin and eps, not negative, are Python
    numbers; with eps = 0 the distance of identical points has gradient 0. Raises ValueError if the shapes differ.
    """
    near, far = (_length(r, axis, norm_degree, eps) for r in _differences(anchors, positives, negatives))
    return jnp.squeeze(jnp.maximum(0, near - far + margin), axis).astype(anchors.dtype)


def _differences(anchors, positives, negatives):
    """From the anchor, in float32 or wider."""
    if not anchors.shape == positives.shape == negatives.shape:
        raise ValueError(f"triplets want one shape, not {anchors.shape}, {positives.shape} and {negatives.shape}")
    return widened(anchors) - widened(positives), widened(anchors) - widened(negatives)


def _length(difference, axis, degree, eps):
    total = jnp.sum(_power(jnp.abs(difference), degree), axis, keepdims=True) + eps
    return _power(total, 1 / degree)


def _power(size, exponent):
    """size^exponent for positive exponents; 0 without a slope at 0, where that of a root would be infinite."""
    if exponent in (1, 2):
        return size**exponent
    return jnp.where(size == 0, 0, jnp.where(size == 0, 1, size) ** exponent)


def triplet_margin_loss_fwd(anchors, positives, negatives, axis, norm_degree, margin, eps):
    """Keeps both differences."""
    loss = triplet_margin_loss(anchors, positives, negatives, axis, norm_degree, margin, eps)
    return loss, _differences(anchors, positives, negatives)


def triplet_margin_loss_bwd(axis, norm_degree, margin, eps, residuals, dloss):
    """With r = a - b and D^q = sum |r|^q + eps, dD = sum_i u_i dr_i with u_i = sign(r_i) (|r_i| / D)^(q-1). Where the
    triplet is active, D(a, p) - D(a, n) + margin > 0,

        da = u(a - p) - u(a - n)        dp = -u(a - p)        dn = u(a - n)

    Kinks: a triplet that just reaches its margin counts as inactive, gradient 0 (JAX's maximum takes half). With q = 1, or
    eps = 0 and identical points, u = 0 where r = 0.
    """
    to_positive, to_negative = residuals
    near, far = (_length(r, axis, norm_degree, eps) for r in residuals)
    g = jnp.where(near - far + margin > 0, jnp.expand_dims(dloss, axis).astype(near.dtype), 0)
    toward, away = g * _unit(to_positive, near, norm_degree), g * _unit(to_negative, far, norm_degree)
    return toward - away, -toward, away


def _unit(difference, length, degree):
    """sign(r) (|r| / D)^(degree - 1), 0 where r is."""
    ratio = difference / jnp.where(length == 0, 1, length)
    if degree == 2:
        return ratio
    sign = jnp.sign(ratio)
    return sign if degree == 1 else sign * _power(jnp.abs(ratio), degree - 1)


defvjp(triplet_margin_loss, triplet_margin_loss_fwd, triplet_margin_loss_bwd)


def _kept(anchors, *_):
    """Two differences, in float32 or wider."""
    return 2 * anchors.size * max(4, anchors.dtype.itemsize)


_a, _p, _n = np.array([[0.0, 0.0], [0.0, 0.0]]), np.array([[3.0, 4.0], [3.0, 4.0]]), np.array([[0.0, 5.0], [0.0, 7.0]])
_first_alone = (
    np.array([[-0.6, 0.2], [0.0, 0.0]]),
    np.array([[0.6, 0.8], [0.0, 0.0]]),
    np.array([[0.0, -1.0], [0.0, 0.0]]),
)
CASES = (
    Case(triplet_margin_loss, (normal(5, 4), normal(5, 4), normal(5, 4)), residual_bytes=_kept),
    Case(
        triplet_margin_loss,
        (normal(4, 5), normal(4, 5), normal(4, 5), 0, 3, 0.5),
        name="axis 0, degree 3",
        residual_bytes=_kept,
    ),
    # 5 - 5 + 1 and 5 - 7 + 1
    Case(
        triplet_margin_loss,
        (_a, _p, _n, -1, 2, 1.0, 0.0),
        name="active and inactive",
        expect=_first_alone,
    ),
    Case(
        triplet_margin_loss,
        (_a, _p, _n, -1, 2, 2.0, 0.0),
        name="the second on the margin: 0",
        kink=True,
        expect=_first_alone,
    ),
    Case(
        triplet_margin_loss,
        (_a, _a, _a, -1, 2, 1.0, 0.0),
        name="identical points: 0",
        kink=True,
        expect=(np.zeros((2, 2)),) * 3,
    ),
    Case(triplet_margin_loss, (_a, _a, _n), name="identical points, eps in the root"),
)
