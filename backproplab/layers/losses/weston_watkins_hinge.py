"""The multiclass hinge loss in which every rival counts (Weston & Watkins, 1999): cs231n's multiclass SVM.

Lecture S11 and S12, catalogue #67. The rule keeps one byte per score, a quarter of what a float32 takes.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, distinct, integers
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("margin",))
def weston_watkins_hinge(scores, labels, margin=1.0):
    """sum_{j != label} max(0, scores_j - scores_label + margin).

    scores (..., d), labels (...) integers in 0 .. d-1 -> loss (...), in the dtype of the scores; no mean is taken. A label
    outside the range gives NaN. With a single class the loss is 0.
    """
    is_label, shortfall = _shortfall(scores, labels, margin)
    return jnp.sum(jnp.maximum(0, shortfall), -1, where=~is_label).astype(scores.dtype)


def _shortfall(scores, labels, margin):
    """The label's places, and by how much each class comes too close to it, (..., d), in float32 or wider."""
    wide = widened(scores)
    is_label = jnp.arange(scores.shape[-1]) == jnp.expand_dims(labels, -1)
    label_score = jnp.sum(wide, -1, keepdims=True, where=is_label)
    label_score = jnp.where(is_label.any(-1, keepdims=True), label_score, jnp.nan)
    return is_label, wide - label_score + margin


def weston_watkins_hinge_fwd(scores, labels, margin):
    """Keeps one byte per score: -1 at the label, +1 at the classes that come too close to it, 0 elsewhere."""
    is_label, shortfall = _shortfall(scores, labels, margin)
    loss = jnp.sum(jnp.maximum(0, shortfall), -1, where=~is_label).astype(scores.dtype)
    return loss, jnp.where(is_label, -1, shortfall > 0).astype(jnp.int8)


def weston_watkins_hinge_bwd(margin, places, dloss):
    """Each rival j that comes too close adds s_j - s_c + margin, with c the label:

        dloss / ds_j = 1 for those rivals, 0 for the others        dloss / ds_c = -(how many they are)

    Tied rivals each count in full; there is no choice among them. Kink: a rival exactly on the margin counts 0. (JAX's
    maximum takes half.)
    """
    too_close = places > 0
    dloss = widened(dloss[..., None])
    rivals = jnp.sum(too_close, -1, keepdims=True)
    return jnp.where(too_close, dloss, jnp.where(places < 0, -rivals * dloss, 0)), None


defvjp(weston_watkins_hinge, weston_watkins_hinge_fwd, weston_watkins_hinge_bwd)


def _kept(scores, labels, margin=1.0):
    """One byte per score."""
    return scores.size


CASES = (
    Case(weston_watkins_hinge, (distinct(5, 7, gap=0.07), integers(0, 7, 5)), residual_bytes=_kept),
    Case(weston_watkins_hinge, (distinct(2, 3, 4), integers(0, 4, 2, 3), 0.25), name="two batch axes, margin 1/4"),
    Case(weston_watkins_hinge, (distinct(6, gap=0.07), np.array(2)), name="no batch axis"),
    Case(
        weston_watkins_hinge,
        (np.array([[13.0, -7.0, 11.0]]), np.array([0]), 10.0),
        name="lecture S11",
        expect=(np.array([[-1.0, 0.0, 1.0]]),),
    ),
    Case(
        weston_watkins_hinge,
        (np.array([[-2.85, 0.86, 0.28]]), np.array([2])),
        name="lecture S12",
        expect=(np.array([[0.0, 1.0, -1.0]]),),
    ),
    Case(
        weston_watkins_hinge,
        (np.array([[2.0, 2.0, 0.0, -5.0]]), np.array([2])),
        name="tied rivals: each in full",
        expect=(np.array([[1.0, 1.0, -2.0, 0.0]]),),
    ),
    Case(
        weston_watkins_hinge,
        (np.array([[3.0, 2.0, 2.5]]), np.array([0])),
        name="one rival on the margin: 0",
        kink=True,
        expect=(np.array([[-1.0, 0.0, 1.0]]),),
    ),
    Case(weston_watkins_hinge, (distinct(3, 1), np.zeros(3, np.int32)), name="one class", expect=(np.zeros((3, 1)),)),
)
