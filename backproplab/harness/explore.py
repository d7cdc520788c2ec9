"""The rule at points and shapes that the harness chooses itself.

From a case without a name, which is an example; a case with a name is a chosen point and stands for itself.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from backproplab.harness.arithmetic import arithmetic_checks
from backproplab.harness.astray import astray
from backproplab.harness.autodiff import NOT_BY_AUTODIFF, OVERRULED, oracle_of
from backproplab.harness.compare import Difference, in_double, largest, same
from backproplab.harness.endless import ends
from backproplab.harness.error_rules import executed
from backproplab.harness.evaluated import evaluated
from backproplab.harness.inside import judged
from backproplab.harness.neighbours import Neighbour, neighbours
from backproplab.harness.numerical import SEAM, bend, contradiction
from backproplab.harness.point import Point, point
from backproplab.harness.remedy import remedies
from backproplab.harness.settings import reset
from backproplab.harness.shapes import resized
from backproplab.harness.unsettled import undefined, unsettled
from backproplab.harness.verdict import Check
from backproplab.harness.view import view

_LARGE = 50_000  # numbers; above, other points cost more than they are likely to show
_MANY_DIFFERENCES = 300  # the same, where the oracle differentiates by one after the other
_FAR = 1e-6  # of the largest entry: more than float64 takes from a formula that does not cancel
_NINE_DIGITS = 1e-9
_SENSELESS = 1e30  # a result that nobody means, and so is an error of one over that
_SMALL = ("times 0.001", "times 1e-06")
_FIXED = (
    "the gradient of {} is the right one without that change: the rule has a value of its own in place of what is set"
)
_MASKED = -1e4  # a logit whose exponential is 0


def other_points(p: Point, seed: int, notes: list[str], differences_apply: bool = False) -> Iterator[Check]:
    """The formula at every neighbour of the point where the stripped function is defined; the first that fails is told.

    Rule and oracle, compiled for the given point, are run at each; only where they are apart are their rounding
    errors analysed, and only where these cannot explain it is the whole judgement made, kinks included.
    differences_apply: finite differences agree with the rule at `p`, so where they do not at zeros, it is wrong there.
    """
    if p.case.by_design and p.case.reference is None:
        return
    if p.pair.numerical and _size(p.args) > _MANY_DIFFERENCES:
        notes.append("no other points and shapes were tried: finite differences would take too long")
        return
    if _size(p.args) > _LARGE:
        notes.append(f"no other points and shapes were tried: the arguments hold more than {_LARGE:,} numbers")
        return
    for n in neighbours(p, seed):
        if n.far and p.pair.numerical:  # what JAX cannot differentiate iterates, perhaps, and need not converge there
            continue
        at = p.moved(n.diff, n.rest)
        try:
            failed = _at_neighbour(n, at, p, seed, notes, differences_apply)
        except Exception as error:
            if not _raises(lambda at=at: at.pair.rule(at.inputs(at.cotangents("random", seed)))):
                raise
            if not _raises(lambda at=at: evaluated(at.stripped, [*at.view.diff, *at.view.rest])):
                notes.append(f"{n.words}: the rule raises {type(error).__name__}, the function does not")
            continue
        if failed is not None:
            yield failed
            return
    yield Check("other points", "pass")


def _at_neighbour(
    n: Neighbour, at: Point, p: Point, seed: int, notes: list[str], differences_apply: bool
) -> Check | None:
    """The failing check at one neighbour of `p`, if the rule is to blame for one."""
    if not ends(at, seed):
        return None
    doubt = _doubt(at, seed)
    if doubt and _without_effect(n.diff, at, p, seed):
        return None
    if doubt and (found := _failing(at, p, seed, "other points", n.words, notes)):
        failed, judge = found
        if reason := _excused(n, at, p, seed):
            notes.append(f"{failed.cause}: {reason}")
            return None
        notes += remedies(judge, failed.argument, seed, p)
        return failed
    words, neither = None, doubt is None and not _finite(at, seed)
    alone = doubt is None and not neither and not n.far  # autodiff has no number, the rule has
    if n.exact and neither and (slopes := bend(at, seed)):
        words = f"the gradient is not finite, by autodiff neither, at a kink where {slopes}"
    elif (n.exact or alone) and differences_apply and (found := contradiction(at, seed)):
        smooth = f"where autodiff has no number{' either' if neither else ''}, but the function is smooth"
        words = f"{found}, {smooth if doubt is None else SEAM}"
    if words and not unsettled(p, at):
        only = at.view.labels[0] if len(at.view.labels) == 1 else None
        return Check("other points", "fail", only, cause=f"{n.words}: {words}", estimated=True)
    return None


def _raises(run: Callable[[], Any]) -> bool:
    """A callback, or a kernel, may: at other numbers than the user's."""
    try:
        run()
    except Exception:
        return True
    return False


