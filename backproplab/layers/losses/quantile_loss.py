"""The quantile or pinball loss (Koenker & Bassett, 1978), whose minimiser is a quantile. Catalogue #72.

The rule keeps one byte per error.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, distinct, full
from backproplab.layers.losses.absolute_error import errors, shape_of, to_both
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("quantile",))
def quantile_loss(predictions, targets=None, quantile=0.5):
    """quantile (t - y) where the prediction y is below the target t, (1 - quantile) (y - t) where it is above.

    predictions (...), targets of a shape that broadcasts to that of the predictions, None for zeros -> loss (...), in the
    dtype of the predictions; no mean is taken. quantile: a Python number from 0 to 1, or a tuple of them, one per entry of
    the last axis. Half the absolute error for 1/2. Raises ValueError where targets would enlarge the result.
    """
    r = errors(predictions, targets)
    loss = jnp.where(r < 0, _slope(quantile, -1, r.dtype), _slope(quantile, 1, r.dtype)) * r
    return loss.astype(floating_dtype(predictions))


def _slope(quantile, sign, dtype):
    """The slope in the error: -q below, 1 - q above."""
    return jnp.asarray(np.asarray(quantile) * -1 if sign < 0 else 1 - np.asarray(quantile), dtype)


def quantile_loss_fwd(predictions, targets, quantile):
    """Keeps the sign of the error, one byte."""
    sign = jnp.sign(errors(predictions, targets)).astype(jnp.int8)
    return quantile_loss(predictions, targets, quantile), (sign, shape_of(targets))


def quantile_loss_bwd(quantile, residuals, dloss):
    """In the error r = y - t the loss has the slope -q below 0 and 1 - q above.

    Kink at r = 0: every slope from -q to 1 - q is a subgradient. It is 0 here, as for `absolute_error`.
    """
    sign, target_shape = residuals
    dloss = widened(dloss)
    below, above = _slope(quantile, -1, dloss.dtype), _slope(quantile, 1, dloss.dtype)
    return to_both(jnp.where(sign == 0, 0, jnp.where(sign < 0, below, above) * dloss), target_shape)


defvjp(quantile_loss, quantile_loss_fwd, quantile_loss_bwd)


def _kept(predictions, targets=None, quantile=0.5):
    """One byte per error."""
    return predictions.size


CASES = (
    Case(quantile_loss, (distinct(4, 5), full(0.01, 4, 5), 0.9), residual_bytes=_kept),
    Case(quantile_loss, (distinct(4, 3), full(0.01, 4, 1), (0.1, 0.5, 0.9)), name="three quantiles of one target"),
    Case(
        quantile_loss,
        (np.array([3.0, -2.0, 0.5]), None, 0.25),
        name="no targets",
        expect=(np.array([0.75, -0.25, 0.75]),),
    ),
    Case(
        quantile_loss,
        (np.array([1.0, 2.0]), np.array([1.0, 2.0]), 0.75),
        name="right: slope 0",
        kink=True,
        expect=(np.zeros(2), np.zeros(2)),
    ),
)
