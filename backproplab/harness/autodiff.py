"""The rule against autodiff of the same function without its rules, as a formula; how any comparison is judged."""

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import ml_dtypes
import numpy as np

from backproplab.case import forward_rule
from backproplab.harness.at_rest import AT_REST, brought_to_rest, unrest
from backproplab.harness.blame import line_of_gradient
from backproplab.harness.compare import AS_GOOD, Difference, largest
from backproplab.harness.contract import line_of
from backproplab.harness.counterfactual import other_function
from backproplab.harness.diagnosis import diagnose, numbers_in_play, worst_entry
from backproplab.harness.edits import literals
from backproplab.harness.error_rules import lifted
from backproplab.harness.kink_at import kink_at
from backproplab.harness.kinks import Kink
from backproplab.harness.measured import measured
from backproplab.harness.narrowed import narrowed
from backproplab.harness.numerical import SURE, agrees_with_differences, differences_overrule, differences_refute
from backproplab.harness.point import Point
from backproplab.harness.precise import NotPrecise
from backproplab.harness.primitives import is_key
from backproplab.harness.relatives import relatives
from backproplab.harness.suspects import stale, suspects, unread
from backproplab.harness.verdict import Check
from backproplab.harness.wrapped import wrapped

FORMULA = ("value", "autodiff", "differences")  # how the names of the formula's checks begin

# A bound above this share of the gradient decides nothing: about the formula, and about arithmetic of few digits.
FORMULA_RESOLVES = 1e-6
_APPROXIMATED = 2.0**-20  # of an entry
ARITHMETIC_RESOLVES = 0.5
_BESIDE = 2.0**-18  # of an argument's size: far from a kink in float32 too
_STEPS_ASIDE = 2.0**-7  # the same: farther than finite differences reach
_NOT_BY_CHANCE = 1e3  # times the measured noise
_NEARLY = 1e-3  # of the largest value: what more steps of an iteration may still change
_AS_MUCH = 2.0**12  # times as far off as its value may a gradient be: n steps that shrink by q each make it n / q
_SURE_AGAIN = 1e-2  # of a slope: the error bar of differences that agree in the widest dtype already
_OFTEN = (0.0, 0.5, 1.0, 2.0)  # numbers that say nothing
OVERRULED = "autodiff disagrees with the rule and with finite differences, which agree"
NOT_BY_AUTODIFF = "finite differences are sure of another gradient than autodiff and than the rule: they judge it"
_MEETING = "finite differences find kinks of several entries that meet: judged a small step beside"
_NUMERICAL = "JAX cannot differentiate the function without its rule: finite differences judge it, which resolve less"


def formula_checks(p: Point, seed: int, notes: list[str], again: bool = False) -> Iterator[Check]:
    """Values and gradients as formulas, in float64 whatever the dtype of `p`, for several cotangents, entry by entry.

    again: the formula holds in a wider dtype. Then one cotangent will do, and in its own dtype a function may be an
    approximation that has the digits of float32 and no more, as JAX's log_ndtr is.
    """
    if p.case.by_design and p.case.reference is None:
        return
    if p.pair.numerical and _NUMERICAL not in notes:
        notes.append(_NUMERICAL)
    rounds = p.rounds(seed)[:1] if again else p.rounds(seed)
    if p.pair.numerical and not p.case.domain and _nothing_known(p.formulas(rounds[0])):
        if _MEETING not in notes:
            notes.append(_MEETING)
        p = _beside(p, seed, _STEPS_ASIDE)
    looked = functools.cache(lambda: kink_at(p, seed))
    if _differ(p, rounds, again) and (kink := looked()) and kink.admissible:
        yield from _beside_kink(p, rounds, kink, seed, notes, again)
        return
    checks = _compared(p, rounds, seed, again)
    if any(check.status != "pass" for check in checks[len(p.outputs) :]):
        checks = _second_opinion(p, rounds, looked(), seed, checks, notes, again)
        checks = _at_rest(p, rounds, seed, checks, notes, again)
    yield from checks


