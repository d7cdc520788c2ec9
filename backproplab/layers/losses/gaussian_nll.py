"""Minus the logarithm of a normal density whose variance is learned too (Nix & Weigend, 1994). Catalogue #70.

The rule keeps the error and the log-variance; autodiff keeps three arrays.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.gates.add import sum_to
from backproplab.layers.losses.absolute_error import errors, shape_of, to_both
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def gaussian_nll(predictions, targets, log_variances):
    """1/2 (log(2 pi) + s + r^2 exp(-s)), elementwise, for the error r = predictions - targets and the log-variance s.

    predictions (...), targets and log_variances of shapes that broadcast to that of the predictions -> loss (...), in nats,
    in the dtype of the predictions; no mean is taken. The value is finite as long as r / sigma is: no floor under the
    variance is needed. Raises ValueError where targets would enlarge the result.
    """
    scaled = _scaled(errors(predictions, targets), log_variances)
    loss = 0.5 * (math.log(2 * math.pi) + widened(log_variances) + scaled * scaled)
    return loss.astype(floating_dtype(predictions))


def _scaled(error, log_variances):
    """r / sigma. exp(-s) itself would overflow before r^2 exp(-s) does."""
    return error * jnp.exp(-widened(log_variances) / 2)


def gaussian_nll_fwd(predictions, targets, log_variances):
    """Keeps the error, and the log-variances, which the caller holds anyway."""
    residuals = errors(predictions, targets), jnp.asarray(log_variances), shape_of(targets)
    return gaussian_nll(predictions, targets, log_variances), residuals


def gaussian_nll_bwd(residuals, dloss):
    """With u = r exp(-s/2), the error in standard deviations, du = exp(-s/2) dr - u/2 ds, and the loss has u du + ds/2:

    dr = u exp(-s/2) dloss        ds = (1 - u^2) / 2 dloss, as a product (1 - u) (1 + u), exact where the variance fits

    (XLA may merge the two exponentials of dr into one, which overflows float32 for s below -88: then dr is infinite.)
    """
    error, log_variances, target_shape = residuals
    u = _scaled(error, log_variances)
    dloss = dloss.astype(u.dtype)
    dvariances = sum_to(log_variances.shape, 0.5 * dloss * (1 - u) * (1 + u))
    return *to_both(dloss * _scaled(u, log_variances), target_shape), dvariances


defvjp(gaussian_nll, gaussian_nll_fwd, gaussian_nll_bwd)


def _kept(predictions, targets, log_variances):
    """The error, in float32 or wider, and the log-variances."""
    return predictions.size * max(4, predictions.dtype.itemsize) + log_variances.nbytes


CASES = (
    Case(gaussian_nll, (normal(4, 5), normal(4, 5), normal(4, 5)), residual_bytes=_kept, order=2),
    Case(gaussian_nll, (normal(3, 4), normal(4), normal(3, 1)), name="one variance per row", residual_bytes=_kept),
    Case(
        gaussian_nll,
        (np.array([1.0, 3.0]), np.array([1.0, 1.0]), np.array([0.0, 2 * np.log(2.0)])),
        name="no error; an error of one deviation",
        expect=(np.array([0.0, 0.5]), np.array([0.0, -0.5]), np.array([0.5, 0.0])),
        dtypes=("float64", "float32"),  # in bfloat16 log 4 is off by 1/2000, and so is the zero
    ),
    Case(gaussian_nll, (np.array([1e-12, 1e15]), np.zeros(2), np.array([-55.0, 70.0])), name="tiny and huge variance"),
)