def near_zero(p: Point, seed: int) -> Iterator[Check]:
    """The arithmetic in the dtype of `p` where its arguments are small, as far as the function is defined and nothing overflows.

    There a formula that is right may cancel, where autodiff's does not.
    """
    if p.pair.numerical or _size(p.args) > _LARGE or (p.case.by_design and p.case.reference is None):
        return
    for n in neighbours(p, seed):
        if not n.words.endswith(_SMALL):
            continue
        at = p.moved(n.diff, n.rest)
        faults = (check for check in arithmetic_checks(at, seed) if check.status == "fail")
        failed = next((check for check in faults if not (check.error or 0.0) <= 1 / _SENSELESS), None)
        if failed is None or not _finite(at, seed):
            continue
        right = p.pair.analyse_oracle(at.inputs(at.cotangents("random", seed)), executed(p.matmul))
        if all(np.all(np.abs(y) + e < _SENSELESS) for y, e in zip(*right)) and not undefined(at, seed):
            yield replace(failed, name=f"other points {p.dtype}", cause=f"{n.words}: {failed.cause}")
            return
    yield Check(f"other points {p.dtype}", "pass")


def other_shapes(p: Point, seed: int, notes: list[str]) -> Iterator[Check]:
    """The formula at every other set of sizes that the function takes. A rule that raises there is told in a note."""
    yield from _at_each("other shapes", resized(p.case, p.args, seed), p, seed, notes)


def other_settings(p: Point, seed: int, notes: list[str]) -> Iterator[Check]:
    """The same at other values of the numbers and switches that are not differentiated."""
    yield from _at_each("other settings", reset(p.case, p.args), p, seed, notes)


def _at_each(name: str, others: Iterator[tuple[str, tuple]], p: Point, seed: int, notes: list[str]) -> Iterator[Check]:
    """The formula of the case of `p` at other arguments, in words and in full; the first that fails is told."""
    most = _MANY_DIFFERENCES if p.pair.numerical else _LARGE
    if (p.case.by_design and p.case.reference is None) or _size(p.args) > most:
        return
    for words, args in others:
        case = replace(p.case, args=args, expect=None, residual_bytes=None)
        if not _accepts(case, args, p):
            continue
        try:
            at = point(case, seed, p.dtype, p.device, p.matmul)
            if not ends(at, seed):
                continue
            doubt = _apart(at, at.cotangents("random", seed))  # interpreted: compiling for one look would cost more
        except Exception as error:
            notes.append(f"{words}: the rule raises {type(error).__name__}, the function does not")
            continue
        if doubt and (found := _failing(at, p, seed, name, words, notes)):
            failed, judge = found
            notes += remedies(judge, failed.argument, seed, p)
            yield failed
            return
    yield Check(name, "pass")


def _size(args: tuple) -> int:
    return sum(np.size(x) for x in jax.tree.leaves(args))


