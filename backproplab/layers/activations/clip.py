"""Cutting to an interval whose ends may be learned too. Catalogue #38.

The rule keeps one byte per entry; autodiff keeps two arrays. An entry that sits exactly on an end passes its gradient:
a rule that gives it 0, or the 1/2 of `jnp.clip`, starves whatever saturates at the bound (pytorch/ao#4806).
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, uniform
from backproplab.layers.gates.add import Shape, sum_to
from backproplab.rule import defvjp


@jax.custom_vjp
def clip(x, min=None, max=None):
    """x, but min where it is less and max where it is more; where min > max, max. NaN stays NaN.

    x (...); min and max of shapes that broadcast to that of x, or None for no bound. Argument order and names of the
    bounds as in `jnp.clip`.
    """
    return jnp.clip(x, min, max)


def clip_fwd(x, min, max):
    """Keeps one byte per entry: which of the three y is; and shapes."""
    below = jnp.zeros(x.shape, bool) if min is None else x < min
    raised = x if min is None else jnp.where(below, min, x)
    above = jnp.zeros(x.shape, bool) if max is None else raised > max
    side = jnp.where(above, 2, jnp.where(below, 1, 0)).astype(jnp.uint8)
    return clip(x, min, max), (side, _shape(min), _shape(max))


def _shape(bound):
    """None if there is nothing to differentiate: no bound, or one of an integer dtype."""
    if bound is None or not jnp.issubdtype(jnp.result_type(bound), jnp.floating):
        return None
    return Shape(jnp.shape(bound))


def clip_bwd(residuals, dy):
    """y is x, min or max, whichever was taken, and its gradient goes there whole:

        dx = dy where min <= x <= max, else 0        dmin = sum of dy where x < min        dmax = sum of dy where x > max

    each bound summed over everything that shares it. At x = min and x = max there is a kink: every split of dy between x
    and the bound is a subgradient, and x takes all.
    """
    side, min_shape, max_shape = residuals
    dmin = None if min_shape is None else sum_to(min_shape, jnp.where(side == 1, dy, 0))
    dmax = None if max_shape is None else sum_to(max_shape, jnp.where(side == 2, dy, 0))
    return jnp.where(side == 0, dy, 0), dmin, dmax


defvjp(clip, clip_fwd, clip_bwd)


def _kept(x, min=None, max=None):
    return x.size


_ends = (np.asarray(-1.0), np.asarray(1.5))
CASES = (
    Case(clip, (uniform(-3.0, 3.0, 4, 5), *_ends), residual_bytes=_kept),
    Case(
        clip,
        (uniform(-3.0, 3.0, 2, 3, 4), uniform(-1.0, -0.5, 4), uniform(0.5, 1.0, 3, 1)),
        name="bounds per feature and per row",
        residual_bytes=_kept,
    ),
    Case(clip, (uniform(-3.0, 3.0, 4), np.array(-1), np.array(2)), name="whole bounds", residual_bytes=_kept),
    Case(clip, (uniform(-3.0, 3.0, 4), None, np.asarray(0.5)), name="no lower bound", residual_bytes=_kept),
    Case(clip, (uniform(-3.0, 3.0, 4), np.asarray(0.5)), name="no upper bound", residual_bytes=_kept),
    Case(
        clip,
        (np.array([-1.0, 1.5]), *_ends),
        name="on the bounds: x takes all",
        kink=True,
        expect=(np.ones(2), np.zeros(()), np.zeros(())),
    ),
    Case(
        clip,
        (full(0.0, 3), np.asarray(2.0), np.asarray(1.0)),
        name="min above max: max",
        expect=(np.zeros(3), np.zeros(()), np.asarray(3.0)),
    ),
)
