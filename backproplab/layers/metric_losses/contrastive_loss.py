"""The contrastive loss of pairs: alike is pulled together, different pushed beyond a margin (Hadsell, Chopra & LeCun,
2006). Catalogue #75.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal, uniform
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("margin",))
def contrastive_loss(x, y, similar, margin=1.0):
    """s D^2 / 2 + (1 - s) max(0, margin - D)^2 / 2 with D = |x - y| and s whether the two are alike.

    x (..., d), y (..., d), of one shape, similar (...), 1 for alike and 0 for different, of any dtype -> loss (...), in the
    dtype of x; no mean is taken. margin is a Python number, in the unit of x. Raises ValueError if the shapes differ.
    """
    return _loss(_difference(x, y), similar, margin).astype(x.dtype)


def _difference(x, y):
    """In float32 or wider."""
    if x.shape != y.shape:
        raise ValueError(f"contrastive_loss wants pairs of one shape, not {x.shape} and {y.shape}")
    return widened(x) - widened(y)


def _loss(difference, similar, margin):
    distance, s = _distance(difference), similar.astype(difference.dtype)
    short = jnp.maximum(0, margin - distance)
    return 0.5 * (s * distance * distance + (1 - s) * short * short)


def _distance(difference):
    """That of identical points is a constant 0."""
    square = jnp.sum(difference * difference, -1)
    return jnp.where(square == 0, 0, jnp.sqrt(jnp.where(square == 0, 1, square)))


def contrastive_loss_fwd(x, y, similar, margin):
    """Keeps the difference, and which pairs are alike."""
    difference = _difference(x, y)
    return _loss(difference, similar, margin).astype(x.dtype), (difference, similar)


def contrastive_loss_bwd(margin, residuals, dloss):
    """With r = x - y, D dD = r dr, so the first term has the slope s r. The second has (1 - s) times
    -(margin - D) r / D where D < margin, and 0 beyond; it is smooth at the margin.

        dx = (s - (1 - s) max(0, margin - D) / D) r dloss = -dy        ds = (D^2 - max(0, margin - D)^2) / 2 dloss

    Kink at D = 0 of a pair that is not alike, the tip of a cone: they are to part, but no direction is the right one. 0 is
    a critical point and is taken. `similar` of an integer or boolean dtype has no gradient.
    """
    r, similar = residuals
    distance, s = _distance(r), similar.astype(r.dtype)
    dloss, short = dloss.astype(r.dtype), jnp.maximum(0, margin - distance)
    push = jnp.where(distance == 0, 0, short / jnp.where(distance == 0, 1, distance))
    dx = (dloss * (s - (1 - s) * push))[..., None] * r
    if not jnp.issubdtype(similar.dtype, jnp.floating):
        return dx, -dx, None
    return dx, -dx, 0.5 * dloss * (distance * distance - short * short)


defvjp(contrastive_loss, contrastive_loss_fwd, contrastive_loss_bwd)


def _kept(x, y, similar, margin=1.0):
    """The difference, in float32 or wider, and which are alike."""
    return x.size * max(4, x.dtype.itemsize) + similar.nbytes


CASES = (
    Case(contrastive_loss, (normal(6, 4), normal(6, 4), np.arange(6) % 2, 3.0), residual_bytes=_kept),
    Case(
        contrastive_loss,
        (normal(2, 3, 4), normal(2, 3, 4), uniform(0.0, 1.0, 2, 3), 4.0),
        name="partly alike",
        residual_bytes=_kept,
    ),
    Case(
        contrastive_loss,
        (np.array([[3.0, 4.0]] * 3), np.zeros((3, 2)), np.array([True, False, False]), 10.0),
        name="alike, and within the margin",
        expect=(np.array([[3.0, 4.0], [-3.0, -4.0], [-3.0, -4.0]]), np.array([[-3.0, -4.0], [3.0, 4.0], [3.0, 4.0]])),
    ),
    Case(
        contrastive_loss,
        (np.array([[3.0, 4.0]] * 2), np.zeros((2, 2)), np.array([False, False]), 5.0),
        name="different, on the margin: 0",
        expect=(np.zeros((2, 2)), np.zeros((2, 2))),
    ),
    Case(
        contrastive_loss,
        (np.ones((2, 3)), np.ones((2, 3)), np.array([1, 0])),
        name="identical: 0",
        by_design=True,  # at the tip of the cone of the second pair, which points up, 0 is no subgradient
        expect=(np.zeros((2, 3)), np.zeros((2, 3))),
    ),
)
