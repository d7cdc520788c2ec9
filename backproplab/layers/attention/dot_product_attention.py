"""Attention: every query takes the mean of the values, weighted by how well their keys match it. Catalogue #93 to #95.

The idea is that of Vaswani et al., 2017 (arXiv 1706.03762). That it can be computed in blocks, so that the T x S
weights never exist, is due to Rabe & Staats, 2021 (arXiv 2112.05682) and Dao et al., 2022 (arXiv 2205.14135). Autodiff
keeps the weights and more arrays of their size; this rule keeps beside its arguments the output and a number per query.
"""

import itertools
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, booleans, normal
from backproplab.layers.losses.softmax import softmax
from backproplab.precision import wide_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("scale", "is_causal", "local_window_size", "block_size"))
def dot_product_attention(
    query, key, value, bias=None, mask=None, scale=None, is_causal=False, local_window_size=None, block_size=512
):
    """softmax(scale query key^T + bias) value, in each head: `jax.nn.dot_product_attention` but for sequence lengths.

    query (..., T, N, D), key (..., S, K, D), value (..., S, K, E) -> (..., T, N, E), in the dtype of the query. N is a
    multiple of K: the heads of a group share a key and a value. bias (floating) and mask (True: may be seen) broadcast
    to (..., N, T, S). scale: 1/sqrt(D) if None. is_causal: query t sees no key after t. local_window_size: query t sees
    the keys t - left to t + right; the pair (left, right), or one number for both.

    A query that may see nothing gives 0, where `jax.nn` gives the mean of all values. What no query may see takes no
    part, be it NaN. Blocks of `block_size` queries and keys that are hidden as a whole are not computed.
    Raises ValueError for shapes that do not fit.
    """
    return _attend(query, key, value, bias, mask, scale, is_causal, local_window_size, block_size)[0].astype(
        query.dtype
    )


class _Heads(NamedTuple):
    """The arguments with the K key heads as a batch axis, and one axis more for the G query heads that share each."""

    q: Any  # (..., K, G, T, D)
    k: Any  # (..., K, S, D)
    v: Any  # (..., K, S, E)
    bias: Any  # broadcasts to (..., K, G, T, S), with as many axes; or None
    mask: Any  # the same


class _Plan(NamedTuple):
    """What is known before the program runs."""

    scale: float
    window: tuple[int, int]
    rows: int  # queries in a block
    columns: int  # keys in a block
    starts: np.ndarray  # (2, blocks): first query and first key of each block that holds anything to see


