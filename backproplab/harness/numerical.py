"""The rule against finite differences of the function: an oracle that shares nothing with autodiff."""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.harness.along import along
from backproplab.harness.at_rest import AT_REST
from backproplab.harness.compare import Difference, largest
from backproplab.harness.differences import Slope, across_branches, slope
from backproplab.harness.neighbours import jittered
from backproplab.harness.opaque import by_differences
from backproplab.harness.point import Point
from backproplab.harness.strip import strip
from backproplab.harness.verdict import Check

_DIRECTIONS = 2  # where the first is of no use
_NEAR = 2.0**-12  # a step along a direction
SURE = 1e-5  # of a slope: what the error bar of differences that decide stays below
_OFF, _TWO_DIGITS = 1e-4, 100.0  # of a slope, and of the bar: what a rule is off by that differences convict
_BENT = 1e-2  # of the slope: what a smooth function may be bent by over that
_LARGE = 1e3
_SETTLES = 1e-3  # of a one-sided slope: what it may change by from that step to a shorter one, which is the step's own size for a curve

SEAM = "and so has autodiff of the function, which has a seam there but no kink"


def difference_checks(p: Point, seed: int, notes: list[str]) -> Iterator[Check]:
    """The derivative of <c, f> along a random direction beside the rule's gradient projected on it."""
    if p.case.by_design or p.case.kink or not _real(p) or p.pair.numerical:  # they are the oracle already
        return
    cotangents = p.cotangents("random", seed)
    gradient = _formula(p, cotangents)
    if not all(np.isfinite(g).all() for g in gradient):
        return  # the formula check has said so
    found = _projected(p, cotangents, gradient, seed)
    if found is None:
        notes.append("finite differences were of no use: no step stays on one branch of the function")
    elif found.error <= found.bound:
        yield Check("differences", "pass", error=found.error, bound=found.bound, resolves=found.resolves)
    elif _seam(p, seed) and (words := contradiction(p, seed)):
        yield Check("differences", "fail", cause=f"{words}, {SEAM}", estimated=True)
    elif AT_REST not in notes:
        notes.append(f"finite differences disagree: {found.error:.3g} where their error bar is {found.bound:.2g}")


class _Projected(NamedTuple):
    """A gradient and finite differences along one direction: how far apart, how far that may be, as a share of the slope."""

    error: float
    bound: float
    resolves: float | None


def _projected(p: Point, cotangents, gradient: list[np.ndarray], seed: int) -> _Projected | None:
    """Along the first direction in which finite differences are of use."""
    for v, s in _slopes(p, cotangents, seed):
        if s is not None:
            # the gradient and its projection round too
            bar = s.bar + 1e-12 * _dot([np.abs(g) for g in gradient], [np.abs(d) for d in v])
            return _Projected(abs(_dot(gradient, v) - s.value), bar, bar / abs(s.value) if s.value else None)
    return None


def _seam(p: Point, seed: int) -> bool:
    """Whether rule and finite differences, which are apart at `p`, agree beside it: the gradient is meant to be the derivative.

    Not where steps, which are as large as the arguments, go past anything that is of the size of 1.
    """
    if largest(p.view.diff) > _LARGE:
        return False
    beside = p.moved(jittered(p, seed))
    cotangents = p.cotangents("random", seed)
    gradient = _formula(beside, cotangents)
    found = _projected(beside, cotangents, gradient, seed) if all(np.isfinite(g).all() for g in gradient) else None
    return found is not None and found.error <= found.bound


