"""The function of a point along a line: its values, what rounding may have done to them, and which way its comparisons went."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr

from backproplab.harness.differences import Sample
from backproplab.harness.error_rules import lifted
from backproplab.harness.evaluated import evaluated, with_ways
from backproplab.harness.jitted import jitted
from backproplab.harness.point import Point
from backproplab.harness.programs import Analysis, is_long, run_analysis, short
from backproplab.harness.strip import holds

_SAMPLES = 20  # about as many are taken
_SLOW_IN_NUMPY = ("scan", "while", "conv_general_dilated", "reduce_window", "reduce_window_sum", "reduce_window_max")
_IN_BETWEEN = 2.0  # times the bound of the points around, where it is not computed
_GUESS = 100 * 2.0**-53  # of the value, where an operation has no error rule

# Where a ladder of steps asks, which begins at its widest.
_RUNGS = np.array([0.0, *(sign * 2.0**-k for k in range(4) for sign in (1, -1))])

Line = Callable[[float], Sample]


def along(p: Point, cotangents: list[np.ndarray]) -> Callable[[list[np.ndarray]], Line]:
    """From a direction `v` to the function `t -> <c, f(x + t v)>` in float64."""
    diff = [np.asarray(x, np.float64) for x in p.view.diff]
    wide = [np.asarray(c, np.float64) for c in cotangents]
    sample = p.once("along", lambda: _sampling(_program(p, diff, cotangents), p.often))
    return lambda v: sample(diff, v, [*p.view.rest, *wide])


def _moving(diff: list[np.ndarray], v: list[np.ndarray], others: list) -> Callable[[float], list]:
    """From t to the arguments there, and the others. In the same arrays each time: new ones take as long as a function of them."""
    moved = [np.empty(np.shape(x)) for x in diff]

    def at(t):
        for x, d, out in zip(diff, v, moved):
            np.add(x, np.multiply(d, t, out=out), out=out)
        return [*moved, *others]

    return at


def _program(p: Point, diff: list[np.ndarray], cotangents: list[np.ndarray]) -> ClosedJaxpr:
    def scalar(diff, rest, cotangents):
        return sum(jnp.vdot(c, y) for c, y in zip(cotangents, p.plain(diff, rest)))

    with jax.enable_x64(p.wide):
        typed = [jnp.asarray(x, d.dtype) for x, d in zip(diff, p.view.diff)]
        return jax.make_jaxpr(scalar)(typed, p.view.rest, [jnp.asarray(c) for c in cotangents])


def _sampling(program: ClosedJaxpr, often: bool) -> Callable[[list, list, list], Line]:
    """From a point, a direction and the other inputs of a program to its samples."""
    loops = holds(_SLOW_IN_NUMPY, program)
    if short(program, _SAMPLES) or not loops:
        at_once = not loops and (often or is_long(program))
        analyse = run_analysis(program, set(), often=at_once)
        values = _together(program) if at_once else _in_turn(program)
        return lambda diff, v, others: _by_values(values(diff, v, others), analyse, _moving(diff, v, others))
    analyse = run_analysis(program, set(), branching=True)

    def sampled(diff, v, others):
        inputs = _moving(diff, v, others)

        def line(t):
            found = analyse(inputs(t), lifted())
            return Sample(float(found.values[0]), _error(found), float(found.branches))

        return line

    return sampled


Values = Callable[[float], tuple[float, tuple]]


def _in_turn(program: ClosedJaxpr) -> Callable[[list, list, list], Values]:
    """The value of a program along a line and the ways that its comparisons go, interpreted."""

    def along_line(diff, v, others):
        inputs = _moving(diff, v, others)

        def values(t):
            ways: list[float] = []
            return float(evaluated(program, inputs(t), ways)[0]), tuple(ways)

        return values

    return along_line


def _together(program: ClosedJaxpr) -> Callable[[list, list, list], Values]:
    """The same compiled, for the next rungs of a ladder at once."""
    cpu = jax.devices("cpu")[0]

    def samples(steps, diff, v, others):
        def sample(t):
            (value,), ways = with_ways(program, [*(x + t * d for x, d in zip(diff, v)), *others])
            return value, jnp.array(ways)

        return jax.lax.map(sample, steps)

    compiled = jitted(samples, 0, cpu, often=True)

    def along_line(diff, v, others):
        known: dict[float, tuple[float, tuple]] = {}

        def values(t):
            if t not in known:
                steps = (t or 1.0) * _RUNGS
                with jax.enable_x64(True), jax.default_device(cpu):
                    found, ways = map(np.asarray, compiled(steps, diff, v, others))
                known.update(zip(steps.tolist(), zip(found.tolist(), map(tuple, ways.tolist()))))
            return known[t]

        return values

    return along_line


def _by_values(values: Values, analyse: Callable[..., Analysis], inputs: Callable[[float], list]) -> Line:
    """Rounding is analysed at the points that are the farthest so far on their side, unless as far a one of the other side
    lies on the same branch: those in between are no worse, but for a factor.
    """
    reach: dict[Any, float] = {}  # of a side, and of a branch
    error = 0.0

    def line(t: float) -> Sample:
        nonlocal error
        value, branch = values(t)
        if abs(t) > max(reach.get(t > 0, 0.0), reach.get(branch, 0.0)):
            reach[t > 0] = reach[branch] = abs(t)
            error = max(error, _IN_BETWEEN * _error(analyse(inputs(t), lifted())))
        return Sample(value, error, branch)

    return line


def _error(found: Analysis) -> float:
    error = float(found.errors[0])
    return error if np.isfinite(error) else _GUESS * abs(float(found.values[0]))
