"""Which mistakes in a rule would its own cases let pass? Bugs are planted in the backward pass, one at a time.

A mutant is one edit of the rule's jaxpr. It is caught if a case's formula check, the rule against autodiff in float64,
would fail, or another of the checks that `verify` makes at that case. What no case catches is missed; unless it is the
same function as the rule at every point tried, those of the cases and many others: then it counts as equivalent, which is
evidence and no proof, and is left out of the score.
"""

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

import jax
import ml_dtypes
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from backproplab.case import Case, function_name, static_argnums
from backproplab.harness import arithmetic, autodiff, explore, promises
from backproplab.harness.backward import Backward, NoRule, Rule, rule_of
from backproplab.harness.compare import Difference, largest
from backproplab.harness.edits import MUTATIONS, Edit, edits, literals
from backproplab.harness.endless import ends
from backproplab.harness.error_rules import lifted
from backproplab.harness.evaluated import evaluated
from backproplab.harness.neighbours import neighbours
from backproplab.harness.platform import matmul_roundoff
from backproplab.harness.point import Point, point
from backproplab.harness.precise import NotPrecise, precise
from backproplab.harness.refused import point_where_it_runs
from backproplab.harness.rounding import bounded
from backproplab.harness.verdict import Check

_SEEDS = 3  # fresh draws of a case at which a mutant may still differ from the rule
_RESOLVES = 1e-6  # a bound wider than this share of the gradient tells nothing apart
_EXACTLY = 1e-14  # a few roundings to float64
_FEW = 8.0
_AGREE = 1e-9  # and then a difference counts from this share of the largest entry on


class WrongRule(ValueError):
    """The rule in which bugs were to be planted is wrong as it stands."""


@dataclass(frozen=True)
class Mutant:
    """One planted edit and its fate.

    words: what the operation at `where` was changed to do. by: what caught it; or, if it was missed, a point at which it
    differs from the rule and which no case covers.
    """

    operation: str
    where: str
    words: str
    fate: Literal["caught", "missed", "equivalent"]
    by: str = ""


@dataclass(frozen=True)
class Mutation:
    """What became of the mutants of one function.

    possible: edits that there are; a sample was planted. untried: those of the sample that time did not allow.
    points: beside the cases, at which an equivalent mutant equals the rule.
    """

    function: str
    cases: int
    mutants: tuple[Mutant, ...]
    possible: int
    untried: int
    points: int
    seed: int
    seconds: float

    def having(self, fate: str) -> list[Mutant]:
        return [mutant for mutant in self.mutants if mutant.fate == fate]

    @property
    def score(self) -> float | None:
        """The share that was caught of those that are not equivalent; None if there are none."""
        caught, missed = len(self.having("caught")), len(self.having("missed"))
        return caught / (caught + missed) if caught + missed else None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"score": self.score}

    def __str__(self) -> str:
        from backproplab.report.mutation import mutation_text

        return mutation_text(self)


def mutations(cases: Iterable[Case], seed: int = 0, limit: int = 60, seconds: float = 20.0) -> Iterator[Mutation]:
    """A report per function, in the order of the cases; functions without a rule of their own are passed over."""
    for _, group in itertools.groupby(cases, lambda case: case.fn):
        try:
            yield mutate(list(group), seed, limit, seconds)
        except NoRule:
            continue


def mutate(cases: Case | Sequence[Case], seed: int = 0, limit: int = 60, seconds: float = 20.0) -> Mutation:
    """Plants bugs in the rule that the cases share, and asks which of them the cases catch. Raises NoRule, WrongRule, Refused.

    limit: how many mutants; the same sample for the same seed, as many of one kind as of another.
    seconds: after which no more are tried, from when the rule itself has been judged and its edits are found.
    """
    cases = [cases] if isinstance(cases, Case) else list(cases)
    began = time.monotonic()
    trials = _trials(cases, seed)
    for trial in trials:  # a rule that is wrong itself would have its own mending called a mutant
        own = itertools.chain(autodiff.formula_checks(trial.p, seed, []), promises.expectation_checks(trial.p))
        trial.of_the_rule(own)
    possible: dict[tuple, Edit] = {}
    for trial in trials:
        possible = trial.edits | possible
    sample = _sampled(possible, limit, seed)
    found = []
    deadline = time.monotonic() + seconds
    for edit in sample:
        if time.monotonic() > deadline:
            break
        with np.errstate(all="ignore"):
            found.append(_tried(edit, trials))
    points = sum(len(trial.points) for trial in trials)
    return Mutation(function_name(cases[0].fn), len(cases), tuple(found), len(possible), len(sample) - len(found), points, seed,
                    time.monotonic() - began)  # fmt: skip


