"""The focal loss on a logit: cross-entropy that pays less attention to what is already right (Lin et al., 2017,
arXiv 1708.02002). Catalogue #65.

The rule keeps its two arguments; autodiff keeps eighteen arrays of their size.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal, uniform
from backproplab.layers.gates.add import sum_to
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("alpha", "gamma"))
def sigmoid_focal_loss(logits, labels, alpha=None, gamma=2.0):
    """w u^gamma c, elementwise, with y the label, p and q = 1 - p the probabilities of classes 1 and 0, and

        c = -y log p - (1-y) log q      the cross-entropy
        u = y q + (1-y) p               how far off the prediction is
        w = y alpha + (1-y) (1-alpha)   the weight of the classes, 1 for alpha None

    logits (...), labels in [0, 1] of a shape that broadcasts to that of the logits, floats, integers or booleans ->
    loss (...), in the dtype of the logits; no mean is taken. Argument names and order are those of
    `optax.losses.sigmoid_focal_loss`; alpha and gamma are Python numbers. gamma = 0 is the plain cross-entropy.
    """
    _, _, _, u, cross_entropy, weight = _parts(logits, labels, alpha)
    return (weight * powers(u, gamma)[0] * cross_entropy).astype(floating_dtype(logits))


def _parts(logits, labels, alpha):
    """y, p, q, u, c and w, in float32 or wider, all but y and w exact in the tails."""
    z, y = widened(logits), widened(labels)
    minus_log_p, minus_log_q = jnp.logaddexp(0, -z), jnp.logaddexp(0, z)
    p, q = jnp.exp(-minus_log_p), jnp.exp(-minus_log_q)
    weight = 1 if alpha is None else y * alpha + (1 - y) * (1 - alpha)
    return y, p, q, y * q + (1 - y) * p, y * minus_log_p + (1 - y) * minus_log_q, weight


def powers(u, gamma):
    """u^gamma and its slope; where u has underflowed to 0 both are 0 (for gamma = 0: 1 and 0), never 0 times infinity."""
    if gamma == 0:
        return jnp.ones_like(u), jnp.zeros_like(u)
    gone = u == 0
    u = jnp.where(gone, 1, u)
    return jnp.where(gone, 0, jnp.power(u, gamma)), jnp.where(gone, 0, gamma * jnp.power(u, gamma - 1))


def sigmoid_focal_loss_fwd(logits, labels, alpha, gamma):
    """Keeps its arguments, which the caller holds anyway."""
    return sigmoid_focal_loss(logits, labels, alpha, gamma), (jnp.asarray(logits), jnp.asarray(labels))


def sigmoid_focal_loss_bwd(alpha, gamma, residuals, dloss):
    """The product rule on w u^gamma c. With dp/dz = p q = -dq/dz,

        dc/dz = (1-y) p - y q        du/dz = (1 - 2y) p q
        dc/dy = -log p + log q = -z        du/dy = q - p        dw/dy = 2 alpha - 1

    For a label of 0 or 1 both terms of dloss/dz have one sign, so nothing cancels in the tails: for y = 1 they are
    -q^(gamma+1) and -gamma p q^gamma c. Labels of an integer dtype have no gradient.
    """
    logits, labels = residuals
    y, p, q, u, cross_entropy, weight = _parts(logits, labels, alpha)
    dloss = widened(dloss)
    power, slope = powers(u, gamma)
    dlogits = dloss * weight * (power * ((1 - y) * p - y * q) + slope * (1 - 2 * y) * p * q * cross_entropy)
    if not jnp.issubdtype(labels.dtype, jnp.floating):
        return dlogits, None
    dlabels = weight * (slope * (q - p) * cross_entropy - power * logits)
    if alpha is not None:
        dlabels = dlabels + (2 * alpha - 1) * power * cross_entropy
    return dlogits, sum_to(labels.shape, dloss * dlabels)


defvjp(sigmoid_focal_loss, sigmoid_focal_loss_fwd, sigmoid_focal_loss_bwd)


def _kept(logits, labels, alpha=None, gamma=2.0):
    """The arguments."""
    return logits.nbytes + labels.nbytes


_open = {1: (0.0, 1.0)}
CASES = (
    Case(
        sigmoid_focal_loss,
        (normal(4, 5), uniform(0.05, 0.95, 4, 5), 0.25),
        residual_bytes=_kept,
        order=2,
        domain=_open,
    ),
    Case(sigmoid_focal_loss, (normal(3, 4), np.array([0, 1, 1, 0])), name="integer labels for all rows, no alpha"),
    Case(sigmoid_focal_loss, (normal(3, 4), uniform(0.05, 0.95, 4), None, 0.5), name="gamma 1/2", domain=_open),
    Case(
        sigmoid_focal_loss,
        (np.array([30.0, -30.0, 30.0, -30.0, 20.0]), np.array([1, 0, 0, 1, 1]), None, 1.5),
        name="tails, right and wrong",
    ),
    # optax issue 1267: NaN
    Case(
        sigmoid_focal_loss,
        (np.array([1000.0, -1000.0, 1000.0, -1000.0]), np.array([1, 0, 0, 1]), None, 0.0),
        name="gamma 0 far out: the slopes of the cross-entropy",
        expect=(np.array([0.0, 0.0, 1.0, -1.0]),),
    ),
    Case(
        sigmoid_focal_loss,
        (np.array([1000.0, -1000.0, 1000.0, -1000.0]), np.array([1, 0, 0, 1]), 0.25, 0.5),
        name="gamma 1/2 far out: no 0 times infinity",
        expect=(np.array([0.0, 0.0, 0.75, -0.25]),),
    ),
)
