"""Edits of where an operation of a backward pass reaches: one place further, along another axis, for more steps."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal, Var

from backproplab.harness import displaced
from backproplab.harness.control import scan_sizes
from backproplab.harness.error_rules import is_float
from backproplab.harness.sites import Site, call, instead, with_item

Edits = Iterator[tuple[str, str, Callable[[], list]]]
Axes = tuple[int, ...]
_STEPS = (10, 60)  # times as many: an iteration that converges by a factor of 0.7 a step is then there
_MOST_STEPS = 600
_EXACTLY = 1e-9
_MEETS = ("broadcast_in_dim", "mul", "sub", "add", "add_any", "div")
_SPREADS = ("broadcast_in_dim", "reshape", "squeeze", "expand_dims")


def one_place(site: Site) -> Edits:
    """An index, a start or a padding that is off by one."""
    for axis in displaced.axes(site.eqn):
        for by, where in ((1, "later"), (-1, "earlier")):
            if displaced.fits(site.eqn, axis, by):
                function = functools.partial(_displaced, site.eqn, axis, by)
                words = f"to begin one place {where} along axis {axis}"
                if site.eqn.primitive.name == "gather" or site.eqn.primitive.name.startswith("scatter"):
                    words = f"to take an index one {'larger' if by > 0 else 'smaller'} (column {axis})"
                yield f"{axis} {by}", words, instead(site, function, *site.eqn.invars)


def _displaced(eqn: Any, axis: int, by: int, *operands):
    return displaced.displaced(eqn, list(operands), axis, by)


def other_axes(site: Site) -> Edits:
    """A sum that meets the array again that it is a sum of: along other axes of it."""
    for k, axes, other, what, eqns in sums_met(site):
        yield f"{k} {axes} {other}", f"to take the {what} over {in_words(other)}, not over {in_words(axes)},", eqns


def sums_met(site: Site) -> Iterator[tuple[int, Axes, Axes, str, Callable[[], list]]]:
    """Each such operand, by its number, with the axes it goes over, others, whether it is a sum, and what takes it over those."""
    for k, v in enumerate(site.eqn.invars if site.eqn.primitive.name in _MEETS and is_float(site.out.aval) else ()):
        summed, share = _sum_behind(v, site)
        if summed is None:
            continue
        operand, axes = summed.invars[0], tuple(summed.params["axes"])
        shape = operand.aval.shape
        counted = lambda axes, shape=shape: math.prod(shape[a] for a in axes)
        several = (itertools.combinations(range(len(shape)), n) for n in range(1, len(shape) + 1))
        for other in itertools.chain(*several):
            if set(other) != set(axes) and counted(other) > 1:
                mean = abs(share * counted(axes) - 1) < _EXACTLY  # of a mean, the count is another as well
                function = functools.partial(_along, axes=other, factor=1 / counted(other) if mean else share)
                yield k, axes, other, "mean" if mean else "sum", _of_operand(site, k, function, operand)


def _sum_behind(v: Any, site: Site) -> tuple[Any, float]:
    """The sum that an operand is, of an array of the result's shape, and by what number it is multiplied."""
    share = 1.0
    while not isinstance(v, Literal) and v in site.made_by:
        eqn = site.made_by[v]
        name, operands = eqn.primitive.name, eqn.invars
        if name == "reduce_sum":
            return (eqn, share) if operands[0].aval.shape == site.out.aval.shape else (None, share)
        if name == "mul" and isinstance(operands[0], Literal):
            operands = operands[::-1]
        if name in ("div", "mul") and isinstance(operands[1], Literal) and np.ndim(operands[1].val) == 0:
            share = share / float(operands[1].val) if name == "div" else share * float(operands[1].val)
        elif name not in _SPREADS:
            break
        v = operands[0]
    return None, share


