"""Softmax, the vector activation that makes a row of logits a probability distribution. Lecture L8, catalogue #60."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def softmax(x):
    """exp(x) over its sum along the last axis.

    x (..., d) -> y (..., d), in the dtype of x; each row is positive and sums to 1. Entries at -inf have probability 0.
    A row of -inf alone is all zeros, as attention wants of a query that may see nothing (`jax.nn.softmax`: NaN).
    +inf gives NaN.
    """
    wide = widened(x)
    largest = jax.lax.stop_gradient(jnp.max(wide, -1, keepdims=True))
    exponentials = jnp.exp(wide - jnp.where(largest == -jnp.inf, 0, largest))
    total = jnp.sum(exponentials, -1, keepdims=True)
    return (exponentials / jnp.where(total == 0, 1, total)).astype(x.dtype)


def softmax_fwd(x):
    """Keeps y: the Jacobian is a function of y alone, and small probabilities are stored to full relative accuracy."""
    y = softmax(x)
    return y, y


def softmax_bwd(y, dy):
    """y_i = exp(x_i) / sum_k exp(x_k), so log y_i = x_i - log sum_k exp(x_k) and

        dy_i / dx_j = y_i d(log y_i) / dx_j = y_i (delta_ij - y_j)        the Jacobian diag(y) - y y^T, symmetric
        dx = y (dy - sum_j y_j dy_j)

    Entries of probability 0 take no part, whatever their cotangent. A row of zeros (all masked) has gradient 0.

    Tail: where one probability is nearly 1, the sum is nearly its own dy and the difference loses all digits.
    `close_rows` writes that entry as minus the others.
    """
    y, dy = widened(y), widened(jnp.where(y > 0, dy, 0))
    return (close_rows(y * (dy - jnp.sum(y * dy, -1, keepdims=True)), y),)


def close_rows(dx, probabilities):
    """`dx` with the entry of a probability near 1 replaced by minus the sum of the others in its row.

    Softmax does not change when all of x moves by the same number, so the gradient of anything that depends on x through
    softmax sums to 0 along the row. At most one entry has a probability above 3/4; up to there 1 - p is no smaller than
    1/4, and the direct formula costs two bits at most. (Any bound between 1/2 and 1 would do; 1/2 itself would be met
    by every pair of equal logits.)
    """
    near_one = probabilities > 0.75
    return jnp.where(near_one, -jnp.sum(dx, -1, keepdims=True, where=~near_one), dx)


defvjp(softmax, softmax_fwd, softmax_bwd)

_INF = float("inf")

CASES = (
    Case(softmax, (normal(4, 7),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(softmax, (normal(2, 3, 5),), name="two batch axes", residual_bytes=lambda x: x.nbytes),
    Case(softmax, (normal(6),), name="no batch axis"),
    # a cotangent of ones is in the null space of the Jacobian: the gradient is 0 everywhere
    Case(softmax, (full(2.0, 3, 4),), name="ties", expect=(np.zeros((3, 4)),)),
    Case(softmax, (np.array([[0.0, 0.0], [1.0, -1.0]]),), name="two classes"),
    Case(softmax, (normal(5, 1),), name="one class: constant", expect=(np.zeros((5, 1)),)),
    Case(softmax, (np.array([[0.0, -40.0, -3.0], [40.0, 0.0, 0.5], [-20.0, 0.5, 0.25]]),), name="tails"),
    Case(softmax, (np.array([[123.0, 456.0, 789.0]]),), name="stable softmax (lecture S13)"),
    Case(softmax, (np.array([[1.0, -_INF, 0.0], [-_INF, -_INF, 2.0]]),), name="masked entries"),
    Case(softmax, (np.full((2, 3), -_INF),), name="all masked: y and gradient are 0", expect=(np.zeros((2, 3)),)),
    Case(softmax, (normal(9, 65),), name="odd width"),
)
