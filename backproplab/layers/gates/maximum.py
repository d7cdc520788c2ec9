"""The max gate: it routes the upstream gradient to the larger input. Lecture L13 and row S2, catalogue #3."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, distinct, full
from backproplab.layers.gates.add import Shape, sum_to
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("ties",))
def maximum(x, y, ties="split"):
    """The larger of x and y, elementwise; NaN where either is. x and y are of any shapes that broadcast.

    ties: who gets the gradient where x = y: "split" gives each a half, as JAX does; "first" gives all of it to x;
    "both" gives all of it to each, as a literal reading of 1[x >= y] and 1[y >= x] has it. Raises ValueError for
    another word.
    """
    check_ties(ties)
    return jnp.maximum(x, y)


def check_ties(ties):
    """Raises ValueError unless `ties` is one of the three policies."""
    if ties not in ("split", "first", "both"):
        raise ValueError(f'ties must be "split", "first" or "both", not {ties!r}')


def compare(x, y):
    """Two bits per entry, in one byte: 1 where x >= y and 2 where y >= x. So 3 is a tie, and 0 has a NaN in it."""
    return jnp.greater_equal(x, y).astype(jnp.uint8) + 2 * jnp.greater_equal(y, x).astype(jnp.uint8)


def route(ties, order, dz):
    """The parts of dz that go to x and to y, where `order` is `compare(x, y)`."""
    tie = order == 3
    to_x = jnp.where(order & 1 > 0, dz, 0)
    to_y = jnp.where(order & 2 > 0, dz, 0)
    if ties == "split":
        return jnp.where(tie, dz / 2, to_x), jnp.where(tie, dz / 2, to_y)
    if ties == "first":
        return to_x, jnp.where(tie, 0, to_y)
    return to_x, to_y


def maximum_fwd(x, y, ties):
    """Keeps one byte per entry: which was larger. Two bits would do, but packing them takes a reshape."""
    check_ties(ties)
    return jnp.maximum(x, y), (Shape(jnp.shape(x)), Shape(jnp.shape(y)), compare(x, y))


def maximum_bwd(ties, residuals, dz):
    """Around a point with x > y the gate is z = x: local gradients 1 and 0. With x < y they are 0 and 1.

    On the kink x = y the subgradients of max(x, y) are the pairs (a, 1 - a) with 0 <= a <= 1. "split" takes a = 1/2 and
    "first" a = 1. "both" takes (1, 1), which is no subgradient: a step along it counts the one value twice. It is here
    because the formula 1[x >= y], 1[y >= x] is printed so, and declared as a gradient by design. 0 and -0 are a tie.
    Where either input is NaN neither was larger, and neither gets a gradient.
    """
    x_shape, y_shape, order = residuals
    to_x, to_y = route(ties, order, dz)
    return sum_to(x_shape, to_x), sum_to(y_shape, to_y)


defvjp(maximum, maximum_fwd, maximum_bwd)


def _kept(x, y, ties="split"):
    return np.broadcast(x, y).size


_tied = (full(2.0, 3), full(2.0, 3))
CASES = (
    Case(maximum, (distinct(4, 5), full(0.0, 4, 5)), residual_bytes=_kept),
    Case(maximum, (distinct(3, 1, 4), full(0.01, 2, 1)), name="both repeated", residual_bytes=_kept),
    Case(maximum, (distinct(4), full(0.0, 4), "first"), name="ties first, no tie"),
    Case(maximum, (distinct(4), full(0.0, 4), "both"), name="ties both, no tie"),
    Case(maximum, _tied, name="tie: halves", expect=(np.full(3, 0.5), np.full(3, 0.5))),
    Case(maximum, (*_tied, "first"), name="tie: first", kink=True, expect=(np.ones(3), np.zeros(3))),
    Case(maximum, (*_tied, "both"), name="tie: both", by_design=True, expect=(np.ones(3), np.ones(3))),
    Case(maximum, (full(0.0, 2), full(-0.0, 2)), name="0 and -0 are a tie", expect=(np.full(2, 0.5), np.full(2, 0.5))),
)