def _at_rest(p: Point, rounds: list, seed: int, checks: list[Check], notes: list[str], again: bool) -> list[Check]:
    """The checks beside what the function's loops tend to, if it is nearly there and fewer fail: the rule is that of the limit.

    Where then none does, a rule that is off by far more than the value is from its own rest has a loop with too few steps.
    """
    values, failing = len(p.outputs), [leaf for leaf, check in enumerate(checks) if check.status == "fail"]
    if not failing or failing[0] < values or not 0 < (moved := unrest(p)) <= _NEARLY:
        return checks
    beside = _compared(brought_to_rest(p), rounds, seed, again)[values:]
    left = sum(check.status != "pass" for check in beside)
    found = [p.formulas(cotangents)[leaf] for cotangents in rounds for leaf in failing]
    if left >= len(failing) or (not left and max(d.furthest / (d.scale or 1.0) for d in found) > _AS_MUCH * moved):
        return checks
    notes += [AT_REST] if AT_REST not in notes and not left else []
    return [*checks[:values], *beside]


def _nothing_known(found: list[Difference]) -> bool:
    """Whether finite differences tell nothing of some entries, as where kinks meet."""
    return any(np.isinf(d.bound[np.isfinite(d.exact)]).any() for d in found)


def checks_beside_kink(p: Point, seed: int, notes: list[str]) -> list[Check]:
    """The same a random step away from a point on a kink; the checks of the point itself if it is none."""
    beside = p if kink_at(p, seed) is None else _beside(p, seed)
    rounds = [p.cotangents("random", seed), p.cotangents("random", seed + 1)]
    return _unless_overruled(beside, rounds, seed, _compared(beside, rounds, seed), notes)


def _beside(p: Point, seed: int, share: float = _BESIDE) -> Point:
    """A random step away, a share of each argument's size."""
    generator = np.random.default_rng(seed)
    step = lambda x: np.where(np.isfinite(x), share * max(largest([x]), 1.0) * generator.normal(size=np.shape(x)), 0)
    return p.moved([(x + step(x)).astype(x.dtype) for x in p.view.diff])


def _compared(p: Point, rounds: list, seed: int, again: bool = False) -> list[Check]:
    """One check per output and per gradient."""
    room = _room(again)
    oracle = "differences" if p.pair.numerical else "autodiff"
    name = oracle if p.wide else f"{oracle} {p.dtype}"
    results = [(cotangents, room(p.formulas(cotangents))) for cotangents in rounds]
    exactly = functools.cache(lambda: _precise(p, rounds, room))
    # numbers written in the rule are rounded to the dtype, and not always when autodiff's are
    limit = max(FORMULA_RESOLVES + (_APPROXIMATED if again else 0), AS_GOOD * float(ml_dtypes.finfo(p.dtype).eps) / 2)
    names = ["value"] * len(p.outputs) + [name] * len(p.view.labels)
    return [
        judged_leaf(name, label, p, leaf, results, limit, seed, exactly)
        for leaf, (name, label) in enumerate(zip(names, labels_of(p)))
    ]


def _differ(p: Point, rounds: list, again: bool) -> bool:
    """Whether a gradient is certainly another than autodiff's, or autodiff has none."""
    found = [d for cotangents in rounds for d in _room(again)(p.formulas(cotangents))[len(p.outputs) :]]
    return any(d.any_wrong or d.any_undefined for d in found)


def _room(again: bool) -> Callable[[list[Difference]], list[Difference]]:
    return _with_room if again else list


def _with_room(found: list[Difference]) -> list[Difference]:
    """For an approximation; an infinity needs none."""
    return [d.with_bound(d.bound + _APPROXIMATED * np.abs(np.where(np.isfinite(d.exact), d.exact, 0))) for d in found]


def _second_opinion(
    p: Point, rounds: list, kink: Kink | None, seed: int, checks: list[Check], notes: list[str], again: bool
) -> list[Check]:
    """What a difference from autodiff means where the function has a kink, or where autodiff itself is wrong."""
    if kink is None:
        return _unless_overruled(p, rounds, seed, checks, notes)
    if kink.admissible:
        return _beside_kink(p, rounds, kink, seed, notes, again)
    return [replace(c, cause=kink.words) if c.status == "fail" and c.name != "value" else c for c in checks]


def _beside_kink(p: Point, rounds: list, kink: Kink, seed: int, notes: list[str], again: bool) -> list[Check]:
    """The checks of the output entries that have no kink, where some have one with slopes that will do, as a note says."""
    notes.append(kink.words)
    without = [_without_rows(kink.rows, cotangents) for cotangents in rounds]
    besides = _unless_overruled(p, without, seed, _compared(p, without, seed, again), notes)
    # an infinite slope of autodiff is no number for a cotangent of 0 either
    return checks_beside_kink(p, seed, notes) if any(c.status == "inconclusive" for c in besides) else besides