def _accepts(case, args, p: Point) -> bool:
    """Whether the function itself takes the arguments: undifferentiated, so that its rule is not asked.

    Where one has a leading axis more, it must be a batch: what comes out is that of its rows, stacked, summed or averaged.
    Else it was taken for another axis, about which the rule's author has promised nothing.
    """
    seen = view(case, args)
    longer = [np.ndim(x) > np.ndim(was) for x, was in zip(seen.diff, p.view.diff)]
    rows = [[x[k] if more else x for x, more in zip(seen.diff, longer)] for k in range(2)] if any(longer) else []
    try:
        with jax.enable_x64(p.wide):
            for call in map(seen.call, filter(None, (case.fn, case.reference))):
                jax.eval_shape(call, seen.diff, seen.rest)
                if rows and not all(map(_of_rows, *(_values(call, diff, seen.rest) for diff in [seen.diff, *rows]))):
                    return False
    except Exception:
        return False
    return True


def _values(call: Callable, diff: list, rest: list) -> list:
    return evaluated(jax.make_jaxpr(call)(diff, rest), [*diff, *rest])


def _of_rows(whole, first, second) -> bool:
    """Whether a value is that of two rows, as a batch has it."""
    ways = (np.stack([first, second]), first + second, (first + second) / 2)
    room = _FAR * largest([first, second])
    return any(np.shape(whole) == np.shape(y) and np.allclose(whole, y, _FAR, room, equal_nan=True) for y in ways)


def _failing(
    p: Point, example: Point, seed: int, name: str, words: str, notes: list[str]
) -> tuple[Check, Point] | None:
    """The first failing check of the whole judgement at `p`, if any fails and it is the rule's fault, and `p` beside its oracle."""
    told: list[str] = []
    failing = (check for check in judged(p, seed, told) if check.status == "fail")
    failed = next((check for check in failing if not _neither(p, check, seed)), None)
    if failed is None or _of_the_reference(p, failed) or _at_infinity(p, failed, seed):
        return None
    if undefined(p, seed) or unsettled(example, p) or astray(example, p):
        return None
    # autodiff, known to be wrong, convicts no number alone
    alone = OVERRULED in notes and NOT_BY_AUTODIFF not in told
    if alone and _finite(p, seed) and not contradiction(p, seed):
        return None
    cause = _FIXED.format(failed.argument) if _as_before(p, example, failed, seed) else failed.cause
    return replace(failed, name=name, cause=f"{words}: {cause}"), oracle_of(p, told)


def _as_before(p: Point, example: Point, failed: Check, seed: int) -> bool:
    """Whether the wrong gradient is the right one of the function with the settings of the example."""
    types = lambda q: [(x.shape, x.dtype) for x in (*q.view.diff, *q.outputs)]
    if p.pair is example.pair or failed.argument not in p.view.labels or types(p) != types(example):
        return False
    cotangents, leaf = p.cotangents("random", seed), len(p.outputs) + p.view.labels.index(failed.argument)
    right = example.pair.oracle(example.moved(p.view.diff).inputs(cotangents))[leaf]
    return same(p.formulas(cotangents)[leaf].got, right)


def _neither(p: Point, failed: Check, seed: int) -> bool:
    """Whether autodiff has no number for some of a gradient, and the rule none that is wrong: what it is to have there is asked apart."""
    if failed.argument not in p.view.labels:
        return False
    leaf = len(p.outputs) + p.view.labels.index(failed.argument)
    found = [p.formulas(cotangents)[leaf] for cotangents in p.rounds(seed)]
    return any(d.any_undefined for d in found) and not any(
        (d.wrong & np.isfinite(d.exact) & np.isfinite(d.got)).any() for d in found
    )


def _of_the_reference(p: Point, failed: Check) -> bool:
    """Whether the value is the function's own and the reference has another: it was not written with such points in mind."""
    if p.case.reference is None or failed.argument is not None:
        return False
    with jax.enable_x64(p.wide):
        own = p.view.call(p.case.fn)(p.view.diff, p.view.rest)
    inputs = p.inputs(p.cotangents("zeros", 0))
    return all(np.allclose(y, z, _FAR, 0, equal_nan=True) for y, z in zip(own, p.pair.rule(inputs)))


