"""The rule under JAX's transformations: eager as jitted, vmapped and scanned as in a loop, and the same when run again."""

import functools
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun

from backproplab.case import backward_rule
from backproplab.harness.compare import AS_GOOD, Difference, in_double, largest
from backproplab.harness.contract import line_of
from backproplab.harness.eager import eager
from backproplab.harness.error_rules import lifted
from backproplab.harness.parallel import parallel
from backproplab.harness.point import Point, vjp_of
from backproplab.harness.primitives import is_key
from backproplab.harness.programs import Analysis, Program, analysis, float64_alone, values_in_float64
from backproplab.harness.strip import batches_by_itself, strip
from backproplab.harness.verdict import Check
from backproplab.harness.view import view

_BATCH = 3
_CHOICES = 5  # arguments and cotangents; of more, not every choice is tried
_LARGE = 1_000_000
_LAST_DIGITS = 2.0**-46  # of the largest entry: what the order of a sum may change
_LEAKED = "the rule takes a value of another trace for its own: it keeps state outside its residuals"


def transform_checks(p: Point, seed: int, notes: list[str], whole: bool) -> Iterator[Check]:
    """In the dtype of `p`, with the rounding bounds of the rule.

    whole: vmapped; interleaved; inside jit, checkpoint and scan; outside jit; and on several devices, where there are such
    and all of the rule is JAX's own. If not whole, only a rule is vmapped that is batched in a way of its own.
    """
    if sum(np.size(x) for x in p.view.diff) > _LARGE:
        return
    if whole or p.once("batches by itself", lambda: batches_by_itself(p.pair.by_hand)):
        yield from vmapped(p, seed, notes)
    if whole:
        yield from interleaved(p, seed)
        yield from within(p, seed)
        yield from eager(p, seed)
        if not batches_by_itself(p.pair.by_hand) and (points := _points(p, seed, 2)) is not None:
            runs = [[*diff, *rest, *p.cotangents("random", seed + i)] for i, (diff, rest) in enumerate(points)]
            yield from parallel(p, runs, notes)


def repeated(p: Point, seed: int) -> Iterator[Check]:
    """The same numbers when it runs again after a run at other numbers: no state, no chance."""
    cotangents = p.cotangents("random", seed)
    first = p.ran(cotangents)[len(p.outputs) :]
    p.gradients(p.cotangents("random", seed + 1))
    for label, one, two in zip(p.view.labels, first, p.gradients(cotangents)):
        if not np.array_equal(one, two) and not np.array_equal(one, two, equal_nan=True):
            yield Check(
                "repeated", "fail", label, cause=f"a second run at the same point yields another gradient of {label}"
            )
            return
    yield Check("repeated", "pass")


def interleaved(p: Point, seed: int) -> Iterator[Check]:
    """Two forward passes before the two backward passes: a rule that leaves something outside its residuals mixes them up."""
    points = _points(p, seed, 2)
    if points is None:
        return
    runs = [(diff, rest, p.cotangents("random", seed + i)) for i, (diff, rest) in enumerate(points)]
    call = p.view.call(p.case.fn)

    shapes = jax.tree.structure(runs)

    def both(leaves):
        runs = jax.tree.unflatten(shapes, leaves)
        pulls = [jax.vjp(lambda d, rest=rest: call(d, rest), diff)[1] for diff, rest, _ in runs]
        return [g for pull, (_, _, cotangents) in zip(pulls, runs) for g in pull(list(cotangents))[0]]

    leaves = jax.tree.leaves(runs)
    mixed = _formula(p, "interleaved", both, leaves)
    for k, (diff, rest, cotangents) in enumerate(runs):
        words = "with two forward passes before the backward passes"
        first = k * len(diff)
        got = lambda bounds, first=first: mixed(leaves, bounds)[first:]
        if check := _apart(p, "interleaved", words, got, [*diff, *rest, *cotangents]):
            cause = f"{check.cause}: the rule keeps state outside its residuals"
            yield replace(check, cause=cause, where=line_of(backward_rule(p.case.fn)))
            return
    yield Check("interleaved", "pass")