def _tried(edit: Edit, trials: list["_Trial"]) -> Mutant:
    """The cases' formulas first, which is cheap; then, where the mutant is another function, the checks themselves."""
    mutant = lambda fate, by="": Mutant(edit.operation, edit.where, edit.words, fate, by)
    having = [trial for trial in trials if edit.key in trial.edits]
    rounds = edit.kind == "bfloat16"  # the same as a formula
    for trial in having if not rounds else ():
        if trial.catches(edit.key):
            return mutant("caught", trial.p.case.id)
    differing = ""
    for trial in having:
        words = None if rounds else trial.differs(edit.key)
        if rounds or words:
            planted = trial.planted(edit.key)
            if name := _not_passed(planted, trial, rounds):
                return mutant("caught", f"{trial.p.case.id}: {name}")
            words = trial.differs_when_run(planted) if rounds else words
            differing = differing or (f"{trial.p.case.id} {words}" if words else "")
    return mutant("missed", differing) if differing else mutant("equivalent")


def _sampled(possible: dict[tuple, Edit], limit: int, seed: int) -> list[Edit]:
    """A fixed choice, dealt out to the kinds in turn."""
    generator = np.random.default_rng(seed)
    piles = []
    for kind in MUTATIONS:
        pile = [possible[key] for key in sorted(possible) if possible[key].kind == kind]
        piles.append([pile[i] for i in generator.permutation(len(pile))])
    dealt = [edit for row in itertools.zip_longest(*piles) for edit in row if edit is not None]
    return dealt[:limit]


# --- one case -----------------------------------------------------------------------------------------------------------


class _Question(NamedTuple):
    """Inputs of the rule, and what it is to answer there: exact gradients, their error bounds, where they are judged.

    floors: what would be a large entry of each gradient if it vanishes.
    """

    inputs: list
    exact: list[np.ndarray]
    errors: list[np.ndarray]
    judged: list[np.ndarray]
    floors: list[float]


class _Place(NamedTuple):
    """Another point, in words: inputs of the rule and what it answers there in float64; floors as in a question."""

    words: str
    inputs: list
    answers: list[np.ndarray]
    floors: list[float]


