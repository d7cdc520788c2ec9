"""The Tversky loss (Salehi et al., 2017, arXiv 1706.05721): how far two soft sets are from overlapping, with a price each
for what is in one alone. Catalogue #69.

The rule keeps its arguments; autodiff keeps several arrays of their size, and has NaN where both sets are empty and nothing
smooths.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, booleans, full, uniform
from backproplab.layers.losses.perceptron_loss import same_shape
from backproplab.layers.reductions.max import selected, selection
from backproplab.layers.reductions.var import spread
from backproplab.precision import floating_dtype
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis", "alpha", "beta", "smooth"))
def tversky_loss(predictions, targets, axis=-1, alpha=0.5, beta=0.5, smooth=1.0, where=None):
    """1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth) over `axis`: an integer, a tuple of integers, or None for all
    axes, with p the prediction, t the target and

        TP = sum p t    true positives        FP = sum p (1-t)    false positives        FN = sum (1-p) t    false negatives

    predictions (..., d), probabilities, targets (..., d) in [0, 1], floats, integers or booleans -> loss (...), in the dtype
    of the predictions; no mean is taken over classes or examples. alpha, beta and smooth are Python numbers, not negative;
    alpha = beta = 1/2 is `dice_loss`, alpha = beta = 1 the Jaccard loss. Entries where the booleans `where`, of a shape that
    broadcasts to that of the predictions, are False do not count, whatever they hold. Two empty sets with smooth = 0 agree:
    their loss is 0. Raises ValueError if the shapes differ.
    """
    right, wrong = _overlap(*_counted(predictions, targets, where), axis, alpha, beta, smooth)
    total = right + wrong
    loss = jnp.where(total == 0, 0, wrong / jnp.where(total == 0, 1, total))
    return jnp.squeeze(loss, axis).astype(floating_dtype(predictions))


def _counted(predictions, targets, where):
    """Both in float32 or wider, and in neither set what does not count."""
    p, t = same_shape(predictions, targets)
    where = selection(where, p)
    return selected(p, where, 0), selected(t, where, 0)


def _overlap(p, t, axis, alpha, beta, smooth):
    """TP + smooth, and alpha FP + beta FN, with their axes kept: sums of what is not negative, so no digits are lost where
    the loss is small.
    """
    wrong = jnp.sum(alpha * p * (1 - t) + beta * (1 - p) * t, axis, keepdims=True)
    return jnp.sum(p * t, axis, keepdims=True) + smooth, wrong


def tversky_loss_fwd(predictions, targets, axis, alpha, beta, smooth, where):
    """Keeps its arguments, which the caller holds anyway."""
    loss = tversky_loss(predictions, targets, axis, alpha, beta, smooth, where)
    return loss, (jnp.asarray(predictions), jnp.asarray(targets), where)


def tversky_loss_bwd(axis, alpha, beta, smooth, residuals, dloss):
    """With R = TP + smooth, W = alpha FP + beta FN and D = R + W the loss is W / D, and the quotient rule gives

        dloss = (R dW - W dR) / D^2 = (R/D dW - W/D dR) / D
        dR/dp = t        dW/dp = alpha (1-t) - beta t
        dR/dt = p        dW/dt = beta (1-p) - alpha p

    Where D = 0 both sets are empty, and the loss jumps to 1 when either has an entry. Declared is 0. Targets of an integer
    dtype have no gradient.
    """
    predictions, targets, where = residuals
    p, t = _counted(predictions, targets, where)
    right, wrong = _overlap(p, t, axis, alpha, beta, smooth)
    total = jnp.where(right + wrong == 0, 1, right + wrong)
    dwrong = spread(dloss, axis, False) * (right / total) / total
    dright = -spread(dloss, axis, False) * (wrong / total) / total
    dpredictions = selected(dwrong * (alpha * (1 - t) - beta * t) + dright * t, where, 0)
    if not jnp.issubdtype(targets.dtype, jnp.floating):
        return dpredictions, None, None
    return dpredictions, selected(dwrong * (beta * (1 - p) - alpha * p) + dright * p, where, 0), None


defvjp(tversky_loss, tversky_loss_fwd, tversky_loss_bwd)


def _kept(predictions, targets, axis=-1, alpha=0.5, beta=0.5, smooth=1.0, where=None):
    """The arguments."""
    return sum(a.nbytes for a in (predictions, targets, where) if a is not None)


_INF = float("inf")
_soft = uniform(0.05, 0.95, 4, 5)
CASES = (
    Case(tversky_loss, (_soft, _soft, -1, 0.3, 0.7), residual_bytes=_kept, order=2),
    Case(tversky_loss, (uniform(0.0, 1.0, 2, 3, 4), uniform(0.0, 1.0, 2, 3, 4), None), name="all axes"),
    Case(
        tversky_loss,
        (uniform(0.0, 1.0, 2, 3, 4), booleans(2, 3, 4), (0, 2), 1.0, 0.5, 0.1),
        name="boolean targets, two axes",
        residual_bytes=_kept,
    ),
    # TP = FP = FN = 1, so the loss is 3/4; and no overlap
    Case(
        tversky_loss,
        (np.array([[1.0, 1, 0], [1, 0, 0]]), np.array([[1.0, 0, 1], [0, 1, 1]]), -1, 2.0, 1.0, 0.0),
        name="no smoothing, sets with sharp edges",
        expect=(
            np.array([[-0.25, 0.125, -0.25], [0, -0.25, -0.25]]),
            np.array([[-0.3125, -0.3125, 0.0625], [-0.25, 0, 0]]),
        ),
    ),
    Case(
        tversky_loss,
        (full(0.0, 2, 3), full(0.0, 2, 3), -1, 0.5, 0.5, 0.0),
        name="both empty, no smoothing: loss 0, gradient 0",
        expect=(np.zeros((2, 3)), np.zeros((2, 3))),
        by_design=True,  # with anything in either set the loss is 1
    ),
    Case(
        tversky_loss,
        (uniform(0.1, 0.9, 2, 4), uniform(0.1, 0.9, 2, 4), -1, 0.3, 0.7, 0.0, np.array([[True, False, True, True]])),
        name="where",
        residual_bytes=_kept,
        order=2,
    ),
    Case(
        tversky_loss,
        (
            np.array([[1.0, _INF, 1, 0]]),
            np.array([[1.0, np.nan, 0, 1]]),
            -1,
            2.0,
            1.0,
            0.0,
            np.array([True, False, True, True]),
        ),
        name="where: infinities and NaN absent",
        expect=(np.array([[-0.25, 0, 0.125, -0.25]]), np.array([[-0.3125, 0, -0.3125, 0.0625]])),
    ),
    Case(tversky_loss, (full(1.0, 1024), full(1.0, 1024), 0, 0.3, 0.7), name="1024 that agree"),
)
