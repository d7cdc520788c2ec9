"""Attention: every query takes the mean of the values, weighted by how well their keys match it. Catalogue #93 to #95.

The idea is that of Vaswani et al., 2017 (arXiv 1706.03762). That it can be computed in blocks, so that the T x S
weights never exist, is due to Rabe & Staats, 2021 (arXiv 2112.05682) and Dao et al., 2022 (arXiv 2205.14135). Autodiff
keeps the weights and more arrays of their size; this rule keeps beside its arguments the output and a number per query.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, booleans, normal, prng_key
from backproplab.layers.activations.tanh import tanh
from backproplab.layers.attention._blocks import (
    add,
    heads_of,
    joined,
    over_blocks,
    part,
    plan_of,
    positions,
    put,
    split,
    summed,
    varying_zero,
)
from backproplab.layers.losses.softmax import softmax
from backproplab.layers.regularization.dropout import dropout
from backproplab.precision import wide_dtype, widened
from backproplab.rule import defvjp


@partial(
    jax.custom_vjp,
    nondiff_argnames=("scale", "is_causal", "local_window_size", "block_size", "logits_soft_cap", "dropout_rate"),
)
def dot_product_attention(
    query,
    key,
    value,
    bias=None,
    mask=None,
    scale=None,
    is_causal=False,
    local_window_size=None,
    block_size=512,
    sink=None,
    logits_soft_cap=None,
    dropout_rate=0.0,
    dropout_rng=None,
):
    """softmax(scale query key^T + bias) value, in each head: `jax.nn.dot_product_attention` but for sequence lengths.

    query (..., T, N, D), key (..., S, K, D), value (..., S, K, E) -> (..., T, N, E), in the dtype of the query. N is a
    multiple of K: the heads of a group share a key and a value. bias (floating) and mask (True: may be seen) broadcast
    to (..., N, T, S). scale: 1/sqrt(D) if None. is_causal: query t sees no key after t. local_window_size: query t sees
    the keys t - left to t + right; the pair (left, right), or one number for both. sink (N,): the logit of one more key in
    each head, whose value is 0. logits_soft_cap: keeps scale query key^T between -cap and cap, as cap tanh(. / cap).
    dropout_rate, with a JAX PRNG key dropout_rng: each weight is 0 with this probability, else divided by 1 - rate; the same
    key drops the same weights if the blocks are the same.

    A query that may see nothing gives 0, where `jax.nn` gives the mean of all values. What no query may see takes no
    part, be it NaN. Blocks of `block_size` queries and keys that are hidden as a whole are not computed.
    Raises ValueError for shapes that do not fit, for a cap of 0 or less, and for a rate of 1 or more or without a key.
    """
    options = scale, is_causal, local_window_size, block_size, logits_soft_cap, dropout_rate
    return _attend((query, key, value, bias, mask, sink), dropout_rng, *options)[0].astype(query.dtype)


def _look(heads, plan, row, column):
    """One block: what takes part of q, k and v, the logits (-inf where unseen) with the slope of their cap (None if there
    is none), and which queries see any key."""
    q, k, v, bias, mask, _ = heads
    place = (row, plan.rows), (column, plan.columns)
    t, first_t = positions(*place[0], q.shape[-2])
    s, first_s = positions(*place[1], k.shape[-2])
    t, first_t = t[:, None], first_t[:, None]
    seen = (first_t & first_s & (s >= t - plan.window[0]) & (s <= t + plan.window[1]))[None, None]
    if mask is not None:
        seen = seen & part(mask, *place)
    looks, shown = seen.any(-1, keepdims=True), seen.any((-3, -2))[..., None]
    q = jnp.where(looks, widened(part(q, place[0])), 0)
    k, v = (jnp.where(shown, widened(part(x, place[1])), 0) for x in (k, v))
    logits = plan.scale * jnp.einsum("...gtd,...sd->...gts", q, k)
    slope = None
    if plan.cap is not None:
        logits, slope = _capped(logits, plan.cap)
    if bias is not None:
        logits = logits + part(bias, *place)
    return q, k, v, jnp.where(seen, logits, -jnp.inf), slope, looks


def _capped(logits, cap):
    """cap tanh(z / cap) and its slope, which `tanh` has without a loss in the tails."""
    y, pull = jax.vjp(tanh, logits / cap)
    return cap * y, pull(jnp.ones_like(y))[0]


def _dropped(weights, plan, rng, row, column) -> Any:
    """The weights of one block, or their cotangents, with the entries drawn for it left out."""
    if plan.dropped and rng is None:
        raise ValueError("dropout of attention weights needs a key, dropout_rng")
    return dropout(weights, _of_block(rng, row, column), plan.dropped) if plan.dropped else weights


def _of_block(rng, row, column):
    """The key of the block that begins there."""
    return jax.random.fold_in(jax.random.fold_in(rng, row), column)


def _attend(arguments, rng, *options):
    """The output in float32 or wider, and log sum_s exp(logit_ts), (..., K, G, T, 1); 0 for a query that sees nothing.

    Goes through the keys in blocks, with the largest logit so far: when a larger one comes, the sums so far fade. A sink is
    what they begin with.
    """
    heads = heads_of(*arguments)
    plan = plan_of(heads, *options)

    def step(sums, start):
        row, column = start
        rows = (row, plan.rows)
        _, _, v, logits, _, _ = _look(heads, plan, row, column)
        before, total, mean = (part(x, rows) for x in sums)
        largest = jnp.max(jax.lax.stop_gradient(logits), -1, keepdims=True, initial=-jnp.inf)
        largest = jnp.maximum(before, largest)
        shift = jnp.where(largest == -jnp.inf, 0, largest)
        exponentials, fading = jnp.exp(logits - shift), jnp.exp(before - shift)
        total = fading * total + jnp.sum(exponentials, -1, keepdims=True)
        weights = _dropped(exponentials, plan, rng, row, column)
        mean = fading * mean + jnp.einsum("...gts,...se->...gte", weights, v)
        return tuple(put(x, new, rows) for x, new in zip(sums, (largest, total, mean))), None

    wide = jnp.result_type(*map(wide_dtype, jax.tree.leaves((heads[:4], heads.sink))))
    zeros = jnp.zeros_like(heads.q[..., :1], wide) + varying_zero(heads)
    sums = (jnp.full_like(zeros, -jnp.inf), zeros, jnp.repeat(zeros, heads.v.shape[-1], -1))
    if heads.sink is not None:
        sink = zeros + widened(heads.sink)
        sums = (sink, jnp.where(sink == -jnp.inf, 0.0, 1.0) + zeros, sums[2])
    largest, total, mean = over_blocks(step, sums, plan.starts)
    total = jnp.where(total == 0, 1, total)
    return joined(mean / total), jnp.where(largest == -jnp.inf, 0, largest + jnp.log(total))


def dot_product_attention_fwd(
    query,
    key,
    value,
    bias,
    mask,
    scale,
    is_causal,
    local_window_size,
    block_size,
    sink,
    logits_soft_cap,
    dropout_rate,
    dropout_rng,
):
    """Keeps the arguments and the output, which the caller holds anyway, and per query in each head one number.

    It is log sum_s exp(logit_ts): a weight is exp(logit_ts - that). The difference loses no more digits than the logit
    itself has lost, and an error of the number is one common factor for its query's gradients.

    For arguments of 16 bits the output is kept in float32. Rounded, it would put an error of 2^-9 into every logit's
    gradient that does not average out; Qiu & Yao, 2025 (arXiv 2510.04212) trace failed trainings to it.
    """
    arguments = query, key, value, bias, mask, sink
    options = scale, is_causal, local_window_size, block_size, logits_soft_cap, dropout_rate
    out, log_total = _attend(arguments, dropout_rng, *options)
    return out.astype(query.dtype), (arguments, dropout_rng, out, log_total)


def dot_product_attention_bwd(
    scale, is_causal, local_window_size, block_size, logits_soft_cap, dropout_rate, residuals, dy
):
    """In one head, with logits z_ts = scale q_t.k_s + bias_ts, weights p_t = softmax(z_t) and o_t = sum_s p_ts v_s, for
    the cotangent g_t of o_t:

        dv_s = sum_t p_ts g_t        dp_ts = g_t.v_s

    The rule of softmax, with sum_j p_tj dp_tj = g_t.(sum_j p_tj v_j) = g_t.o_t, which needs no row of weights:

        dz_ts = p_ts (dp_ts - g_t.o_t)
        dq_t = scale sum_s dz_ts k_s        dk_s = scale sum_t dz_ts q_t        dbias_ts = dz_ts

    So each block of weights is computed again from its logits, and what it adds to dq, dk, dv and dbias needs no other
    block. A bias that is repeated, and a key or value shared by a group of heads, get the sum over the repetitions.

    With a cap, z = c tanh(r / c) + bias, r gets dz times tanh'(r / c). With dropout the weights that reach v are m p, m = 0 or
    1 / (1 - rate), drawn again: dv takes these, and dp_ts = m_ts g_t.v_s; the sum over p_tj dp_tj is still g_t.o_t. A sink is
    a key with v = 0, dp = 0: its logit gets -p g_t.o_t, summed over the queries of its head.

    What is unseen has p = 0 and adds 0. A query that sees nothing and a key that nobody sees do so by selection,
    whatever they and g hold. Tail: where a weight is nearly 1, dp - g.o cancels, and dz is off by a rounding of dp and
    not of itself; so it is by autodiff.
    """
    arguments, rng, out, log_total = residuals
    heads = heads_of(*arguments)
    plan = plan_of(heads, scale, is_causal, local_window_size, block_size, logits_soft_cap, dropout_rate)
    groups = arguments[1].shape[-2]
    dy, out = split(dy, groups), split(out, groups)

    def step(sums, start):
        row, column = start
        rows, columns = (row, plan.rows), (column, plan.columns)
        q, k, v, logits, slope, looks = _look(heads, plan, row, column)
        g = jnp.where(looks, widened(part(dy, rows)), 0)
        p = jnp.exp(logits - part(log_total, rows))
        dp = _dropped(jnp.einsum("...gte,...se->...gts", g, v), plan, rng, row, column)
        dz = p * (dp - jnp.sum(g * part(out, rows), -1, keepdims=True))
        dr = dz if slope is None else dz * slope
        dq, dk, dv, dbias = sums
        dq = add(dq, plan.scale * jnp.einsum("...gts,...sd->...gtd", dr, k), rows)
        dk = add(dk, plan.scale * jnp.einsum("...gts,...gtd->...sd", dr, q), columns)
        dv = add(dv, jnp.einsum("...gts,...gte->...se", _dropped(p, plan, rng, row, column), g), columns)
        if dbias is not None:
            dbias = add(dbias, summed(dz, dbias.shape), rows, columns)
        return (dq, dk, dv, dbias), None

    nothing = varying_zero(heads, dy)
    sums = jax.tree.map(lambda x: jnp.zeros(x.shape, wide_dtype(x)) + nothing, heads[:4])
    dq, dk, dv, dbias = over_blocks(step, sums, plan.starts)
    return (
        joined(dq),
        jnp.moveaxis(dk, -2, -3),
        jnp.moveaxis(dv, -2, -3),
        None if dbias is None else dbias.reshape(arguments[3].shape),
        None,
        None if heads.sink is None else _of_sink(widened(heads.sink), log_total, dy, out),
        None,
    )


def _of_sink(sink, log_total, dy, out):
    """A query that sees only the sink has an output of 0, whatever its cotangent."""
    weighted = jnp.exp(sink - log_total) * jnp.sum(widened(dy) * out, -1, keepdims=True)
    weighted = jnp.where(log_total == sink, 0, weighted)
    return -jnp.sum(weighted, (*range(weighted.ndim - 4), -2, -1)).reshape(-1)


defvjp(dot_product_attention, dot_product_attention_fwd, dot_product_attention_bwd)


def _textbook(
    query,
    key,
    value,
    bias=None,
    mask=None,
    scale=None,
    is_causal=False,
    local_window_size=None,
    block_size=512,
    sink=None,
    logits_soft_cap=None,
    dropout_rate=0.0,
    dropout_rng=None,
):
    """The formula, with all weights at once."""
    key, value = (jnp.repeat(x, query.shape[-2] // x.shape[-2], -2) for x in (key, value))
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    logits = scale * jnp.einsum("...tnd,...snd->...nts", widened(query), widened(key))
    logits = logits if logits_soft_cap is None else logits_soft_cap * jnp.tanh(logits / logits_soft_cap)
    logits = logits if bias is None else logits + bias
    distance = jnp.arange(key.shape[-3]) - jnp.arange(query.shape[-3])[:, None]  # of the key behind the query
    seen = jnp.ones(distance.shape, bool) if mask is None else mask
    if is_causal:
        seen = seen & (distance <= 0)
    if local_window_size is not None:
        left, right = np.broadcast_to(local_window_size, 2)
        seen = seen & (distance >= -left) & (distance <= right)
    logits = jnp.where(seen, logits, -jnp.inf)
    if sink is None:
        weights = softmax(logits)
    else:
        sinks = jnp.broadcast_to(widened(sink)[:, None, None], (*logits.shape[:-1], 1))
        weights = softmax(jnp.concatenate([logits, sinks], -1))[..., :-1]
    if dropout_rate:
        # as the one block that covers all draws them
        weights = dropout(weights, _of_block(dropout_rng, 0, 0), dropout_rate)
    return jnp.einsum("...nts,...sne->...tne", weights, widened(value)).astype(query.dtype)


def _kept(query, key, value, bias=None, mask=None, *options):
    """The arguments, and the output and one number per query and head in float32 or wider."""
    sink = options[4] if len(options) > 4 else None
    given = sum(x.nbytes for x in (query, key, value, bias, mask, sink) if x is not None) + 8 * (len(options) > 7)
    return given + query.size // query.shape[-1] * (value.shape[-1] + 1) * max(4, query.itemsize)


def _case(*args, **fields):
    """Judged beside the formula; where several blocks draw their own weights to drop, beside autodiff of the blocks."""
    in_blocks = len(args) > 12 and args[8] < 5
    return Case(dot_product_attention, args, reference=None if in_blocks else _textbook, residual_bytes=_kept, **fields)


def _qkv(t=5, s=5, n=2, k=2, d=4, e=4, batch=(3,)):
    return normal(*batch, t, n, d), normal(*batch, s, k, d), normal(*batch, s, k, e)


_hidden = np.ones((5, 5), bool)
_hidden[1], _hidden[:, 3] = False, False
CASES = (
    _case(*_qkv(), order=2),
    _case(*_qkv(t=3, s=5, n=4, e=2), normal(3, 5), booleans(3, 1, 3, 5), name="groups, bias and mask"),
    _case(*_qkv(), None, None, 0.75, True, None, 3, name="causal, in blocks with a rest"),
    _case(*_qkv(t=4, s=4, n=1, k=1), normal(4), None, None, False, (1, 2), 3, name="window and bias, in blocks"),
    _case(
        *_qkv(n=1, k=1, batch=()),
        None,
        _hidden,
        name="a query that sees nothing, a key that nobody sees",
    ),
    _case(*_qkv(t=1, s=1, n=3, k=1), name="one key: no gradient for query and key"),
    _case(*_qkv(n=4), None, None, None, True, None, 3, normal(4), 1.5, name="sinks and a cap, causal, in blocks"),
    _case(
        *_qkv(n=1, k=1, batch=()),
        None,
        _hidden,
        None,
        False,
        None,
        512,
        normal(1),
        name="a query that sees nothing but the sink",
    ),
    _case(
        normal(3, 1, 2, scale=30.0),
        normal(4, 1, 2),
        normal(4, 1, 2),
        *[None, None, 1.0, False, None, 512, None, 2.0],
        name="logits far beyond the cap",
    ),
    _case(*_qkv(n=4), *[None] * 3, False, None, 512, None, None, 0.3, prng_key(), name="dropout"),
    _case(
        *_qkv(),
        normal(5, 5),
        *[None, None, True, None, 3, normal(2), 4.0, 0.5, prng_key()],
        name="everything, in blocks",
    ),
)
