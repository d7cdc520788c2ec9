"""The logarithm of softmax. Catalogue #61.

Autodiff keeps the probabilities; the rule keeps x alone, and stays exact where one probability is nearly 1.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.losses.softmax import close_rows, softmax
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def log_softmax(x):
    """x minus the logarithm of the sum of exp(x), along the last axis.

    x (..., d) -> y (..., d), in the dtype of x. An entry at -inf is masked: it stays -inf and its gradient is 0, also where
    the whole row is masked (`jax.nn.log_softmax`: NaN). +inf gives NaN.
    """
    wide = widened(x)
    largest = jax.lax.stop_gradient(jnp.max(wide, -1, keepdims=True))
    shifted = wide - jnp.where(largest == -jnp.inf, 0, largest)
    total = jnp.sum(jnp.exp(shifted), -1, keepdims=True)
    y = shifted - jnp.log(jnp.where(total == 0, 1, total))
    return jnp.where(x == -jnp.inf, -jnp.inf, y).astype(x.dtype)


def log_softmax_fwd(x):
    """Keeps x. y would do on paper, but exp(y) turns the rounding of y = -40 into a relative error of 2e-6 in float32."""
    return log_softmax(x), x


def log_softmax_bwd(x, dy):
    """y_i = x_i - log sum_k exp(x_k). The second term has the slope p = softmax(x), so

        dy_i / dx_j = delta_ij - p_j        dx = dy - p sum_i dy_i

    Masked entries take no part: their cotangent is set to 0, and p is 0 there.

    Tail: where p is nearly 1 the two terms share a dy_i that must cancel. With q = 1 - p the entry is
    dy_i q_i - p_i sum_{j != i} dy_j; rows of dx sum to 0 here too, so `close_rows` has it as minus the others.
    """
    probabilities = softmax(widened(x))
    dy = widened(jnp.where(x == -jnp.inf, 0, dy))
    return (close_rows(dy - probabilities * jnp.sum(dy, -1, keepdims=True), probabilities),)


defvjp(log_softmax, log_softmax_fwd, log_softmax_bwd)

_INF = float("inf")

CASES = (
    Case(log_softmax, (normal(4, 7),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(log_softmax, (normal(2, 3, 5),), name="two batch axes", residual_bytes=lambda x: x.nbytes),
    Case(log_softmax, (normal(6),), name="no batch axis"),
    Case(log_softmax, (full(2.0, 3, 4),), name="ties", expect=(np.zeros((3, 4)),)),
    Case(log_softmax, (normal(5, 1),), name="one class: constant", expect=(np.zeros((5, 1)),)),
    Case(log_softmax, (np.array([[0.0, -40.0, -3.0], [40.0, 0.0, 0.5], [-20.0, 0.5, 0.25]]),), name="tails"),
    Case(log_softmax, (np.array([[123.0, 456.0, 789.0]]),), name="far apart"),
    # two classes of probability 1/2 left, and a cotangent of ones: 1 - 2/2 each
    Case(
        log_softmax,
        (np.array([[1.0, -_INF, 1.0]]),),
        name="masked entry",
        expect=(np.zeros((1, 3)),),
    ),
    Case(log_softmax, (np.full((2, 3), -_INF),), name="all masked: gradient 0", expect=(np.zeros((2, 3)),)),
    Case(log_softmax, (normal(9, 65),), name="odd width"),
)
