"""Softmax cross-entropy as it is trained with: ignored rows, weights, smoothed labels, z-loss, and the mean of what
takes part. Catalogue #62.

The traps are in the bookkeeping: an ignored row must count neither in the sum nor in the number it is divided by, nor
in the smoothing; what stands in it, NaN included, must not come through; and if no row takes part the mean is 0 and not
0/0. The rule keeps its arguments and the tail of the label entry.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, booleans, integers, normal, uniform
from backproplab.layers.losses.softmax import softmax
from backproplab.layers.losses.softmax_cross_entropy_with_integer_labels import (
    softmax_cross_entropy_with_integer_labels,
    softmax_cross_entropy_with_integer_labels_bwd,
)
from backproplab.layers.reductions import logsumexp
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("ignore_index", "label_smoothing", "z_loss", "reduction"))
def masked_softmax_cross_entropy(
    logits, labels, where=None, weights=None, ignore_index=None, label_smoothing=0.0, z_loss=0.0, reduction="mean"
):
    """The weighted mean over the rows that take part of

        -(1 - label_smoothing) log p_label - label_smoothing mean(log p) + z_loss (log sum exp(logits))^2

    logits (..., d), labels (...) integers in 0 .. d-1, where (...) booleans or None, weights (...) floating, not negative,
    or None for ones. Rows take part where `where` is true and the label is not ignore_index; if none does the mean is 0. reduction: "mean" -> a scalar; "none" -> (...), weighted and 0 in ignored rows; in the dtype
    of the logits. A label outside the range gives NaN. With label_smoothing a class at -inf makes the loss +inf, as the
    smoothed label asks for every class. Raises ValueError for another reduction.
    """
    if reduction not in ("mean", "none"):
        raise ValueError(f'reduction must be "mean" or "none", not {reduction!r}')
    _, z, labels, weights = _taking_part(logits, labels, where, weights, ignore_index)
    loss = weights * _rows(z, labels, label_smoothing, z_loss)
    return (jnp.sum(loss) / _total(weights) if reduction == "mean" else loss).astype(logits.dtype)


def _taking_part(logits, labels, where, weights, ignore_index):
    """The rows that take part, and logits, labels and weights in which the others are harmless: logits 0, label 0 and
    weight 0, all by selection."""
    part = jnp.ones(jnp.shape(labels), bool) if where is None else jnp.broadcast_to(where, jnp.shape(labels))
    if ignore_index is not None:
        part = part & (labels != ignore_index)
    z = widened(jnp.where(part[..., None], logits, 0))
    return part, z, jnp.where(part, labels, 0), jnp.where(part, 1 if weights is None else weights, 0).astype(z.dtype)


def _rows(z, labels, label_smoothing, z_loss):
    """The loss of each row. Options that are off add no 0 times infinity."""
    loss = softmax_cross_entropy_with_integer_labels(z, labels)
    if label_smoothing:
        label_logit = jnp.sum(z, -1, where=_is_label(z, labels))
        loss = loss + label_smoothing * (label_logit - jnp.mean(z, -1))  # log p_j is z_j minus the same for all j
    return loss + z_loss * jnp.square(logsumexp(z, -1)) if z_loss else loss


def _is_label(z, labels):
    return jnp.arange(z.shape[-1]) == labels[..., None]


def _total(weights):
    """What the mean divides by: the sum of the weights, or 1 if that is 0."""
    total = jnp.sum(weights)
    return jnp.where(total == 0, 1, total)


def masked_softmax_cross_entropy_fwd(logits, labels, where, weights, ignore_index, label_smoothing, z_loss, reduction):
    """Keeps its arguments, which the caller holds anyway: probabilities and rows follow."""
    loss = masked_softmax_cross_entropy(
        logits, labels, where, weights, ignore_index, label_smoothing, z_loss, reduction
    )
    return loss, (logits, labels, where, weights)


def masked_softmax_cross_entropy_bwd(ignore_index, label_smoothing, z_loss, reduction, residuals, dloss):
    """A row's loss is l = lse - z_c + s (z_c - mean z) + k lse^2 with lse = log sum exp(z), label c, smoothing s, z-loss k:

        dl / dz_j = (p_j - delta_jc) + s (delta_jc - 1/d) + 2 k lse p_j

    The first term is that of the plain cross-entropy, whose rule keeps the tail of p_c - 1.

    With the mean L = sum_i w_i l_i / W, W = sum_i w_i, row i has the cotangent dL w_i / W, and

        dL / dw_i = l_i / W - sum_k w_k l_k / W^2 = (l_i - L) / W

    Without the mean these are w_i dloss_i and l_i dloss_i. Ignored rows have their z and w selected away, so their
    gradients are selected to be 0 too, whatever stands in them. If W = 0 the mean is divided by 1, here as there.
    """
    logits, labels, where, weights = residuals
    part, z, labels, w = _taking_part(logits, labels, where, weights, ignore_index)
    rows, dloss = _rows(z, labels, label_smoothing, z_loss), dloss.astype(z.dtype)
    if reduction == "mean":
        total = _total(w)
        dweights = (rows - jnp.sum(w * rows) / total) * dloss / total
        g = w * dloss / total
    else:
        dweights, g = rows * dloss, w * dloss
    dz, _ = softmax_cross_entropy_with_integer_labels_bwd((z, labels), g)
    if label_smoothing:
        dz = dz + label_smoothing * g[..., None] * (_is_label(z, labels) - 1 / z.shape[-1])
    if z_loss:
        dz = dz + (2 * z_loss * g * logsumexp(z, -1))[..., None] * softmax(z)
    return jnp.where(part[..., None], dz, 0), None, None, None if weights is None else jnp.where(part, dweights, 0)


defvjp(masked_softmax_cross_entropy, masked_softmax_cross_entropy_fwd, masked_softmax_cross_entropy_bwd)

_loss = masked_softmax_cross_entropy
_INF = float("inf")


def _kept(logits, labels, where=None, weights=None, *options):
    """The arguments."""
    return sum(a.nbytes for a in (logits, labels, where, weights) if a is not None)


_weights = uniform(0.5, 2.0, 5)
_positive = {3: (0.0, np.inf)}
CASES = (
    Case(
        _loss,
        (normal(5, 7), integers(0, 7, 5), np.array([True, False, True, True, True]), _weights, None, 0.1, 1e-2),
        residual_bytes=_kept,
        order=2,
        domain=_positive,
    ),
    Case(
        _loss,
        (normal(5, 4), integers(0, 4, 5), booleans(5), _weights, None, 0.2, 1e-2, "none"),
        name="no mean",
        residual_bytes=_kept,
        domain=_positive,
    ),
    Case(
        _loss,
        (normal(2, 3, 4), np.array([[0, -100, 3], [-100, 1, 2]]), None, None, -100),
        name="ignored labels, two batch axes",
        residual_bytes=_kept,
    ),
    Case(
        _loss,
        (normal(2, 3), np.full(2, -100), None, np.ones(2), -100, 0.1, 0.1),
        name="all ignored: 0, not 0/0",
        expect=(np.zeros((2, 3)), np.zeros(2)),
    ),
    # of two rows one takes part: its gradient is not halved, and the NaN stays where it is
    Case(
        _loss,
        (np.array([[0.0, 0.0], [np.nan, _INF]]), np.array([1, 7]), np.array([True, False])),
        name="NaN in an ignored row",
        expect=(np.array([[0.5, -0.5], [0.0, 0.0]]),),
    ),
    Case(
        _loss,
        (np.array([[0.0, -40.0, -3.0], [40.0, 0.0, 0.5]]), np.array([0, 1]), None, None, None, 0.0, 0.0, "none"),
        name="tails",
    ),
    Case(
        _loss,
        (np.array([[1.0, -_INF, 1.0]]), np.array([0])),
        name="masked class: gradient 0",
        expect=(np.array([[-0.5, 0.0, 0.5]]),),
    ),
)
