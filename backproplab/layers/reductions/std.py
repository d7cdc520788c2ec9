"""The standard deviation. Catalogue #84.

Autodiff of `jnp.std` has NaN where all entries are equal; declared here is 0. Autodiff keeps the centred entries, an array
of the size of x; the rule x itself.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, booleans, normal
from backproplab.layers.reductions.max import selected
from backproplab.layers.reductions.norm import unit_vector
from backproplab.layers.reductions.var import centred, divisor, spread
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis", "keepdims", "correction"))
def std(x, axis=None, keepdims=False, correction=0, where=None):
    """The square root of the sum of squared deviations from the mean over N - correction, with N the number of entries.

    x (..., d) -> y (...), in the dtype of x. As in `jnp.std`: axis is an integer, a tuple of integers, or None for all
    axes; NaN where N - correction is not positive. Where all entries are equal it is exactly 0. Where the booleans `where`,
    of a shape that broadcasts to that of x, are False, entries count as absent, whatever they hold. Raises ValueError
    where it would enlarge x.
    """
    c = _centred(x, axis, where)
    _, length = unit_vector(c, axis)
    y = length / jnp.sqrt(divisor(c, axis, correction, where))
    return (y if keepdims else jnp.squeeze(y, axis)).astype(floating_dtype(x))


def _centred(x, axis, where):
    """x minus its mean, in float32 or wider; exactly 0 where all entries are equal, though their mean may be rounded."""
    x = widened(x)
    largest = jnp.max(x, axis, keepdims=True, initial=-jnp.inf, where=where)
    smallest = jnp.min(x, axis, keepdims=True, initial=jnp.inf, where=where)
    return jnp.where(largest == smallest, 0, centred(x, axis, where))


def std_fwd(x, axis, keepdims, correction, where):
    """Keeps x and where, which the caller holds anyway: the mean and the deviation follow."""
    return std(x, axis, keepdims, correction, where), (x, where)


def std_bwd(axis, keepdims, correction, residuals, dy):
    """y is the length of the vector c of centred entries, over sqrt(M) with M = N - correction. The gradient of a length
    is the unit vector, and centring it again (a move of all x_i together changes nothing) is no work, since c sums to 0:

        dy / dx_i = (x_i - mean) / (|c| sqrt(M)) = (x_i - mean) / (M y)

    Where all entries are equal there is a kink, as that of a length at 0, and any vector that sums to 0 and is no longer
    than 1 / sqrt(M) is a subgradient. Declared is 0. Absent entries have c_i = 0, and are selected to have no gradient
    where M is NaN.
    """
    x, where = residuals
    unit, _ = unit_vector(_centred(x, axis, where), axis)
    dx = spread(dy, axis, keepdims) / jnp.sqrt(divisor(unit, axis, correction, where)) * unit
    return selected(dx, where, 0), None


defvjp(std, std_fwd, std_bwd)


def _kept(x, axis=None, keepdims=False, correction=0, where=None):
    return x.nbytes + (0 if where is None else where.nbytes)


_INF = float("inf")


CASES = (
    Case(std, (normal(4, 5), -1), residual_bytes=_kept, order=2),
    Case(std, (normal(3, 4),), name="all axes", residual_bytes=_kept),
    Case(std, (normal(3, 4, 2), (0, -1), True), name="two axes, kept", residual_bytes=_kept),
    Case(std, (normal(3, 4, 2), 1, False, 1), name="without bias"),
    # the mean of 107 numbers 0.1 is not 0.1 in float32 and float64, and something is left when it is taken twice
    Case(
        std,
        (np.array([[0.1], [-0.1]]).repeat(107, 1), 1),
        name="constant: gradient 0",
        kink=True,
        expect=(np.zeros((2, 107)),),
    ),
    Case(std, (normal(4, 1), -1), name="one entry: 0", kink=True),
    Case(std, (np.array([[_INF], [-_INF], [2.0]]), -1), name="one entry, infinite: 0", kink=True),
    Case(std, (normal(3, 6, mean=300.0), -1), name="mean far above the spread"),
    Case(std, (normal(3, 4, scale=1e-25), -1), name="squares beyond the range", dtypes=("float64", "float32")),
    Case(std, (normal(4, 6), -1, False, 1, booleans(4, 6)), name="where", residual_bytes=_kept, order=2),
    Case(std, (normal(3, 2, 4), (0, 2), True, 0, np.array([[[True]], [[False]], [[True]]])), name="where, repeated"),
    Case(
        std,
        (np.array([[0.0, _INF, 2.0], [5.0, np.nan, 1.0]]), 1, False, 0, np.array([True, False, True])),
        name="where: infinities and NaN absent",
        expect=(np.array([[-0.5, 0, 0.5], [0.5, 0, -0.5]]),),
    ),
    Case(
        std,
        (np.array([[3.0] + [0.1] * 107 + [-3.0]]), 1, False, 0, np.array([False] + [True] * 107 + [False])),
        name="where: what is left is constant: gradient 0",
        kink=True,
        expect=(np.zeros((1, 109)),),
    ),
)
