"""The Kullback-Leibler divergence of target from predicted probabilities: the other direction of `kl_divergence`.

It asks the predictions to stay where the targets are, and not to cover them all. Catalogue #64.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal, simplex
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def reverse_kl_divergence(log_predictions, targets):
    """sum_j q_j (log q_j - log t_j) with log q the predictions and t the targets; 0 log 0 = 0.

    log_predictions (..., d), targets (..., d), not negative -> divergence (...), in the dtype of the log_predictions; no mean
    is taken. A class whose log-prediction is -inf takes no part; with a target of 0 any other gives +inf.
    """
    q, log_ratio = _terms(log_predictions, targets)
    return jnp.sum(q * log_ratio, -1).astype(log_predictions.dtype)


def _terms(log_predictions, targets):
    """q, and log q - log t, in float32 or wider; both 0 where log q is -inf, selected before the logarithm."""
    absent = log_predictions == -jnp.inf
    log_q = jnp.where(absent, 0, widened(log_predictions))
    log_t = jnp.log(jnp.where(absent, 1, widened(targets)))
    return jnp.where(absent, 0, jnp.exp(log_q)), log_q - log_t


def reverse_kl_divergence_fwd(log_predictions, targets):
    """Keeps its arguments, which the caller holds anyway."""
    return reverse_kl_divergence(log_predictions, targets), (log_predictions, targets)


def reverse_kl_divergence_bwd(residuals, ddivergence):
    """With q = exp(log q), dq = q dlog q, so

        dlog_predictions = q (log q - log t + 1) ddivergence
        dtargets = -q / t ddivergence

    As log q goes to -inf the first goes to 0, and there it is 0: a masked class has no gradient in either argument, also
    where its target is 0 too.
    """
    log_predictions, targets = residuals
    q, log_ratio = _terms(log_predictions, targets)
    ddivergence = ddivergence[..., None].astype(q.dtype)
    absent = log_predictions == -jnp.inf
    dlog_predictions = jnp.where(absent, 0, q * (log_ratio + 1) * ddivergence)
    return dlog_predictions, jnp.where(absent, 0, -q / jnp.where(absent, 1, widened(targets)) * ddivergence)


defvjp(reverse_kl_divergence, reverse_kl_divergence_fwd, reverse_kl_divergence_bwd)

_INF = float("inf")
_POSITIVE = {1: (0.0, np.inf)}


def _kept(log_predictions, targets):
    """The arguments."""
    return log_predictions.nbytes + targets.nbytes


CASES = (
    Case(reverse_kl_divergence, (normal(4, 5), simplex(4, 5)), residual_bytes=_kept, domain=_POSITIVE, order=2),
    Case(reverse_kl_divergence, (normal(2, 3, 4), simplex(2, 3, 4)), name="two batch axes", domain=_POSITIVE),
    Case(
        reverse_kl_divergence,
        (np.log(np.full((2, 4), 0.25)), np.full((2, 4), 0.25)),
        name="equal distributions",
        domain=_POSITIVE,
    ),
    Case(
        reverse_kl_divergence,
        (np.array([[0.0, -_INF, -_INF]]), np.array([[0.5, 0.5, 0.0]])),
        name="masked classes, one of target 0: gradient 0",
        expect=(np.array([[1 + np.log(2.0), 0.0, 0.0]]), np.array([[-2.0, 0.0, 0.0]])),
    ),
    Case(reverse_kl_divergence, (np.array([[-80.0, -20.0, 0.0]]), np.full((1, 3), 0.25)), name="tails"),
)