def _heads(query, key, value, bias, mask):
    """Raises ValueError for shapes that do not fit."""
    *batch, t, n, d = query.shape
    s, k = key.shape[-3:-1]
    if key.shape != (*batch, s, k, d) or value.shape[:-1] != key.shape[:-1] or not k or n % k:
        raise ValueError(
            f"attention wants query (..., T, N, D), key (..., S, K, D) and value (..., S, K, E), N a multiple of K, "
            f"not {query.shape}, {key.shape} and {value.shape}"
        )

    def of_pairs(x):
        if x is None:
            return None
        shape = (1,) * (query.ndim - x.ndim) + x.shape  # axes in front, as broadcasting puts them
        if len(shape) > query.ndim or any(have not in (1, want) for have, want in zip(shape, (*batch, n, t, s))):
            raise ValueError(f"bias and mask must broadcast to {(*batch, n, t, s)}, not {x.shape}")
        heads = (1, 1) if shape[-3] == 1 else (k, n // k)
        return x.reshape(*shape[:-3], *heads, *shape[-2:])

    key, value = jnp.moveaxis(key, -3, -2), jnp.moveaxis(value, -3, -2)
    if mask is not None and mask.dtype != bool:
        raise ValueError(f"mask must be boolean, not {mask.dtype}; what is added to the logits is the bias")
    return _Heads(_split(query, k), key, value, of_pairs(bias), of_pairs(mask))


def _split(x, groups):
    """(..., T, N, D) -> (..., groups, N / groups, T, D)"""
    return jnp.moveaxis(x.reshape(*x.shape[:-2], groups, x.shape[-2] // groups, x.shape[-1]), -4, -2)


def _joined(x):
    """(..., K, G, T, D) -> (..., T, K G, D)"""
    x = jnp.moveaxis(x, -2, -4)
    return x.reshape(*x.shape[:-3], x.shape[-3] * x.shape[-2], x.shape[-1])


def _plan(heads, scale, is_causal, local_window_size, block_size):
    (t, d), s = heads.q.shape[-2:], heads.k.shape[-2]
    left, right = (t, s) if local_window_size is None else np.broadcast_to(local_window_size, 2).tolist()
    right = min(right, 0) if is_causal else right
    rows, columns = min(block_size, t), min(block_size, s)
    starts = [
        (i, j)
        for i, j in itertools.product(range(0, t, max(rows, 1)), range(0, s, max(columns, 1)))
        if j + columns > i - left and j < i + rows + right
    ]
    scale = d**-0.5 if scale is None else scale
    return _Plan(scale, (left, right), rows, columns, np.array(starts, np.int32).reshape(-1, 2).T)


def _look(heads, plan, row, column):
    """One block: what takes part of q, k and v, the logits (-inf where unseen), and which queries see any key."""
    q, k, v, bias, mask = heads
    place = (row, plan.rows), (column, plan.columns)
    t, first_t = _positions(*place[0], q.shape[-2])
    s, first_s = _positions(*place[1], k.shape[-2])
    t, first_t = t[:, None], first_t[:, None]
    seen = (first_t & first_s & (s >= t - plan.window[0]) & (s <= t + plan.window[1]))[None, None]
    if mask is not None:
        seen = seen & _part(mask, *place)
    looks, shown = seen.any(-1, keepdims=True), seen.any((-3, -2))[..., None]
    q = jnp.where(looks, widened(_part(q, place[0])), 0)
    k, v = (jnp.where(shown, widened(_part(x, place[1])), 0) for x in (k, v))
    logits = plan.scale * jnp.einsum("...gtd,...sd->...gts", q, k)
    if bias is not None:
        logits = logits + _part(bias, *place)
    return q, k, v, jnp.where(seen, logits, -jnp.inf), looks


def _positions(start, size, length):
    """Of what is in a block, and which of it is in no block before: the last one starts early enough to fit.

    What is repeated counts as unseen, and adds 0.
    """
    if length % max(size, 1) == 0:
        return start + np.arange(size), np.ones(size, bool)
    positions = jnp.minimum(start, length - size) + np.arange(size)
    return positions, positions >= start


def _over_blocks(step, sums, starts):
    """The sums after all blocks. One that covers everything needs no loop."""
    return step(sums, starts[:, 0])[0] if starts.shape[1] == 1 else jax.lax.scan(step, sums, tuple(starts))[0]


def _part(x, *places):
    """x in the block: `places` are (start, size) on axis -2 and on axis -1. An axis of 1 is the same in all blocks."""
    for axis, (start, size) in zip((-2, -1), places):
        if size < x.shape[axis]:
            x = jax.lax.dynamic_slice_in_dim(x, start, size, axis)
    return x


def _put(x, part, *places):
    """x with the block replaced."""
    if part.shape == x.shape:
        return part.astype(x.dtype)
    zero = np.int32(0)
    starts = [*[start for start, _ in places], zero][:2]
    return jax.lax.dynamic_update_slice(x, part.astype(x.dtype), [*[zero] * (x.ndim - 2), *starts])


def varying_zero(*arrays) -> Any:
    """0. In a `shard_map` it varies over the mesh as all of the arrays together do, as what a loop begins with must."""
    return sum(jnp.sum(x[..., :0], dtype=jnp.float32) for x in jax.tree.leaves(arrays))


def _attend(query, key, value, bias, mask, *options):
    """The output in float32 or wider, and log sum_s exp(logit_ts), (..., K, G, T, 1); 0 for a query that sees nothing.

    Goes through the keys in blocks, with the largest logit so far: when a larger one comes, the sums so far fade.
    """
    heads = _heads(query, key, value, bias, mask)
    plan = _plan(heads, *options)

    def step(sums, start):
        row, column = start
        rows = (row, plan.rows)
        _, _, v, logits, _ = _look(heads, plan, row, column)
        before, total, mean = (_part(x, rows) for x in sums)
        largest = jnp.max(jax.lax.stop_gradient(logits), -1, keepdims=True, initial=-jnp.inf)
        largest = jnp.maximum(before, largest)
        shift = jnp.where(largest == -jnp.inf, 0, largest)
        exponentials, fading = jnp.exp(logits - shift), jnp.exp(before - shift)
        total = fading * total + jnp.sum(exponentials, -1, keepdims=True)
        mean = fading * mean + jnp.einsum("...gts,...se->...gte", exponentials, v)
        return tuple(_put(x, new, rows) for x, new in zip(sums, (largest, total, mean))), None

    wide = jnp.result_type(*map(wide_dtype, jax.tree.leaves(heads[:4])))
    zeros = jnp.zeros_like(heads.q[..., :1], wide) + varying_zero(heads)
    sums = (jnp.full_like(zeros, -jnp.inf), zeros, jnp.repeat(zeros, value.shape[-1], -1))
    largest, total, mean = _over_blocks(step, sums, plan.starts)
    total = jnp.where(total == 0, 1, total)
    return _joined(mean / total), jnp.where(largest == -jnp.inf, 0, largest + jnp.log(total))


def dot_product_attention_fwd(query, key, value, bias, mask, *options):
    """Keeps the arguments and the output, which the caller holds anyway, and per query in each head one number.

    It is log sum_s exp(logit_ts): a weight is exp(logit_ts - that). The difference loses no more digits than the logit
    itself has lost, and an error of the number is one common factor for its query's gradients.

    For arguments of 16 bits the output is kept in float32. Rounded, it would put an error of 2^-9 into every logit's
    gradient that does not average out; Qiu & Yao, 2025 (arXiv 2510.04212) trace failed trainings to it.
    """
    out, log_total = _attend(query, key, value, bias, mask, *options)
    return out.astype(query.dtype), (query, key, value, bias, mask, out, log_total)


def dot_product_attention_bwd(scale, is_causal, local_window_size, block_size, residuals, dy):
    """In one head, with logits z_ts = scale q_t.k_s + bias_ts, weights p_t = softmax(z_t) and o_t = sum_s p_ts v_s, for
    the cotangent g_t of o_t:

        dv_s = sum_t p_ts g_t        dp_ts = g_t.v_s

    The rule of softmax, with sum_j p_tj dp_tj = g_t.(sum_j p_tj v_j) = g_t.o_t, which needs no row of weights:

        dz_ts = p_ts (dp_ts - g_t.o_t)
        dq_t = scale sum_s dz_ts k_s        dk_s = scale sum_t dz_ts q_t        dbias_ts = dz_ts

    So each block of weights is computed again from its logits, and what it adds to dq, dk, dv and dbias needs no other
    block. A bias that is repeated, and a key or value shared by a group of heads, get the sum over the repetitions.

    What is unseen has p = 0 and adds 0. A query that sees nothing and a key that nobody sees do so by selection,
    whatever they and g hold. Tail: where a weight is nearly 1, dp - g.o cancels, and dz is off by a rounding of dp and
    not of itself; so it is by autodiff.
    """
    query, key, value, bias, mask, out, log_total = residuals
    heads = _heads(query, key, value, bias, mask)
    plan = _plan(heads, scale, is_causal, local_window_size, block_size)
    groups = key.shape[-2]
    dy, out = _split(dy, groups), _split(out, groups)

    def step(sums, start):
        row, column = start
        rows, columns = (row, plan.rows), (column, plan.columns)
        q, k, v, logits, looks = _look(heads, plan, row, column)
        g = jnp.where(looks, widened(_part(dy, rows)), 0)
        p = jnp.exp(logits - _part(log_total, rows))
        dz = p * (jnp.einsum("...gte,...se->...gts", g, v) - jnp.sum(g * _part(out, rows), -1, keepdims=True))
        dq, dk, dv, dbias = sums
        dq = _add(dq, plan.scale * jnp.einsum("...gts,...sd->...gtd", dz, k), rows)
        dk = _add(dk, plan.scale * jnp.einsum("...gts,...gtd->...sd", dz, q), columns)
        dv = _add(dv, jnp.einsum("...gts,...gte->...se", p, g), columns)
        if dbias is not None:
            dbias = _add(dbias, _summed(dz, dbias.shape), rows, columns)
        return (dq, dk, dv, dbias), None

    nothing = varying_zero(heads, dy)
    sums = jax.tree.map(lambda x: jnp.zeros(x.shape, wide_dtype(x)) + nothing, heads[:4])
    dq, dk, dv, dbias = _over_blocks(step, sums, plan.starts)
    return (
        _joined(dq),
        jnp.moveaxis(dk, -2, -3),
        jnp.moveaxis(dv, -2, -3),
        None if dbias is None else dbias.reshape(bias.shape),
        None,
    )


def _add(x, part, *places):
    return _put(x, _part(x, *places) + part, *places)


def _summed(dz, shape):
    """dz summed over the axes in which the bias is repeated, which stay as axes of 1."""
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return jnp.sum(dz, axes, keepdims=True)


defvjp(dot_product_attention, dot_product_attention_fwd, dot_product_attention_bwd)


def _textbook(
    query, key, value, bias=None, mask=None, scale=None, is_causal=False, local_window_size=None, block_size=None
):
    """The formula, with all weights at once."""
    key, value = (jnp.repeat(x, query.shape[-2] // x.shape[-2], -2) for x in (key, value))
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    logits = scale * jnp.einsum("...tnd,...snd->...nts", widened(query), widened(key))
    logits = logits if bias is None else logits + bias
    distance = jnp.arange(key.shape[-3]) - jnp.arange(query.shape[-3])[:, None]  # of the key behind the query
    seen = jnp.ones(distance.shape, bool) if mask is None else mask
    if is_causal:
        seen = seen & (distance <= 0)
    if local_window_size is not None:
        left, right = np.broadcast_to(local_window_size, 2)
        seen = seen & (distance >= -left) & (distance <= right)
    weights = softmax(jnp.where(seen, logits, -jnp.inf))
    return jnp.einsum("...nts,...sne->...tne", weights, widened(value)).astype(query.dtype)


def _kept(query, key, value, bias=None, mask=None, *options):
    """The arguments, and the output and one number per query and head in float32 or wider."""
    given = sum(x.nbytes for x in (query, key, value, bias, mask) if x is not None)
    return given + query.size // query.shape[-1] * (value.shape[-1] + 1) * max(4, query.itemsize)


def _case(*args, **fields):
    return Case(dot_product_attention, args, reference=_textbook, residual_bytes=_kept, **fields)


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
)
