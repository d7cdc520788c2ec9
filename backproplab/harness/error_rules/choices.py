"""Comparisons and what is chosen by them: where the outcome is in doubt within the errors, both outcomes count."""

import numpy as np
from jax import lax

from backproplab.harness.error_rules.arithmetic import doubt, doubt_anywhere, error_array, plus, values
from backproplab.harness.error_rules.machine import Bounded, is_float, is_inexact
from backproplab.harness.primitives import bind


def compare(eqn, inputs, machine):
    x, y = inputs
    xp = machine.xp
    (out,) = bind(eqn, values(inputs), xp)
    reach = plus(x.error, y.error)
    if reach is None or eqn.invars[0] is eqn.invars[1]:  # x != x asks whether x is nan
        return [Bounded(out, None)]
    if not is_inexact(eqn.invars[0].aval):
        return [Bounded(out, doubt(xp, reach))]
    return [Bounded(out, within_reach(x, y, reach, xp))]


def within_reach(x: Bounded, y: Bounded, reach, xp):
    """inf where two numbers may be in another order than their values, 0 elsewhere."""
    # two that are infinite for certain are equal, though their difference is no number
    sure = (x.value == y.value) & xp.isinf(x.value) & xp.isfinite(reach)
    return xp.where(~(xp.abs(x.value - y.value) > reach) & (reach > 0) & ~sure, xp.inf, 0.0)


def logical(eqn, inputs, machine):
    (out,) = bind(eqn, values(inputs), machine.xp)
    return [Bounded(out, doubt(machine.xp, *[x.error for x in inputs]))]


def finite(eqn, inputs, machine):
    """In doubt where the bound says nothing: an overflow, perhaps."""
    (x,) = inputs
    xp = machine.xp
    out = xp.isfinite(x.value)
    return [Bounded(out, None if x.error is None else xp.where(xp.isinf(x.error), xp.inf, 0.0))]


def maximum(eqn, inputs, machine):
    """The winner's error where it is certain, else the larger of the two."""
    x, y = inputs
    xp = machine.xp
    (out,) = bind(eqn, values(inputs), xp)
    if x.error is None and y.error is None:
        return [Bounded(out, None)]
    if not is_float(out):
        return [Bounded(out, doubt(xp, x.error, y.error))]
    error_x, error_y = error_array(x, xp), error_array(y, xp)
    gap = x.value - y.value if eqn.primitive.name == "max" else y.value - x.value
    reach = error_x + error_y
    error = xp.where(gap > reach, error_x, xp.where(-gap > reach, error_y, xp.maximum(error_x, error_y)))
    return [Bounded(out, error)]


def clamp(eqn, inputs, machine):
    low, x, high = inputs
    xp = machine.xp
    (out,) = bind(eqn, values(inputs), xp)
    if all(b.error is None for b in inputs):
        return [Bounded(out, None)]
    if not is_float(out):
        return [Bounded(out, doubt(xp, *[b.error for b in inputs]))]
    if low.error is None and high.error is None:
        outside = (x.value + x.error < low.value) | (x.value - x.error > high.value)
        return [Bounded(out, xp.where(outside, 0.0, x.error))]
    return [Bounded(out, xp.maximum(error_array(x, xp), xp.maximum(error_array(low, xp), error_array(high, xp))))]


def select_n(eqn, inputs, machine):
    """The chosen option's error; where the choice is in doubt, the largest error of any besides the way to it."""
    which, *options = inputs
    xp = machine.xp
    (out,) = bind(eqn, values(inputs), xp)
    if all(x.error is None for x in inputs):
        return [Bounded(out, None)]
    errors = [error_array(o, xp) for o in options]
    (error,) = bind(eqn, [which.value, *errors], xp)
    if which.error is None:
        return [Bounded(out, error)]
    unsure = which.error > 0
    if not is_inexact(out):
        return [Bounded(out, xp.where(unsure, xp.inf, error))]
    far = [xp.where(o.value == out, 0.0, xp.abs(o.value - out)) + e for o, e in zip(options, errors)]
    return [Bounded(out, xp.where(unsure, xp.max(xp.stack(far), 0), error))]


def reachable_extreme(eqn, x: Bounded, xp):
    """Which entries could be the extreme one along the axes, and the largest error among those."""
    axes = tuple(eqn.params["axes"])
    sign = 1.0 if eqn.primitive.name in ("reduce_max", "argmax") else -1.0
    reachable = sign * x.value + x.error >= xp.max(sign * x.value - x.error, axes, keepdims=True, initial=-np.inf)
    reachable = reachable | xp.isinf(x.error)
    return reachable, xp.max(xp.where(reachable, x.error, 0.0), axes, initial=0.0)


def reduce_max(eqn, inputs, machine):
    (x,) = inputs
    (out,) = bind(eqn, [x.value], machine.xp)
    if x.error is None:
        return [Bounded(out, None)]
    if not is_float(out):
        return [Bounded(out, doubt_anywhere(np.shape(out), machine.xp, x.error))]
    return [Bounded(out, reachable_extreme(eqn, x, machine.xp)[1])]


