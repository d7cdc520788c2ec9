"""Minus the logarithm of a negative binomial probability, of counts that vary more than a Poisson rate lets them.
Catalogue #70.

The rule keeps its arguments; autodiff keeps a dozen arrays.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal, uniform
from backproplab.layers.gates.add import sum_to
from backproplab.layers.losses.absolute_error import errors
from backproplab.precision import floating_dtype, widened, widened_beside
from backproplab.rule import defvjp


@jax.custom_vjp
def negative_binomial_nll(logits, targets, total_counts):
    """-log( Gamma(r+k) / (Gamma(r) k!) p^k (1-p)^r ), elementwise, with p = s(z) the probability of a success, z the logit,
    k the target: how many successes came before r failures. r need not be whole. The mean is r exp(z).

    logits (...), targets and total_counts r > 0 of shapes that broadcast to that of the logits, floats or integers ->
    loss (...), in nats, in the dtype of the logits; no mean is taken. Names and density are those of
    `torch.distributions.NegativeBinomial`; `scipy.stats.nbinom` has s(-z) for its p. In float32 the gamma functions of r
    leave an error of 1e-7 r log r. Raises ValueError where targets or total_counts would enlarge the result.
    """
    z, k, r = _widened(logits, targets, total_counts)
    ways = jax.lax.lgamma(r + k) - jax.lax.lgamma(r) - jax.lax.lgamma(1 + k)
    minus_log_p, minus_log_rest = jnp.logaddexp(0, -z), jnp.logaddexp(0, z)
    return (k * minus_log_p + r * minus_log_rest - ways).astype(floating_dtype(logits))


def _widened(logits, *others):
    """In float32 or wider, integers in the dtype of the logits, and all in their shape."""
    for other in others:
        errors(logits, other)  # the shapes
    z = widened(logits)
    return z, *(jnp.broadcast_to(widened_beside(other, z), z.shape) for other in others)


def negative_binomial_nll_fwd(logits, targets, total_counts):
    """Keeps its arguments, which the caller holds anyway."""
    residuals = jnp.asarray(logits), jnp.asarray(targets), jnp.asarray(total_counts)
    return negative_binomial_nll(logits, targets, total_counts), residuals


def negative_binomial_nll_bwd(residuals, dloss):
    """-log s(z) has the slope -s(-z), and -log s(-z) has the slope s(z); log Gamma has the slope psi, so

        dloss / dz = r s(z) - k s(-z)        failures that should have been successes, less the other way round
        dloss / dr = -log s(-z) + psi(r) - psi(r+k)
        dloss / dk = -log s(z) + psi(1+k) - psi(r+k)

    Counts of an integer dtype have no gradient.
    """
    logits, targets, total_counts = residuals
    z, k, r = _widened(logits, targets, total_counts)
    dloss, psi = widened(dloss), jax.lax.digamma(r + k)
    dlogits = dloss * (r * jax.nn.sigmoid(z) - k * jax.nn.sigmoid(-z))
    dtargets = dloss * (jnp.logaddexp(0, -z) + jax.lax.digamma(1 + k) - psi)
    dtotal_counts = dloss * (jnp.logaddexp(0, z) + jax.lax.digamma(r) - psi)
    return dlogits, _of(targets, dtargets), _of(total_counts, dtotal_counts)


def _of(argument, d):
    """The gradient of an argument that was broadcast, None for an integer one."""
    return sum_to(argument.shape, d) if jnp.issubdtype(argument.dtype, jnp.floating) else None


defvjp(negative_binomial_nll, negative_binomial_nll_fwd, negative_binomial_nll_bwd)


def _kept(logits, targets, total_counts):
    """The arguments."""
    return logits.nbytes + targets.nbytes + total_counts.nbytes


_positive = {1: (0.0, np.inf), 2: (0.0, np.inf)}
CASES = (
    Case(
        negative_binomial_nll,
        (normal(4, 5), uniform(0.0, 5.0, 4, 5), uniform(0.5, 5.0, 4, 5)),
        residual_bytes=_kept,
        domain=_positive,
    ),
    Case(
        negative_binomial_nll,
        (normal(3, 4), np.array([0, 1, 2, 7]), uniform(0.5, 5.0, 3, 1)),
        name="counts for all rows, one r per row",
        residual_bytes=_kept,
        domain=_positive,
    ),
    # r = 1 is the geometric distribution: the loss is k softplus(-z) + softplus(z)
    Case(
        negative_binomial_nll,
        (np.zeros(3), np.array([0, 1, 3]), np.array(1)),
        name="geometric, p = 1/2: (1 - k) / 2",
        expect=(np.array([0.5, 0.0, -1.0]),),
        order=2,
    ),
    Case(
        negative_binomial_nll,
        (np.array([-30.0, 30.0, 30.0, -80.0]), np.array([0, 0, 5, 3]), np.array([2.0, 2.0, 0.25, 40.0])),
        name="tails, right and wrong",
        domain={2: (0.0, np.inf)},
    ),
)
