"""The squared hinge loss, which has no kink (the L2-SVM; Chang & Lin, 2008). Catalogue #66."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.losses.perceptron_loss import same_shape
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def squared_hinge(predictor_outputs, targets):
    """max(0, 1 - f t)^2 with f the output and t the target, elementwise.

    predictor_outputs (...), targets (...), most often -1 or +1 -> loss (...), in the dtype of the outputs; no mean is taken.
    Raises ValueError if the shapes differ.
    """
    f, t = same_shape(predictor_outputs, targets)
    return jnp.square(jnp.maximum(0, 1 - f * t)).astype(floating_dtype(predictor_outputs))


def squared_hinge_fwd(predictor_outputs, targets):
    """Keeps its arguments, which the caller holds anyway."""
    return squared_hinge(predictor_outputs, targets), (predictor_outputs, targets)


def squared_hinge_bwd(residuals, dloss):
    """With the shortfall s = max(0, 1 - f t), d s^2 = 2 s ds, and ds is -t df - f dt where s > 0:

        dloss / df = -2 s t        dloss / dt = -2 s f

    Where s = 0 both are 0, from either side of the margin: the square takes the kink away.
    """
    f, t = (widened(argument) for argument in residuals)
    slope = -2 * jnp.maximum(0, 1 - f * t) * dloss
    return slope * t, slope * f


defvjp(squared_hinge, squared_hinge_fwd, squared_hinge_bwd)


def _kept(predictor_outputs, targets):
    """The arguments."""
    return predictor_outputs.nbytes + targets.nbytes


CASES = (
    Case(
        squared_hinge,
        (normal(4, 5, scale=2.0), np.tile([1.0, -1.0, 1.0, -1.0, 1.0], (4, 1))),
        residual_bytes=_kept,
        order=2,
    ),
    Case(squared_hinge, (normal(3, 4), normal(3, 4)), name="any targets"),
    Case(
        squared_hinge,
        (np.array([0.5, -0.5, 2.0, 1.0, 0.0]), np.array([1.0, 1.0, 1.0, 1.0, -1.0])),
        name="inside, outside and on the margin",
        expect=(np.array([-1.0, -3.0, 0.0, 0.0, 2.0]), np.array([-0.5, 1.5, 0.0, 0.0, 0.0])),
    ),
)
