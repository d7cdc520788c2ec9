"""The logarithm of a sum of exponentials: the smooth maximum, and the normaliser of softmax. Catalogue #85."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, booleans, full, normal
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis", "keepdims"))
def logsumexp(a, axis=None, keepdims=False, where=None):
    """log(sum(exp(a))) over `axis`: an integer, a tuple of integers, or None for all axes, as `jax.nn.logsumexp`.

    a (..., d) -> y (...), in the dtype of a. -inf entries count as absent, and so do, whatever they hold, those where the
    booleans `where`, of a shape that broadcasts to that of a, are False; where all are, y = -inf. An entry at +inf gives
    y = +inf. keepdims: leave the reduced axes with size 1. The weights `b` and `return_sign` are not offered.
    """
    exponentials, largest = _exponentials(a, axis, where)
    total = jnp.sum(exponentials, axis, keepdims=True)
    y = jnp.where(jnp.isinf(largest), largest, largest + jnp.log(jnp.where(total == 0, 1, total)))
    return (y if keepdims else jnp.squeeze(y, axis)).astype(a.dtype)


def _exponentials(a, axis, where):
    """exp(a - largest), each at most 1, and the largest entries, in float32 or wider.

    Where the largest is +inf, the entries that attain it count 1 and the others 0; where it is -inf, all count 0. The
    selections are made before the exponential, so that no infinity waits in an unused branch.
    """
    a = widened(a)
    x = a if where is None else jnp.where(where, a, -jnp.inf)
    largest = jax.lax.stop_gradient(jnp.max(x, axis, keepdims=True, initial=-jnp.inf))
    shifted = x - jnp.where(jnp.isinf(largest), 0, largest)
    return jnp.exp(jnp.where(largest == jnp.inf, jnp.where(x == jnp.inf, 0, -jnp.inf), shifted)), largest


def logsumexp_fwd(a, axis, keepdims, where):
    """Keeps a and where, which the caller holds anyway: the weights follow, and inside one program XLA shares them."""
    return logsumexp(a, axis, keepdims, where), (a, where)


def logsumexp_bwd(axis, keepdims, residuals, dy):
    """With y = log sum_j exp(a_j):

        dy / da_i = exp(a_i) / sum_j exp(a_j) = exp(a_i - m) / sum_j exp(a_j - m)        for any m

    m is the largest entry, so nothing overflows. As exp(a - y) the weights would inherit the rounding of y, a relative
    error of 3e-5 at y = 1000 in float32.

    Conventions: where all entries are absent the weights are 0 by selection; entries at +inf share the weight equally,
    which for one entry is the limit as it grows.
    """
    a, where = residuals
    exponentials, _ = _exponentials(a, axis, where)
    total = jnp.sum(exponentials, axis, keepdims=True)
    dy = jnp.reshape(dy, total.shape).astype(total.dtype)
    return dy * exponentials / jnp.where(total == 0, 1, total), None


defvjp(logsumexp, logsumexp_fwd, logsumexp_bwd)

_INF = float("inf")


def _largest(a, axis=None):
    """What logsumexp is in a row with +inf: its maximum, whose gradient JAX shares equally among ties."""
    return jnp.max(a, axis)


def _kept(a, axis=None, keepdims=False, where=None):
    return a.nbytes + (0 if where is None else where.nbytes)


CASES = (
    Case(logsumexp, (normal(4, 7), -1), residual_bytes=_kept, order=2),
    Case(logsumexp, (normal(3, 4, 5), 1, True), name="middle axis, kept"),
    Case(logsumexp, (normal(3, 4, 5), (0, -1)), name="two axes"),
    Case(logsumexp, (normal(3, 4),), name="all axes"),
    Case(logsumexp, (normal(5, 1), -1), name="one entry: y = x"),
    Case(logsumexp, (full(0.0, 2, 4), -1), name="ties", expect=(np.full((2, 4), 0.25),)),
    Case(logsumexp, (normal(3, 5, mean=1000.0), -1), name="far from 0: no overflow", dtypes=("float64", "float32")),
    Case(
        logsumexp,
        (normal(3, 5, mean=3e6), -1),
        name="further: the largest entry is exact",
        dtypes=("float64", "float32"),
    ),
    Case(logsumexp, (np.array([[0.0, -40.0, -3.0], [20.0, 0.5, -20.0]]), -1), name="tails"),
    Case(logsumexp, (np.array([[0.0, -_INF, 0.0]]), -1), name="absent entry", expect=(np.array([[0.5, 0.0, 0.5]]),)),
    Case(logsumexp, (np.full((2, 3), -_INF), -1), name="all absent: y = -inf, gradient 0", expect=(np.zeros((2, 3)),)),
    Case(
        logsumexp,
        (np.array([[0.0, _INF, 1.0], [_INF, 2.0, _INF]]), -1),
        name="+inf: gradient to the entries that attain it",
        reference=_largest,
        expect=(np.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]),),
    ),
    Case(logsumexp, (normal(4, 7), -1, False, booleans(4, 7)), name="where", residual_bytes=_kept, order=2),
    Case(logsumexp, (normal(4, 3), 0, True, np.array([[True], [False], [True], [True]])), name="where, repeated"),
    # jax #23842: what the absent entries hold must not matter
    Case(
        logsumexp,
        (np.array([[0.0, 1e30, 0.0], [1e30, 1e30, 1e30]]), -1, False, np.array([[True, False, True], [False] * 3])),
        name="where: large numbers absent, all absent",
        expect=(np.array([[0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]),),
    ),
)
