"""The soft Dice loss of segmentation (Milletari et al., 2016, arXiv 1606.04797, here without their squares, as Sudre et
al., 2017, arXiv 1707.03237). Catalogue #69.

It is the Tversky loss with a price of 1/2 each for false positives and false negatives, and has its rule.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, booleans, full, uniform
from backproplab.layers.losses.tversky_loss import tversky_loss, tversky_loss_bwd
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis", "smooth"))
def dice_loss(predictions, targets, axis=-1, smooth=1.0, where=None):
    """1 - (2 sum p t + 2 smooth) / (sum p + sum t + 2 smooth) over `axis`: an integer, a tuple of integers, or None for all
    axes, with p the prediction and t the target.

    predictions (..., d), probabilities, targets (..., d) in [0, 1], floats, integers or booleans -> loss (...), in the dtype
    of the predictions; no mean is taken over classes or examples. smooth is a Python number, not negative, and counts as in
    `optax.losses.dice_loss` (which takes logits, unless told otherwise): libraries that add it once, as MONAI, have here
    half of it. Entries where the booleans `where`, of a shape that broadcasts to that of the predictions, are False do not
    count, whatever they hold. Two empty sets with smooth = 0 have loss 0. Raises ValueError if the shapes differ.
    """
    return tversky_loss(predictions, targets, axis, 0.5, 0.5, smooth, where)


def dice_loss_fwd(predictions, targets, axis, smooth, where):
    """Keeps its arguments, which the caller holds anyway."""
    residuals = jnp.asarray(predictions), jnp.asarray(targets), where
    return dice_loss(predictions, targets, axis, smooth, where), residuals


def dice_loss_bwd(axis, smooth, residuals, dloss):
    """p (1-t) + (1-p) t = p + t - 2 p t, so TP + FP/2 + FN/2 = (sum p + sum t) / 2: with both prices at 1/2 the Tversky loss
    is this one, its fraction reduced by 2.
    """
    return tversky_loss_bwd(axis, 0.5, 0.5, smooth, residuals, dloss)


defvjp(dice_loss, dice_loss_fwd, dice_loss_bwd)


def _kept(predictions, targets, axis=-1, smooth=1.0, where=None):
    """The arguments."""
    return sum(a.nbytes for a in (predictions, targets, where) if a is not None)


CASES = (
    Case(dice_loss, (uniform(0.05, 0.95, 4, 5), uniform(0.05, 0.95, 4, 5)), residual_bytes=_kept, order=2),
    Case(
        dice_loss,
        (uniform(0.0, 1.0, 2, 3, 4), booleans(2, 3, 4), (1, 2), 0.1),
        name="boolean targets, two axes",
        residual_bytes=_kept,
    ),
    # sum p = sum t = 2 and sum p t = 1, so the loss is 1 - 2/4 and dp = 2/16 - t/2; and no overlap
    Case(
        dice_loss,
        (np.array([[1.0, 1, 0], [1, 1, 0]]), np.array([[1.0, 0, 1], [0, 0, 1]]), -1, 0.0),
        name="no smoothing, sets with sharp edges",
        expect=(
            np.array([[-0.375, 0.125, -0.375], [0, 0, -2 / 3]]),
            np.array([[-0.375, -0.375, 0.125], [-2 / 3, -2 / 3, 0]]),
        ),
    ),
    Case(
        dice_loss,
        (full(0.0, 2, 3), np.zeros((2, 3), bool), -1, 0.0),
        name="both empty, no smoothing: loss 0, gradient 0",
        expect=(np.zeros((2, 3)),),
        by_design=True,  # with anything in either set the loss is 1
    ),
    Case(
        dice_loss,
        (np.array([[1.0, np.nan, 1, 0]]), np.array([[1, 1, 0, 1]]), -1, 0.0, np.array([True, False, True, True])),
        name="where: NaN absent",
        expect=(np.array([[-0.375, 0, 0.125, -0.375]]),),
    ),
)
