"""Which number a backward pass should have where it has another: found by Newton's method, not among those that are known.

A constant typed with too few digits, a step or a share that is another one in the function: the gradient is a smooth
function of the number, and where some value of it makes the whole array right, that is the value.
"""

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from backproplab.harness.backward import Backward
from backproplab.harness.edits import Edit
from backproplab.harness.sites import changed, is_number, shown, sites_of, with_item, with_operands

_STEPS = 5
_ASIDE = 1e-6  # of the number
_GETS_NEARER = 0.3  # what a step must leave at most of the distance
_OFTEN = (0.0, 1.0, -1.0)  # they stand for other things than quantities


def fitted(
    backward: Backward, output: int, spared: Sequence[int], off: Callable[[ClosedJaxpr], np.ndarray]
) -> Iterator[Edit]:
    """For each number in the backward pass, the one in its place that makes the program right, if any does.

    output, spared: as `edits` has them. off: by how much a program's gradient is.
    """
    for where, number, site in sites_of(backward, (), output, spared):
        for i, v in enumerate(site.eqn.invars):
            if isinstance(v, Literal) and is_number(v) and np.isfinite(v.val) and float(v.val) not in _OFTEN:
                program = functools.partial(_with_number, site, i)
                found = _solved(float(v.val), lambda x, program=program: off(program(x)))
                if found is not None:
                    words = f"to use {found:.10g} in place of {float(v.val):.9g}"
                    change = functools.partial(program, found)
                    yield Edit("fitted", where, shown(site.eqn), number, str(i), words, change)


def _with_number(site, i, x) -> ClosedJaxpr:
    v = site.eqn.invars[i]
    literal = Literal(np.asarray(x, np.float64), v.aval)
    return changed(site, with_operands(site, with_item(site.eqn.invars, i, literal)))


def _solved(x: float, off: Callable[[float], np.ndarray]) -> float | None:
    """Where `off` is 0, from `x` on; None if it goes astray."""
    here = off(x)
    for _ in range(_STEPS):
        h = _ASIDE * abs(x)
        slope = (off(x + h) - here) / h
        norm = float(np.vdot(slope, slope).real)
        if not np.isfinite(norm) or norm == 0:
            return None
        x -= float(np.vdot(slope, here).real) / norm
        there = off(x)
        before, now = np.linalg.norm(here), np.linalg.norm(there)
        here = there
        if not np.isfinite(now) or now > _GETS_NEARER * before:
            break
    # whether it is there is for others to say, who know how exactly the right gradient is known
    return x if np.isfinite(x) else None
