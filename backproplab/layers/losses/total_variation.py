"""The total variation distance: the largest difference that two distributions give to any event. Catalogue #64.

The rule keeps one byte per class, as autodiff does; the difference is the slope at ties.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, distinct, full, simplex
from backproplab.layers.losses.absolute_error import errors
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def total_variation(predictions, targets):
    """1/2 sum_j |p_j - q_j|.

    predictions p (..., d) and targets q (..., d), probabilities -> distance (...), in the dtype of the predictions, from 0
    to 1; no mean is taken.
    """
    return (0.5 * jnp.sum(jnp.abs(errors(predictions, targets)), -1)).astype(predictions.dtype)


def total_variation_fwd(predictions, targets):
    """Keeps which is larger: one byte per class."""
    return total_variation(predictions, targets), jnp.sign(errors(predictions, targets)).astype(jnp.int8)


def total_variation_bwd(sign, ddistance):
    """The slope in p_j is 1/2 where p_j > q_j, -1/2 where it is below; in q_j the opposite.

    Kink at p_j = q_j: every slope from -1/2 to 1/2 is a subgradient; it is 0 here, so that equal distributions are left
    alone. (JAX's own rule for abs takes 1/2.)
    """
    dpredictions = 0.5 * sign * widened(ddistance)[..., None]
    return dpredictions, -dpredictions


defvjp(total_variation, total_variation_fwd, total_variation_bwd)


def _kept(predictions, targets):
    """One byte per class."""
    return predictions.size


CASES = (
    Case(total_variation, (distinct(4, 5), full(0.01, 4, 5)), residual_bytes=_kept),
    Case(total_variation, (simplex(3, 4), np.tile([0.7, 0.2, 0.1, 0.0], (3, 1))), name="distributions"),
    Case(
        total_variation,
        (np.array([[0.5, 0.25, 0.25]]), np.array([[0.25, 0.25, 0.5]])),
        name="a tie: 0",
        kink=True,
        expect=(np.array([[0.5, 0.0, -0.5]]), np.array([[-0.5, 0.0, 0.5]])),
    ),
)
