"""The Hellinger distance of two distributions and its square (Hellinger, 1909). Catalogue #64.

Autodiff of the square roots is infinite or NaN at a probability of 0, and that of the distance NaN where the
distributions are equal.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, simplex
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def squared_hellinger(predictions, targets):
    """1/2 sum_j (sqrt p_j - sqrt q_j)^2, which is 1 - sum_j sqrt(p_j q_j) for distributions.

    predictions p (..., d) and targets q (..., d), not negative -> square of the distance (...), in the dtype of the
    predictions, from 0 to 1; no mean is taken.
    """
    return _square(predictions, targets).astype(predictions.dtype)


def _square(predictions, targets):
    return 0.5 * jnp.sum(jnp.square(_roots(predictions, targets)[2]), -1)


def _roots(predictions, targets):
    """sqrt p, sqrt q and their difference, in float32 or wider; a root of 0 is a constant 0, of no slope.

    The difference of the roots is (p - q) / (sqrt p + sqrt q): close numbers keep their digits.
    """
    p, q = widened(predictions), widened(targets)
    root_p, root_q = _root(p), _root(q)
    total = root_p + root_q
    return root_p, root_q, jnp.where(total == 0, 0, (p - q) / jnp.where(total == 0, 1, total))


def _root(p):
    return jnp.where(p == 0, 0, jnp.sqrt(jnp.where(p == 0, 1, p)))


def squared_hellinger_fwd(predictions, targets):
    """Keeps its arguments, which the caller holds anyway."""
    return squared_hellinger(predictions, targets), (predictions, targets)


def squared_hellinger_bwd(residuals, dsquare):
    """d sqrt p = dp / (2 sqrt p), so with the difference D_j = sqrt p_j - sqrt q_j

        d / dp_j = D_j / (2 sqrt p_j)        d / dq_j = -D_j / (2 sqrt q_j)

    Convention: at p = 0 < q the slope in p is -inf, and p may not go further. It is declared 0, as in `kl_divergence`.
    """
    root_p, root_q, difference = _roots(*residuals)
    dsquare = dsquare[..., None].astype(difference.dtype) / 2
    return _over(dsquare * difference, root_p), _over(-dsquare * difference, root_q)


def _over(numerator, root):
    return jnp.where(root == 0, 0, numerator / jnp.where(root == 0, 1, root))


defvjp(squared_hellinger, squared_hellinger_fwd, squared_hellinger_bwd)


@jax.custom_vjp
def hellinger(predictions, targets):
    """The square root of `squared_hellinger`, a metric: arguments and result as there."""
    return _root(_square(predictions, targets)).astype(predictions.dtype)


def hellinger_fwd(predictions, targets):
    """Keeps its arguments, which the caller holds anyway."""
    return hellinger(predictions, targets), (predictions, targets)


def hellinger_bwd(residuals, ddistance):
    """H = sqrt(S) with S the square, so dH = dS / (2 H).

    Where the distributions are equal H = 0 and has a kink, the tip of a cone: 0 is a subgradient and is taken.
    """
    distance = _root(_square(*residuals))
    return squared_hellinger_bwd(residuals, _over(ddistance.astype(distance.dtype) / 2, distance))


defvjp(hellinger, hellinger_fwd, hellinger_bwd)

_POSITIVE = {0: (0.0, np.inf), 1: (0.0, np.inf)}


def _kept(predictions, targets):
    """The arguments."""
    return predictions.nbytes + targets.nbytes


_at_the_border = (np.array([[0.0, 1.0, 0.0]]), np.array([[0.75, 0.25, 0.0]]))
_equal = (np.full((2, 4), 0.25), np.full((2, 4), 0.25))
CASES = (
    Case(squared_hellinger, (simplex(4, 5), simplex(4, 5)), residual_bytes=_kept, domain=_POSITIVE, order=2),
    Case(
        squared_hellinger,
        _at_the_border,
        name="probabilities of 0: gradient 0",
        expect=(np.array([[0.0, 0.25, 0.0]]), np.array([[0.5, -0.5, 0.0]])),
        by_design=True,  # the slope in a probability of 0 is -inf; it is declared 0
    ),
    Case(
        squared_hellinger,
        (np.array([[0.5, 0.5 + 2.0**-7, 2.0**-30]]), np.array([[0.5 + 2.0**-7, 0.5, 2.0**-29]])),
        name="close, and small",
        domain=_POSITIVE,
    ),
    Case(hellinger, (simplex(4, 5), simplex(4, 5)), residual_bytes=_kept, domain=_POSITIVE, order=2),
    Case(hellinger, (simplex(2, 3, 4), simplex(2, 3, 4)), name="two batch axes", domain=_POSITIVE),
    Case(
        hellinger,
        _at_the_border,
        name="probabilities of 0: gradient 0",
        expect=(np.array([[0.0, 0.25, 0.0]]) / 2**0.5, np.array([[0.5, -0.5, 0.0]]) / 2**0.5),  # S = 1/2
        by_design=True,
    ),
    # H^2 = 1/2 both times
    Case(
        hellinger,
        (np.array([[1.0, 0.0], [0.25, 0.75]]), np.array([[0.25, 0.75], [1.0, 0.0]])),
        name="a probability of 1",
        expect=(np.array([[0.25, 0.0], [-0.5, 0.5]]) / 2**0.5, np.array([[-0.5, 0.5], [0.25, 0.0]]) / 2**0.5),
        by_design=True,
    ),
    Case(
        hellinger,
        _equal,
        name="equal distributions: 0",
        kink=True,
        domain=_POSITIVE,
        expect=(np.zeros((2, 4)), np.zeros((2, 4))),
    ),
)
