"""How far rounding alone can move each number that a program computes: running error analysis of a jaxpr.

The program is interpreted in float64. Beside every value runs a bound on the distance between what the program yields
when its operations are rounded and what exact arithmetic would yield (Wilkinson; Higham, Accuracy and Stability of
Numerical Algorithms, ch. 3). Two programs that are the same function may then differ by the sum of their bounds and no
more, whatever the order of their sums: the tolerance of a comparison is computed, not chosen.

Casts to lower precision inside the program are part of the rounding, not of the value: the values are those of the
same program in float64 throughout. Where a comparison could come out differently within the bounds, both outcomes are
counted. A primitive that `error_rules` does not know has an unbounded error, and is named.

The device flushes numbers below the smallest normal one to 0 already when it reads them: such an input is off by itself.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from backproplab.harness import error_rules
from backproplab.harness.control import CONTROL
from backproplab.harness.error_rules import UNBOUNDED, Bounded, Machine, is_float, is_inexact, name_of_dtype, widest
from backproplab.harness.primitives import is_key, name_of
from backproplab.harness.strip import forward_body

# Where a primitive that just runs another program keeps it.
_BODY = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "remat2": "jaxpr",
         "checkpoint": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr", "custom_lin": "jaxpr", "custom_vmap_call": "call",
    "eval_jaxpr": "call_jaxpr", "composite": "jaxpr"}  # fmt: skip


class Analysis(NamedTuple):
    """What the interpretation of one program yields, one entry per output leaf."""

    values: list
    errors: list
    branches: Any  # a number that is the same wherever every comparison in the program comes out the same


def bounded(closed: ClosedJaxpr, unknown: set[str], branching: bool = False) -> Callable[[Sequence, Machine], Analysis]:
    """The program `closed` as a function of its (exact) inputs and a machine.

    With a machine whose `xp` is jax.numpy the function is traceable, to be jitted; with numpy it runs as it stands.
    Call it with x64 enabled. Names of primitives without a rule are added to `unknown`. branching: whether to look which way
    comparisons go, which takes a while where entries are sorted; `branches` is 0 otherwise.
    """

    def analyse(inputs: Sequence, machine: Machine) -> Analysis:
        interpreter = _Interpreter(machine, unknown, branching)
        consts = [interpreter.constant(c, c) for c in closed.consts]
        with np.errstate(all="ignore"):
            given = [interpreter.given(x, v.aval) for x, v in zip(inputs, closed.jaxpr.invars)]
            outputs = interpreter.run(closed.jaxpr, consts, given)
        errors = [error_rules.error_array(out, machine.xp) + interpreter.flushed for out in outputs]
        errors = [machine.xp.where(machine.xp.isnan(e), np.inf, e) for e in errors]
        return Analysis([out.value for out in outputs], errors, interpreter.branches)

    return analyse


def body_of(eqn: Any) -> ClosedJaxpr | Jaxpr | None:
    """The program that an equation just runs, if it does."""
    key = _BODY.get(name_of(eqn))
    return forward_body(eqn) or (eqn.params.get(key) if key else None)


class _Step(NamedTuple):
    """An equation, what computes its bounds, from which variables, the program that it just runs (if it does), and what
    no later one reads."""

    eqn: Any
    rule: Callable
    reads: tuple
    body: ClosedJaxpr | Jaxpr | None
    dead: tuple


# For as long as somebody holds the program, whose captured arrays may be large.
_read: WeakKeyDictionary[Jaxpr, tuple[_Step, ...]] = WeakKeyDictionary()


def _steps(jaxpr: Jaxpr) -> tuple[_Step, ...]:
    """The same for every interpretation of a program."""
    if jaxpr not in _read:
        _read[jaxpr] = _read_once(jaxpr)
    return _read[jaxpr]


def _read_once(jaxpr: Jaxpr) -> tuple[_Step, ...]:
    made_by = {v: eqn for eqn in jaxpr.eqns for v in eqn.outvars}
    steps = [_rule_and_reads(eqn, made_by) for eqn in jaxpr.eqns]
    variables = [{v for v in reads if not isinstance(v, Literal)} for _, reads in steps]
    last_use = {v: i for i, read in enumerate(variables) for v in read}
    kept = {v for v in jaxpr.outvars if not isinstance(v, Literal)}
    return tuple(
        _Step(
            eqn,
            rule,
            reads,
            body_of(eqn),
            tuple(v for v in read if last_use[v] == i and v not in kept),
        )
        for i, (eqn, (rule, reads), read) in enumerate(zip(jaxpr.eqns, steps, variables))
    )


def _rule_and_reads(eqn: Any, made_by: dict) -> tuple[Callable, tuple]:
    """What computes an equation's bounds, and from which variables: its own, and for some others besides."""
    patterns = (error_rules.own_extreme, error_rules.between, error_rules.added_to_scattered)
    of_several = next(filter(None, (pattern(eqn, made_by) for pattern in patterns)), None)
    return of_several or (error_rules.rule_for(eqn) or error_rules.unbounded, tuple(eqn.invars))


@functools.lru_cache(maxsize=4096)
def _short_scalar(number: float, roundoff: float) -> bool:
    return is_short(np.asarray(number), roundoff)


