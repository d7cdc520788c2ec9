"""Binary cross-entropy on probabilities, the divergence of the lecture's logistic unit. Lecture L7, catalogue #58.

Where the probability comes from a sigmoid, `sigmoid_binary_cross_entropy` on the logit is the better choice: a probability
of 1 - 1e-9 is 1 in float32.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, uniform
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def binary_cross_entropy(probabilities, targets):
    """-d log y - (1-d) log(1-y) with y the probability of class 1 and d the target, elementwise; 0 log 0 = 0.

    probabilities (...), targets (...), both in [0, 1] -> loss (...), in the dtype of the probabilities; no mean is taken.
    It is the Kullback-Leibler divergence where d is 0 or 1. y = 0 with d > 0 and y = 1 with d < 1 give +inf.
    """
    log_y, log_rest = _logarithms(probabilities, targets)
    return (-targets * log_y - (1 - targets) * log_rest).astype(probabilities.dtype)


def _logarithms(probabilities, targets):
    """log y and log(1 - y) in float32 or wider; 0 in place of the log 0 whose factor is 0."""
    y = widened(probabilities)
    unused, rest_unused = (y == 0) & (targets == 0), (y == 1) & (targets == 1)
    # selected before the logarithm: no infinity waits in the unused branch
    return jnp.log(jnp.where(unused, 1, y)), jnp.log1p(-jnp.where(rest_unused, 0, y))


def binary_cross_entropy_fwd(probabilities, targets):
    """Keeps its arguments, which the caller holds anyway."""
    return binary_cross_entropy(probabilities, targets), (probabilities, targets)


def binary_cross_entropy_bwd(residuals, dloss):
    """With y the probability and d the target

        dloss / dy = -d/y + (1-d)/(1-y) = (y - d) / (y (1-y))

    The right form has no cancellation: y - d is exact where the two are close. For the targets that mean a class,
    a factor cancels and has to be struck out before the numbers go in:

        d = 1:  -1/y            d = 0:  1/(1-y)

    so at y = d = 1 the slope is -1 and at y = d = 0 it is +1. The loss is at its minimum 0 there and its slope is not 0:
    y may not go further. For the target

        dloss / dd = log(1-y) - log y

    with the logarithms as the loss uses them: where 0 log 0 = 0 removed a term, that term has no slope (it would be
    infinite, and the target could not move in that direction at a finite loss).
    """
    probabilities, targets = residuals
    log_y, log_rest = _logarithms(probabilities, targets)
    y, dloss = probabilities.astype(log_y.dtype), dloss.astype(log_y.dtype)
    numerator = jnp.where(targets == 1, -1, jnp.where(targets == 0, 1, y - targets))
    denominator = jnp.where(targets == 1, y, jnp.where(targets == 0, 1 - y, y * (1 - y)))
    return dloss * numerator / denominator, dloss * (log_rest - log_y)


defvjp(binary_cross_entropy, binary_cross_entropy_fwd, binary_cross_entropy_bwd)

_OPEN = {0: (0.0, 1.0)}


def _kept(probabilities, targets):
    """The arguments."""
    return probabilities.nbytes + targets.nbytes


CASES = (
    Case(
        binary_cross_entropy,
        (uniform(0.05, 0.95, 4, 5), uniform(0.0, 1.0, 4, 5)),
        residual_bytes=_kept,
        domain=_OPEN,
        order=2,
    ),
    Case(binary_cross_entropy, (uniform(0.05, 0.95, 6), np.array([0.0, 1.0] * 3)), name="classes", domain=_OPEN),
    # lecture L7: the minimum is on the border, and the slope there is not 0
    Case(
        binary_cross_entropy,
        (np.array([1.0, 0.0]), np.array([1.0, 0.0])),
        name="y = d on the border: slope -1 and +1",
        expect=(np.array([-1.0, 1.0]), np.array([0.0, 0.0])),
        by_design=True,  # of the targets, whose slope is infinite; nothing may be moved in both directions
    ),
    Case(
        binary_cross_entropy,
        (full(0.5, 3), full(0.5, 3)),
        name="y = d inside: slope 0",
        expect=(np.zeros(3), np.zeros(3)),
        domain=_OPEN,
    ),
    # powers of 2: the same numbers in every dtype
    Case(
        binary_cross_entropy,
        (np.array([2.0**-20, 2.0**-7, 1 - 2.0**-7]), np.array([1.0, 0.0, 1.0])),
        name="near the border",
        domain=_OPEN,
    ),
)
