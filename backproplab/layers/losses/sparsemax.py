"""Sparsemax: the distribution nearest to the scores, with exact zeros (Martins & Astudillo, 2016, arXiv 1602.02068).

Catalogue #68. The rule keeps one byte per score: is it in the support?
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def sparsemax(x):
    """The Euclidean projection of each row onto the distributions: max(0, x - tau), with tau such that it sums to 1.

    x (..., d) -> y (..., d), in the dtype of x. Entries at -inf get probability 0. A row of -inf alone is all zeros.
    """
    return sparsemax_and_threshold(x)[0].astype(x.dtype)


def sparsemax_and_threshold(x):
    """y, the support (x > tau), the row's largest entry, and tau measured from it, in float32 or wider.

    In a row sorted in descending order the support is the longest head whose last entry is above its own threshold,
    tau_k = (sum of the first k - 1) / k. Entries that are 1 or more below the largest are never in it, so those of 2 and
    more are cut off there: no infinities, no large sums.
    """
    x = widened(x)
    largest = jax.lax.stop_gradient(jnp.max(x, -1, keepdims=True))
    z = x - jnp.where(largest == -jnp.inf, 0, largest)
    cut = jax.lax.stop_gradient(jnp.maximum(z, -2))
    head = -jnp.sort(-cut, -1)
    size = jnp.arange(1, x.shape[-1] + 1)
    sums = jnp.cumsum(head, -1)
    count = jnp.sum(1 + size * head > sums, -1, keepdims=True)
    taus = (sums - 1) / size
    support = (cut > jnp.sum(jnp.where(size == count, taus, 0), -1, keepdims=True)) & (x > -jnp.inf)
    # from the support itself the sum is added up more exactly, and it has the right slope
    tau = (jnp.sum(z, -1, keepdims=True, where=support) - 1) / jnp.maximum(jnp.sum(support, -1, keepdims=True), 1)
    return jnp.where(support, z - tau, 0), support, largest, tau


def sparsemax_fwd(x):
    """Keeps the support, one byte per score."""
    y, support, _, _ = sparsemax_and_threshold(x)
    return y.astype(x.dtype), support


def sparsemax_bwd(support, dy):
    """On the support y_i = x_i - tau and the sum is 1, so tau = (sum of x over the support - 1) / n with n its size:

        dy_i / dx_j = delta_ij - 1/n  for i and j in the support, 0 for others        dx = dy - mean of dy over the support

    Kink at the support's border, x_i = tau: there the entry may count as in or out. It is out here (y_i > 0 is the
    support), so its gradient is 0, as autodiff has it.
    """
    dy = jnp.where(support, widened(dy), 0)
    mean = jnp.sum(dy, -1, keepdims=True) / jnp.maximum(jnp.sum(support, -1, keepdims=True), 1)
    return (jnp.where(support, dy - mean, 0),)


defvjp(sparsemax, sparsemax_fwd, sparsemax_bwd)

_INF = float("inf")

CASES = (
    Case(sparsemax, (normal(4, 7),), residual_bytes=lambda x: x.size, order=2),
    Case(
        sparsemax, (normal(2, 3, 5, scale=0.3),), name="wide support, two batch axes", residual_bytes=lambda x: x.size
    ),
    Case(sparsemax, (full(2.0, 3, 4),), name="ties", expect=(np.zeros((3, 4)),)),
    Case(sparsemax, (normal(3, 1),), name="one class: constant", expect=(np.zeros((3, 1)),)),
    Case(
        sparsemax,
        (np.array([[100.0, 0.0, -1e4], [1e4, 1e4 - 0.5, 0.0]]),),
        name="far apart",
        dtypes=("float64", "float32"),
    ),
    # catalogue #68: the second entry is at its threshold, and finite differences are one-sided
    Case(
        sparsemax, (np.array([[1.0, 0.0]]),), name="border of the support: out", kink=True, expect=(np.zeros((1, 2)),)
    ),
    Case(
        sparsemax,
        (np.array([[0.5, -_INF, 0.25], [-_INF, -_INF, -_INF]]),),
        name="masked entries",
        expect=(np.zeros((2, 3)),),
    ),
)
