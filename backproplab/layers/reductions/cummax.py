"""Running maxima. Catalogue #87. Autodiff keeps about four arrays of the size of x; the rule one byte per entry."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, distinct
from backproplab.layers.reductions.cumprod import previous
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis", "reverse"))
def cummax(operand, axis=0, reverse=False):
    """y_i, the largest of x_0, x_1, ..., x_i along `axis`, as `jax.lax.cummax`; with reverse, from the other end.

    operand x (...) -> y (...), in the dtype of x. The gradient of y_i goes to the first entry that is as large.
    """
    return jax.lax.cummax(operand, axis % operand.ndim, reverse)


def cummax_fwd(operand, axis, reverse):
    """Keeps, for each entry, whether it is a record: larger than all before it."""
    axis %= operand.ndim
    y = jax.lax.cummax(operand, axis, reverse)
    place = jax.lax.broadcasted_iota(jnp.int32, y.shape, axis)
    opens = place == (y.shape[axis] - 1 if reverse else 0)
    return y, opens | ~(operand <= previous(y, axis, reverse, 0))


def cummax_bwd(axis, reverse, record, dy):
    """y_i is the last record up to i. So a record gets the gradients from its own place up to the one before the next
    record, and the other entries nothing. That is a sum from the end which starts anew after each record:

        dx_i = r_i if record_i, else 0        r_i = dy_i + (0 if record_{i+1} else r_{i+1})

    As a difference of two running sums it would lose digits where little is left of them. On the kink, where an entry
    equals the record, all ways to share one whole among the equals are subgradients. Declared is the first.
    """
    axis %= dy.ndim

    def both(later, earlier):
        (total, _), (term, ends) = later, earlier
        return term + jnp.where(ends, 0, total), later[1] | ends

    ends = previous(record, axis, not reverse, True)  # the entry after it is a record, or there is none
    r, _ = jax.lax.associative_scan(both, (widened(dy), ends), reverse=not reverse, axis=axis)
    return (jnp.where(record, r, 0),)


defvjp(cummax, cummax_fwd, cummax_bwd)


def _kept(operand, axis=0, reverse=False):
    return operand.size


CASES = (
    Case(cummax, (distinct(5, 3),), residual_bytes=_kept),
    Case(cummax, (distinct(2, 6, 3), 1), name="middle axis", residual_bytes=_kept),
    Case(cummax, (distinct(3, 6), -1, True), name="reverse", residual_bytes=_kept),
    Case(
        cummax,
        (np.array([[1.0, 0, 3, 2, 3, 4, 1]]), 1),
        name="records hold until the next, ties go to the first",
        kink=True,
        expect=(np.array([[2.0, 0, 3, 0, 0, 2, 0]]),),
    ),
    Case(cummax, (distinct(1, 3),), name="one entry: y = x", expect=(np.ones((1, 3)),)),
)
