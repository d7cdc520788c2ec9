"""Which way a program went where it has a choice: on which piece of a piecewise smooth function the point lies."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from backproplab.harness.error_rules.machine import Bounded
from backproplab.harness.error_rules.units import STEPS

# Operations whose outcome tells it.
BRANCHING = {"gt", "lt", "ge", "le", "eq", "ne", "max", "min", "abs", "clamp", "argmax", "argmin", "reduce_max", "reduce_min",
             "sort", "top_k", "reduce_window_max", "reduce_window_min", "cummax", "cummin", "select_and_scatter_add",
             "select_and_gather_add", "scatter-max", "scatter-min", "scatter_max", "scatter_min", "rem", *STEPS}  # fmt: skip


def outcome(eqn, inputs: Sequence[Bounded], outputs: Sequence[Bounded], xp) -> Any:
    """A number that tells which way an operation of `BRANCHING` went, each entry weighted by its position."""
    name = eqn.primitive.name
    x = inputs[-1 if name.startswith("select_and") else 0].value
    if not np.size(x):
        return 0.0
    if name in ("max", "min"):
        way = x > inputs[1].value
    elif name == "abs":
        way = xp.real(x) > 0
    elif name == "rem":
        way = xp.trunc(x / inputs[1].value)
    elif name == "clamp":
        way = (inputs[1].value > x) + 1.0 * (inputs[1].value < inputs[2].value)
    elif name in ("reduce_max", "reduce_min"):
        way = x == (xp.max if name == "reduce_max" else xp.min)(x, tuple(eqn.params["axes"]), keepdims=True)
    elif name in ("gt", "lt", "ge", "le", "eq", "ne", "argmax", "argmin", *STEPS):
        way = outputs[0].value
    else:  # the order of the entries decides
        entries = [x, inputs[-1].value] if name.startswith("scatter") else [x]
        way = xp.argsort(xp.concatenate([xp.ravel(part) for part in entries]))
    way = xp.ravel(xp.asarray(way, np.float64))
    return xp.dot(way, _weights(way.size) if xp is np else _new_weights(way.size, xp))


def _new_weights(count: int, xp) -> Any:
    """Between a half and one and a half, and as good as random."""
    weight = xp.sin(xp.arange(count, dtype=np.float64) * 12.9898 + 1.0) * 43758.5453
    return weight - xp.floor(weight) + 0.5


@functools.lru_cache(maxsize=128)  # wherever a comparison is passed; a compiled analysis would hold them as constants
def _weights(count: int) -> np.ndarray:
    return _new_weights(count, np)
