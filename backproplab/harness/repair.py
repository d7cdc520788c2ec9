"""Which single change of a backward pass would make it right: a wrong gradient's mistake by name and line.

Every edit is tried against autodiff at the point that failed, as a formula in float64. One that makes the gradient right
there is said only if it does so at other points as well, and leaves no gradient wrong that was right. It is a hint:
several edits may be the same function, and the one found first need not be the one that the author would choose.
"""

import functools
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr

from backproplab.harness.backward import Rule, reaching_further, rule_of
from backproplab.harness.compare import Difference
from backproplab.harness.edits import REPAIRS, Edit, edits, edits_of_inputs, edits_of_numbers, edits_of_sums, literals
from backproplab.harness.error_rules import lifted
from backproplab.harness.evaluated import evaluated, evaluated_anew
from backproplab.harness.fitted import fitted
from backproplab.harness.neighbours import jittered
from backproplab.harness.point import Point, point
from backproplab.harness.rounding import bounded

_SECONDS = 2.0
_TO_FIT = 1.0  # seconds more, for numbers
_FRESH = 3  # points beside the one that failed, of which two at least must be to be had
_RESOLVES = 1e-6  # a bound wider than this share of the gradient confirms nothing
_AGREE = 1e-9  # and then entries must agree to this share of the largest


def hint(p: Point, label: str, seed: int, example: Point | None = None, seconds: float = _SECONDS) -> str | None:
    """One sentence: the change that makes the gradient of the argument `label` right; None if no single edit does.

    p: a point at which that gradient is wrong. example: one at which it is right, and is to stay so. Searches for
    `seconds` at most; never raises.
    """
    try:
        found = _search(p, p.view.labels.index(label), seed, example, time.monotonic() + seconds)
    except Exception:  # a hint is an extra: a rule that the search cannot read has its verdict without one
        return None
    if found is None:
        return None
    edit, everything = found
    right = "the rule" if everything else f"the gradient of {label}"
    return f"changing `{edit.operation}` at {edit.where} {edit.words} makes {right} right"


def _search(p: Point, leaf: int, seed: int, example: Point | None, deadline: float) -> tuple[Edit, bool] | None:
    """The first edit that makes all gradients right, or else the first that makes this one right; and which it is."""
    rule = _rule(p)
    output = rule.leaves[leaf]
    if output is None:
        return None
    failing = _Witness(p, rule, p.cotangents("random", seed))
    witnesses: list[_Witness] = []
    partial = None
    spared = [i for i, fine in zip(rule.leaves, failing.right(rule.program())) if fine and i is not None]
    off = lambda edited: failing.value(edited, output, leaf) - failing.exact[leaf]
    others = fitted(rule.backward, output, spared, off)
    known = _known(p, rule, output, spared)
    for edit in itertools.chain(_until(deadline, known), _until(deadline + _TO_FIT, others)):
        edited = edit.change()
        if not failing.nearly(edited, output, leaf):
            continue
        witnesses = witnesses or [failing, *_fresh(p, rule, seed)]
        if len(witnesses) < _FRESH:
            return None  # the function is not defined at enough points to confirm anything
        right = [w.right(rule.program(edited)) for w in witnesses]
        before = [w.right(rule.program()) for w in witnesses]
        keeps = all(now or not then for a, b in zip(right, before) for now, then in zip(a, b))
        if keeps and all(each[leaf] for each in right) and (example is None or _stays_right(example, edit, leaf, seed)):
            if all(map(all, right)):
                return edit, True
            partial = partial or (edit, False)
    return partial


def _rule(p: Point) -> Rule:
    return reaching_further(rule_of(p), [*p.view.labels, *p.view.rest_labels])


def _known(p: Point, rule: Rule, output: int, spared: Sequence[int] = ()) -> Iterator[Edit]:
    """The edits that can be tried one after the other."""
    numbers = literals(rule.forward) | set().union(*map(literals, p.pair.jaxprs[1:]))
    yield from edits_of_inputs(rule.backward, output)
    yield from edits_of_numbers(rule.backward, numbers)
    yield from edits_of_sums(rule.backward, output)
    yield from edits(rule.backward, REPAIRS, numbers, output, spared)