def _unless_overruled(p: Point, rounds: list, seed: int, checks: list[Check], notes: list[str]) -> list[Check]:
    """The checks of `p`, those of gradients passed where autodiff disagrees with the rule and with finite differences."""
    if all(c.status == "pass" for c in checks[len(p.outputs) :]):
        return checks
    found = p.formulas(rounds[0])[len(p.outputs) :]
    gradients = [d.got for d in found]
    rivals = [
        [d.exact if i == k else g for k, g in enumerate(gradients)]
        for i, d in enumerate(found)
        if d.any_wrong or d.any_undefined
    ]
    # in few digits the function's own constants are rounded, and differences know no better
    sure = _SURE_AGAIN if OVERRULED in notes and not p.wide else SURE
    if not agrees_with_differences(p, rounds[0], gradients, rivals, seed, sure):
        return _by_differences(p, rounds, seed, notes) or checks
    notes.append(OVERRULED)
    passed = {"status": "pass", "cause": None, "error": None, "bound": None, "resolves": sure, "estimated": True}
    return [replace(c, **passed) if c.status != "pass" and c.name != "value" else c for c in checks]


def _by_differences(p: Point, rounds: list, seed: int, notes: list[str]) -> list[Check] | None:
    """The checks beside finite differences where these are against autodiff as well as the rule, as of a rule for a bisection."""
    autodiffs = [d.exact for d in p.formulas(rounds[0])[len(p.outputs) :]]
    if not differences_overrule(p, rounds[0], autodiffs, seed):
        return None
    try:
        checks = _compared(p.beside_differences(), rounds[:1], seed)
    except ValueError:  # too many entries, or complex ones
        return None
    if all(c.status != "fail" for c in checks):
        return None
    notes.append(NOT_BY_AUTODIFF)
    return checks


def oracle_of(p: Point, notes: list[str]) -> Point:
    """`p` beside the oracle that its failing checks name, to look for a remedy."""
    return p.beside_differences() if NOT_BY_AUTODIFF in notes else p


def _without_rows(rows: np.ndarray, cotangents: list[np.ndarray]) -> list[np.ndarray]:
    """The cotangents with zeros at the output entries (flat indices over all outputs) that lie on a kink."""
    flat = np.concatenate([np.ravel(c) for c in cotangents])
    flat[rows] = 0
    ends = np.cumsum([c.size for c in cotangents])[:-1]
    return [part.reshape(c.shape).astype(c.dtype) for part, c in zip(np.split(flat, ends), cotangents)]


def labels_of(p: Point) -> tuple[str, ...]:
    """Of the outputs, which are all "the value", and of the gradients."""
    return (*["the value"] * len(p.outputs), *p.view.labels)


def judged_leaf(
    name, label: str, p: Point, leaf: int, results: list, limit: float, seed: int, exactly=None, finer=None
) -> Check:
    """The check of one leaf over all cotangents: the worst decides.

    What will do if the bounds cannot decide, asked for then: of a formula `exactly`, all leaves in many digits; of arithmetic
    `finer`, the same differences with other bounds.
    """
    for cotangents, found in results:
        d = found[leaf]
        if not d.finite and np.isnan(d.got).any() and leaf >= len(p.outputs) and _defined(found, p):
            return _failed(name, label, p, leaf, d, cotangents, seed)
        if d.any_wrong:
            return _failed(name, label, p, leaf, d, cotangents, seed)
    undefined = [(cotangents, found[leaf]) for cotangents, found in results if found[leaf].any_undefined]
    if undefined:
        if exactly and leaf >= len(p.outputs) and _defined(results[0][1], p):
            refuted = differences_refute(p, undefined[0][0], leaf - len(p.outputs), undefined[0][1], seed)
            if refuted:
                cause = f"the gradient of {label} is wrong, though autodiff has no number here: {refuted.words}"
                return Check(
                    name, "fail", label, cause=cause, where=line_of_gradient(p.case.fn, p.args, label), estimated=True
                )
        cause = f"{label} is not finite here, by autodiff either: the point lies outside the domain"
        return Check(name, "inconclusive", label, cause=cause)
    differences = [found[leaf] for _, found in results]
    estimated = False
    if not _decide(differences, limit):
        others = finer() if finer else []
        sharper = _leaf(exactly(), leaf) if exactly else others if _decide(others, limit) else None
        limit = ARITHMETIC_RESOLVES
        if sharper:
            differences = sharper
        elif (agreeing := _agreeing(differences, exactly is not None, p)) is not None:
            differences, estimated = agreeing, True
        else:
            differences, estimated = _measured(p, leaf, results, seed), True
        if any(d.any_wrong for d in differences):
            worst = max(range(len(results)), key=lambda k: _ratio(differences[k]))
            return _beyond(name, label, p, leaf, differences[worst], results[worst][0], estimated, exactly, seed)
        if not _decide(differences, limit) and not _none_wrong(others):
            return _blind(name, label, p, max(d.resolves for d in differences))
    worst = max(differences, key=_ratio)
    i = worst.worst
    numbers = (float(worst.error[i]), float(worst.bound[i])) if worst.got.size else (0.0, 0.0)
    return Check(name, "pass", label, *numbers, resolves=worst.resolves, estimated=estimated)


