"""Binary cross-entropy on logits: sigmoid and divergence in one. Lecture L7 and L9, catalogue #59.

The rule keeps its arguments; autodiff keeps six arrays of their size.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal, uniform
from backproplab.layers.gates.add import sum_to
from backproplab.layers.losses.absolute_error import errors
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def sigmoid_binary_cross_entropy(logits, labels, pos_weight=None):
    """-w d log s(z) - (1-d) log s(-z) with s the sigmoid, z the logit, d the label and w the weight of class 1, elementwise.

    logits (...), finite, labels (...), most often in [0, 1], pos_weight of a shape that broadcasts to that of the logits,
    one per class if classes are the last axis, None for ones, as in PyTorch -> loss (...), in the dtype of the logits; no
    mean is taken. Raises ValueError where pos_weight would enlarge the result.
    """
    z = widened(logits)
    zero = jnp.zeros_like(z)
    # -log s(z) = log(1 + exp(-z)): positive terms, no difference of large numbers
    loss = _weight(z, pos_weight) * labels * jnp.logaddexp(zero, -z) + (1 - labels) * jnp.logaddexp(zero, z)
    return loss.astype(logits.dtype)


def _weight(z, pos_weight):
    """Of class 1, in float32 or wider, 1 for None."""
    if pos_weight is None:
        return 1
    errors(z, pos_weight)  # the shapes
    return widened(pos_weight)


def sigmoid_binary_cross_entropy_fwd(logits, labels, pos_weight):
    """Keeps its arguments, which the caller holds anyway."""
    return sigmoid_binary_cross_entropy(logits, labels, pos_weight), (logits, labels, pos_weight)


def sigmoid_binary_cross_entropy_bwd(residuals, dloss):
    """-log s(z) has the slope -s(-z), and -log s(-z) has the slope s(z), so

        dloss / dz = (1-d) s(z) - w d s(-z)

    For w = 1 this is s(z) - d on paper, since s(z) + s(-z) = 1; in float32 that is 0 for d = 1 from z = 17 on. With
    e = exp(-|z|), at most 1, the two sigmoids are 1 / (1+e) and e / (1+e), both exact in the tails. The log-odds are z, so

        dloss / dd = -w log s(z) + log s(-z) = -z - (w-1) log s(z)
        dloss / dw = -d log s(z)
    """
    logits, labels, pos_weight = residuals
    z, dloss = widened(logits), widened(dloss)
    e = jnp.exp(-jnp.abs(z))
    positive, negative = jnp.where(z >= 0, 1, e) / (1 + e), jnp.where(z >= 0, e, 1) / (1 + e)
    weight = _weight(z, pos_weight)
    dlogits = dloss * ((1 - labels) * positive - weight * labels * negative)
    if pos_weight is None:
        return dlogits, -dloss * z, None
    minus_log = jnp.logaddexp(0, -z)
    return dlogits, dloss * ((weight - 1) * minus_log - z), sum_to(pos_weight.shape, dloss * labels * minus_log)


defvjp(sigmoid_binary_cross_entropy, sigmoid_binary_cross_entropy_fwd, sigmoid_binary_cross_entropy_bwd)


def _kept(logits, labels, pos_weight=None):
    """The arguments."""
    return logits.nbytes + labels.nbytes + (0 if pos_weight is None else pos_weight.nbytes)


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
    Case(
        sigmoid_binary_cross_entropy,
        (normal(4, 5), uniform(0.0, 1.0, 4, 5), uniform(0.5, 3.0, 5)),
        name="a weight per class",
        residual_bytes=_kept,
        order=2,
    ),
    Case(
        sigmoid_binary_cross_entropy,
        (np.zeros(3), np.array([0.0, 0.5, 1.0]), np.array(4.0)),
        name="class 1 counts 4 times",
        expect=(np.array([0.5, -0.75, -2.0]), np.full(3, 3 * np.log(2.0)), np.array(1.5 * np.log(2.0))),
    ),
    Case(
        sigmoid_binary_cross_entropy,
        (np.array([30.0, -30.0, 80.0]), np.array([1.0, 1.0, 0.0]), np.array([0.0, 1e3, 1e3])),
        name="tails with weights, one of them 0",
    ),
)
