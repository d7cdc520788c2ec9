"""The Charbonnier loss (Charbonnier et al., 1994): an absolute error whose tip is rounded off. Catalogue #72.

The rule keeps the error; autodiff keeps several arrays.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.losses.absolute_error import errors, shape_of, to_both
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("epsilon",))
def charbonnier(predictions, targets=None, epsilon=1e-3):
    """sqrt(r^2 + epsilon^2), elementwise, for the error r = predictions - targets.

    predictions (...), targets of a shape that broadcasts to that of the predictions, None for zeros -> loss (...), in the
    dtype of the predictions; no mean is taken. epsilon is a positive Python number, in the unit of the predictions. An
    error above 1e19 has a finite loss, though its square would overflow float32. Raises ValueError for another epsilon,
    and where targets would enlarge the result.
    """
    return _length(errors(predictions, targets), epsilon).astype(floating_dtype(predictions))


def _length(r, epsilon):
    """Of (r, epsilon): the larger leg times sqrt(1 + ratio^2), so that nothing overflows."""
    if not epsilon > 0:
        raise ValueError(f"charbonnier wants a positive epsilon, not {epsilon}; for 0 there is absolute_error")
    outside = jnp.abs(r) > epsilon
    larger = jnp.where(outside, jnp.abs(r), epsilon)
    ratio = jnp.where(outside, epsilon, r) / larger
    return larger * jnp.sqrt(1 + ratio * ratio)


def charbonnier_fwd(predictions, targets, epsilon):
    """Keeps the error."""
    r = errors(predictions, targets)
    return _length(r, epsilon).astype(floating_dtype(predictions)), (r, shape_of(targets))


def charbonnier_bwd(epsilon, residuals, dloss):
    """With l^2 = r^2 + epsilon^2, l dl = r dr, so the slope in r is r / l: between -1 and 1, and 0 at r = 0."""
    r, target_shape = residuals
    return to_both(widened(dloss) * (r / _length(r, epsilon)), target_shape)


defvjp(charbonnier, charbonnier_fwd, charbonnier_bwd)


def _kept(predictions, targets=None, epsilon=1e-3):
    """The error, in float32 or wider."""
    return predictions.size * max(4, predictions.dtype.itemsize)


CASES = (
    Case(charbonnier, (normal(4, 5), normal(4, 5), 0.5), residual_bytes=_kept, order=2),
    Case(charbonnier, (normal(3, 4), normal(4)), name="targets for all rows", residual_bytes=_kept),
    Case(charbonnier, (full(0.0, 3),), name="no error, no targets: slope 0", expect=(np.zeros(3),)),
    Case(charbonnier, (np.array([1e-3, -1e-5, 1e-20, 1e3]), np.zeros(4)), name="inside the tip and out"),
    Case(
        charbonnier,
        (np.array([1e25, -1e25]), np.zeros(2)),
        name="the square would overflow",
        expect=(np.array([1.0, -1.0]), np.array([-1.0, 1.0])),
    ),
)