def _of_operand(site: Site, k: int, function: Callable, operand: Any) -> Callable[[], list]:
    """The equation with `function(operand)` in place of its operand number `k`; or that alone, of a broadcast."""
    if site.eqn.primitive.name == "broadcast_in_dim":
        return instead(site, function, operand)

    def make():
        passed = Var(operand.aval)
        taking = site.eqn.replace(invars=with_item(site.eqn.invars, k, passed))
        return [call(site.eqn, function, [operand], passed, {}), taking]

    return make


def _along(x, axes, factor):
    return jnp.broadcast_to(factor * x.sum(axes, keepdims=True), x.shape)


def in_words(axes: Axes) -> str:
    """`axis 0` or `axes 0, 1`."""
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"


def whole_axis(site: Site) -> Edits:
    """What stands at one place of an axis, in place of the sum along it."""
    if site.eqn.primitive.name != "slice" or not is_float(site.out.aval):
        return
    (operand,), p = site.eqn.invars, site.eqn.params
    for axis, (start, limit) in enumerate(zip(p["start_indices"], p["limit_indices"])):
        if limit - start == 1 < operand.aval.shape[axis]:
            function = functools.partial(_summed, site.eqn, axis)
            yield f"{axis}", f"to add up axis {axis}, not to take one place of it,", instead(site, function, operand)


def _summed(eqn: Any, axis: int, x):
    ends = {key: list(eqn.params[key]) for key in ("start_indices", "limit_indices")}
    ends["start_indices"][axis], ends["limit_indices"][axis] = 0, x.shape[axis]
    return jax.lax.slice(x, **ends, strides=eqn.params["strides"]).sum(axis, keepdims=True)


def the_other_way(site: Site) -> Edits:
    """A running sum, a loop or a shift around an axis that goes the other way."""
    eqn, p = site.eqn, site.eqn.params
    if eqn.primitive.name in (*displaced.CUMULATIVE, "scan"):
        changed = lambda: [eqn.replace(params=p | {"reverse": not p["reverse"]})]
        yield "", f"to run {'forwards' if p['reverse'] else 'backwards'}", changed
    if eqn.primitive.name == "concatenate" and (found := _rolled(site)):
        operand, by = found
        axis = p["dimension"]
        words = f"to shift by {-by} along axis {axis}, not by {by},"
        yield "", words, instead(site, functools.partial(jnp.roll, shift=-by, axis=axis), operand)


def _rolled(site: Site) -> tuple[Any, int] | None:
    """The operand and the shift of a concatenation that is one around an axis; None of any other."""
    axis = site.eqn.params["dimension"]
    makers = [site.made_by[v] for v in site.eqn.invars if not isinstance(v, Literal) and v in site.made_by]
    if len(site.eqn.invars) != 2 or [m.primitive.name for m in makers] != ["slice", "slice"]:
        return None
    (operand,), (other,) = (m.invars for m in makers)
    (start, end), (first, middle) = ((m.params["start_indices"][axis], m.params["limit_indices"][axis]) for m in makers)
    size = operand.aval.shape[axis]
    around = first == 0 and middle == start and end == size
    whole = operand.aval.shape == site.out.aval.shape
    return (operand, size - start) if operand is other and around and whole else None


def more_steps(site: Site) -> Edits:
    """An iteration that stops before it has settled, or one step off."""
    if site.eqn.primitive.name != "scan" or _stacked(site.eqn):
        return
    length = site.eqn.params["length"]
    for other in (length + 1, length - 1, *(n * length for n in _STEPS)):
        if 0 < other <= _MOST_STEPS:
            changed = lambda other=other: [site.eqn.replace(params=site.eqn.params | {"length": other})]
            words = f"to take {other} steps, not {length}: it stops too {'early' if other > length else 'late'},"
            yield f"{other}", words, changed


def _stacked(scan: Any) -> list:
    """What a loop takes apart and puts together step by step."""
    consts, carry = scan_sizes(scan.params)
    return [*scan.invars[consts + carry :], *scan.outvars[carry:]]