def is_short(number: np.ndarray, roundoff: float) -> bool:
    """Whether half of a dtype's digits suffice to write the numbers: then nothing was rounded when they were stored."""
    significand = np.frexp(number)[0]
    unit = 2.0 ** round(np.log2(roundoff) / 2)
    return bool(np.all(~np.isfinite(number) | (significand == np.round(significand / unit) * unit)))


class _Interpreter:
    """Walks equations. Holds the machine, and adds up the outcomes of the comparisons it passes, if `branching`.

    flushed: inf if an input is below the smallest normal number, where the analysis is compiled.
    """

    def __init__(self, machine: Machine, unknown: set[str], branching: bool):
        self.machine = machine
        self.xp = machine.xp
        self.unknown = unknown
        self.branching = branching
        self.branches = 0.0
        self.flushed: Any = 0.0

    def given(self, x, typed: Any) -> Bounded:
        """An input: exact, unless it is too small for the dtype it is given in."""
        if not is_inexact(x):
            return Bounded(x, None)
        value = self.xp.asarray(x, widest(x))
        if not is_float(typed) or name_of_dtype(typed.dtype) not in self.machine.smallest:
            return Bounded(value, None)
        tiny = (value != 0) & (self.xp.abs(value) < self.machine.smallest[name_of_dtype(typed.dtype)])
        if self.xp is np:
            return Bounded(value, np.where(tiny, np.abs(value), 0.0) if tiny.any() else None)
        # an array of errors for each input, nearly always 0, would make the compiled analysis twice as long
        self.flushed = self.flushed + self.xp.where(self.xp.any(tiny), np.inf, 0.0)
        return Bounded(value, None)

    def constant(self, value: Any, typed: Any) -> Bounded:
        """A literal or a captured array: rounded once to the dtype of `typed`, unless so short that it was exact."""
        if not is_inexact(typed):
            return Bounded(value, None)
        if not is_float(typed):
            number = np.asarray(value, np.complex128)
            return Bounded(
                self.xp.asarray(number), self.xp.asarray(abs(number) * error_rules.storage_roundoff(typed.dtype))
            )
        number = np.asarray(value, np.float64)
        roundoff = error_rules.storage_roundoff(typed.dtype)
        if is_short(number, roundoff) if number.ndim else _short_scalar(float(number), roundoff):
            return Bounded(self.xp.asarray(number), None)
        return Bounded(self.xp.asarray(number), self.xp.asarray(np.abs(number) * roundoff))

    def run(self, jaxpr: Jaxpr, consts: Sequence[Bounded], inputs: Sequence[Bounded]) -> list[Bounded]:
        env: dict[Any, Bounded] = dict(zip(jaxpr.constvars, consts)) | dict(zip(jaxpr.invars, inputs))
        read = lambda v: self.constant(v.val, v.aval) if isinstance(v, Literal) else env[v]
        for step in _steps(jaxpr):
            env.update(zip(step.eqn.outvars, self.step(step, [read(v) for v in step.reads])))
            for v in step.dead:
                del env[v]
        return [read(v) for v in jaxpr.outvars]

    def step(self, step: _Step, inputs: list[Bounded]) -> list[Bounded]:
        eqn, name = step.eqn, step.eqn.primitive.name
        if step.body is not None:
            return self.call(step.body, inputs)
        outputs = CONTROL[name](self, eqn, inputs) if name in CONTROL else None
        if outputs is None:
            try:
                outputs = step.rule(eqn, inputs, self.machine)
            except Exception:  # a form of the operation that its error rule does not foresee is none the worse for it
                outputs = error_rules.unbounded(eqn, inputs, self.machine)
        if any(out.error is UNBOUNDED for out in outputs):
            self.unknown.add(name)
            outputs = [self.nothing_known(out) if out.error is UNBOUNDED else out for out in outputs]
        outputs = [out if out.error is None else self.known(out) for out in outputs]
        if self.branching and name in error_rules.BRANCHING:
            self.branches = self.branches + error_rules.outcome(eqn, inputs, outputs, self.xp)
        return outputs

    def known(self, x: Bounded) -> Bounded:
        """A bound that is not a number, inf - inf or 0 inf, says nothing: inf."""
        nan = self.xp.isnan(x.error)
        if self.xp is np and not nan.any():
            return x
        return Bounded(x.value, self.xp.where(nan, np.inf, x.error))

    def nothing_known(self, x: Bounded) -> Bounded:
        return Bounded(x.value, self.xp.full(np.shape(x.value), np.inf))

    def call(self, body: ClosedJaxpr | Jaxpr, inputs: Sequence[Bounded]) -> list[Bounded]:
        if isinstance(body, ClosedJaxpr):
            return self.run(body.jaxpr, [self.constant(c, c) for c in body.consts], inputs)
        return self.run(body, [], inputs)

    def inside(self, body, inputs) -> tuple[list[Bounded], Any]:
        """A body run in a loop or branch: its outputs, and what its comparisons add up to, apart from `branches`."""
        before, self.branches = self.branches, 0.0
        outputs = [self.full(out) for out in self.call(body, inputs)]
        inner, self.branches = self.branches, before
        return outputs, self.xp.asarray(inner, np.float64)

    def full(self, x: Bounded) -> Bounded:
        """With an error array in place of the None that stands for exact: loops need one form throughout."""
        value = x.value if is_key(x.value) else self.xp.asarray(x.value)
        return Bounded(value, error_rules.error_array(x, self.xp))
