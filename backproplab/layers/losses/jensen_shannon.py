"""The Jensen-Shannon divergence (Lin, 1991), symmetric for beta = 1/2 and never above log 2. Catalogue #64.

Autodiff of a sum of two Kullback-Leibler divergences is NaN at a probability of 0, and loses its digits where the two
distributions are close, which is where training ends. The rule does neither.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, simplex
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("beta",))
def jensen_shannon(predictions, targets, beta=0.5):
    """beta KL(p || m) + (1 - beta) KL(q || m) with the mixture m = beta p + (1 - beta) q; 0 log 0 = 0.

    predictions p (..., d) and targets q (..., d), probabilities -> divergence (...), in nats, in the dtype of the
    predictions; no mean is taken. beta is a Python number between 0 and 1.
    """
    p, q, of_p, of_q = _log_ratios(predictions, targets, beta)
    return jnp.sum(beta * p * of_p + (1 - beta) * q * of_q, -1).astype(predictions.dtype)


def _log_ratios(predictions, targets, beta):
    """p, q, log(p / m) and log(q / m), in float32 or wider; the logarithms are 0 where their own probability is."""
    p, q = widened(predictions), widened(targets)
    m = beta * p + (1 - beta) * q
    difference = p - q
    return p, q, _log_ratio(p, m, (1 - beta) * difference), _log_ratio(q, m, -beta * difference)


def _log_ratio(p, m, p_minus_m):
    """log(p / m): by log1p unless p is far below m. 0 where p = 0, and every branch is safe where it is not taken."""
    absent = p == 0
    p, m = jnp.where(absent, 1, p), jnp.where(absent, 1, m)
    far = 2 * p < m
    near = jnp.log1p(jnp.where(far | absent, 0, p_minus_m / m))
    return jnp.where(far, jnp.log(jnp.where(far, p / m, 1)), near)


def jensen_shannon_fwd(predictions, targets, beta):
    """Keeps its arguments, which the caller holds anyway."""
    return jensen_shannon(predictions, targets, beta), (predictions, targets)


def jensen_shannon_bwd(beta, residuals, ddivergence):
    """The divergence is a sum over classes of beta p log p + (1-beta) q log q - m log m, and dm = beta dp + (1-beta) dq:

        d / dp = beta (log p + 1) - beta (log m + 1) = beta log(p / m)        d / dq = (1 - beta) log(q / m)

    The ones cancel before numbers go in. Where p is close to q, p / m is close to 1, and log(p/m) is computed from
    p - m = (1 - beta) (p - q), which has all its digits; equal distributions have a gradient of exactly 0.

    Convention: at p = 0 < q the slope in p is -inf, and p may not go further. It is declared 0, as in `kl_divergence`:
    through a softmax it would be multiplied by p, and p log p goes to 0.
    """
    predictions, targets = residuals
    _, _, of_p, of_q = _log_ratios(predictions, targets, beta)
    ddivergence = ddivergence[..., None].astype(of_p.dtype)
    return beta * of_p * ddivergence, (1 - beta) * of_q * ddivergence


defvjp(jensen_shannon, jensen_shannon_fwd, jensen_shannon_bwd)

_POSITIVE = {0: (0.0, np.inf), 1: (0.0, np.inf)}


def _kept(predictions, targets, beta=0.5):
    """The arguments."""
    return predictions.nbytes + targets.nbytes


_log = np.log
CASES = (
    Case(jensen_shannon, (simplex(4, 5), simplex(4, 5)), residual_bytes=_kept, domain=_POSITIVE, order=2),
    Case(jensen_shannon, (simplex(2, 3, 4), simplex(2, 3, 4), 0.1), name="beta 1/10", domain=_POSITIVE),
    Case(
        jensen_shannon,
        (np.full((2, 4), 0.25), np.full((2, 4), 0.25)),
        name="equal distributions: exactly 0",
        domain=_POSITIVE,
        expect=(np.zeros((2, 4)), np.zeros((2, 4))),
    ),
    Case(
        jensen_shannon,
        (np.array([[2.0**-30, 0.5, 0.5 + 2.0**-7]]), np.array([[0.5, 0.5, 0.5]])),
        name="far and close",
        domain=_POSITIVE,
    ),
    Case(
        jensen_shannon,
        (np.array([[0.0, 1.0, 0.0]]), np.array([[1.0, 0.0, 0.0]])),
        name="probabilities of 0: gradient 0",
        expect=(np.array([[0.0, 0.5 * _log(2.0), 0.0]]), np.array([[0.5 * _log(2.0), 0.0, 0.0]])),
        by_design=True,  # the slope in a probability of 0 is -inf; it is declared 0
    ),
)
