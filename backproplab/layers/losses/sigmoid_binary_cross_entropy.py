"""Binary cross-entropy on logits: sigmoid and divergence in one. Lecture L7 and L9, catalogue #59.

The rule keeps its two arguments; autodiff keeps six arrays of their size.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal, uniform
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def sigmoid_binary_cross_entropy(logits, labels):
    """-d log s(z) - (1-d) log s(-z) with s the sigmoid, z the logit and d the label, elementwise.

    logits (...), finite, labels (...), most often in [0, 1] -> loss (...), in the dtype of the logits; no mean is taken.
    """
    z = widened(logits)
    zero = jnp.zeros_like(z)
    # -log s(z) = log(1 + exp(-z)): positive terms, no difference of large numbers
    return (labels * jnp.logaddexp(zero, -z) + (1 - labels) * jnp.logaddexp(zero, z)).astype(logits.dtype)


def sigmoid_binary_cross_entropy_fwd(logits, labels):
    """Keeps its arguments, which the caller holds anyway."""
    return sigmoid_binary_cross_entropy(logits, labels), (logits, labels)


def sigmoid_binary_cross_entropy_bwd(residuals, dloss):
    """-log s(z) has the slope -s(-z), and -log s(-z) has the slope s(z), so

        dloss / dz = (1-d) s(z) - d s(-z)

    On paper this is s(z) - d, since s(z) + s(-z) = 1; in float32 that is 0 for d = 1 from z = 17 on. With
    e = exp(-|z|), at most 1, the two sigmoids are 1 / (1+e) and e / (1+e), both exact in the tails. The log-odds are z:

        dloss / dd = -log s(z) + log s(-z) = -z
    """
    logits, labels = residuals
    z = widened(logits)
    e = jnp.exp(-jnp.abs(z))
    positive, negative = jnp.where(z >= 0, 1, e) / (1 + e), jnp.where(z >= 0, e, 1) / (1 + e)
    return dloss * ((1 - labels) * positive - labels * negative), -dloss * z


defvjp(sigmoid_binary_cross_entropy, sigmoid_binary_cross_entropy_fwd, sigmoid_binary_cross_entropy_bwd)


def _kept(logits, labels):
    """The arguments."""
    return logits.nbytes + labels.nbytes


CASES = (
    Case(sigmoid_binary_cross_entropy, (normal(4, 5), uniform(0.0, 1.0, 4, 5)), residual_bytes=_kept, order=2),
    Case(sigmoid_binary_cross_entropy, (normal(6), np.array([0.0, 1.0] * 3)), name="classes"),
    Case(
        sigmoid_binary_cross_entropy,
        (np.zeros(3), np.array([0.0, 0.5, 1.0])),
        name="z = 0: 1/2 - d, no kink of |z|",
        expect=(np.array([0.5, 0.0, -0.5]), np.zeros(3)),
    ),
    Case(
        sigmoid_binary_cross_entropy,
        (np.array([30.0, -30.0, 30.0, -30.0, 80.0]), np.array([1.0, 0.0, 0.0, 1.0, 1.0])),
        name="tails, right and wrong",
    ),
    Case(sigmoid_binary_cross_entropy, (normal(5), uniform(-1.0, 2.0, 5)), name="labels outside [0, 1]"),
)