def agrees_with_differences(
    p: Point,
    cotangents: list[np.ndarray],
    gradient: list[np.ndarray],
    rivals: list[list[np.ndarray]],
    seed: int,
    sure: float = SURE,
) -> bool:
    """Whether finite differences side with the rule, clearly, along every direction: then autodiff is at fault.

    rivals: each the gradient with what autodiff has in one place; along some direction, differences must be against it.
    sure: the share of the steepest slope that their error bars must stay below. Where no step stays on one branch of the
    function, as in a bisection, of which autodiff knows nothing, the steps must do without.
    """
    if p.case.by_design or p.pair.numerical or not _real(p) or not all(np.isfinite(g).all() for g in gradient):
        return False
    found = list(_slopes(p, cotangents, seed, directions=6, otherwise=across_branches))
    steepest = max((abs(s.value) for _, s in found if s is not None), default=0.0)
    near = lambda g, v, s: abs(_dot(g, v) - s.value) <= s.bar + 1e-11 * abs(s.value)
    return all(s is not None and s.bar < sure * steepest and near(gradient, v, s) for v, s in found) and not any(
        all(near(rival, v, s) for v, s in found) for rival in rivals
    )


def differences_overrule(p: Point, cotangents: list[np.ndarray], exact: list[np.ndarray], seed: int) -> bool:
    """Whether finite differences, across branches where they must, are against autodiff along every direction: of a bisection
    it knows nothing."""
    if p.case.by_design or p.pair.numerical or not _real(p) or not all(np.isfinite(g).all() for g in exact):
        return False
    found = _slopes(p, cotangents, seed, otherwise=across_branches)
    return all(s is not None and _convict(s.value, s.bar, _dot(exact, v)) for v, s in found)


class Refuted(NamedTuple):
    """In words, what finite differences have; whether autodiff has another number still."""

    words: str
    alone: bool


def differences_refute(p: Point, cotangents: list[np.ndarray], leaf: int, d: Difference, seed: int) -> Refuted | None:
    """Whether finite differences are clearly against the rule, along a direction in one argument alone, and side with
    autodiff, if that has a number there; or with nobody, but are the same with steps of all sizes."""
    if p.case.by_design or not _real(p):
        return None
    v, widest = _direction(p, np.random.default_rng([seed, 7]))
    plain = strip(p.view.call(p.case.reference or p.case.fn))
    diff = [np.asarray(x, np.float64) for x in p.view.diff]

    def line(t, given):
        w, at, rest = given[0], given[1 : 1 + len(diff)], given[1 + len(diff) :]
        return plain([x + t[0] * w if i == leaf else x for i, x in enumerate(at)], rest)

    # with a guess at the rounding of the function
    given, room = [v[leaf], *diff, *p.view.rest], [(-widest, widest)]
    slopes = p.once(f"line {leaf}", lambda: by_differences(line, [np.zeros(())], given, room, jax.devices("cpu")[0]))
    values, bars = slopes([np.zeros(()), *given, *cotangents])
    found, bar = float(values[-1]), float(bars[-1])
    ours, autodiffs = (float(np.vdot(g, v[leaf])) for g in (d.got, d.exact))
    if not _convict(found, bar, ours):
        return None
    alone = bool(np.isfinite(autodiffs) and abs(autodiffs - found) > bar + 1e-9 * abs(found))
    of_leaf = along(p, cotangents)([x if i == leaf else 0.0 * x for i, x in enumerate(v)])
    if not p.pair.unknown:  # what cancels is off by as much at every step: no guess sees that
        analysed = slope(of_leaf, widest)
        if analysed is not None and not _convict(*analysed, ours):
            return None
    if alone:
        settled = across_branches(of_leaf, widest)
        if settled is None or abs(settled.value - found) > settled.bar + bar:
            return None
    return Refuted(f"along a random direction the slope is {ours:.6g}, finite differences have {found:.6g}", alone)


def _convict(slope: float, bar: float, ours: float) -> bool:
    """Whether finite differences are sure of a slope, and the rule's is clearly another one, or no number."""
    return bar < SURE * abs(slope) and not abs(ours - slope) <= max(_OFF * abs(slope), _TWO_DIGITS * bar)


