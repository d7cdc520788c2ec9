"""Half the squared distance, the loss of regression. Lecture L6, catalogue #57."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def square_error(predictions, targets):
    """1/2 ||predictions - targets||^2 over the last axis.

    predictions (..., d), targets (..., d) -> loss (...), in the dtype of the predictions; no mean is taken. (optax's
    `squared_error` is elementwise and has no 1/2.) Raises ValueError if the shapes differ.
    """
    difference = _difference(predictions, targets)
    return (0.5 * jnp.sum(difference * difference, -1)).astype(predictions.dtype)


def _difference(predictions, targets):
    """In float32 or wider. Shapes that would broadcast are most often a mistake, (n, 1) against (n,)."""
    if jnp.shape(predictions) != jnp.shape(targets):
        raise ValueError(f"square_error wants one shape, not {jnp.shape(predictions)} and {jnp.shape(targets)}")
    return widened(predictions) - targets


def square_error_fwd(predictions, targets):
    """Keeps the difference, which is the gradient up to the factor per row."""
    difference = _difference(predictions, targets)
    return (0.5 * jnp.sum(difference * difference, -1)).astype(predictions.dtype), difference


def square_error_bwd(difference, dloss):
    """loss = 1/2 sum_i (y_i - d_i)^2. The 2 of the square cancels the 1/2:

    dloss / dy_i = y_i - d_i        dloss / dd_i = -(y_i - d_i)
    """
    dpredictions = dloss[..., None] * difference
    return dpredictions, -dpredictions


defvjp(square_error, square_error_fwd, square_error_bwd)


def _kept(predictions, targets):
    """The difference, in float32 or wider."""
    return predictions.size * max(4, predictions.dtype.itemsize)


CASES = (
    Case(square_error, (normal(4, 5), normal(4, 5)), residual_bytes=_kept, order=2),
    Case(square_error, (normal(2, 3, 4), normal(2, 3, 4)), name="two batch axes", residual_bytes=_kept),
    Case(square_error, (normal(3), normal(3)), name="no batch axis"),
    Case(square_error, (normal(4, 1), normal(4, 1)), name="one output"),
    Case(
        square_error,
        (np.array([[1.0, -2.0, 0.5]]), np.array([[1.0, 1.0, 0.0]])),
        name="y - d",
        expect=(np.array([[0.0, -3.0, 0.5]]), np.array([[0.0, 3.0, -0.5]])),
    ),
    Case(square_error, (normal(3, 4, mean=300.0), normal(3, 4, mean=300.0)), name="far from 0"),
)
