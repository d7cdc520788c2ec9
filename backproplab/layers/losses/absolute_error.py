"""The absolute error, whose minimiser is the median. Catalogue #72.

The rule keeps one byte per error, as autodiff does; the difference is the slope at 0. The other losses of an error have their
subtraction from here.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, distinct, full, normal
from backproplab.layers.gates.add import Shape, sum_to
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def absolute_error(predictions, targets=None):
    """|predictions - targets|, elementwise.

    predictions (...), targets of a shape that broadcasts to that of the predictions, None for zeros -> loss (...), in the
    dtype of the predictions; no mean is taken. Raises ValueError where targets would enlarge the result.
    """
    return jnp.abs(errors(predictions, targets)).astype(floating_dtype(predictions))


def errors(predictions, targets):
    """predictions - targets in float32 or wider. Raises ValueError where targets would enlarge the result, (n,) from
    (n, 1): that is most often a mistake.
    """
    if targets is None:
        return widened(predictions)
    difference = widened(predictions) - widened(targets)
    if difference.shape != jnp.shape(predictions):
        raise ValueError(f"targets of shape {jnp.shape(targets)} for predictions of shape {jnp.shape(predictions)}")
    return difference


def shape_of(targets):
    """What the backward pass needs of the targets: their shape as static data, None for None."""
    return None if targets is None else Shape(jnp.shape(targets))


def to_both(derror, target_shape):
    """The gradients of predictions and targets from that of their difference, which has the slopes 1 and -1 in them."""
    return derror, None if target_shape is None else sum_to(target_shape, -derror)


def absolute_error_fwd(predictions, targets):
    """Keeps the sign of the error, one byte."""
    sign = jnp.sign(errors(predictions, targets)).astype(jnp.int8)
    return absolute_error(predictions, targets), (sign, shape_of(targets))


def absolute_error_bwd(residuals, dloss):
    """With the error r = prediction - target, d|r| / dr is the sign of r.

    Kink at r = 0: every slope from -1 to 1 is a subgradient. It is 0 here: a prediction that is right is left alone. (JAX's
    own rule for abs takes 1.) An error of NaN has no sign and gradient 0; the loss is NaN.
    """
    sign, target_shape = residuals
    return to_both(widened(dloss) * sign, target_shape)


defvjp(absolute_error, absolute_error_fwd, absolute_error_bwd)


def _kept(predictions, targets=None):
    """One byte per error."""
    return predictions.size


CASES = (
    Case(absolute_error, (distinct(4, 5), full(0.01, 4, 5)), residual_bytes=_kept),
    Case(
        absolute_error,
        (distinct(3, 4, gap=0.3), normal(4, scale=0.01)),
        name="targets for all rows",
        residual_bytes=_kept,
    ),
    Case(absolute_error, (distinct(6),), name="no targets", residual_bytes=_kept),
    Case(
        absolute_error,
        (np.array([3.0, -2.0, 0.5]), np.array([1.0, -2.0, 2.0])),
        name="right: slope 0",
        kink=True,
        expect=(np.array([1.0, 0.0, -1.0]), np.array([-1.0, 0.0, 1.0])),
    ),
)
