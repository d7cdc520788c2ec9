"""The multiclass hinge loss in which only the strongest rival counts (Crammer & Singer, 2001). Catalogue #67.

The rule keeps one byte per score, a quarter of what a float32 takes.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, distinct, integers
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("margin",))
def multiclass_hinge(scores, labels, margin=1.0):
    """max(0, max_{j != label} scores_j - scores_label + margin).

    scores (..., d), labels (...) integers in 0 .. d-1 -> loss (...), in the dtype of the scores; no mean is taken. A label
    outside the range gives NaN. With a single class the loss is 0.
    """
    return _loss_and_rivals(scores, labels, margin)[0]


def _loss_and_rivals(scores, labels, margin):
    """The loss, the label's places (..., d), and the scores with -inf in those places, in float32 or wider."""
    wide = widened(scores)
    is_label = jnp.arange(scores.shape[-1]) == jnp.expand_dims(labels, -1)
    label_score = jnp.where(is_label.any(-1), jnp.sum(wide, -1, where=is_label), jnp.nan)
    rivals = jnp.where(is_label, -jnp.inf, wide)
    return jnp.maximum(0, jnp.max(rivals, -1) - label_score + margin).astype(scores.dtype), is_label, rivals


def multiclass_hinge_fwd(scores, labels, margin):
    """Keeps one byte per score: +1 at the strongest rival and -1 at the label of rows with a loss, 0 elsewhere."""
    loss, is_label, rivals = _loss_and_rivals(scores, labels, margin)
    strongest = jnp.arange(scores.shape[-1]) == jnp.argmax(rivals, -1, keepdims=True)
    moves = jnp.where(loss[..., None] > 0, strongest.astype(jnp.int8) - is_label.astype(jnp.int8), 0)
    return loss, moves.astype(jnp.int8)


def multiclass_hinge_bwd(margin, moves, dloss):
    """Where the loss is positive it is s_r - s_c + margin with r the strongest rival and c the label:

        dloss / ds_r = 1        dloss / ds_c = -1        0 for all others

    Kinks: where several rivals are the strongest, any split of the 1 among them is a subgradient; the first takes all.
    Where a row just reaches its margin the gradient is 0. (JAX's maxima divide equally.)
    """
    return jnp.where(moves == 0, 0, moves * dloss[..., None]), None


defvjp(multiclass_hinge, multiclass_hinge_fwd, multiclass_hinge_bwd)


def _kept(scores, labels, margin=1.0):
    """One byte per score."""
    return scores.size


CASES = (
    Case(multiclass_hinge, (distinct(5, 7, gap=0.07), integers(0, 7, 5)), residual_bytes=_kept),
    Case(multiclass_hinge, (distinct(2, 3, 4), integers(0, 4, 2, 3), 0.25), name="two batch axes, margin 1/4"),
    Case(multiclass_hinge, (distinct(6, gap=0.07), np.array(2)), name="no batch axis"),
    Case(
        multiclass_hinge,
        (np.array([[13.0, -7.0, 11.0], [13.0, -7.0, 1.0]]), np.array([0, 0]), 10.0),
        name="scores of lecture S11; then no rival within the margin",
        expect=(np.array([[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]),),
    ),
    Case(
        multiclass_hinge,
        (np.array([[2.0, 2.0, 0.0], [1.0, 1.0, 1.0]]), np.array([2, 0])),
        name="tied rivals: the first",
        kink=True,
        expect=(np.array([[1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]),),
    ),
    Case(
        multiclass_hinge,
        (np.array([[3.0, 2.0, 0.0]]), np.array([0])),
        name="on the margin: gradient 0",
        kink=True,
        expect=(np.zeros((1, 3)),),
    ),
    Case(multiclass_hinge, (distinct(3, 1), np.zeros(3, np.int32)), name="one class", expect=(np.zeros((3, 1)),)),
)
