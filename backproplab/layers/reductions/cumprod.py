"""Running products. Catalogue #86. Autodiff keeps about four arrays of the size of x; the rule x alone.

`recurrence` serves the other running reductions: a linear recurrence in a logarithmic number of steps.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis", "reverse"))
def cumprod(operand, axis=0, reverse=False):
    """y_i = x_0 x_1 ... x_i along `axis`, as `jax.lax.cumprod`; with reverse, from the other end.

    operand x (...) -> y (...), in the dtype of x.
    """
    return jax.lax.cumprod(widened(operand), axis % operand.ndim, reverse).astype(operand.dtype)


def recurrence(factors, terms, axis, reverse):
    """r_i = terms_i + factors_i r_{i-1} along `axis`, with r_{-1} = 0; with reverse, from the other end: r_{i+1}.

    One step turns r into a + b r. Two steps after each other are one of the same kind, (a, b) then (c, d) being
    (c + d a, d b); and as that is associative, all prefixes come by a parallel scan.
    """

    def both(first, second):
        (a, b), (c, d) = first, second
        return c + d * a, d * b

    return jax.lax.associative_scan(both, (terms, factors), reverse=reverse, axis=axis)[0]


def previous(x, axis, reverse, fill):
    """x_{i-1} at place i, and `fill` where there is none; with reverse x_{i+1}."""
    edges = [(0, 0, 0)] * x.ndim
    edges[axis] = (-1, 1, 0) if reverse else (1, -1, 0)
    return jax.lax.pad(x, jnp.asarray(fill, x.dtype), edges)


def cumprod_fwd(operand, axis, reverse):
    """Keeps x alone, which the caller holds anyway."""
    return cumprod(operand, axis, reverse), operand


def cumprod_bwd(axis, reverse, x, dy):
    """x_i is a factor of y_i and of all later ones: dy_k / dx_i is the product of x_0 ... x_k without x_i. Split at i,

        dx_i = (x_0 ... x_{i-1}) r_i    with    r_i = sum_{k >= i} x_{i+1} ... x_k dy_k = dy_i + x_{i+1} r_{i+1}

    so r is a recurrence from the last place to the first. Nothing is divided: zeros are no trouble.
    """
    axis %= x.ndim
    x = widened(x)
    r = recurrence(previous(x, axis, not reverse, 0), widened(dy), axis, not reverse)
    return (previous(jax.lax.cumprod(x, axis, reverse), axis, reverse, 1) * r,)


defvjp(cumprod, cumprod_fwd, cumprod_bwd)


def _kept(operand, axis=0, reverse=False):
    return operand.nbytes


CASES = (
    Case(cumprod, (normal(5, 3),), residual_bytes=_kept, order=2),
    Case(cumprod, (normal(2, 5, 3), 1), name="middle axis", residual_bytes=_kept),
    Case(cumprod, (normal(3, 5), -1, True), name="reverse", residual_bytes=_kept),
    Case(
        cumprod,
        (np.array([[2.0, 0, 3, 5], [0, 0, 2, 2], [0, 2, 3, 0]]), 1),
        name="zeros",
        expect=(np.array([[1.0, 38, 0, 0], [1, 0, 0, 0], [9, 0, 0, 0]]),),
    ),
    Case(cumprod, (full(1.0, 4), 0), name="ones", expect=(np.array([4.0, 3, 2, 1]),)),
    Case(cumprod, (normal(1, 3),), name="one entry: y = x", expect=(np.ones((1, 3)),)),
)