def _defined(found: list[Difference], p: Point) -> bool:
    """Whether the function's value is finite throughout."""
    return all(np.isfinite(value.exact).all() for value in found[: len(p.outputs)])


def _agreeing(differences: list[Difference], formula: bool, p: Point) -> list[Difference] | None:
    """Where no bound decides: the differences if they are so small, entry by entry, that it cannot be by chance.

    For a formula nine digits of the entry, since a vanishing one would agree with anything; for arithmetic a few units
    in the last place of the largest.
    """
    if formula:
        tight = [d.with_bound(2.0**-30 * np.abs(d.exact)) for d in differences]
        seen = all(np.any(d.exact != 0) for d in differences)
    else:
        tight = [
            d.with_bound(np.full(d.exact.shape, AS_GOOD * float(ml_dtypes.finfo(p.dtype).eps) / 2 * d.scale))
            for d in differences
        ]
        seen = True
    return tight if seen and not any(d.any_wrong for d in tight) else None


def _none_wrong(differences: list[Difference]) -> bool:
    """Whether there are any, all with bounds, and none exceeds its bound."""
    return bool(differences) and all(np.isfinite(d.bound).all() and not d.any_wrong for d in differences)


def _decide(differences, limit: float) -> bool:
    """Whether the bounds are narrow enough to see what matters."""
    return all(d.resolves <= limit for d in differences)


def _blind(name, label: str, p: Point, resolves: float) -> Check:
    """The bound is as wide as the gradient: nothing was seen."""
    reason = (
        "no error rule for " + ", ".join(sorted(p.pair.unknown)) if p.pair.unknown else "the point is ill-conditioned"
    )
    cause = f"rounding could hide an error of {resolves:.2g} times {label}: {reason}"
    return Check(name, "inconclusive", label, resolves=resolves, cause=cause, estimated=True)


def _beyond(name, label, p, leaf, d, cotangents, estimated, formula, seed) -> Check:
    """A difference that the computed bound was too wide to judge, but a finer or a measured one does not explain."""
    sure = not estimated or (p.pair.unknown and p.wide) or p.pair.numerical
    i = d.worst
    if leaf < len(p.outputs):  # a function and itself, run twice: by far more than noise is not by chance
        sure = sure or float(d.error[i]) > max(_NOT_BY_CHANCE * float(d.bound[i]), FORMULA_RESOLVES * d.scale)
    asked = formula and leaf >= len(p.outputs) and not sure
    refuted = differences_refute(p, cotangents, leaf - len(p.outputs), d, seed) if asked else None
    if refuted and refuted.alone:
        cause = f"the gradient of {label} is wrong, and autodiff's, too: {refuted.words}"
        return Check(name, "fail", label, cause=cause, where=line_of_gradient(p.case.fn, p.args, label), estimated=True)
    if sure or refuted:
        return replace(_failed(name, label, p, leaf, d, cotangents, seed), estimated=estimated)
    reason = "no error rule for " + ", ".join(sorted(p.pair.unknown)) if p.pair.unknown else "rounding could explain it"
    cause = f"{label} is {d.got[i]:.6g} at {list(i)} and should be {d.exact[i]:.6g}: more than the measured noise, but {reason}"
    return Check(name, "inconclusive", label, float(d.error[i]), float(d.bound[i]), cause=cause, estimated=True)


