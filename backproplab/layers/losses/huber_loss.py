"""The Huber loss (Huber, 1964) and its other scaling, the smooth absolute error (Girshick, 2015). Catalogue #72.

Both rules keep the error, one array; autodiff keeps three.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, distinct, full, normal
from backproplab.layers.losses.absolute_error import errors, shape_of, to_both
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("delta",))
def huber_loss(predictions, targets=None, delta=1.0):
    """r^2 / 2 where |r| <= delta, delta (|r| - delta / 2) outside, for the error r = predictions - targets.

    predictions (...), targets of a shape that broadcasts to that of the predictions, None for zeros -> loss (...), in the
    dtype of the predictions; no mean is taken. Argument names and order are those of `optax.losses.huber_loss`; delta is
    a Python number, not negative. Raises ValueError where targets would enlarge the result.
    """
    return _huber(errors(predictions, targets), delta).astype(floating_dtype(predictions))


def _huber(r, delta):
    size = jnp.abs(r)
    quadratic = jnp.minimum(size, delta)
    return 0.5 * quadratic * quadratic + delta * (size - quadratic)


def huber_loss_fwd(predictions, targets, delta):
    """Keeps the error: clipped, it is the slope."""
    return huber_loss(predictions, targets, delta), (errors(predictions, targets), shape_of(targets))


def huber_loss_bwd(delta, residuals, dloss):
    """The slope in r is r inside and delta sign(r) outside, so it is r clipped to [-delta, delta].

    The two pieces meet with the same slope at |r| = delta: no kink there, and none at r = 0.
    """
    r, target_shape = residuals
    return to_both(widened(dloss) * jnp.clip(r, -delta, delta), target_shape)


defvjp(huber_loss, huber_loss_fwd, huber_loss_bwd)


@partial(jax.custom_vjp, nondiff_argnames=("beta",))
def smooth_absolute_error(predictions, targets=None, beta=1.0):
    """r^2 / (2 beta) where |r| < beta, |r| - beta / 2 outside: the Huber loss divided by beta, "smooth L1".

    Arguments, shapes and errors as for `huber_loss`. beta = 0 gives the absolute error.
    """
    r = errors(predictions, targets)
    loss = jnp.abs(r) if beta == 0 else _huber(r / beta, 1.0) * beta
    return loss.astype(floating_dtype(predictions))


def smooth_absolute_error_fwd(predictions, targets, beta):
    """Keeps the error."""
    return smooth_absolute_error(predictions, targets, beta), (errors(predictions, targets), shape_of(targets))


def smooth_absolute_error_bwd(beta, residuals, dloss):
    """The slope in r is r / beta clipped to [-1, 1]. As beta shrinks to 0 it becomes the sign of r, and for beta = 0 it is:
    then r = 0 is a kink, where the slope is 0 as that of `absolute_error`.
    """
    r, target_shape = residuals
    slope = jnp.sign(r) if beta == 0 else jnp.clip(r / beta, -1, 1)
    return to_both(widened(dloss) * slope, target_shape)


defvjp(smooth_absolute_error, smooth_absolute_error_fwd, smooth_absolute_error_bwd)


def _kept(predictions, targets=None, _=1.0):
    """The error, in float32 or wider."""
    return predictions.size * max(4, predictions.dtype.itemsize)


_errors = np.array([0.5, -0.25, 3.0, -2.0, 0.0])
CASES = (
    Case(huber_loss, (distinct(4, 5, gap=0.37), full(0.01, 4, 5)), residual_bytes=_kept, order=2),
    Case(huber_loss, (normal(3, 4), normal(4), 0.5), name="targets for all rows, delta 1/2", residual_bytes=_kept),
    Case(
        huber_loss,
        (_errors, np.zeros(5), 2.0),
        name="inside, outside, on the border and at 0",
        expect=(np.array([0.5, -0.25, 2.0, -2.0, 0.0]), np.array([-0.5, 0.25, -2.0, 2.0, 0.0])),
    ),
    Case(huber_loss, (_errors, None, 0.0), name="delta 0, no targets: a loss of 0", expect=(np.zeros(5),)),
    Case(huber_loss, (normal(5, scale=1e3), normal(5, scale=1e3), 1e-3), name="small delta"),
    Case(smooth_absolute_error, (distinct(4, 5, gap=0.37), full(0.01, 4, 5), 0.5), residual_bytes=_kept, order=2),
    Case(
        smooth_absolute_error,
        (_errors, None, 2.0),
        name="no targets",
        expect=(np.array([0.25, -0.125, 1.0, -1.0, 0.0]),),
    ),
    Case(
        smooth_absolute_error,
        (_errors, np.zeros(5), 0.0),
        name="beta 0: the sign, 0 at 0",
        kink=True,
        expect=(np.array([1.0, -1.0, 1.0, -1.0, 0.0]), np.array([-1.0, 1.0, -1.0, 1.0, 0.0])),
    ),
)
