"""JAX's primitives of linear algebra and sorting in numpy and scipy, which run the same LAPACK: entries of `primitives.NUMPY`.

NotImplemented says: this one by JAX.
"""

import numpy as np
from scipy.linalg import get_lapack_funcs


def triangular_solve(p, a, b):
    """By substitution, for a batch at once; of `a` the other triangle is not read."""
    swapped = lambda m: np.swapaxes(m, -1, -2)
    lower, left = p["lower"], p["left_side"]
    if p["conjugate_a"]:
        a = np.conj(a)
    if p["transpose_a"] == left:  # x a = b is a^T x^T = b^T
        a, lower = swapped(a), not lower
    b = b if left else swapped(b)
    x = np.zeros(b.shape, np.result_type(a, b))
    count = b.shape[-2]
    for i in range(count) if lower else reversed(range(count)):
        known = slice(0, i) if lower else slice(i + 1, count)
        rest = b[..., i, :] - (a[..., i, None, known] @ x[..., known, :])[..., 0, :]
        x[..., i, :] = rest if p["unit_diagonal"] else rest / a[..., i, i, None]
    return x if left else swapped(x)


def lu(p, x):
    """Rows exchanged for the largest pivot."""
    if not x.size or x.shape[-1] != x.shape[-2]:
        return NotImplemented
    (factored,) = get_lapack_funcs(("getrf",), (x,))
    flat = [factored(m)[:2] for m in x.reshape(-1, *x.shape[-2:])]
    pivots = np.stack([pivot for _, pivot in flat])
    rows = np.tile(np.arange(x.shape[-2]), (len(flat), 1))
    for order, pivot in zip(rows, pivots):
        for i, k in enumerate(pivot):
            order[[i, k]] = order[[k, i]]
    batch = x.shape[:-2]
    whole = lambda m: m.reshape(*batch, -1).astype(np.int32)
    return [np.stack([m for m, _ in flat]).reshape(x.shape), whole(pivots), whole(rows)]


def cholesky(p, x):
    """The triangle above the diagonal is left as it was."""
    try:
        return np.linalg.cholesky(x) + np.triu(x, 1) if x.size else NotImplemented
    except np.linalg.LinAlgError:  # where there is none, JAX says NaN
        return NotImplemented


def sort(p, *operands):
    """By the first `num_keys` of them; stable, NaN last."""
    axis = p["dimension"]
    keys = operands[: p["num_keys"]]
    order = np.argsort(keys[0], axis, kind="stable") if len(keys) == 1 else np.lexsort(keys[::-1], axis)
    return [np.take_along_axis(x, order, axis) for x in operands]


def top_k(p, x):
    """The largest first, of equal ones the one that comes first. -0 is below 0, and NaN beyond infinity on its sign's side."""
    if x.dtype.kind == "f":
        bits = x.astype(np.float64).view(np.int64)
        ranked = bits ^ ((bits >> 63) & np.iinfo(np.int64).max)
    else:
        ranked = x
    axis = p["axis"]
    count = x.shape[axis]
    order = count - 1 - np.flip(np.argsort(np.flip(ranked, axis), axis, kind="stable"), axis)
    first = np.take(order, range(p["k"]), axis)
    return [np.take_along_axis(x, first, axis), first.astype(np.int32)]
