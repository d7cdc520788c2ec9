"""The last layer of a language model and its loss in one: softmax cross-entropy of x w. Catalogue #128.

The logits, one per row and class, are the largest array of such a model. Here they exist for one block of classes at a
time: what is kept beside the arguments are two numbers per row. (Wijmans et al., 2024, arXiv 2411.09009, do the same.)
Autodiff keeps all logits and holds several arrays of their size.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, integers, normal
from backproplab.layers.attention._blocks import varying_zero
from backproplab.layers.losses.softmax_cross_entropy_with_integer_labels import (
    softmax_cross_entropy_with_integer_labels,
)
from backproplab.precision import wide_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("block_size",))
def linear_cross_entropy(x, w, labels, block_size=1024):
    """`softmax_cross_entropy_with_integer_labels(x @ w, labels)`, without the logits.

    x (..., d), w (d, v), labels (...) integers in 0 .. v-1 -> loss (...), in the dtype of x; no mean is taken. A label
    outside the range gives NaN: select such rows away with `jnp.where(valid, loss, 0)` and they have gradient 0.
    block_size: how many of the v classes are looked at at a time.
    """
    return _loss(x, w, labels, block_size)[0].astype(x.dtype)


def _loss(x, w, labels, block_size):
    """The loss, and the logarithm of the sum of exp(logits), per row and in float32 or wider.

    The label's logit z is set apart: with m = log sum exp(the others), loss = log(1 + exp(m - z)). It is accurate also
    where it is small, which log(exp(m) + exp(z)) - z is not.
    """
    starts, size = _blocks(w, block_size)

    def step(sums, start):
        logits, is_label, fresh = _block(x, w, labels, start, size)
        before, total, own = sums
        others = jnp.where(is_label | ~fresh, -jnp.inf, logits)
        largest = jnp.maximum(before, jnp.max(jax.lax.stop_gradient(others), -1, initial=-jnp.inf))
        shift = jnp.where(largest == -jnp.inf, 0, largest)
        total = jnp.exp(before - shift) * total + jnp.sum(jnp.exp(others - shift[..., None]), -1)
        return (largest, total, own + jnp.sum(jnp.where(is_label, logits, 0), -1)), None

    zeros = jnp.zeros_like(labels, jnp.promote_types(wide_dtype(x), wide_dtype(w))) + varying_zero(
        x, w, labels[..., None]
    )
    (largest, total, own), _ = jax.lax.scan(step, (jnp.full_like(zeros, -jnp.inf), zeros, zeros), starts)
    others = jnp.where(total == 0, -jnp.inf, largest + jnp.log(jnp.where(total == 0, 1, total)))
    valid = (labels >= 0) & (labels < w.shape[1])
    loss = jnp.where(valid, jnp.logaddexp(0, others - own), jnp.nan)
    return loss, jnp.where(valid, own + loss, others)


def _blocks(w, block_size):
    """The first class of each block, and how many it has."""
    size = min(block_size, w.shape[1])
    return np.arange(0, w.shape[1], max(size, 1), dtype=np.int32), size


def _block(x, w, labels, start, size):
    """Logits of one block, which of them are labels, and which are new: the last block begins early enough to fit."""
    logits = jnp.matmul(x, _part(w, start, size), preferred_element_type=wide_dtype(x))
    classes = jnp.minimum(start, w.shape[1] - size) + jnp.arange(size)
    fresh = classes >= start
    return logits, (classes == labels[..., None]) & fresh, fresh


def _part(w, start, size):
    return jax.lax.dynamic_slice_in_dim(w, start, size, 1)


def linear_cross_entropy_fwd(x, w, labels, block_size):
    """Keeps the arguments, and per row the loss and the logarithm of the sum of exp(logits)."""
    loss, log_total = _loss(x, w, labels, block_size)
    return loss.astype(x.dtype), (x, w, labels, loss, log_total)


def linear_cross_entropy_bwd(block_size, residuals, dloss):
    """With logits z_nj = sum_i x_ni w_ij and loss_n = log sum_k exp(z_nk) - z_nc, c the label of row n,

        dz_nj = dloss_n (p_nj - delta_jc),        p_nj = exp(z_nj - log sum_k exp(z_nk))
        dx = dz w^T        dw = x^T dz

    Each row has its own dloss, so dz is multiplied by it before rows are added up in dw, not after. A block of classes
    gives its columns of dw, and its share of dx. At the label p - 1 would cancel; as loss = -log p_c it is

        dz_nc = dloss_n (exp(-loss_n) - 1)        by expm1, exact as far as the loss is
    """
    x, w, labels, loss, log_total = residuals
    starts, size = _blocks(w, block_size)
    rows = tuple(range(labels.ndim))
    dloss, log_total = widened(dloss)[..., None], log_total[..., None]
    at_label = jnp.expm1(-jnp.where(jnp.isnan(loss), 0, loss))[..., None]

    def step(sums, start):
        dx, dw = sums
        logits, is_label, fresh = _block(x, w, labels, start, size)
        dz = dloss * jnp.where(fresh, jnp.where(is_label, at_label, jnp.exp(logits - log_total)), 0)
        dx = dx + jnp.matmul(dz, _part(w, start, size).T)
        columns = _part(dw, start, size) + jnp.tensordot(x, dz, (rows, rows)).astype(w.dtype)
        return (dx, jax.lax.dynamic_update_slice_in_dim(dw, columns, start, 1)), None

    zero = varying_zero(x, w, dloss)
    dx = jnp.zeros(x.shape, log_total.dtype) + zero
    dw = jnp.zeros_like(w) + zero.astype(w.dtype)  # each column is written once: nothing is lost by its own dtype
    (dx, dw), _ = jax.lax.scan(step, (dx, dw), starts)
    return dx, dw, None


defvjp(linear_cross_entropy, linear_cross_entropy_fwd, linear_cross_entropy_bwd)


def _textbook(x, w, labels, block_size=None):
    """All logits at once."""
    logits = jnp.matmul(x, w, preferred_element_type=wide_dtype(x))
    return softmax_cross_entropy_with_integer_labels(logits, labels).astype(x.dtype)


def _kept(x, w, labels, block_size=None):
    """The arguments, and two numbers in float32 or wider per row."""
    return x.nbytes + w.nbytes + labels.nbytes + 2 * max(4, x.dtype.itemsize) * labels.size


def _case(*args, **fields):
    return Case(linear_cross_entropy, args, reference=_textbook, residual_bytes=_kept, **fields)


CASES = (
    _case(normal(5, 3), normal(3, 7), integers(0, 7, 5), order=2),
    _case(normal(2, 3, 4), normal(4, 7), integers(0, 7, 2, 3), 3, name="two batch axes, blocks with a rest"),
    _case(normal(4), normal(4, 6), np.array(2), 2, name="no batch axis"),
    _case(normal(3, 4), normal(4, 1), np.zeros(3, np.int32), name="one class: loss 0"),
    # gaps of 40: in float32 the probability of the label is 1, and 1 - p is not 0
    _case(
        np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]),
        np.array([[40.0, 0.0, 0.5], [0.0, -40.0, -38.0]]),
        np.array([0, 0, 1]),
        1,
        name="tails, right and wrong",
    ),
    _case(full(1.0, 2, 1), full(1000.0, 1, 4), np.array([0, 3]), 3, name="ties, far from 0"),
)