class _Trial:
    """A case with its rule, the edits of it, and the questions that the case asks."""

    def __init__(self, p: Point, rule: Rule, numbers: set[float], seed: int):
        self.p, self.rule, self.seed = p, rule, seed
        self.edits = {edit.key: edit for edit in edits(rule.backward, MUTATIONS, numbers)}
        self.questions = list(self._asked_by_the_case())
        self.points: list[_Place] = []
        self._further = self._other_points()
        self._undecided: set[str] | None = None

    def catches(self, key: tuple) -> bool:
        """Whether the case's own formula checks tell the mutant from what is right, as they tell any wrong rule."""
        program = self.rule.program(self.edits[key].change())
        return any(
            bool(np.any(d.wrong & judged)) for q in self.questions for d, judged in zip(_answers(program, q), q.judged)
        )

    def differs(self, key: tuple) -> str | None:
        """The first other point at which the mutant is not the rule, in words."""
        program, rule = self.rule.program(self.edits[key].change()), self.rule.program()
        for at in self.elsewhere():
            answers = evaluated(program, at.inputs)
            if all(np.array_equal(a, v, equal_nan=True) for a, v in zip(answers, at.answers)):
                continue
            values, errors = _run(rule, at.inputs)
            exact = [np.broadcast_to(v, np.shape(x)) for v, x in zip(values, self.p.view.diff)]
            q = _Question(at.inputs, exact, errors, _everywhere(exact), at.floors)
            if any(not _same(d) for d in _answers(program, q)) and not _same_in_many_digits(program, rule, q):
                return at.words
        return None

    def planted(self, key: tuple) -> Point:
        """The case's point with the mutant in the place of the function."""
        p = self.p
        fn = planted(p.case.fn, self.rule.backward, self.edits[key].change())
        return point(replace(p.case, fn=fn), self.seed, p.dtype, p.device, p.matmul)

    def differs_when_run(self, planted: Point) -> str | None:
        """The first point at which the compiled mutant is further from the compiled rule than a few roundings, in words."""
        count = len(self.p.outputs)
        unit = float(ml_dtypes.finfo(self.p.dtype).eps)
        for at in self.elsewhere():
            ours, theirs = (pair.rule(at.inputs)[count:] for pair in (self.p.pair, planted.pair))
            for a, b, floor in zip(ours, theirs, at.floors):
                if not largest([a - b]) <= _FEW * unit * max(largest([a]), floor):
                    return at.words
        return None

    def elsewhere(self) -> Iterator["_Place"]:
        """The case's point, its neighbours and fresh draws, where the function is defined; each looked for once."""
        yield from self.points
        for at in self._further:
            self.points.append(at)
            yield at

    def undecided(self) -> set[str]:
        """The checks that do not decide about the rule as it is; asked once a mutant does not pass one. Raises WrongRule."""
        if self._undecided is None:
            self._undecided = self.of_the_rule(_checks(self.p, self.seed, arithmetic_only=False))
        return self._undecided

    def of_the_rule(self, checks: Iterable[Check]) -> set[str]:
        """The names of those of the rule itself that do not decide. Raises WrongRule if one fails."""
        found = list(checks)
        if failing := next((check.name for check in found if check.status == "fail"), None):
            raise WrongRule(f"{self.p.case.id} itself does not pass `{failing}`: verify it first")
        return {check.name for check in found if check.status == "inconclusive"}

    def _asked_by_the_case(self) -> Iterator[_Question]:
        p, count, free = self.p, len(self.p.outputs), [0.0] * len(self.p.view.diff)
        if not p.case.by_design or p.case.reference is not None:
            rounds = (
                p.cotangents("random", self.seed),
                p.cotangents("entry", self.seed),
                p.cotangents("random", self.seed + 1),
            )
            for c in rounds:
                exact, errors = p.pair.analyse_oracle(p.inputs(c), lifted())
                q = _Question(p.inputs(c), exact[count:], errors[count:], [], free)
                # where the rule as it stands differs from autodiff, at a kink, another check must judge
                yield q._replace(judged=[~d.wrong for d in _answers(self.rule.program(), q)])
        if p.case.expect is not None:
            numbers = zip(jax.tree.leaves(p.case.expect), p.view.diff)
            exact = [np.broadcast_to(np.asarray(e, np.float64), np.shape(x)) for e, x in numbers]
            inputs = p.inputs(p.cotangents("ones", 0))
            yield _Question(inputs, exact, [2.0**-52 * np.abs(e) for e in exact], _everywhere(exact), free)

    def _other_points(self) -> Iterator["_Place"]:
        p = self.p
        yield from self._defined(p, "at its own point, within the bounds of its checks")
        for n in neighbours(p, self.seed):
            yield from self._defined(p.moved(n.diff, n.rest), n.words)
        for seed in range(self.seed + 2, self.seed + 2 + _SEEDS):
            yield from self._defined(point(p.case, seed, p.dtype, p.device, p.matmul), f"at seed {seed}")
        generator = np.random.default_rng([self.seed, 5])
        domains = [p.case.domain.get(position) for position in p.view.positions]
        drawn = [_drawn(x, domain, generator) for x, domain in zip(p.view.diff, domains)]
        yield from self._defined(p.moved(drawn), "at random numbers")

    def _defined(self, p: Point, words: str) -> Iterator["_Place"]:
        """`p`, if autodiff's values and gradients are finite there."""
        if not ends(p, self.seed):
            return
        cotangents, count = p.cotangents("random", self.seed), len(p.outputs)
        inputs = p.inputs(cotangents)
        outputs = p.pair.oracle(inputs)
        if not all(np.isfinite(a).all() for a in outputs):
            return
        product = max((largest([y]) * largest([c]) for y, c in zip(outputs[:count], cotangents)), default=0.0)
        floors = [product / (largest([x]) or 1.0) for x in p.view.diff]
        yield _Place(words, inputs, evaluated(self.rule.program(), inputs), floors)