def _precise(p: Point, rounds: list, room: Callable) -> list[list[Difference]] | None:
    try:
        return [room(p.precise_formulas(cotangents)) for cotangents in rounds]
    except NotPrecise:
        return None


def _leaf(found: list[list[Difference]] | None, leaf: int) -> list[Difference] | None:
    return [differences[leaf] for differences in found] if found else None


def _measured(p: Point, leaf: int, results: list, seed: int) -> list[Difference]:
    return [measured(p, cotangents, found, seed)[leaf] for cotangents, found in results]


def _ratio(d: Difference) -> float:
    if not d.got.size:
        return 0.0
    i = d.worst
    return float(d.error[i] / d.bound[i]) if d.bound[i] > 0 else float(d.error[i] > 0)


def _failed(name: str, label: str, p: Point, leaf: int, d: Difference, cotangents: list, seed: int) -> Check:
    """The failing check with its cause and line."""
    i = d.worst
    numbers = (float(d.error[i]), float(d.bound[i]))
    if leaf < len(p.outputs):
        cause = f"fwd returns another value than the function: {d.got[i]:.9g} at {list(i)} in place of {d.exact[i]:.9g}"
        return Check(name, "fail", None, *numbers, cause=cause, where=line_of(forward_rule(p.case.fn)))
    wrong = d.wrong | np.isnan(d.got)
    if name == p.dtype and (low := narrowed(p, leaf - len(p.outputs))):  # the formula is judged elsewhere
        cause = f"the gradient of {label} is rounded to {low} on its way; {worst_entry(d.got, d.exact, wrong)}"
    else:
        cause = _cause(label, p, leaf, d, wrong, cotangents, seed)
    where = line_of_gradient(p.case.fn, p.args, label)
    return Check(name, "fail", label, *numbers, cause=cause, where=where)


def _cause(label: str, p: Point, leaf: int, d: Difference, wrong: np.ndarray, cotangents: list, seed: int) -> str:
    """In words; the bare fact where the function cannot be asked, since it raises at other arguments."""
    try:
        if turned := wrapped(p, cotangents):
            return f"the gradient of {label} goes by a whole number that {turned}; {worst_entry(d.got, d.exact, wrong)}"
        return diagnose(label, d.got, d.exact, wrong, **_context(p, leaf, cotangents, seed))
    except Exception:
        count = f"{int(wrong.sum())} of {wrong.size} entries"
        return f"the gradient of {label} is wrong in {count}; {worst_entry(d.got, d.exact, wrong)}"


def _context(p: Point, leaf: int, cotangents: list, seed: int) -> dict:
    """What the diagnosis may compare with: numbers and arrays in play, the other gradients, this one with a mistake in it."""
    exact, _ = p.pair.analyse_oracle(p.inputs(cotangents), lifted())
    count = len(p.outputs)
    plain = [(name, x) for name, x in zip(p.view.rest_labels, p.view.rest) if not is_key(x)]
    arguments = [*zip(p.view.labels, p.view.diff), *plain]
    numbered = lambda what, arrays: [(what if count == 1 else f"{what} {k}", x) for k, x in enumerate(arrays)]
    arrays = [*arguments, *numbered("the output", exact[:count]), *numbered("the cotangent", cotangents)]
    gradients = dict(zip(p.view.labels, map(np.asarray, exact[count:])))
    sizes = numbers_in_play(arguments, numbered("the output", cotangents))
    written = {f"the number {x:.9g}": x for x in literals(p.stripped) if abs(x) not in _OFTEN}
    return {
        "sizes": sizes,
        "others": {name: g for name, g in gradients.items() if name != p.view.labels[leaf - count]},
        "suspects": suspects(p, leaf - count, cotangents),
        "unread": unread(p, leaf - count, cotangents),
        "last": itertools.chain(relatives(p, leaf - count, cotangents), stale(p, leaf - count, cotangents)),
        "arrays": {name: np.asarray(x) for name, x in [*arrays, *written.items()] if np.asarray(x).dtype.kind in "fb"},
        "otherwise": lambda: other_function(p, leaf - count, seed, sizes),
    }
