"""The logarithm of a sum of exponentials: the smooth maximum, and the normaliser of softmax. Catalogue #85."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis",))
def logsumexp(x, axis=-1):
    """log(sum(exp(x))) over `axis`: an integer, a tuple of integers, or None for all axes.

    x (..., d) -> y (...), in the dtype of x. -inf entries count as absent; where all are, y = -inf. An entry at +inf
    gives y = +inf. Unlike in `jax.nn.logsumexp`, the default is the last axis.
    """
    exponentials, largest = _exponentials(x, axis)
    total = jnp.sum(exponentials, axis, keepdims=True)
    y = jnp.where(jnp.isinf(largest), largest, largest + jnp.log(jnp.where(total == 0, 1, total)))
    return jnp.squeeze(y, _squeezed(x, axis)).astype(x.dtype)


def _exponentials(x, axis):
    """exp(x - largest), each at most 1, and the largest entries, in float32 or wider.

    Where the largest is +inf, the entries that attain it count 1 and the others 0; where it is -inf, all count 0. The
    selections are made before the exponential, so that no infinity waits in an unused branch.
    """
    x = widened(x)
    largest = jax.lax.stop_gradient(jnp.max(x, axis, keepdims=True, initial=-jnp.inf))
    shifted = x - jnp.where(jnp.isinf(largest), 0, largest)
    return jnp.exp(jnp.where(largest == jnp.inf, jnp.where(x == jnp.inf, 0, -jnp.inf), shifted)), largest


def _squeezed(x, axis):
    """The reduced axes as `jnp.squeeze` wants them."""
    return tuple(range(x.ndim)) if axis is None else axis


def logsumexp_fwd(x, axis):
    """Keeps x alone, which the caller holds anyway: the weights follow, and inside one program XLA shares them."""
    return logsumexp(x, axis), x


def logsumexp_bwd(axis, x, dy):
    """With y = log sum_j exp(x_j):

        dy / dx_i = exp(x_i) / sum_j exp(x_j) = exp(x_i - m) / sum_j exp(x_j - m)        for any m

    m is the largest entry, so nothing overflows. As exp(x - y) the weights would inherit the rounding of y, a relative
    error of 3e-5 at y = 1000 in float32.

    Conventions: a row of -inf alone has weights 0 by selection; entries at +inf share the weight equally, which for one
    entry is the limit as it grows.
    """
    exponentials, _ = _exponentials(x, axis)
    total = jnp.sum(exponentials, axis, keepdims=True)
    dy = jnp.reshape(dy, total.shape).astype(total.dtype)
    return (dy * exponentials / jnp.where(total == 0, 1, total),)


defvjp(logsumexp, logsumexp_fwd, logsumexp_bwd)

_INF = float("inf")


def _largest(x, axis=-1):
    """What logsumexp is in a row with +inf: its maximum, whose gradient JAX shares equally among ties."""
    return jnp.max(x, axis)


CASES = (
    Case(logsumexp, (normal(4, 7),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(logsumexp, (normal(3, 4, 5), 1), name="middle axis"),
    Case(logsumexp, (normal(3, 4, 5), (0, -1)), name="two axes"),
    Case(logsumexp, (normal(3, 4), None), name="all axes"),
    Case(logsumexp, (normal(5, 1),), name="one entry: y = x"),
    Case(logsumexp, (full(0.0, 2, 4),), name="ties", expect=(np.full((2, 4), 0.25),)),
    Case(logsumexp, (normal(3, 5, mean=1000.0),), name="far from 0: no overflow", dtypes=("float64", "float32")),
    Case(
        logsumexp, (normal(3, 5, mean=3e6),), name="further: the largest entry is exact", dtypes=("float64", "float32")
    ),
    Case(logsumexp, (np.array([[0.0, -40.0, -3.0], [20.0, 0.5, -20.0]]),), name="tails"),
    Case(logsumexp, (np.array([[0.0, -_INF, 0.0]]),), name="absent entry", expect=(np.array([[0.5, 0.0, 0.5]]),)),
    Case(logsumexp, (np.full((2, 3), -_INF),), name="all absent: y = -inf, gradient 0", expect=(np.zeros((2, 3)),)),
    Case(
        logsumexp,
        (np.array([[0.0, _INF, 1.0], [_INF, 2.0, _INF]]),),
        name="+inf: gradient to the entries that attain it",
        reference=_largest,
        expect=(np.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]),),
    ),
)
