"""Minus the logarithm of Student's t density, whose tails forgive outliers (Lange et al., 1989). Catalogue #70.

The rule keeps the error and two arguments; autodiff keeps a dozen arrays. The square of an outlier does not overflow.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal, uniform
from backproplab.layers.gates.add import sum_to
from backproplab.layers.losses.absolute_error import errors, shape_of, to_both
from backproplab.precision import floating_dtype, widened, widened_beside
from backproplab.rule import defvjp


@jax.custom_vjp
def student_t_nll(predictions, targets, log_scales, degrees_of_freedom):
    """s + log(pi n)/2 + log Gamma(n/2) - log Gamma((n+1)/2) + (n+1)/2 log(1 + r^2 exp(-2s) / n), elementwise, for the error
    r = predictions - targets, the log-scale s and n degrees of freedom.

    predictions (...), targets, log_scales and degrees_of_freedom n > 0 of shapes that broadcast to that of the predictions
    -> loss (...), in nats, in the dtype of the predictions; no mean is taken. The density is that of
    `torch.distributions.StudentT` and `scipy.stats.t`. For n = 1 it is Cauchy's, and as n grows that of `gaussian_nll` with
    log-variance 2 s. Raises ValueError where another argument would enlarge the result.
    """
    for other in (log_scales, degrees_of_freedom):
        errors(predictions, other)  # the shapes
    error = errors(predictions, targets)
    s, n = widened(log_scales), widened_beside(degrees_of_freedom, error)
    _, _, logarithm = _ratio(error, s, n)
    constant = 0.5 * jnp.log(math.pi * n) + jax.lax.lgamma(n / 2) - jax.lax.lgamma((n + 1) / 2)
    return (s + constant + (n + 1) / 2 * logarithm).astype(floating_dtype(predictions))


def _ratio(error, s, n):
    """v = r exp(-s) / sqrt(n) as v = far / near, the larger of which has the size 1, and log(1 + v^2)."""
    v = error * jnp.exp(-s) / jnp.sqrt(n)
    outside = jnp.abs(v) > 1
    larger = jnp.where(outside, jnp.abs(v), 1)
    near, far = 1 / larger, v / larger
    smaller = jnp.where(outside, near, far)
    return near, far, 2 * jnp.log(larger) + jnp.log1p(smaller * smaller)


def student_t_nll_fwd(predictions, targets, log_scales, degrees_of_freedom):
    """Keeps the error, and the scales and degrees of freedom, which the caller holds anyway."""
    others = jnp.asarray(log_scales), jnp.asarray(degrees_of_freedom), shape_of(targets)
    loss = student_t_nll(predictions, targets, log_scales, degrees_of_freedom)
    return loss, (errors(predictions, targets), *others)


def student_t_nll_bwd(residuals, dloss):
    """With v = r exp(-s) / sqrt(n) and h = log(1 + v^2), dh = 2v / (1 + v^2) dv and dv = v (dr/r - ds - dn/2n), so

        dr = (n+1) v / (1 + v^2) exp(-s) / sqrt(n)
        ds = 1 - (n+1) v^2 / (1 + v^2) = (1 - n v^2) / (1 + v^2)
        dn = 1/2 (psi(n/2) - psi((n+1)/2) + h + ds / n)

    each times dloss. dn has a term 1/2n of the constant and one -(n+1) v^2 / (1 + v^2) / 2n of h, which are ds / 2n
    together. With v = far / near the fractions are of squares below 1, and the numerator of ds is a product, exact where the
    error is one scale. Degrees of freedom of an integer dtype have no gradient.
    """
    error, log_scales, degrees_of_freedom, target_shape = residuals
    s, n, dloss = widened(log_scales), widened_beside(degrees_of_freedom, error), widened(dloss)
    near, far, logarithm = _ratio(error, s, n)
    squares, u = near * near + far * far, jnp.sqrt(n) * far
    derror = dloss * (n + 1) * near * far / squares * jnp.exp(-s) / jnp.sqrt(n)
    slope = (near - u) * (near + u) / squares
    dlog_scales = sum_to(log_scales.shape, dloss * slope)
    if not jnp.issubdtype(degrees_of_freedom.dtype, jnp.floating):
        return *to_both(derror, target_shape), dlog_scales, None
    ddegrees = 0.5 * dloss * (jax.lax.digamma(n / 2) - jax.lax.digamma((n + 1) / 2) + logarithm + slope / n)
    return *to_both(derror, target_shape), dlog_scales, sum_to(degrees_of_freedom.shape, ddegrees)


defvjp(student_t_nll, student_t_nll_fwd, student_t_nll_bwd)


def _kept(predictions, targets, log_scales, degrees_of_freedom):
    """The error, in float32 or wider, the log-scales and the degrees of freedom."""
    error = predictions.size * max(4, predictions.dtype.itemsize)
    return error + log_scales.nbytes + degrees_of_freedom.nbytes


_positive = {3: (0.0, np.inf)}
CASES = (
    Case(
        student_t_nll,
        (normal(4, 5), normal(4, 5), normal(4, 5), uniform(0.5, 9.0, 4, 5)),
        residual_bytes=_kept,
        domain=_positive,
    ),
    Case(
        student_t_nll,
        (normal(3, 4), normal(4), normal(3, 1), np.array(4.0)),
        name="one scale per row, one number of degrees",
        residual_bytes=_kept,
        domain=_positive,
    ),
    # n = 1: r / (1 + r^2) twice, and its square less a half twice
    Case(
        student_t_nll,
        (np.array([1.0, 2.0, 4.0]), np.ones(3), np.zeros(3), np.array(1)),
        name="Cauchy: no error, one of a scale, one of three",
        expect=(np.array([0.0, 1.0, 0.6]), np.array([0.0, -1.0, -0.6]), np.array([1.0, 0.0, -0.8])),
        order=2,
    ),
    Case(
        student_t_nll,
        (np.array([1e30, -1e25, 1e-25, 3.0]), np.zeros(4), np.array([0.0, -10.0, 0.0, 30.0]), np.array(3.0)),
        name="squares beyond the range",
        domain=_positive,
    ),
    Case(student_t_nll, (normal(5), normal(5), normal(5), np.array(0.1)), name="tails as heavy as 1/x^1.1"),
)
