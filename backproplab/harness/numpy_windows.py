"""JAX's operations on windows of arrays, in numpy: parameters, then operands, as the tables of `primitives` have them."""

import numpy as np


def pad(p, x, fill):
    """Entries `interior` apart, `low` and `high` beside them; where these are negative, entries are cut off."""
    shape, into, of = [], [], []
    for size, (low, high, interior) in zip(x.shape, p["padding_config"]):
        step = 1 + interior
        shape.append(max(0, low + high + size + interior * max(0, size - 1)))
        first = max(0, -(low // step))
        count = max(0, min(size - first, -((low + first * step - shape[-1]) // step)))
        of.append(slice(first, first + count))
        into.append(slice(low + first * step, low + (first + count) * step, step) if count else slice(0))
    out = np.full(shape, fill, x.dtype)
    out[tuple(into)] = x[tuple(of)]
    return out


def _window(shape, starts, sizes):
    """Where a slice of these sizes lies; one that would reach beyond the end is moved back, as JAX does."""
    starts = [int(np.clip(start, 0, n - size)) for start, n, size in zip(starts, shape, sizes)]
    return tuple(slice(start, start + size) for start, size in zip(starts, sizes))


def dynamic_slice(p, x, *starts):
    return x[_window(x.shape, starts, p["slice_sizes"])]


def dynamic_update_slice(p, x, update, *starts):
    out = np.array(x)
    out[_window(x.shape, starts, update.shape)] = update
    return out


def gather(p, x, places):
    """A window of x at each place."""
    d, sizes = p["dimension_numbers"], p["slice_sizes"]
    held = (*d.collapsed_slice_dims, *d.operand_batching_dims)
    index, inside = _windows(p, x.shape, places, d.start_index_map, d.operand_batching_dims, d.start_indices_batching_dims, sizes, held)  # fmt: skip
    out = x[index]
    if str(p["mode"]).endswith("FILL_OR_DROP"):
        out = np.where(inside, out, _filling(x.dtype) if p["fill_value"] is None else p["fill_value"])
    first = places.ndim - 1
    return np.moveaxis(out, range(first, out.ndim), d.offset_dims)


def _filling(dtype):
    """What JAX puts where there is nothing to gather."""
    if np.issubdtype(dtype, np.integer):
        return np.iinfo(dtype).min if np.issubdtype(dtype, np.signedinteger) else np.iinfo(dtype).max
    return np.asarray(np.nan, dtype)


def scattered(combine):
    """Each window of `updates` combined with what is at its place; windows that reach outside are dropped."""

    def run(p, x, places, updates):
        d = p["dimension_numbers"]
        held = (*d.inserted_window_dims, *d.operand_batching_dims)
        updates = np.moveaxis(updates, d.update_window_dims, range(places.ndim - 1, updates.ndim))
        window = iter(updates.shape[places.ndim - 1 :])
        sizes = [1 if a in held else next(window) for a in range(x.ndim)]
        index, inside = _windows(p, x.shape, places, d.scatter_dims_to_operand_dims, d.operand_batching_dims, d.scatter_indices_batching_dims, sizes, held)  # fmt: skip
        inside = np.broadcast_to(inside, updates.shape)
        out = np.array(x)
        combine(out, tuple(np.broadcast_to(i, updates.shape)[inside] for i in index), updates[inside])
        return out

    return run


def _windows(p, shape, places, axes, batched, batches, sizes, held):
    """For windows of these sizes at each place: their entries' indices along each axis, and which windows lie inside.

    The last axis of `places` holds the start along each of `axes`; along an axis of `batched` it is the place's own number
    along that of `batches`, along others 0. All shaped (place..., window...), the window without the axes in `held`.
    """
    count, starts = places.shape[:-1], [np.zeros((), int)] * len(shape)
    for k, a in enumerate(axes):
        starts[a] = places[..., k].astype(np.int64)
    for a, b in zip(batched, batches):
        starts[a] = np.arange(count[b]).reshape([-1 if i == b else 1 for i in range(len(count))])
    room = [n - size for n, size in zip(shape, sizes)]
    inside = np.broadcast_to(
        np.all([np.broadcast_to((s >= 0) & (s <= r), count) for s, r in zip(starts, room)], 0), count
    )
    free = [a for a in range(len(shape)) if a not in held]
    along = lambda a: np.arange(sizes[a]).reshape([-1 if b == a else 1 for b in free]) if a in free else 0
    lift = lambda x: x.reshape(*x.shape, *[1] * len(free)) if x.ndim else x
    index = [lift(np.clip(s, 0, r)) + along(a) for a, (s, r) in enumerate(zip(starts, room))]
    clipped = str(p["mode"]).endswith("CLIP")
    return tuple(np.broadcast_arrays(*index)) if index else (), lift(np.ones_like(inside) if clipped else inside)


def reduced(function, fill):
    """`function` of each window, where `fill` lies between its entries and beside the array."""

    def run(p, x):
        if isinstance(fill, float) and x.dtype.kind != "f":  # no infinity is among whole numbers: left to JAX
            return NotImplemented
        count = len(p["window_dimensions"])
        base, dilation = (p.get(key) or (1,) * count for key in ("base_dilation", "window_dilation"))
        spread = [(low, high, b - 1) for (low, high), b in zip(p["padding"], base)]
        extents = [(size - 1) * d + 1 for size, d in zip(p["window_dimensions"], dilation)]
        found = _slid(pad({"padding_config": spread}, x, fill), extents, tuple(range(count)), p["window_strides"])
        taken = found[(..., *(slice(None, None, d) for d in dilation))]
        return function(taken, axis=tuple(range(count, 2 * count)))

    return run


def _slid(x, extents, axes, strides):
    """The windows of x that fit, `strides` apart along `axes`; what they hold along as many new axes at the end."""
    room, counts = [(0, 0, 0)] * x.ndim, [slice(None)] * x.ndim
    for a, extent, stride in zip(axes, extents, strides):
        room[a] = (0, max(0, extent - x.shape[a]), 0)  # for a window at least, counted or not
        counts[a] = slice(0, max(0, (x.shape[a] - extent) // stride + 1) * stride, stride)
    wide_enough = pad({"padding_config": room}, x, 0.0) if any(map(any, room)) else x
    return np.lib.stride_tricks.sliding_window_view(wide_enough, extents, axes)[tuple(counts)]


def convolution(p, x, w):
    """As a product of matrices per group: every window of x, made a row, times the kernel of each output channel."""
    spec = p["dimension_numbers"]
    x, w = np.transpose(x, spec.lhs_spec), np.transpose(w, spec.rhs_spec)  # batch, channels, space; out, in, space
    spread = [(low, high, d - 1) for (low, high), d in zip(p["padding"], p["lhs_dilation"])]
    x = pad({"padding_config": [(0, 0, 0), (0, 0, 0), *spread]}, x, 0.0)
    w = pad({"padding_config": [(0, 0, 0), (0, 0, 0), *[(0, 0, d - 1) for d in p["rhs_dilation"]]]}, w, 0.0)
    space, kernel = tuple(range(2, x.ndim)), w.shape[2:]
    windows = _slid(x, kernel, space, p["window_strides"])
    groups = p["feature_group_count"] * p["batch_group_count"]
    parts = zip(np.split(windows, groups, 0 if p["batch_group_count"] > 1 else 1), np.split(w, groups))
    summed = ((1, *(a + len(space) for a in space)), (1, *space))
    out = np.concatenate([np.moveaxis(np.tensordot(part, k, summed), -1, 1) for part, k in parts], 1)
    return np.transpose(out, np.argsort(spec.out_spec))
