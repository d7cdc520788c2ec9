"""The logarithm of the hyperbolic cosine of an error: smooth everywhere, linear far out. Catalogue #72.

The rule keeps the error; autodiff of a definition that is safe at both ends keeps eight arrays.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.activations.tanh import tanh
from backproplab.layers.losses.absolute_error import errors, shape_of, to_both
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def log_cosh(predictions, targets=None):
    """log cosh(r) for the error r = predictions - targets: about r^2 / 2 near 0 and |r| - log 2 far out.

    predictions (...), targets of a shape that broadcasts to that of the predictions, None for zeros -> loss (...), in the
    dtype of the predictions; no mean is taken. Argument names and order are those of `optax.losses.log_cosh`, whose value
    has lost all digits at r = 1e-4 in float32. Raises ValueError where targets would enlarge the result.
    """
    r = errors(predictions, targets)
    near = jnp.abs(r) < 1
    # cosh r = 1 + 2 sinh^2(r/2) near 0, exp|r| (1 + exp(-2|r|)) / 2 far out
    half = jnp.sinh(jnp.where(near, r, 0) / 2)
    size = jnp.where(near, 1, jnp.abs(r))
    far = size + jnp.log1p(jnp.exp(-2 * size)) - math.log(2)
    return jnp.where(near, jnp.log1p(2 * half * half), far).astype(floating_dtype(predictions))


def log_cosh_fwd(predictions, targets):
    """Keeps the error. Its tanh, the slope, would do, but has lost the tail that a second derivative needs."""
    return log_cosh(predictions, targets), (errors(predictions, targets), shape_of(targets))


def log_cosh_bwd(residuals, dloss):
    """d log cosh r / dr = sinh r / cosh r = tanh r."""
    r, target_shape = residuals
    return to_both(widened(dloss) * tanh(r), target_shape)


defvjp(log_cosh, log_cosh_fwd, log_cosh_bwd)


def _kept(predictions, targets=None):
    """The error, in float32 or wider."""
    return predictions.size * max(4, predictions.dtype.itemsize)


CASES = (
    Case(log_cosh, (normal(4, 5), normal(4, 5)), residual_bytes=_kept, order=2),
    Case(log_cosh, (normal(3, 4), normal(4)), name="targets for all rows", residual_bytes=_kept),
    Case(log_cosh, (full(0.0, 3),), name="no error, no targets: slope 0", expect=(np.zeros(3),), order=2),
    Case(log_cosh, (np.array([1e-4, -1e-4, 1e-12, 200.0, -1e4, 1.0]), np.zeros(6)), name="near and far"),
)
