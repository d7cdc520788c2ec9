"""Points of the harness's own making at which a function says nothing of its rule, since it is not what it is elsewhere."""

import itertools

import jax
import numpy as np

from backproplab.harness.at_rest import longer
from backproplab.harness.compare import in_double, largest
from backproplab.harness.evaluated import evaluated
from backproplab.harness.point import Point

_NUDGE = 2.0**-40
_SAME = 1e-6  # of the largest number
_AT_REST = 2.0**-40  # of an entry: more would show in its gradient
_ROUNDING = 2.0**-45  # of the largest


def undefined(p: Point, seed: int) -> bool:
    """Whether no two of four points that are nearly one yield nearly the same value: a singular system, solved all the same.

    Beside a jump there are two values to choose from, so that of four points two agree.
    """
    generator = np.random.default_rng(seed)
    nudge = lambda x: (x * (1 + _NUDGE * generator.normal(size=np.shape(x)))).astype(x.dtype)
    points = [p, *[p.moved([nudge(x) for x in p.view.diff]) for _ in range(3)]]
    values = [q.pair.oracle(q.inputs(q.cotangents("zeros", seed)))[: len(q.outputs)] for q in points]
    return not any(_same(a, b) for a, b in itertools.combinations(values, 2))


def unsettled(base: Point, p: Point) -> bool:
    """Whether an iteration has come to rest at `base` but not, or not quite, at `p`.

    The rule of what it tends to (a fixed point, an envelope) is right where it is at rest, and nobody claims more.
    """
    return _at_rest(base, _SAME) and not _at_rest(p, _AT_REST)


def _at_rest(p: Point, share: float) -> bool:
    """Whether twice as many steps yield the same value, but for this share of an entry."""
    inputs = [*p.view.diff, *p.view.rest]
    with jax.enable_x64(p.wide):
        programs = p.stripped, longer(p.stripped, 2)
    once, twice = ([*map(in_double, evaluated(program, inputs))] for program in programs)
    with np.errstate(all="ignore"):  # entry by entry: a small one may be on its way beside large ones at rest
        return all(
            np.all((a == b) | (np.abs(a - b) <= share * np.abs(b) + _ROUNDING * largest([b])))
            for a, b in zip(once, twice)
        )


def _same(one: list, two: list) -> bool:
    pairs = [(in_double(a), in_double(b)) for a, b in zip(one, two)]
    with np.errstate(all="ignore"):  # infinities
        return all(np.all((a == b) | (np.abs(a - b) <= _SAME * largest([a, b]))) for a, b in pairs)
