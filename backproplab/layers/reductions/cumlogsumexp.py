"""Running logarithms of sums of exponentials. Catalogue #87. Autodiff keeps about four arrays of the size of x; the rule x alone.

Autodiff of `jax.lax.cumlogsumexp` has NaN behind entries at -inf; here they count as absent.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.reductions.cumprod import previous, recurrence
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis", "reverse"))
def cumlogsumexp(operand, axis=0, reverse=False):
    """y_i = log(exp(x_0) + ... + exp(x_i)) along `axis`, as `jax.lax.cumlogsumexp`; with reverse, from the other end.

    operand x (...) -> y (...), in the dtype of x. Entries at -inf count as absent; before the first other one y = -inf.
    """
    total, largest = _totals(operand, axis, reverse)
    y = jnp.where(total == 0, -jnp.inf, largest + jnp.log(jnp.where(total == 0, 1, total)))
    return y.astype(operand.dtype)


def _totals(x, axis, reverse):
    """s_i and m_i, in float32 or wider: m_i is the largest of x_0 ... x_i and s_i = sum_j exp(x_j - m_i) over j <= i.

    s_i = exp(x_i - m_i) + exp(m_{i-1} - m_i) s_{i-1}. s does not depend on what m is but for its scale, so no gradient
    goes through m.
    """
    axis %= x.ndim
    x = widened(x)
    largest = jax.lax.stop_gradient(jax.lax.cummax(x, axis, reverse))
    terms = _exponential(x, largest)
    return recurrence(_exponential(previous(largest, axis, reverse, -jnp.inf), largest), terms, axis, reverse), largest


def _exponential(x, largest):
    """exp(x - largest) for x <= largest; 1 where both are +inf, and 0 where both are -inf."""
    return jnp.exp(jnp.where(jnp.isinf(largest), jnp.where(x == jnp.inf, 0, -jnp.inf), x - largest))


def cumlogsumexp_fwd(operand, axis, reverse):
    """Keeps x alone, which the caller holds anyway: the sums follow."""
    return cumlogsumexp(operand, axis, reverse), operand


def cumlogsumexp_bwd(axis, reverse, x, dy):
    """dy_i / dx_j = exp(x_j - y_i) for j <= i. Between y_j and y_i the exponent can be split,

        dx_j = exp(x_j - y_j) r_j    with    r_j = sum_{i >= j} exp(y_j - y_i) dy_i = dy_j + exp(y_j - y_{j+1}) r_{j+1}

    since y grows, every factor is at most 1, and r is a recurrence from the last place to the first. With y = m + log s
    as above, exp(x - y) = exp(x - m) / s: taken from m, which is exact, the factors do not inherit the rounding of y.
    Where all entries so far are at -inf, the factors are 0 by selection.
    """
    axis %= x.ndim
    total, largest = _totals(x, axis, reverse)
    total = jnp.where(total == 0, 1, total)
    after = previous(largest, axis, not reverse, jnp.inf)
    factors = _exponential(largest, after) * total / previous(total, axis, not reverse, 1)
    r = recurrence(factors, widened(dy), axis, not reverse)
    return (_exponential(widened(x), largest) / total * r,)


defvjp(cumlogsumexp, cumlogsumexp_fwd, cumlogsumexp_bwd)


def _kept(operand, axis=0, reverse=False):
    return operand.nbytes


_INF = float("inf")
CASES = (
    Case(cumlogsumexp, (normal(5, 3),), residual_bytes=_kept, order=2),
    Case(cumlogsumexp, (normal(2, 5, 3), 1), name="middle axis", residual_bytes=_kept),
    Case(cumlogsumexp, (normal(3, 5), -1, True), name="reverse", residual_bytes=_kept),
    Case(cumlogsumexp, (full(0.0, 2),), name="ties", expect=(np.array([1.5, 0.5]),)),
    Case(cumlogsumexp, (normal(6, mean=1000.0),), name="far from 0: no overflow", dtypes=("float64", "float32")),
    Case(cumlogsumexp, (np.array([[0.0, -40.0, -3.0, 20.0, -20.0]]), 1), name="tails"),
    Case(
        cumlogsumexp,
        (np.array([-_INF, -_INF, 0.0, -_INF, 0.0]),),
        name="absent entries, at first and later",
        expect=(np.array([0.0, 0.0, 2.5, 0.0, 0.5]),),
    ),
)
