"""The product. Catalogue #86. Autodiff keeps the partial products beside x; the rule x alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.gates.add import Shape
from backproplab.layers.reductions.max import joined, parted
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis", "keepdims"))
def prod(x, axis=None, keepdims=False):
    """The product over `axis`: an integer, a tuple of integers, or None for all axes, as `jnp.prod`.

    x (..., d) -> y (...), in the dtype of x. Of no entries it is 1.
    """
    return jnp.prod(widened(x), axis, keepdims=keepdims).astype(x.dtype)


def prod_fwd(x, axis, keepdims):
    """Keeps x alone, which the caller holds anyway."""
    return prod(x, axis, keepdims), x


def prod_bwd(axis, keepdims, x, dy):
    """dy / dx_i is the product of all the others. As y / x_i it would be 0/0 at a zero; so it is the product of those in
    front times the product of those behind, two running products that leave out x_i:

        dy / dx_i = (x_0 ... x_{i-1}) (x_{i+1} ... x_{n-1})

    With one zero among the entries only its own slope is not 0, with two or more all are.
    """
    factors = joined(widened(x), axis)
    ones = jnp.ones_like(factors[..., :1])
    front = jax.lax.cumprod(jnp.concatenate([ones, factors[..., :-1]], -1), factors.ndim - 1)
    behind = jax.lax.cumprod(jnp.concatenate([factors[..., 1:], ones], -1), factors.ndim - 1, reverse=True)
    dy = widened(dy).reshape(*factors.shape[:-1], 1)
    return (parted(dy * front * behind, Shape(x.shape), axis),)


defvjp(prod, prod_fwd, prod_bwd)


def _kept(x, axis=None, keepdims=False):
    return x.nbytes


CASES = (
    Case(prod, (normal(4, 5), -1), residual_bytes=_kept, order=2),
    Case(prod, (normal(2, 3),), name="all axes", residual_bytes=_kept),
    Case(prod, (normal(3, 2, 4), (0, 2), True), name="two axes, kept", residual_bytes=_kept),
    Case(
        prod,
        (np.array([[0.0, 2, 3], [2, 0, -3], [0, 0, 5], [0, 0, 0]]), 1),
        name="one zero, two, three",
        expect=(np.array([[6.0, 0, 0], [0, -6, 0], [0, 0, 0], [0, 0, 0]]),),
        order=2,
    ),
    Case(prod, (normal(3, 1), 1), name="one entry: slope 1", expect=(np.ones((3, 1)),)),
    Case(
        prod,
        (np.array([1e-25, 1e-25, 1e25, 1e25]), 0),
        name="partial products near the range's end",
        dtypes=("float64",),
    ),
)
