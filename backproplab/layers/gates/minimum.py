"""The min gate: it routes the upstream gradient to the smaller input. Lecture L13, catalogue #3."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, distinct, full
from backproplab.layers.gates.add import Shape, sum_to
from backproplab.layers.gates.maximum import check_ties, compare, route
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("ties",))
def minimum(x, y, ties="split"):
    """The smaller of x and y, elementwise; NaN where either is. x and y are of any shapes that broadcast.

    ties: who gets the gradient where x = y: "split" gives each a half, as JAX does; "first" gives all of it to x;
    "both" gives all of it to each. Raises ValueError for another word.
    """
    check_ties(ties)
    return jnp.minimum(x, y)


def minimum_fwd(x, y, ties):
    """Keeps one byte per entry: which was smaller."""
    check_ties(ties)
    return jnp.minimum(x, y), (Shape(jnp.shape(x)), Shape(jnp.shape(y)), compare(y, x))


def minimum_bwd(ties, residuals, dz):
    """min(x, y) = -max(-x, -y): the minus signs cancel in the chain rule, and -x >= -y reads y >= x. So this is the max
    gate with its comparison turned round.

    On the kink x = y the supergradients are the pairs (a, 1 - a) with 0 <= a <= 1: "split" takes a = 1/2 and "first"
    a = 1. "both" takes (1, 1), which is none of them and declared as a gradient by design. NaN as in the max gate.
    """
    x_shape, y_shape, order = residuals
    to_x, to_y = route(ties, order, dz)
    return sum_to(x_shape, to_x), sum_to(y_shape, to_y)


defvjp(minimum, minimum_fwd, minimum_bwd)


def _kept(x, y, ties="split"):
    return np.broadcast(x, y).size


_tied = (full(2.0, 3), full(2.0, 3))
CASES = (
    Case(minimum, (distinct(4, 5), full(0.0, 4, 5)), residual_bytes=_kept),
    Case(minimum, (distinct(3, 1, 4), full(0.01, 2, 1)), name="both repeated", residual_bytes=_kept),
    Case(minimum, (distinct(4), full(0.0, 4), "first"), name="ties first, no tie"),
    Case(minimum, (distinct(4), full(0.0, 4), "both"), name="ties both, no tie"),
    Case(minimum, _tied, name="tie: halves", expect=(np.full(3, 0.5), np.full(3, 0.5))),
    Case(minimum, (*_tied, "first"), name="tie: first", kink=True, expect=(np.ones(3), np.zeros(3))),
    Case(minimum, (*_tied, "both"), name="tie: both", by_design=True, expect=(np.ones(3), np.ones(3))),
    Case(minimum, (full(0.0, 2), full(-0.0, 2)), name="0 and -0 are a tie", expect=(np.full(2, 0.5), np.full(2, 0.5))),
)