def _drawn(x: np.ndarray, domain: Any, generator: np.random.Generator) -> np.ndarray:
    """Numbers of the usual size in place of those of a case, which may be all the same; where the domain forbids none."""
    if domain == "fixed":
        return x
    low, high = domain or (-np.inf, np.inf)
    draw = generator.normal(size=x.shape)
    if np.isfinite(low) and np.isfinite(high):
        draw = generator.uniform(low, high, x.shape)
    elif np.isfinite(low) or np.isfinite(high):
        draw = low + np.abs(draw) if np.isfinite(low) else high - np.abs(draw)
    if np.iscomplexobj(x):
        draw = draw + 1j * generator.normal(size=x.shape)
    return draw.astype(x.dtype)


def _everywhere(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.ones(np.shape(a), bool) for a in arrays]


def _trials(cases: Sequence[Case], seed: int) -> list[_Trial]:
    """The smallest cases first: most mutants are caught by any."""
    device = jax.devices()[0]
    points = [point_where_it_runs(case, seed, device, matmul_roundoff(device)) for case in cases]
    rules = [rule_of(p) for p in points]
    numbers = set().union(
        *[literals(r.forward).union(*map(literals, p.pair.jaxprs[1:])) for p, r in zip(points, rules)]
    )
    size = lambda p: sum(np.size(x) for x in p.view.diff)
    return sorted((_Trial(p, r, numbers, seed) for p, r in zip(points, rules)), key=lambda trial: size(trial.p))


def _run(program: ClosedJaxpr, inputs: list) -> tuple[list, list]:
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        return bounded(program, set())(inputs, lifted())[:2]


def _answers(program: ClosedJaxpr, q: _Question) -> Iterator[Difference]:
    for value, error, exact, own, floor in zip(*_run(program, q.inputs), q.exact, q.errors, q.floors):
        yield Difference(np.broadcast_to(value, np.shape(exact)), np.asarray(exact), 1.001 * (error + own), floor)


def _same(d: Difference) -> bool:
    """No difference that a bound worth the name calls one."""
    if d.resolves <= _RESOLVES or d.scale == 0:
        return not d.any_wrong
    broken = ~np.isfinite(d.got) & np.isfinite(d.exact)
    return not np.any(broken | (d.error > _AGREE * d.scale))


def _same_in_many_digits(program: ClosedJaxpr, rule: ClosedJaxpr, q: _Question) -> bool:
    """Whether two programs that rounding in float64 could tell apart agree in 120 digits; False if these cannot be had."""
    try:
        with np.errstate(all="ignore"):
            found = [[np.asarray(x, np.float64) for x in precise(jaxpr, q.inputs)] for jaxpr in (program, rule)]
            return all(np.all(np.abs(a - b) <= _EXACTLY * np.abs(b)) for a, b in zip(*found))
    except NotPrecise:
        return False


# --- what formulas do not tell ------------------------------------------------------------------------------------------


def _not_passed(planted: Point, trial: _Trial, arithmetic_only: bool) -> str | None:
    """The name of the check, of those that `verify` makes at this case in its widest dtype, that the mutant does not pass.

    A check that cannot decide is no pass either, if it could for the rule itself.
    """
    for check in _checks(planted, trial.seed, arithmetic_only):
        if check.status != "pass":
            undecided = trial.undecided()
            if check.status == "fail":
                return check.name
            if check.name not in undecided:
                return f"{check.name} (inconclusive)"
    return None


def _checks(p: Point, seed: int, arithmetic_only: bool) -> Iterator[Check]:
    if not arithmetic_only:
        yield from autodiff.formula_checks(p, seed, [])
        yield from promises.expectation_checks(p)
        if not p.case.name:
            yield from explore.other_points(p, seed, [])
    yield from arithmetic.arithmetic_checks(p, seed)


def planted(fn: Any, backward: Backward, changed: ClosedJaxpr) -> Any:
    """The function with another backward jaxpr in the place of `backward`; to be called at the shapes of that trace."""

    def bwd(*args):
        leaves = jax.tree.leaves(args[-2:])
        given = [x for x in leaves if getattr(x, "dtype", None) != jax.dtypes.float0]
        return jax.tree.unflatten(backward.tree, jaxpr_as_fun(changed)(*given))

    mutant = jax.custom_vjp(fn.__wrapped__, nondiff_argnums=static_argnums(fn))
    mutant.defvjp(fn.fwd, bwd)
    return mutant