def vmapped(p: Point, seed: int, notes: list[str]) -> Iterator[Check]:
    """Batched over some of the arguments and the cotangent, the others shared, against one run per element.

    Which ones: all. Of a function that has a batching rule of its own, or runs what JAX does not see into, every choice:
    JAX's batching of its own operations needs no such doubt. What a rule refuses, as a callback may, is loud: a note.
    """
    points = _points(p, seed, _BATCH)
    if points is None:
        return
    runs = [[*diff, *rest, *p.cotangents("random", seed + i)] for i, (diff, rest) in enumerate(points)]
    rule = jaxpr_as_fun(p.pair.by_hand)
    for name, batched in _batchings(p).items():
        elements = [[runs[b if i in batched else 0][i] for i in range(len(runs[0]))] for b in range(_BATCH)]
        stacked = [np.stack([e[i] for e in elements]) if i in batched else runs[0][i] for i in range(len(runs[0]))]
        axes = tuple(0 if i in batched else None for i in range(len(runs[0])))
        program = lambda inputs, axes=axes: jax.vmap(rule, axes)(*inputs)
        try:
            formula = _formula(p, f"vmap over {name}", program, stacked)
            formula(stacked, bounds=False)
        except Exception as error:
            told = " ".join(str(error).split())[:150]
            notes.append(f"under vmap over {name} the rule raises {type(error).__name__}: {told}")
            return
        at = lambda b, bounds: [(value[b], error[b]) for value, error in formula(stacked, bounds)[len(p.outputs) :]]
        for b, element in enumerate(elements):
            words = f"under vmap over {name}, in batch element {b},"
            if check := _apart(p, "vmap", words, functools.partial(at, b), element):
                yield check
                return
    yield Check("vmap", "pass")


def _batchings(p: Point) -> dict[str, set[int]]:
    """In words, and as positions in the inputs of the program of `p`, the cotangents taken as one."""
    count, rest = len(p.view.diff), len(p.view.rest)
    single = {label: {i} for i, label in enumerate(p.view.labels)}
    single["the cotangent"] = set(range(count + rest, count + rest + len(p.outputs)))
    chosen = {}
    if batches_by_itself(p.pair.by_hand):
        sizes = range(1, len(single)) if len(single) <= _CHOICES else (1,)
        several = [names for size in sizes for names in combinations(single, size)]
        chosen = {" and ".join(names): set().union(*(single[name] for name in names)) for names in several}
    everything = set().union(*single.values()) | {i + count for i, x in enumerate(p.view.rest) if not is_key(x)}
    return chosen | {"all arguments": everything}


def within(p: Point, seed: int) -> Iterator[Check]:
    """Inside jit, checkpoint and a scan of two steps. What the function itself, its rules aside, does not allow is left out."""
    call = p.view.call(p.case.fn)
    count, rest = len(p.view.diff), len(p.view.rest)
    inputs = p.inputs(p.cotangents("random", seed))
    twice = [np.stack([x, x]) if i < count or i >= count + rest else x for i, x in enumerate(inputs)]
    forms = {"jit": (jax.jit, inputs), "checkpoint": (jax.checkpoint, inputs), "scan": (_scanned, twice)}
    for name, (transform, given) in forms.items():
        formula = None
        try:
            formula = _formula(p, name, vjp_of(transform(call), count, rest), given)
            formula(given, bounds=False)
        except Exception as error:
            leaked = formula is not None
            if leaked and not isinstance(error, jax.errors.JAXTypeError):
                raise  # the analysis itself
            if _allows(p, transform, given):
                cause = f"inside {name} the rule raises {type(error).__name__}: {' '.join(str(error).split())[:200]}"
                cause = f"inside {name} {_LEAKED} ({type(error).__name__})" if leaked else cause
                yield Check(name, "fail", cause=cause, where=line_of(backward_rule(p.case.fn)))
                return
            continue
        for step in (0, 1) if name == "scan" else (...,):
            at = lambda bounds, step=step, given=given, formula=formula: [
                (value[step], error[step]) for value, error in formula(given, bounds)[len(p.outputs) :]
            ]
            if check := _apart(p, name, f"inside {name}", at, inputs):
                yield check
                return
        yield Check(name, "pass")


