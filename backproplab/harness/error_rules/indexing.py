"""Operations that move entries: copies, gathers, scatters, windows."""

import math

import numpy as np
from jax import lax

from backproplab.harness.error_rules.arithmetic import doubt_anywhere, error_array, plus, values
from backproplab.harness.error_rules.contractions import sum_of
from backproplab.harness.error_rules.machine import Bounded, is_float
from backproplab.harness.numpy_windows import reduced
from backproplab.harness.primitives import NUMPY, bind


def moved(eqn, inputs, machine):
    """Operations that only move or copy entries: errors move along."""
    out = bind(eqn, values(inputs), machine.xp)
    if all(x.error is None for x in inputs):
        return [Bounded(o, None) for o in out]
    errors = bind(eqn, [error_array(x, machine.xp) for x in inputs], machine.xp)
    return [Bounded(o, e) for o, e in zip(out, errors)]


def indexed(eqn, inputs, machine):
    """The first operand's entries at the places that the others say: gather, dynamic_slice."""
    data, *places = inputs
    (out,) = bind(eqn, values(inputs), machine.xp)
    error = None
    if data.error is not None:
        filled = {"fill_value": 0.0} if "fill_value" in eqn.params else {}  # what is filled in is exact
        (error,) = bind(eqn, [error_array(data, machine.xp), *values(places)], machine.xp, **filled)
    return [Bounded(out, plus(error, doubt_anywhere(np.shape(out), machine.xp, *[p.error for p in places])))]


def scatter(eqn, inputs, machine):
    """Setting entries, or taking the largest or smallest of what meets: no further off than the worst that meets."""
    data, places, updates = inputs
    xp = machine.xp
    (out,) = bind(eqn, values(inputs), xp)
    unsure = doubt_anywhere(np.shape(out), xp, places.error)
    if data.error is None and updates.error is None:
        return [Bounded(out, unsure)]
    if not is_float(out):
        return [Bounded(out, plus(unsure, doubt_anywhere(np.shape(out), xp, data.error, updates.error)))]
    error = _met(eqn, error_array(data, xp), places.value, error_array(updates, xp), xp)
    return [Bounded(out, plus(error, unsure))]


def _met(eqn, data, places, updates, xp):
    """Set as the operation sets, or the largest of what meets."""
    name, p = "scatter" if eqn.primitive.name == "scatter" else "scatter_max", eqn.params
    if xp is np:
        return NUMPY[name](p, data, places, updates)
    options = {k: p[k] for k in ("indices_are_sorted", "unique_indices", "mode")}
    return getattr(lax, name)(data, places, updates, p["dimension_numbers"], **options)


def dynamic_update_slice(eqn, inputs, machine):
    data, update, *starts = inputs
    xp = machine.xp
    (out,) = bind(eqn, values(inputs), xp)
    error = None
    if data.error is not None or update.error is not None:
        (error,) = bind(eqn, [error_array(data, xp), error_array(update, xp), *values(starts)], xp)
    return [Bounded(out, plus(error, doubt_anywhere(np.shape(out), xp, *[s.error for s in starts])))]


def window_extreme(eqn, inputs, machine):
    """The maximum or minimum of a window moves by no more than the largest error in it."""
    (x,) = inputs
    (out,) = bind(eqn, [x.value], machine.xp)
    return [Bounded(out, None if x.error is None else _largest_in_window(eqn, x.error, machine.xp))]


def _largest_in_window(eqn, error, xp):
    if xp is np:
        return reduced(np.max, 0.0)(eqn.params, error)
    p = eqn.params
    return lax.reduce_window(error, 0.0, lax.max, p["window_dimensions"], p["window_strides"], p["padding"],
                             p.get("base_dilation"), p.get("window_dilation"))  # fmt: skip


def select_and_scatter_add(eqn, inputs, machine):
    """The transpose of max-pooling: terms land at the winner of each window; in doubt where winners could change."""
    source, operand = inputs
    count = math.prod(eqn.params["window_dimensions"])
    out = sum_of(eqn, source, count, machine, stored=count, others=[operand.value])
    return [Bounded(out.value, plus(out.error, doubt_anywhere(np.shape(out.value), machine.xp, operand.error)))]


def select_and_gather_add(eqn, inputs, machine):
    """Its transpose: the entry of `tangents` at the winner of each window."""
    tangents, operand = inputs
    (out,) = bind(eqn, values(inputs), machine.xp)
    error = None if tangents.error is None else _largest_in_window(eqn, tangents.error, machine.xp)
    return [Bounded(out, plus(error, doubt_anywhere(np.shape(out), machine.xp, operand.error)))]


def iota(eqn, inputs, machine):
    (out,) = bind(eqn, [], machine.xp)
    return [Bounded(machine.xp.asarray(out, np.float64) if is_float(out) else out, None)]
