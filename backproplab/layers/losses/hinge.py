"""The hinge loss of the linear support vector machine (Cortes & Vapnik, 1995). Catalogue #66."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def hinge(predictor_outputs, targets):
    """max(0, 1 - f t) with f the output and t the target, elementwise.

    predictor_outputs (...), targets (...), most often -1 or +1 -> loss (...), in the dtype of the outputs; no mean is taken.
    Argument names and order are those of `optax.losses.hinge_loss`.
    """
    wide = widened(predictor_outputs)
    return jnp.maximum(0, 1 - wide * targets).astype(predictor_outputs.dtype)


def hinge_fwd(predictor_outputs, targets):
    """Keeps its arguments, which the caller holds anyway: each is a slope for the other."""
    return hinge(predictor_outputs, targets), (predictor_outputs, targets)


def hinge_bwd(residuals, dloss):
    """With the margin m = f t the loss is 1 - m where m < 1 and 0 where m > 1:

        dloss / df = -t  where m < 1, else 0        dloss / dt = -f  where m < 1, else 0

    Kink at m = 1: any slope between -t and 0 is a subgradient. It is 0 here: an example that has reached its margin is
    left alone. (JAX's maximum takes half of each side.)
    """
    predictor_outputs, targets = residuals
    f, t = widened(predictor_outputs), widened(targets)
    short = 1 - f * t > 0
    return jnp.where(short, -t * dloss, 0), jnp.where(short, -f * dloss, 0)


defvjp(hinge, hinge_fwd, hinge_bwd)


def _kept(predictor_outputs, targets):
    """The arguments."""
    return predictor_outputs.nbytes + targets.nbytes


CASES = (
    Case(hinge, (normal(4, 5, scale=2.0), np.tile([1.0, -1.0, 1.0, -1.0, 1.0], (4, 1))), residual_bytes=_kept),
    Case(hinge, (normal(3, 4), normal(3, 4)), name="any targets"),
    Case(
        hinge,
        (np.array([0.5, -0.5, 2.0, -2.0, 0.0]), np.array([1.0, 1.0, 1.0, -1.0, -1.0])),
        name="inside and outside the margin",
        expect=(np.array([-1.0, -1.0, 0.0, 0.0, 1.0]), np.array([-0.5, 0.5, 0.0, 0.0, 0.0])),
    ),
    Case(
        hinge,
        (np.array([1.0, -1.0, 2.0]), np.array([1.0, -1.0, 0.5])),
        name="on the margin: slope 0",
        kink=True,
        expect=(np.zeros(3), np.zeros(3)),
    ),
)
