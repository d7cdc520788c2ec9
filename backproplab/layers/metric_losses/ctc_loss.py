"""Connectionist temporal classification: a sequence of labels from more frames than labels (Graves et al., 2006).

Catalogue #108. The rule keeps the logits and the forward probabilities of the states, frames times states; autodiff keeps
several arrays of that size and of the logits'. Where no alignment exists optax gives a loss of 1e5 with a gradient,
and others NaN; here the loss is +inf and the gradient 0.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, integers, normal
from backproplab.layers.losses.log_softmax import log_softmax, log_softmax_bwd
from backproplab.layers.losses.softmax import softmax
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("blank_id",))
def ctc_loss(logits, logit_paddings, labels, label_paddings, blank_id=0):
    """-log of the probability of all alignments of the labels with the frames.

    An alignment gives each frame a class; with repetitions merged and blanks struck out the labels are left. So equal
    labels in a row need a blank between them.

    logits (..., t, k), logit_paddings (..., t), 0 for a frame and 1 for padding, labels (..., n) integers, label_paddings
    (..., n), 0 for a label and 1 for padding, which comes last -> loss (...), in the dtype of the logits, not negative.
    Paddings may be of any dtype and have no gradient. Argument names and order are those of `optax.losses.ctc_loss`,
    without its log_epsilon: probabilities of 0 are 0 here. No labels at all is a target too (all blanks); no frames and no
    labels give 0. If there are too few frames the loss is +inf. What stands in padding, NaN included, does not count. A
    label outside the classes gives NaN.
    """
    loss, _ = _loss_and_alphas(logits, logit_paddings, labels, label_paddings, blank_id)
    return loss.astype(logits.dtype)


def _states(labels, label_paddings, blank_id):
    """Blank, label, blank, label, ..., blank: the classes of the 2n + 1 states, which of them may be reached from two
    states before, and which may be the last."""
    labels = jnp.where(label_paddings > 0, blank_id, labels)
    between = jnp.full_like(labels, blank_id)
    classes = jnp.stack([between, labels], -1).reshape(*labels.shape[:-1], -1)
    classes = jnp.concatenate([classes, jnp.full_like(classes[..., :1], blank_id, shape=(*labels.shape[:-1], 1))], -1)
    two_before = jnp.concatenate([jnp.full((*classes.shape[:-1], 2), blank_id), classes], -1)[..., :-2]
    length = jnp.sum(label_paddings <= 0, -1, keepdims=True)
    position = jnp.arange(classes.shape[-1])
    last = (position == 2 * length) | (position == 2 * length - 1)
    return classes, (classes != blank_id) & (classes != two_before), last


def _emissions(logits, logit_paddings, classes):
    """The log-probabilities of the classes of the states in each frame, (t, ..., s), and the padding, (t, ..., 1)."""
    padding = jnp.expand_dims(logit_paddings > 0, -1)
    log_p = log_softmax(widened(jnp.where(padding, 0, logits)))
    log_p = jnp.take_along_axis(log_p, jnp.expand_dims(classes, -2), -1, mode="fill")
    return jnp.moveaxis(log_p, -2, 0), jnp.moveaxis(padding, -2, 0)


def _log_sum(a, axis):
    """log sum exp(a) over one axis, which stays; -inf where all of a are."""
    _, largest = _scaled(a, axis)
    nothing = jnp.max(a, axis, keepdims=True) == -jnp.inf
    total = jnp.sum(jnp.exp(a - largest), axis, keepdims=True)
    return jnp.where(nothing, -jnp.inf, largest + jnp.log(jnp.where(nothing, 1, total)))


def _sum_of_ways(stay, step, skip):
    """log(exp stay + exp step + exp skip)."""
    return _log_sum(jnp.stack([stay, step, skip]), 0)[0]


def _moved(a, steps):
    """a, along the states, by so many places; what comes in is impossible."""
    fill = jnp.full_like(a[..., :1], -jnp.inf)
    fill = jnp.concatenate([fill] * abs(steps), -1)
    moved = jnp.concatenate([fill, a] if steps > 0 else [a, fill], -1)
    return moved[..., : a.shape[-1]] if steps > 0 else moved[..., -a.shape[-1] :]


def _scaled(a, axis=-1):
    """a minus its largest entry, and that entry: the numbers stay near 0 however many frames have passed."""
    largest = jax.lax.stop_gradient(jnp.max(a, axis, keepdims=True))
    largest = jnp.where(largest == -jnp.inf, 0, largest)
    return a - largest, largest


def _loss_and_alphas(logits, logit_paddings, labels, label_paddings, blank_id):
    """The loss; for each frame the log-probability of being in each state then, up to a number per frame; and which
    targets are impossible. In float32 or wider."""
    classes, may_skip, last = _states(labels, label_paddings, blank_id)
    emissions, padding = _emissions(logits, logit_paddings, classes)

    def step(carry, frame):
        alpha, scale = carry
        emission, padded = frame
        skip = jnp.where(may_skip, _moved(alpha, 2), -jnp.inf)
        after, largest = _scaled(_sum_of_ways(alpha, _moved(alpha, 1), skip) + emission)
        alpha = jnp.where(padded, alpha, after)
        return (alpha, scale + jnp.where(padded, 0, largest)), alpha

    start = jnp.where(jnp.arange(classes.shape[-1]) == 0, 0.0, -jnp.inf)  # as after a blank
    start = jnp.broadcast_to(start, classes.shape).astype(emissions.dtype)
    (alpha, scale), alphas = jax.lax.scan(step, (start, jnp.zeros_like(start[..., :1])), (emissions, padding))
    log_p = (scale + _log_sum(jnp.where(last, alpha, -jnp.inf), -1))[..., 0]
    impossible = log_p == -jnp.inf
    log_p = log_p - jax.lax.stop_gradient(jnp.maximum(log_p, 0))  # rounding may not make a probability exceed 1
    return jnp.where(impossible, jnp.inf, -jnp.where(impossible, 0, log_p)), (alphas, impossible)


def ctc_loss_fwd(logits, logit_paddings, labels, label_paddings, blank_id):
    """Keeps its arguments, which the caller holds anyway, and the forward probabilities of the states."""
    loss, found = _loss_and_alphas(logits, logit_paddings, labels, label_paddings, blank_id)
    return loss.astype(logits.dtype), (logits, logit_paddings, labels, label_paddings, *found)


def ctc_loss_bwd(blank_id, residuals, dloss):
    """Let A be the set of alignments, P the sum of their probabilities, and log y_t(c) the log-probability of class c in
    frame t. An alignment's probability is the product over t of y_t(its class), so

        dlog P / dlog y_t(c) = (probability of the alignments with class c in frame t) / P = o_t(c)

    the posterior of c, which sums to 1 in each frame. The alignments in state s at t are those that reach it, alpha_t(s),
    times those that go on from it to the end, beta_t(s). So with beta run backwards over the frames,

        o_t(c) = sum over the states s of class c of softmax_s(log alpha_t + log beta_t)

    where the numbers per frame that both were scaled by drop out: the posterior is as exact in frame 1000 as in frame 1.
    With loss = -log P the cotangent of log y is -o dloss, and log y is log_softmax of the logits: dlogits is p - o times
    dloss by the rule of that page, each sequence by its own dloss. Padding, and sequences that have no alignment, have a
    gradient of 0 by selection.
    """
    logits, logit_paddings, labels, label_paddings, alphas, impossible = residuals
    classes, may_skip, last = _states(labels, label_paddings, blank_id)
    emissions, padding = _emissions(logits, logit_paddings, classes)
    may_be_skipped_to = jnp.concatenate([may_skip[..., 2:], jnp.zeros_like(may_skip[..., :2])], -1)

    def step(beta, frame):
        alpha, emission, padded = frame
        posterior = softmax(alpha + beta)
        on = beta + emission
        skip = jnp.where(may_be_skipped_to, _moved(on, -2), -jnp.inf)
        before, _ = _scaled(_sum_of_ways(on, _moved(on, -1), skip))
        return jnp.where(padded, beta, before), posterior

    end = jnp.where(last, 0.0, -jnp.inf).astype(emissions.dtype)
    _, posteriors = jax.lax.scan(step, end, (alphas, emissions, padding), reverse=True)

    dloss = jnp.where(impossible, 0, dloss).astype(emissions.dtype)
    weights = -dloss[..., None, None] * jnp.moveaxis(posteriors, 0, -2)
    z = jnp.where(logit_paddings[..., None] > 0, 0, logits)
    (dz,) = log_softmax_bwd(z, _by_class(weights, classes, z.shape))
    counts = (logit_paddings <= 0) & ~impossible[..., None]
    return jnp.where(counts[..., None], dz, 0), _none(logit_paddings), None, _none(label_paddings)


def _by_class(weights, classes, shape):
    """Weights (..., t, s) of states added up by their class, (..., t, k)."""
    *_, t, k = shape
    flat = weights.reshape(-1, t, weights.shape[-1])
    sequence, frame = jnp.arange(len(flat))[:, None, None], jnp.arange(t)[:, None]
    total = jnp.zeros((len(flat), t, k), weights.dtype)
    return total.at[sequence, frame, classes.reshape(len(flat), 1, -1)].add(flat).reshape(shape)


def _none(paddings):
    """No gradient: of an integer or boolean argument None, of a floating one zeros."""
    return jnp.zeros_like(paddings) if jnp.issubdtype(paddings.dtype, jnp.floating) else None


defvjp(ctc_loss, ctc_loss_fwd, ctc_loss_bwd)


def _kept(logits, logit_paddings, labels, label_paddings, blank_id=0):
    """The arguments, a number in float32 or wider per frame and state, and a byte per sequence."""
    states = logits.shape[-2] * (2 * labels.shape[-1] + 1) * (labels.size // labels.shape[-1])
    arguments = logits.nbytes + logit_paddings.nbytes + labels.nbytes + label_paddings.nbytes
    return arguments + states * max(4, logits.dtype.itemsize) + labels.size // labels.shape[-1]


def _lengths(size, *lengths):
    """Paddings (len(lengths), size): 0 up to each length, 1 after it."""
    return (np.arange(size) >= np.array(lengths)[:, None]).astype(np.float32)


_none_padded = (np.zeros((2, 5), bool), integers(1, 4, 2, 2), np.zeros((2, 2), bool))
CASES = (
    Case(ctc_loss, (normal(2, 5, 4), *_none_padded), residual_bytes=_kept, order=2),
    Case(
        ctc_loss,
        (normal(3, 6, 4), _lengths(6, 6, 4, 5), np.array([[1, 1, 2], [2, 0, 0], [1, 2, 1]]), _lengths(3, 3, 1, 2), 3),
        name="repeats, padding, blank last",
        argnums=(0,),
        residual_bytes=_kept,
    ),
    Case(
        ctc_loss,
        (normal(1, 4, 4, scale=1000.0), _lengths(4, 3), np.array([[1, 1]]), _lengths(2, 2)),
        name="a repeat and padding, logits far apart",
        argnums=(0,),
    ),
    # 2 2 needs three frames; no labels need none; the third has a padding of 7, which is no class
    Case(
        ctc_loss,
        (
            normal(4, 3, 3),
            _lengths(3, 2, 3, 3, 0),
            np.array([[2, 2], [1, 7], [7, 7], [7, 7]]),
            _lengths(2, 2, 1, 0, 0),
        ),
        name="impossible, one label, none, no frames",
        argnums=(0,),
    ),
    Case(
        ctc_loss,
        (full(0.0, 1, 2, 2), np.zeros((1, 2), bool), np.array([[1]]), np.zeros((1, 1), bool)),
        name="1 from 11, 01, 10",
        expect=(np.array([[[1 / 6, -1 / 6], [1 / 6, -1 / 6]]]),),
    ),
    Case(
        ctc_loss,
        (normal(4, 3, scale=1000.0), np.zeros(4, bool), np.array([1, 2]), np.zeros(2, bool)),
        name="logits far apart, no batch axis",
    ),
)
