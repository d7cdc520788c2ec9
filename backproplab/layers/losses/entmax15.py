"""1.5-entmax: between softmax and sparsemax, smooth with exact zeros (Peters, Niculae & Martins, 2019, arXiv 1905.05702).

Catalogue #68. Autodiff of the usual algorithm is NaN for half of all inputs: it takes the square root of 0 in branches
that it throws away (GRADIENT_BUGS E15). The rule keeps y.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.losses.softmax import close_rows
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def entmax15(x):
    """max(0, x/2 - tau)^2, with tau such that each row sums to 1.

    x (..., d) -> y (..., d), in the dtype of x. It maximises y x plus the Tsallis entropy 4/3 sum(y - y^(3/2)). Entries at
    -inf get probability 0. A row of -inf alone is all zeros.
    """
    return jnp.square(roots_and_threshold(x)[0]).astype(x.dtype)


def roots_and_threshold(x):
    """r = sqrt y, the support (x/2 > tau), half the row's largest entry, and tau measured from it, in float32 or wider.

    For a support of n entries h = x/2 with mean M and sum of squared deviations V, sum (h - tau)^2 = V + n (M - tau)^2
    is 1 for tau = M - sqrt((1 - V) / n). In a row sorted in descending order the support is the longest head whose last
    entry is above its own tau. Entries h that are 1 or more below the largest are never in it; those of 2 and more are
    cut off there.
    """
    h = widened(x) / 2
    largest = jax.lax.stop_gradient(jnp.max(h, -1, keepdims=True))
    z = h - jnp.where(largest == -jnp.inf, 0, largest)
    cut = jax.lax.stop_gradient(jnp.maximum(z, -2))
    head = -jnp.sort(-cut, -1)
    size = jnp.arange(1, x.shape[-1] + 1)
    means = jnp.cumsum(head, -1) / size
    variations = jnp.cumsum(head * head, -1) - size * means * means
    taus = means - jnp.sqrt(jnp.maximum(1 - variations, 0) / size)
    count = jnp.sum(head > taus, -1, keepdims=True)
    support = (cut > jnp.sum(jnp.where(size == count, taus, 0), -1, keepdims=True)) & (h > -jnp.inf)
    # again from the support itself, in two passes; 1 - V is positive for every true support
    n = jnp.maximum(jnp.sum(support, -1, keepdims=True), 1)
    mean = jnp.sum(z, -1, keepdims=True, where=support) / n
    variation = jnp.sum(jnp.square(jnp.where(support, z - mean, 0)), -1, keepdims=True)
    tau = mean - jnp.sqrt((1 - variation) / n)
    return jnp.where(support, z - tau, 0), support, largest, tau


def entmax15_fwd(x):
    """Keeps y: the Jacobian is a function of y alone."""
    y = entmax15(x)
    return y, y


def entmax15_bwd(y, dy):
    """With r = sqrt y = x/2 - tau on the support, dy_i = 2 r_i (dx_i / 2 - dtau), and the sum of y stays 1:

        dtau = sum_j r_j dx_j / 2 / sum_j r_j        dy_i / dx_j = r_i (delta_ij - r_j / sum r), symmetric
        dx = r (dy - sum_j w_j dy_j) with the weights w = r / sum r

    Outside the support r = 0 and the gradient is 0 by selection, whatever the cotangent. No kink: at the border r goes
    to 0. Where one weight is near 1 the difference loses its digits; rows of dx sum to 0, and `close_rows` has that entry
    as minus the others.
    """
    support = y > 0
    r = jnp.where(support, jnp.sqrt(jnp.where(support, widened(y), 1)), 0)
    dy, total = jnp.where(support, dy, 0).astype(r.dtype), jnp.sum(r, -1, keepdims=True)
    weights = r / jnp.where(total == 0, 1, total)
    return (close_rows(r * (dy - jnp.sum(weights * dy, -1, keepdims=True)), weights),)


defvjp(entmax15, entmax15_fwd, entmax15_bwd)

_INF = float("inf")

CASES = (
    Case(entmax15, (normal(4, 7),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(
        entmax15,
        (normal(2, 3, 5, scale=3.0),),
        name="narrow support, two batch axes",
        residual_bytes=lambda x: x.nbytes,
    ),
    Case(entmax15, (full(2.0, 3, 4),), name="ties", expect=(np.zeros((3, 4)),)),
    Case(entmax15, (normal(3, 1),), name="one class: constant", expect=(np.zeros((3, 1)),)),
    Case(entmax15, (np.array([[2.0, 0.0, -1e4], [0.5, 2.25, -3.0]]),), name="at the border and inside"),
    Case(entmax15, (np.array([[0.5, -_INF, 0.25], [-_INF, -_INF, -_INF]]),), name="masked entries"),
)