def contradiction(p: Point, seed: int) -> str | None:
    """In words, where finite differences that are sure of themselves are far from the rule; None if they are not."""
    if p.case.by_design or not _real(p):
        return None
    cotangents = p.cotangents("random", seed)
    gradient = _formula(p, cotangents)
    ((v, s),) = _slopes(p, cotangents, seed, directions=1)
    ours = _dot(gradient, v)
    if s is None or not _convict(s.value, s.bar, ours):
        return None
    line = along(p, cotangents)
    before, here, behind = (line(v)(t).value for t in (-_NEAR, 0.0, _NEAR))
    if not abs(before + behind - 2 * here) <= _BENT * _NEAR * abs(s.value):
        return None  # another slope on the other side
    for w, other in _slopes(p, cotangents, seed + 1, directions=6):
        both = slope(line([a + b for a, b in zip(v, w)]), 0.5)
        if other is None or both is None or abs(s.value + other.value - both.value) > s.bar + other.bar + both.bar:
            return None  # slopes that do not add up are those of no gradient, as of the median of equal numbers
    return f"along a random direction the rule's slope is {ours:.6g}, finite differences have {s.value:.6g}"


def bend(p: Point, seed: int) -> str | None:
    """In words, the slopes on either side in a random direction, by finite differences, if they are two; None where the
    function is smooth, steep or jumps."""
    if p.case.by_design or not _real(p):
        return None
    v, _ = _direction(p, np.random.default_rng([seed, 7]))
    line = along(p, p.cotangents("random", seed))(v)
    here = line(0.0).value
    near, nearer = ([(line(t).value - here) / t for t in (-step, step)] for step in (_NEAR, _NEAR / 16))
    if not np.isfinite([*near, *nearer]).all() or not np.allclose(near, nearer, rtol=_SETTLES, atol=0):
        return None
    if abs(near[0] - near[1]) <= _BENT * max(map(abs, near)):
        return None
    return f"any slope from {min(near):.6g} to {max(near):.6g} would do in a random direction"


def _formula(p: Point, cotangents: list[np.ndarray]) -> list[np.ndarray]:
    """The rule's gradients in float64 throughout: its arithmetic in fewer digits is checked apart."""
    return [d.got for d in p.formulas(cotangents)[len(p.outputs) :]]


def _slopes(
    p: Point, cotangents, seed: int, directions: int = _DIRECTIONS, otherwise: Callable = lambda line, widest: None
) -> Iterator[tuple[list[np.ndarray], Slope | None]]:
    generator = np.random.default_rng([seed, 7])
    lines = along(p, cotangents)
    for _ in range(directions):
        v, widest = _direction(p, generator)
        line = functools.cache(lines(v))
        yield v, slope(line, widest) or otherwise(line, widest)


def _direction(p: Point, generator) -> tuple[list[np.ndarray], float]:
    """A random direction in the scale of each leaf, and the largest step that keeps to the declared domain."""
    directions, widest = [], 1.0
    for x, position in zip(p.view.diff, p.view.positions):
        x = np.asarray(x, np.float64)
        finite = np.where(np.isfinite(x), x, 0.0)
        scale = float(np.sqrt(np.mean(finite * finite))) if x.size else 1.0
        domain = p.case.domain.get(position)
        v = generator.standard_normal(x.shape, np.float32).astype(np.float64) * (scale or 1.0)  # in half the time
        if domain == "fixed":
            v = 1e-3 * v
        elif domain is not None:
            room = np.minimum(x - domain[0], domain[1] - x)
            v = np.where(np.isfinite(room), np.clip(v, -np.abs(room), np.abs(room)), v)
        directions.append(np.where(np.isfinite(x), v, 0.0))  # infinite entries mask: they stay
    return directions, widest


def _dot(a, b) -> float:
    return float(sum(np.vdot(np.asarray(x, np.float64), y) for x, y in zip(a, b)))


def _real(p: Point) -> bool:
    return not any(np.iscomplexobj(x) for x in p.view.diff) and not any(
        jnp.issubdtype(y.dtype, jnp.complexfloating) for y in p.outputs
    )
