"""The loss that the perceptron rule descends (Rosenblatt, 1958). Catalogue #66."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, away_from_zero
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def perceptron_loss(predictor_outputs, targets):
    """max(0, -f t) with f the output and t the target, elementwise.

    predictor_outputs (...), targets (...), most often -1 or +1 -> loss (...), in the dtype of the outputs; no mean is taken.
    Argument names and order are those of `optax.losses.perceptron_loss`. Raises ValueError if the shapes differ.
    """
    f, t = same_shape(predictor_outputs, targets)
    return jnp.maximum(0, -f * t).astype(floating_dtype(predictor_outputs))


def same_shape(predictor_outputs, targets):
    """Both in float32 or wider. Raises ValueError if the shapes differ: (n, 1) against (n,) would be n^2 margins."""
    if jnp.shape(predictor_outputs) != jnp.shape(targets):
        raise ValueError(
            f"outputs and targets want one shape, not {jnp.shape(predictor_outputs)} and {jnp.shape(targets)}"
        )
    return widened(predictor_outputs), widened(targets)


def perceptron_loss_fwd(predictor_outputs, targets):
    """Keeps its arguments, which the caller holds anyway: each is a slope for the other."""
    return perceptron_loss(predictor_outputs, targets), (predictor_outputs, targets)


def perceptron_loss_bwd(residuals, dloss):
    """The loss is -f t where the output has the wrong sign, f t < 0, and 0 where it has the right one:

        dloss / df = -t  where f t <= 0, else 0        dloss / dt = -f  where f t <= 0, else 0

    Kink at f t = 0: any slope between -t and 0 is a subgradient. It is -t here, as in the perceptron rule, which learns
    from an output of 0: from weights of 0, whose outputs are all 0, it could not start otherwise. (JAX's maximum takes
    half of each side.)
    """
    f, t = (widened(argument) for argument in residuals)
    wrong = f * t <= 0
    return jnp.where(wrong, -t * dloss, 0), jnp.where(wrong, -f * dloss, 0)


defvjp(perceptron_loss, perceptron_loss_fwd, perceptron_loss_bwd)


def _kept(predictor_outputs, targets):
    """The arguments."""
    return predictor_outputs.nbytes + targets.nbytes


CASES = (
    Case(perceptron_loss, (away_from_zero(4, 5), np.tile([1.0, -1.0, 1.0, -1.0, 1.0], (4, 1))), residual_bytes=_kept),
    Case(perceptron_loss, (away_from_zero(3, 4), away_from_zero(3, 4)), name="any targets"),
    Case(
        perceptron_loss,
        (np.array([0.5, -0.5, 2.0, -2.0]), np.array([1.0, 1.0, -1.0, -1.0])),
        name="right and wrong",
        expect=(np.array([0.0, -1.0, 1.0, 0.0]), np.array([0.0, 0.5, -2.0, 0.0])),
    ),
    Case(
        perceptron_loss,
        (np.zeros(2), np.array([1.0, -1.0])),
        name="output 0: learns",
        kink=True,
        expect=(np.array([-1.0, 1.0]), np.zeros(2)),
    ),
)
