"""Minus the logarithm of a Poisson probability, of counts whose logarithmic rate is predicted. Catalogue #70."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal, uniform
from backproplab.layers.gates.add import sum_to
from backproplab.layers.losses.absolute_error import errors
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def poisson_nll(log_rates, targets):
    """exp(eta) - t eta, elementwise, with eta the log-rate and t the count; log t!, which no prediction changes, is left out.

    log_rates (...), targets of a shape that broadcasts to that of the log_rates, of any dtype -> loss (...), in the dtype of
    the log_rates; no mean is taken. Raises ValueError where targets would enlarge the result.
    """
    errors(log_rates, targets)  # the shapes
    eta = widened(log_rates)
    return (jnp.exp(eta) - widened(targets) * eta).astype(floating_dtype(log_rates))


def poisson_nll_fwd(log_rates, targets):
    """Keeps its arguments, which the caller holds anyway."""
    return poisson_nll(log_rates, targets), (jnp.asarray(log_rates), jnp.asarray(targets))


def poisson_nll_bwd(residuals, dloss):
    """dloss / deta = exp(eta) - t, the predicted minus the observed count, and dloss / dt = -eta. Counts of an integer
    dtype have no gradient. Autodiff has the same slopes and is as exact; it keeps exp(eta) besides.
    """
    log_rates, targets = residuals
    eta, dloss = widened(log_rates), widened(dloss)
    dlog_rates = dloss * (jnp.exp(eta) - widened(targets))
    if not jnp.issubdtype(targets.dtype, jnp.floating):
        return dlog_rates, None
    return dlog_rates, sum_to(targets.shape, -dloss * eta)


defvjp(poisson_nll, poisson_nll_fwd, poisson_nll_bwd)


def _kept(log_rates, targets):
    """The arguments."""
    return log_rates.nbytes + targets.nbytes


CASES = (
    Case(poisson_nll, (normal(4, 5), uniform(0.0, 5.0, 4, 5)), residual_bytes=_kept, order=2),
    Case(poisson_nll, (normal(3, 4), np.array([0, 1, 2, 7])), name="counts for all rows", residual_bytes=_kept),
    Case(
        poisson_nll,
        (np.array([0.0, 0.0, 0.0]), np.array([0.0, 1.0, 3.0])),
        name="rate 1: 1 - t",
        expect=(np.array([1.0, 0.0, -2.0]), np.zeros(3)),
    ),
    Case(poisson_nll, (np.array([-30.0, 20.0]), np.array([0, 1])), name="tails"),
)
