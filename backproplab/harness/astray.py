"""Indices that leave their array: JAX then takes or drops another entry, which nobody means."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from jax.extend.core import Literal

from backproplab.harness.backward import flat
from backproplab.harness.evaluated import evaluated
from backproplab.harness.point import Point


def astray(example: Point, p: Point) -> bool:
    """Whether an index of the function leaves its array at `p`, or counts from the end of it, and none does at the example."""
    return _leaves(p) and not _leaves(example)


def _leaves(p: Point) -> bool:
    """Those in the bodies of loops are not looked at."""
    program = flat(p.pair.jaxprs[-1])
    asked = [(v, allowed) for eqn in program.jaxpr.eqns for v, allowed in indices(eqn) if not isinstance(v, Literal)]
    shown = program.replace(jaxpr=program.jaxpr.replace(outvars=[v for v, _ in asked]))
    given = evaluated(shown, p.inputs(p.cotangents("zeros", 0)))
    return any(np.any((np.asarray(i) < 0) | (np.asarray(i) > allowed)) for i, (_, allowed) in zip(given, asked))


def indices(eqn: Any) -> Iterator[tuple[Any, Any]]:
    """What of an equation's operands are indices, each with the largest that it may be."""
    name, p, shape = eqn.primitive.name, eqn.params, eqn.invars[0].aval.shape if eqn.invars else ()
    if name == "gather":
        room = np.subtract(shape, p["slice_sizes"])
        yield eqn.invars[1], room[list(p["dimension_numbers"].start_index_map)]
    elif name.startswith("scatter"):
        d = p["dimension_numbers"]
        window = iter(eqn.invars[2].aval.shape[a] for a in d.update_window_dims)
        held = (*d.inserted_window_dims, *d.operand_batching_dims)
        room = np.array([n - (1 if a in held else next(window)) for a, n in enumerate(shape)])
        yield eqn.invars[1], room[list(d.scatter_dims_to_operand_dims)]
    elif name == "dynamic_slice":
        yield from zip(eqn.invars[1:], np.subtract(shape, p["slice_sizes"]))
    elif name == "dynamic_update_slice":
        yield from zip(eqn.invars[2:], np.subtract(shape, eqn.invars[1].aval.shape))
    elif name == "lt" and eqn.invars[0].aval.dtype.kind == "i" and _zero(eqn.invars[1]):
        yield eqn.invars[0], math.inf  # as JAX asks whether an index counts from the end


def _zero(v: Any) -> bool:
    return isinstance(v, Literal) and np.size(v.val) == 1 and not np.any(v.val)
