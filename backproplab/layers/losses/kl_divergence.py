"""The Kullback-Leibler divergence of predicted from target probabilities. Lecture L7 and L8, catalogue #63 and #64."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal, simplex
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def kl_divergence(log_predictions, targets):
    """sum_j t_j (log t_j - log q_j) with log q the predictions and t the targets; 0 log 0 = 0.

    log_predictions (..., d), targets (..., d), not negative -> divergence (...), in the dtype of the log_predictions; no mean
    is taken. Argument names and order are those of `optax.losses.kl_divergence`. A class of target 0 takes no part, also
    where its log-prediction is -inf.
    """
    absent, log_ratio = _log_ratio(log_predictions, targets)
    return jnp.sum(jnp.where(absent, 0, targets * log_ratio), -1).astype(log_predictions.dtype)


def _log_ratio(log_predictions, targets):
    """Where the target is 0, and log t - log q in float32 or wider, 0 there; selected before the logarithm."""
    absent = targets == 0
    log_q = jnp.where(absent, 0, widened(log_predictions))
    return absent, jnp.log(jnp.where(absent, 1, widened(targets))) - log_q


def kl_divergence_fwd(log_predictions, targets):
    """Keeps its arguments, which the caller holds anyway."""
    return kl_divergence(log_predictions, targets), (log_predictions, targets)


def kl_divergence_bwd(residuals, ddivergence):
    """The divergence is sum_j t_j (log t_j - log q_j): linear in log q, and t log t has the slope log t + 1.

        dlog_predictions = -t ddivergence
        dtargets = (log t - log q + 1) ddivergence

    Convention: at t = 0 the slope in t is -inf, and t may not go further. The class takes no part in the value; it is
    declared to take none in the gradient, which is 0 for both arguments. (For logits behind a softmax use
    `softmax_cross_entropy`: it differs by the entropy of the targets, which no prediction can change.)
    """
    log_predictions, targets = residuals
    absent, log_ratio = _log_ratio(log_predictions, targets)
    ddivergence = ddivergence[..., None].astype(log_ratio.dtype)
    return -targets * ddivergence, jnp.where(absent, 0, (log_ratio + 1) * ddivergence)


defvjp(kl_divergence, kl_divergence_fwd, kl_divergence_bwd)

_INF = float("inf")
_POSITIVE = {1: (0.0, np.inf)}


def _kept(log_predictions, targets):
    """The arguments."""
    return log_predictions.nbytes + targets.nbytes


CASES = (
    Case(kl_divergence, (normal(4, 5), simplex(4, 5)), residual_bytes=_kept, domain=_POSITIVE, order=2),
    Case(kl_divergence, (normal(2, 3, 4), simplex(2, 3, 4)), name="two batch axes", domain=_POSITIVE),
    Case(kl_divergence, (normal(6), simplex(6)), name="no batch axis", domain=_POSITIVE),
    # the two logarithms cancel, the 1 stays: the minimum is one along the simplex only
    Case(
        kl_divergence,
        (np.log(np.full((2, 4), 0.25)), np.full((2, 4), 0.25)),
        name="equal distributions",
        domain=_POSITIVE,
    ),
    Case(
        kl_divergence,
        (np.array([[0.0, -_INF, -1.0]]), np.array([[1.0, 0.0, 0.0]])),
        name="targets of 0, one of them masked: gradient 0",
        expect=(np.array([[-1.0, 0.0, 0.0]]), np.array([[1.0, 0.0, 0.0]])),
        by_design=True,  # the slope in a target of 0 is -inf; it is declared 0
    ),
)
