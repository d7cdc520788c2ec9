"""Attention in blocks: which queries and keys meet in one, and how arrays are cut into them and put together.

Not a page: a part of `dot_product_attention`.
"""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Heads(NamedTuple):
    """The arguments with the K key heads as a batch axis, and one axis more for the G query heads that share each."""

    q: Any  # (..., K, G, T, D)
    k: Any  # (..., K, S, D)
    v: Any  # (..., K, S, E)
    bias: Any  # broadcasts to (..., K, G, T, S), with as many axes; or None
    mask: Any  # the same
    sink: Any  # (K, G, 1, 1); or None


class Plan(NamedTuple):
    """What is known before the program runs."""

    scale: float
    cap: float | None  # of the logits, before the bias
    dropped: float  # the share of the weights
    window: tuple[int, int]
    rows: int  # queries in a block
    columns: int  # keys in a block
    starts: np.ndarray  # (2, blocks): first query and first key of each block that holds anything to see


def heads_of(query, key, value, bias, mask, sink):
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
    if sink is not None and sink.shape != (n,):
        raise ValueError(f"sink must hold one number per query head, ({n},), not {sink.shape}")
    if mask is not None and mask.dtype != bool:
        raise ValueError(f"mask must be boolean, not {mask.dtype}; what is added to the logits is the bias")
    sink = None if sink is None else sink.reshape(k, n // k, 1, 1)
    return Heads(split(query, k), key, value, of_pairs(bias), of_pairs(mask), sink)


def split(x, groups):
    """(..., T, N, D) -> (..., groups, N / groups, T, D)"""
    return jnp.moveaxis(x.reshape(*x.shape[:-2], groups, x.shape[-2] // groups, x.shape[-1]), -4, -2)


def joined(x):
    """(..., K, G, T, D) -> (..., T, K G, D)"""
    x = jnp.moveaxis(x, -2, -4)
    return x.reshape(*x.shape[:-3], x.shape[-3] * x.shape[-2], x.shape[-1])


def plan_of(heads, scale, is_causal, local_window_size, block_size, logits_soft_cap, dropout_rate):
    """Raises ValueError for a cap or a rate that is none."""
    if logits_soft_cap is not None and not logits_soft_cap > 0:
        raise ValueError(f"logits_soft_cap must be positive, not {logits_soft_cap!r}")
    if not 0 <= dropout_rate < 1:
        raise ValueError(f"dropout_rate must be from 0 to less than 1, not {dropout_rate!r}")
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
    blocks = np.array(starts, np.int32).reshape(-1, 2).T
    return Plan(scale, logits_soft_cap, dropout_rate, (left, right), rows, columns, blocks)


def positions(start, size, length):
    """Of what is in a block, and which of it is in no block before: the last one starts early enough to fit.

    What is repeated counts as unseen, and adds 0.
    """
    if length % max(size, 1) == 0:
        return start + np.arange(size), np.ones(size, bool)
    found = jnp.minimum(start, length - size) + np.arange(size)
    return found, found >= start


def over_blocks(step, sums, starts):
    """The sums after all blocks. One that covers everything needs no loop."""
    return step(sums, starts[:, 0])[0] if starts.shape[1] == 1 else jax.lax.scan(step, sums, tuple(starts))[0]


def part(x, *places):
    """x in the block: `places` are (start, size) on axis -2 and on axis -1. An axis of 1 is the same in all blocks."""
    for axis, (start, size) in zip((-2, -1), places):
        if size < x.shape[axis]:
            x = jax.lax.dynamic_slice_in_dim(x, start, size, axis)
    return x


def put(x, block, *places):
    """x with the block replaced."""
    if block.shape == x.shape:
        return block.astype(x.dtype)
    zero = np.int32(0)
    starts = [*[start for start, _ in places], zero][:2]
    return jax.lax.dynamic_update_slice(x, block.astype(x.dtype), [*[zero] * (x.ndim - 2), *starts])


def varying_zero(*arrays) -> Any:
    """0. In a `shard_map` it varies over the mesh as all of the arrays together do, as what a loop begins with must."""
    return sum(jnp.sum(x[..., :0], dtype=jnp.float32) for x in jax.tree.leaves(arrays))


def add(x, block, *places):
    """x with the block added."""
    return put(x, part(x, *places) + block, *places)


def summed(dz, shape):
    """dz summed over the axes in which the bias is repeated, which stay as axes of 1."""
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return jnp.sum(dz, axes, keepdims=True)
