"""The product. Catalogue #86. Autodiff keeps the partial products beside x; the rule x alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, booleans, normal
from backproplab.layers.gates.add import Shape
from backproplab.layers.reductions.max import joined, parted, selected, selection
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis", "keepdims"))
def prod(x, axis=None, keepdims=False, where=None):
    """The product over `axis`: an integer, a tuple of integers, or None for all axes, as `jnp.prod`.

    x (..., d) -> y (...), in the dtype of x. Of no entries it is 1. Where the booleans `where`, of a shape that broadcasts
    to that of x, are False, entries count as absent, whatever they hold. Raises ValueError where it would enlarge x.
    """
    return jnp.prod(widened(x), axis, keepdims=keepdims, where=selection(where, x)).astype(x.dtype)


def prod_fwd(x, axis, keepdims, where):
    """Keeps x and where, which the caller holds anyway."""
    return prod(x, axis, keepdims, where), (x, where)


def prod_bwd(axis, keepdims, residuals, dy):
    """dy / dx_i is the product of all the others. As y / x_i it would be 0/0 at a zero, so they are multiplied: with one
    zero among the entries only its own slope is not 0, with two or more all are. Absent entries are factors 1, and are
    selected to have no gradient.
    """
    x, where = residuals
    factors = joined(selected(widened(x), where, 1), axis)
    dy = widened(dy).reshape(*factors.shape[:-1], 1)
    return selected(parted(dy * _all_others(factors), Shape(x.shape), axis), where, 0), None


def _all_others(x):
    """For each entry along the last axis the product of all the others, by halves.

    Entries of the first half are multiplied with those of the second, which leaves n/2 factors p. The others of an entry
    are its partner and the others of their p: log2(n) steps, and rounding as little. Running products from either end
    would do too, but their product may be 0 times infinity where no slope is.
    """
    n = x.shape[-1]
    if n < 2:
        return jnp.ones_like(x)
    half = (n + 1) // 2
    first, second = x[..., :half], jnp.concatenate([x[..., half:], jnp.ones_like(x[..., : 2 * half - n])], -1)
    rest = _all_others(first * second)
    return jnp.concatenate([second * rest, first * rest], -1)[..., :n]


defvjp(prod, prod_fwd, prod_bwd)


def _kept(x, axis=None, keepdims=False, where=None):
    return x.nbytes + (0 if where is None else where.nbytes)


_INF = float("inf")

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
        dtypes=("float64",),  # in float32 the value itself, as `jnp.prod` multiplies, is 0
    ),
    Case(prod, (normal(4, 6), -1, False, booleans(4, 6)), name="where", residual_bytes=_kept, order=2),
    Case(prod, (normal(3, 2, 4), (0, 2), True, np.array([[True], [False]])), name="where, repeated, none left"),
    Case(
        prod,
        (
            np.array([[2.0, _INF, 3.0], [np.nan, 0.0, 0.0], [0.0, 4.0, -_INF]]),
            1,
            False,
            np.array([[True, False, True], [False, True, False], [True, True, False]]),
        ),
        name="where: infinities, NaN and zeros absent",
        expect=(np.array([[3.0, 0, 2], [0, 1, 0], [4, 0, 0]]),),
    ),
)