def _scanned(call):
    """`call` at each entry of the leading axis of its first argument, one after the other."""
    return lambda diffs, rest: jax.lax.scan(lambda carry, diff: (carry, call(diff, rest)), (), diffs)[1]


def _allows(p: Point, transform, given: list) -> bool:
    try:
        oracle = vjp_of(transform(strip(p.view.call(p.case.fn))), len(p.view.diff), len(p.view.rest))
        with jax.enable_x64(p.wide):
            jax.eval_shape(oracle, given)
    except Exception:
        return False
    return True


class _Formula(NamedTuple):
    """A rule, transformed or as it is: its values in float64, unless a part of it has fewer digits, and those with bounds."""

    values: Program | None
    analyse: Analysis

    def __call__(self, inputs: list, bounds: bool) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each output its value and the bound on its rounding; 0 for those that are not asked for."""
        if not bounds and self.values is not None:
            with suppress(Exception):  # what leaked from another trace has no value; the analysis says so
                return [(value, np.zeros(np.shape(value))) for value in self.values(inputs)]
        return list(zip(*self.analyse(inputs, lifted())))


def _formula(p: Point, name: str, program: Callable, inputs: list) -> _Formula:
    """Of a transformed rule; traced once per program of `p`. To compile its analysis would cost more."""

    def traced():
        with jax.enable_x64(p.wide):
            jaxpr = jax.make_jaxpr(program)(inputs)
        return _Formula(values_in_float64(jaxpr) if p.wide and float64_alone(jaxpr) else None, analysis(jaxpr, set()))

    return p.once(name, traced)


def _apart(p: Point, name: str, words: str, got: Callable[[bool], list], inputs: list) -> Check | None:
    """The failing check of the first gradient that is another one than alone, at these inputs.

    got: the transformed rule's gradients as a formula has them, with bounds or without, which are asked for where the values
    are not alike at once.
    """
    rule = _Formula(p.pair.in_float64()[0], p.pair.analyse_rule)
    alone = lambda bounds: rule(inputs, bounds)[len(p.outputs) :]
    if all(map(_alike, got(False), alone(False))):
        return None
    for label, one, two in zip(p.view.labels, got(True), alone(True)):
        d = _difference(one, two, p.wide)
        if d.any_wrong:
            i = d.worst
            cause = f"{words} the gradient of {label} is {d.got[i]:.6g} at {list(i)}, alone {d.exact[i]:.6g}"
            return Check(name, "fail", label, float(d.error[i]), float(d.bound[i]), cause=cause)
    return None


def _alike(got: tuple, exact: tuple) -> bool:
    return np.shape(got[0]) == np.shape(exact[0]) and bool(
        np.all(np.abs(got[0] - exact[0]) <= _LAST_DIGITS * largest([exact[0]]))
    )


def _difference(got: tuple, exact: tuple, wide: bool) -> Difference:
    """Of one formula evaluated in two ways; where no bound is known, half of the digits are left to rounding, or some units of
    float32, in which a callback may compute."""
    both, room = 1.001 * (np.asarray(got[1]) + exact[1]), 2.0**-26 if wide else AS_GOOD * 2.0**-24
    return Difference(
        in_double(got[0]), in_double(exact[0]), np.where(np.isfinite(both), both, room * largest([exact[0]]))
    )


def _points(p: Point, seed: int, count: int) -> list[tuple[list, list]] | None:
    """The arguments for as many seeds; None if the shapes vary with the seed.

    No two are the same, nor do their comparisons come out the same, even if the case gives numbers: entries change places,
    where that is legal.
    """
    views = [view(p.case, p.case.arguments(seed + i, p.dtype)) for i in range(count)]
    if any(v.signature != p.view.signature for v in views):
        return None
    fixed = [p.case.domain.get(position) == "fixed" for position in p.view.positions]
    moved = lambda x, i, stays: np.asarray((x if stays else np.roll(x, i)) * (1 - i / 128), x.dtype)
    return [([moved(x, i, stays) for x, stays in zip(v.diff, fixed)], v.rest) for i, v in enumerate(views)]