def _stays_right(example: Point, edit: Edit, leaf: int, seed: int) -> bool:
    """Whether the same edit leaves the gradients right that are so at the example, where sizes and values may be others."""
    rule = _rule(example)
    output = rule.leaves[leaf]
    same = next((e for e in _known(example, rule, output) if e.key == edit.key), None) if output is not None else None
    if same is None:
        return False
    witness = _Witness(example, rule, example.cotangents("random", seed))
    both = zip(witness.right(rule.program(same.change())), witness.right(rule.program()))
    return all(now or not before for now, before in both)


class _Witness:
    """A point with a cotangent, what the rule's backward pass is given there, and what autodiff says."""

    def __init__(self, p: Point, rule: Rule, cotangents: list[np.ndarray]):
        self.inputs = p.inputs(cotangents)
        self.backward = rule.backward.jaxpr
        self.equations = set(map(id, self.backward.jaxpr.eqns))
        self.given = [*self._run(rule.forward)[0], *cotangents]
        exact, errors = p.pair.analyse_oracle(self.inputs, lifted())
        count = len(p.outputs)
        self.exact, self.errors = exact[count:], errors[count:]
        self.defined = all(np.isfinite(a).all() for a in exact)

    def nearly(self, backward: ClosedJaxpr, output: int, leaf: int) -> bool:
        """Whether one output of an edited backward pass comes so near that a closer look is worth it."""
        return _agree(self.value(backward, output, leaf), self.exact[leaf], self.errors[leaf])

    def value(self, backward: ClosedJaxpr, output: int, leaf: int) -> np.ndarray:
        """The gradient of an argument, by an edited backward pass."""
        shown = backward.jaxpr.replace(outvars=[backward.jaxpr.outvars[output]])
        (value,) = evaluated_anew(shown, self.values, {}, self.equations)
        return np.broadcast_to(value, np.shape(self.exact[leaf]))

    @functools.cached_property
    def values(self) -> dict[Any, Any]:
        """Of every variable of the backward pass as it stands: an edit leaves most of them as they are."""
        jaxpr = self.backward.jaxpr
        made = [v for eqn in jaxpr.eqns for v in eqn.outvars]
        values = evaluated(self.backward.replace(jaxpr=jaxpr.replace(outvars=made)), self.given)
        given = dict(zip(jaxpr.constvars, self.backward.consts)) | dict(zip(jaxpr.invars, self.given))
        return given | dict(zip(made, values))

    def right(self, program: ClosedJaxpr) -> list[bool]:
        """Per gradient, whether rounding explains the difference."""
        found = []
        for value, error, exact, own in zip(*self._run(program), self.exact, self.errors):
            d = Difference(np.broadcast_to(value, np.shape(exact)), np.asarray(exact), 1.001 * (error + own))
            decides = d.resolves <= _RESOLVES or d.scale == 0
            found.append(not d.any_wrong if decides else _agree(d.got, d.exact))
        return found

    def _run(self, program):
        with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
            return bounded(program, set())(self.inputs, lifted())[:2]


def _until(deadline: float, found: Iterator[Edit]) -> Iterator[Edit]:
    return itertools.takewhile(lambda _: time.monotonic() <= deadline, found)


def _agree(got, exact, errors: Any = 0.0) -> bool:
    """To nine digits, or to what the oracle is sure of, if that says anything."""
    size = np.max(np.abs(exact), initial=0.0)
    with np.errstate(invalid="ignore"):
        return bool(np.all(np.abs(got - exact) <= _AGREE * size + np.minimum(errors, _RESOLVES * size)))


def _fresh(p: Point, rule: Rule, seed: int) -> list[_Witness]:
    """Other points of the case: drawn anew, moved a little within the domain, with cotangents of their own."""
    found = []
    for other in range(seed + 1, seed + 1 + 2 * _FRESH):
        q = point(p.case, other, p.dtype, p.device, p.matmul)
        q = q.beside_differences() if p.pair.numerical and not q.pair.numerical else q
        witness = _Witness(q.moved(jittered(q, other)), rule, q.cotangents("random", other))
        if witness.defined and len(found) < _FRESH:
            found.append(witness)
    return found
