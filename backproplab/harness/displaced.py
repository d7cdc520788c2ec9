"""An operation that reaches elsewhere: an index, a start, a padding or a sum that is off by one, or a place written once."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

CUMULATIVE = ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
_WINDOWED = ("conv_general_dilated", "reduce_window_sum")


def axes(eqn: Any) -> list[int]:
    """Along which an operation can be displaced, as `displaced` counts them."""
    name, p = eqn.primitive.name, eqn.params
    if name in CUMULATIVE:
        return [p["axis"]]
    if name == "gather" or name.startswith("scatter"):
        return [*range(eqn.invars[1].aval.shape[-1])]
    if name == "slice":
        ends = zip(p["start_indices"], p["limit_indices"], eqn.invars[0].aval.shape)
        return [a for a, (start, limit, size) in enumerate(ends) if start > 0 or limit < size]
    if name == "pad":
        return [a for a, (low, high, _) in enumerate(p["padding_config"]) if low > 0 or high > 0]
    if name in ("dynamic_slice", "dynamic_update_slice"):
        whole = eqn.invars[0].aval.shape
        part = eqn.outvars[0].aval.shape if name == "dynamic_slice" else eqn.invars[1].aval.shape
        return [a for a, (n, size) in enumerate(zip(part, whole)) if n < size]
    if name in _WINDOWED:
        return [a for a, (low, high) in enumerate(p["padding"]) if low + high > 0]
    return []


def fits(eqn: Any, axis: int, by: int) -> bool:
    """Whether a slice that begins `by` places later still lies within its operand; all else does."""
    if eqn.primitive.name != "slice":
        return True
    start, limit = eqn.params["start_indices"][axis], eqn.params["limit_indices"][axis]
    return start + by >= 0 and limit + by <= eqn.invars[0].aval.shape[axis]


def displaced(eqn: Any, given: list, axis: int, by: int) -> Any:
    """What the operation makes if it begins `by` places later along one of its axes; None if that is outside.

    by: 1 or -1.
    """
    name, p = eqn.primitive.name, eqn.params
    bind: Callable = lambda *operands, **changes: eqn.primitive.bind(
        *operands, **eqn.primitive.get_bind_params(p | changes)
    )
    if name in CUMULATIVE:  # the sum of what stands before, in place of that which counts the entry itself
        made = bind(*given)
        edge = jnp.zeros_like(lax.slice_in_dim(made, 0, 1, axis=axis))
        inner = lax.slice_in_dim(made, max(-by, 0), made.shape[axis] - max(by, 0), axis=axis)
        return lax.concatenate([edge, inner][::by], axis)
    if name == "gather" or name.startswith("scatter"):
        column = jnp.arange(given[1].shape[-1]) == axis
        return bind(given[0], given[1] + by * column.astype(given[1].dtype), *given[2:])
    if name == "slice":
        ends = {key: _with(p[key], axis, p[key][axis] + by) for key in ("start_indices", "limit_indices")}
        return bind(*given, **ends) if fits(eqn, axis, by) else None
    if name == "pad":
        low, high, interior = p["padding_config"][axis]
        return bind(*given, padding_config=_with(p["padding_config"], axis, (low + by, high - by, interior)))
    if name in ("dynamic_slice", "dynamic_update_slice"):
        first = (1 if name == "dynamic_slice" else 2) + axis
        return bind(*[x + by if k == first else x for k, x in enumerate(given)])
    low, high = p["padding"][axis]
    return bind(*given, padding=_with(p["padding"], axis, (low - by, high + by)))


def occurrence(eqn: Any, indices: Any, last: bool) -> Any:
    """Of the entries that a gather takes: which take theirs for the last time, or for the first."""
    shape, dims = eqn.outvars[0].aval.shape, eqn.params["dimension_numbers"]
    order = jnp.arange(math.prod(shape), dtype=float).reshape(shape)
    back = lax.ScatterDimensionNumbers(
        update_window_dims=dims.offset_dims,
        inserted_window_dims=dims.collapsed_slice_dims,
        scatter_dims_to_operand_dims=dims.start_index_map,
        operand_batching_dims=dims.operand_batching_dims,
        scatter_indices_batching_dims=dims.start_indices_batching_dims,
    )
    none = jnp.full(eqn.invars[0].aval.shape, -1.0 if last else math.inf)
    chosen = (lax.scatter_max if last else lax.scatter_min)(none, indices, order, back, mode=eqn.params["mode"])
    taken = eqn.primitive.bind(chosen, indices, **eqn.primitive.get_bind_params(eqn.params | {"fill_value": -2.0}))
    return taken == order


def words(eqn: Any, axis: int, by: int, here: str) -> str:
    """What is true of the gradient of that other function; `here`: the operation and its line."""
    name, place = eqn.primitive.name, "later" if by > 0 else "earlier"
    if name in CUMULATIVE:
        counted = (
            "leaves out the entry itself" if (by < 0) == eqn.params["reverse"] else "counts the next entry as well"
        )
        return f"is that of a function whose {here} {counted}"
    if name == "gather" or name.startswith("scatter"):
        column = f" in column {axis}" if eqn.invars[1].aval.shape[-1] > 1 else ""
        return f"is that of a function in which the index of {here} is one too {'large' if by > 0 else 'small'}{column}"
    return f"is that of a function whose {here} begins one place {place} along axis {axis}"


def _with(items: Any, index: int, item: Any) -> tuple:
    return (*items[:index], item, *items[index + 1 :])