def _at_infinity(p: Point, failed: Check, seed: int) -> bool:
    """Whether the gradient differs at infinite entries alone: the slope there is a matter of taste, unless it is no number."""
    if failed.argument not in p.view.labels or all(np.isfinite(x).all() for x in p.view.diff):
        return False
    leaf = p.view.labels.index(failed.argument)
    found = [p.formulas(cotangents)[len(p.outputs) + leaf] for cotangents in p.rounds(seed)]
    return not any(_far(p.view.diff[leaf], d).any() for d in found)


def _far(x: np.ndarray, d: Difference) -> np.ndarray:
    """Entries that differ by more than rounding, or by much, since a bound so wide must not hide it: many digits decide.

    Not those of which nine digits are right: far from where it was made for, an approximation has no more.
    """
    differs = (d.wrong & ~(d.error <= _NINE_DIGITS * np.abs(d.exact))) | (d.error > _FAR * d.scale)
    return differs & (np.isfinite(x) | ~np.isfinite(d.got))


def _doubt(p: Point, seed: int) -> bool | None:
    """Whether rule and oracle differ at `p` by more than rounding, in any gradient that the oracle has there.

    None if it lacks some of them, or the value, and no difference is seen in the others.
    """
    cotangents = p.cotangents("random", seed)
    inputs, count = p.inputs(cotangents), len(p.outputs)
    right = p.pair.oracle(inputs)
    known = [bool(np.all(np.abs(in_double(y)) < _SENSELESS)) for y in right]
    if not all(known[:count]) or not any(known[count:]):
        return None
    found = p.pair.rule(inputs)
    with np.errstate(all="ignore"):
        same = (np.all(np.abs(g - a) <= _NINE_DIGITS * np.abs(a)) for g, a, k in zip(found, right, known) if k)
        if all([*same][count:]) or not (apart := _apart(p, cotangents)):
            return False if all(known) else None
    return apart


def _excused(n: Neighbour, p: Point, example: Point, seed: int) -> str | None:
    """Why a wrong gradient at the neighbour `n`, the point `p`, is told in a note and no failure; None if it is one."""
    if n.together:  # rules overflow there that are right, and iterations do not converge
        return "no failure where several arguments are so large at once"
    if _is_no_mask(p, example, seed):
        return "no failure, unless infinities are among your arguments: then make a case of them"
    return None


def _is_no_mask(p: Point, example: Point, seed: int) -> bool:
    """Whether `p` has an infinity that `example` has not, and that does not mask an entry: -inf, for which a large number does."""
    made = [np.isinf(x) & ~np.isinf(was) for x, was in zip(p.view.diff, example.view.diff)]
    if not any(m.any() for m in made):
        return False
    finite = [np.where(m, _MASKED, x).astype(x.dtype) for m, x in zip(made, p.view.diff)]
    return any(np.isposinf(x[m]).any() for m, x in zip(made, p.view.diff)) or not _same_value(p.moved(finite), p, seed)


def _without_effect(diff: list, p: Point, other: Point, seed: int) -> bool:
    """Whether arguments hold infinities and yield what they yield without them: then nobody computes with those."""
    return not all(np.isfinite(x).all() for x in diff) and _same_value(p, other, seed)


def _same_value(p: Point, other: Point, seed: int) -> bool:
    values = [q.pair.oracle(q.inputs(q.cotangents("random", seed)))[: len(q.outputs)] for q in (p, other)]
    return all(np.array_equal(a, b) for a, b in zip(*values))


def _finite(p: Point, seed: int) -> bool:
    """Whether the rule's gradients are numbers."""
    return all(np.isfinite(g).all() for g in p.gradients(p.cotangents("random", seed)))


def _apart(p: Point, cotangents: list[np.ndarray]) -> bool | None:
    """The same by the analyses of their rounding, which compile nothing where a program is small."""
    found, count = p.formulas(cotangents), len(p.outputs)
    if not all(np.isfinite(value.exact).all() for value in found[:count]):
        return None
    return any(_far(x, d).any() for x, d in zip(p.view.diff, found[count:]))