def argmax(eqn, inputs, machine):
    (x,) = inputs
    xp = machine.xp
    (out,) = bind(eqn, [x.value], xp)
    if x.error is None:
        return [Bounded(out, None)]
    if not is_float(eqn.invars[0].aval):
        return [Bounded(out, doubt_anywhere(np.shape(out), xp, x.error))]
    reachable, error = reachable_extreme(eqn, x, xp)
    unsure = (xp.sum(reachable, tuple(eqn.params["axes"])) > 1) & (error > 0)
    return [Bounded(out, xp.where(unsure, xp.inf, 0.0))]


def sort(eqn, inputs, machine):
    """Sorting moves no value by more than the largest error; what travels along is in doubt where keys could swap.

    A key could also change places with one further away, whose error is large: so each is compared with the furthest
    that those before it reach up to and those after it reach down to.
    """
    xp = machine.xp
    if all(x.error is None for x in inputs):
        return [Bounded(o, None) for o in bind(eqn, values(inputs), xp)]
    axis, keys = eqn.params["dimension"], eqn.params["num_keys"]
    shape = np.shape(inputs[0].value)
    position = [1] * len(shape)
    position[axis] = shape[axis]
    order = xp.broadcast_to(xp.arange(shape[axis], dtype=np.int32).reshape(position), shape)
    *out, order = bind(eqn, [*values(inputs), order], xp)
    along = [xp.take_along_axis(error_array(x, xp), order, axis) for x in inputs]
    unsure = xp.zeros(shape, bool)
    for key, error in zip(out[:1], along[:1]):
        unsure = unsure | _could_swap(xp.asarray(key, np.float64), error, axis, xp)
    if keys > 1:  # ties of the first key are resolved by the others: all in doubt if any of those is
        others = sum(xp.max(e, axis, keepdims=True) for e in along[1:keys])
        unsure = unsure | xp.broadcast_to(others > 0, shape)
    worst = [xp.broadcast_to(xp.max(e, axis, keepdims=True), shape) for e in along]
    results = []
    for i, (o, e, w) in enumerate(zip(out, along, worst)):
        moved = w if i == 0 and is_float(o) else xp.inf
        results.append(Bounded(o, xp.where(unsure, moved, e)))
    return results


def _could_swap(key, error, axis, xp):
    """Where, in the sorted `key`, an entry before may lie above one after. A tie of exact keys keeps its order."""
    above = _running_max(key + error, axis, xp)  # the furthest up that the entries so far reach
    below = -xp.flip(
        _running_max(xp.flip(error - key, axis), axis, xp), axis
    )  # the furthest down that the rest reaches
    cut = lambda a, part: a[tuple(part if i == axis else slice(None) for i in range(a.ndim))]
    first, last = slice(0, -1), slice(1, None)
    apart, touching = cut(above, first) < cut(below, last), cut(above, first) == cut(below, last)
    swap = ~(apart | (touching & (cut(error, first) + cut(error, last) == 0)))
    # between two entries that may have changed places every boundary is crossed
    none = xp.zeros_like(cut(key, slice(0, 1)), dtype=bool)
    return xp.concatenate([swap, none], axis) | xp.concatenate([none, swap], axis)


def _running_max(a, axis, xp):
    if xp is np:
        return np.maximum.accumulate(a, axis)
    return lax.cummax(a, axis=axis)


def top_k(eqn, inputs, machine):
    """In doubt are entries whose neighbour in the order, or the best one left out, is within reach."""
    (x,) = inputs
    xp = machine.xp
    chosen_values, indices = bind(eqn, [x.value], xp)
    if x.error is None:
        return [Bounded(chosen_values, None), Bounded(indices, None)]
    axis = eqn.params.get("axis", -1)
    if not is_float(chosen_values) or np.shape(indices)[axis] == 0:
        unsure = doubt_anywhere(np.shape(indices), xp, x.error)
        return [Bounded(chosen_values, unsure), Bounded(indices, unsure)]
    last = lambda a: xp.moveaxis(a, axis, -1)
    value, error, best, place = map(last, (x.value, x.error, chosen_values, indices))
    errors = xp.take_along_axis(error, place, -1)
    chosen = xp.any(xp.arange(np.shape(value)[-1]) == place[..., None], -2)
    left = xp.where(chosen, -xp.inf, value)
    left_reach = xp.max(xp.where(chosen, -xp.inf, left + error), -1, keepdims=True)
    left_error = xp.max(xp.where(chosen, 0.0, error), -1, keepdims=True)
    # as in a sort, downwards: the chosen, and behind them the best that was left out
    order = -xp.concatenate([best, left_reach - left_error], -1)
    reach = xp.concatenate([errors, left_error], -1)
    unsure = _could_swap(order, reach, order.ndim - 1, xp)[..., :-1]
    worst = xp.broadcast_to(xp.max(error, -1, keepdims=True), np.shape(best))
    found = xp.where(unsure, worst, errors), xp.where(unsure, xp.inf, 0.0)
    return [Bounded(o, xp.moveaxis(e, -1, axis)) for o, e in zip((chosen_values, indices), found)]
