"""The two programs that are compared, compiled once per function, shapes and dtype, and their running error analyses."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun

from backproplab.harness.error_rules import Machine, is_float, is_inexact, name_of_dtype
from backproplab.harness.evaluated import evaluated
from backproplab.harness.jitted import LONG, jitted
from backproplab.harness.remembered import Remembered
from backproplab.harness.rounding import bounded
from backproplab.harness.strip import holds

# To interpret an equation in numpy takes some thirty microseconds and ten nanoseconds per entry, to compile its analysis
# twelve milliseconds: a program is compiled once as much time has gone into interpreting it. Counted in entries.
_COMPILED = 1_200_000  # an equation's analysis, once
_BARE = 200_000  # an equation alone, in little more than a millisecond
_EQUATION = 3000
_BY_JAX = 12 * _EQUATION  # where JAX hands over the operations one by one
_IN_A_LOOP = 3  # times as much is an equation there, where arrays are taken apart and put together
_UNTIL = 30  # a guess at the steps of a loop that ends when it is done
_REMEMBERED = 6

Analysis = Callable[[list, Machine], tuple[list[np.ndarray], list[np.ndarray]]]
Program = Callable[[list], list[np.ndarray]]


@dataclass(frozen=True)
class Pair:
    """A rule and its oracle: two functions of one list of arrays, whose outputs (a list) correspond entry by entry.

    analyse_rule, analyse_oracle: from inputs and a machine to values and errors, both float64. in_float64: of the rule and of
    the oracle, from inputs to the values alone; None for a program of which a part has fewer digits.
    unknown: names of primitives without an error rule; fills with the first analysis.
    by_hand: the rule's jaxpr. autodiff: that of the oracle, traced when it is wanted.
    numerical: whether the oracle's gradients are finite differences instead, of which the errors are estimates; then the
    rule's rounding is not analysed.
    """

    rule: Callable[[list], list]
    oracle: Callable[[list], list]
    analyse_rule: Analysis
    analyse_oracle: Analysis
    in_float64: Callable[[], tuple[Program | None, Program | None]]
    unknown: set[str]
    by_hand: ClosedJaxpr
    autodiff: Callable[[], ClosedJaxpr] | None

    @property
    def numerical(self) -> bool:
        return self.autodiff is None

    @property
    def jaxprs(self) -> tuple[ClosedJaxpr, ...]:
        """Of the rule and of the oracle, or of the rule alone."""
        return (self.by_hand,) if self.autodiff is None else (self.by_hand, self.autodiff())


def pair(
    rule: Callable,
    oracle: Callable,
    inputs: Sequence[Any],
    wide: bool,
    device: Any,
    otherwise: Callable | None = None,
    traceable: bool = False,
    often: bool = False,
) -> Pair:
    """Traces both functions at the types of `inputs` (x64 iff `wide`); the rule is to run on `device`, all else on the CPU.

    otherwise: makes a function from inputs to the oracle's outputs and their errors, for an oracle that JAX cannot trace.
    traceable: JAX can, as is known; then it need not be done before the oracle is asked.
    often: they are to run so often that to compile them with care pays.
    """
    cpu, unknown = jax.devices("cpu")[0], set[str]()

    def traced(fn):
        with jax.enable_x64(wide):
            return jax.make_jaxpr(fn)([jax.ShapeDtypeStruct(np.shape(x), x.dtype) for x in inputs])

    def compiled(jaxpr, at):
        return _on(at, wide, jitted(_listed(jaxpr), _entries(jaxpr.jaxpr.eqns), at, often))

    @functools.cache
    def in_float64(jaxpr):
        return values_in_float64(jaxpr, often) if wide and float64_alone(jaxpr) else None

    @functools.cache
    def run_oracle():
        return in_float64(autodiff()) or compiled(autodiff(), cpu)

    autodiff = functools.cache(lambda: traced(oracle))
    analyse_oracle = functools.cache(lambda: analysis(autodiff(), unknown))
    by_hand = traced(rule)
    try:
        _ = traceable or autodiff()
    except Exception:
        if otherwise is None:
            raise
        return beside_differences(compiled(by_hand, device), otherwise(), by_hand)
    return Pair(
        compiled(by_hand, device),
        lambda inputs: run_oracle()(inputs),
        analysis(by_hand, unknown),
        lambda inputs, machine: analyse_oracle()(inputs, machine),
        lambda: (in_float64(by_hand), in_float64(autodiff())),
        unknown,
        by_hand,
        autodiff,
    )


def beside_differences(rule: Callable, gradients: Callable, jaxpr: ClosedJaxpr) -> Pair:
    """The pair of a rule and of finite differences: no error of the rule is known."""
    remembered = Remembered(_REMEMBERED)

    def differences(inputs, machine=None):
        return remembered.get(None, inputs, lambda: gradients(inputs))

    def analyse_rule(inputs, machine=None):
        values = [np.asarray(y, np.complex128 if np.iscomplexobj(y) else np.float64) for y in rule(inputs)]
        return values, [np.full(np.shape(y), np.inf) for y in values]

    neither = lambda: (None, None)
    return Pair(rule, lambda inputs: differences(inputs)[0], analyse_rule, differences, neither, set(), jaxpr, None)


def analysis(jaxpr: ClosedJaxpr, unknown: set[str]) -> Analysis:
    """The running error analysis of one program, which remembers its last results: several checks ask for the same."""
    analyse_anew = run_analysis(jaxpr, unknown)
    same = float64_alone(jaxpr)  # to every machine
    remembered = Remembered(_REMEMBERED)

    def analyse(inputs, machine):
        asked = repr(machine.float64 if same else machine._replace(xp=None))
        return remembered.get(asked, inputs, lambda: analyse_anew(inputs, machine)[:2])

    return analyse


def run_analysis(
    jaxpr: ClosedJaxpr, unknown: set[str], branching: bool = False, often: bool = False
) -> Callable[[list, Machine], Any]:
    """`rounding.bounded`, from inputs of any precision; compiled once that pays, at once if it is to run often."""
    interpret = bounded(jaxpr, unknown, branching)
    entries, work, once = _entries(jaxpr.jaxpr.eqns), _work(jaxpr), 0 if often else _COMPILED * _equations(jaxpr)
    cpu = jax.devices("cpu")[0]
    compiled = jitted(lambda inputs, machine: interpret(inputs, machine._replace(xp=jnp)), entries, cpu, often)
    calls = 0

    def analyse(inputs, machine):
        nonlocal calls
        calls += 1
        with jax.enable_x64(True), jax.default_device(cpu):
            if calls * work <= once:
                return interpret(_float64(inputs), machine)
            return jax.tree.map(np.asarray, compiled(_float64(inputs), machine._replace(xp=None)))

    return analyse


def values_in_float64(jaxpr: ClosedJaxpr, often: bool = False) -> Program:
    """A program in float64 alone: interpreted, and compiled once that pays. Remembers its last results as `analysis` does.

    often: it is to run so often that it pays at once, with care.
    """
    work, once = _work(jaxpr), 0 if often else _BARE * _equations(jaxpr)
    cpu = jax.devices("cpu")[0]
    compiled = _on(cpu, True, jitted(_listed(jaxpr), _entries(jaxpr.jaxpr.eqns), cpu, often))
    remembered = Remembered(_REMEMBERED)
    calls = 0

    def run(inputs):
        nonlocal calls
        calls += 1
        return list(map(np.asarray, evaluated(jaxpr, inputs))) if calls * work <= once else compiled(inputs)

    as_typed = lambda x, v: np.asarray(x, v.aval.dtype) if is_inexact(x) else x  # at a point in fewer digits, too
    return lambda inputs: remembered.get(None, inputs, lambda: run(list(map(as_typed, inputs, jaxpr.jaxpr.invars))))


def is_long(jaxpr: ClosedJaxpr) -> bool:
    """Whether its arrays are so large that a compiler's care pays with the first few runs."""
    inputs = sum(math.prod(v.aval.shape) for v in jaxpr.jaxpr.invars)
    return inputs + _entries(jaxpr.jaxpr.eqns) >= LONG


def short(jaxpr: ClosedJaxpr, runs: int) -> bool:
    """Whether to interpret a program so many times (`evaluated`) costs less than to compile it."""
    return runs * _work(jaxpr) <= _BARE * _equations(jaxpr)


def short_for_jax(jaxpr: ClosedJaxpr) -> bool:
    """Whether it pays to have JAX run a program operation by operation, none of them compiled."""
    return not holds(("while",), jaxpr) and _work(jaxpr, _BY_JAX) <= _COMPILED * _equations(jaxpr)


def _work(node: Any, equation: int = _EQUATION) -> int:
    """Of interpreting a jaxpr, or what holds some: a loop of known length counts as often as it is gone through."""
    if isinstance(node, ClosedJaxpr | Jaxpr):
        equations: list[Any] = (node.jaxpr if isinstance(node, ClosedJaxpr) else node).eqns
        own = equation * sum(len(e.outvars) for e in equations) + _entries(equations)
        times = [_times(e) for e in equations]
        return own + sum(n * _work([*e.params.values()], equation) for n, e in zip(times, equations))
    return sum(_work(item, equation) for item in node) if type(node) in (tuple, list) else 0


def _times(eqn: Any) -> int:
    """How often an equation in the body of another one counts."""
    if "length" in eqn.params:
        return _IN_A_LOOP * eqn.params["length"]
    return _IN_A_LOOP * _UNTIL if eqn.primitive.name == "while" else 1


def _equations(node: Any) -> int:
    """In a jaxpr, or what holds some, at any depth."""
    if isinstance(node, ClosedJaxpr | Jaxpr):
        equations: list[Any] = (node.jaxpr if isinstance(node, ClosedJaxpr) else node).eqns
        return len(equations) + sum(_equations([*e.params.values()]) for e in equations)
    return sum(map(_equations, node)) if type(node) in (tuple, list) else 0


def _entries(equations: Sequence[Any]) -> int:
    """Numbers in what the equations of a program make, those in the bodies of its calls and loops left out."""
    return sum(math.prod(v.aval.shape) for eqn in equations for v in eqn.outvars)


def _listed(jaxpr: ClosedJaxpr) -> Callable[[list], list]:
    return lambda inputs: jaxpr_as_fun(jaxpr)(*inputs)


def float_types(node: Any) -> set[str]:
    """Names of the floating and complex types in a jaxpr, at any depth."""
    if isinstance(node, ClosedJaxpr | Jaxpr):
        jaxpr = node.jaxpr if isinstance(node, ClosedJaxpr) else node
        avals: list[Any] = [v.aval for eqn in jaxpr.eqns for v in (*eqn.invars, *eqn.outvars)]
        own = {name_of_dtype(a.dtype) for a in avals if is_inexact(a)} - {"complex128"}
        return own.union(*(float_types(value) for eqn in jaxpr.eqns for value in eqn.params.values()))
    return set().union(*map(float_types, node)) if type(node) in (tuple, list) else set()


def float64_alone(jaxpr: ClosedJaxpr) -> bool:
    """Whether no part of a program computes in fewer digits."""
    return float_types(jaxpr) <= {"float64"} and not holds(("reduce_precision",), jaxpr)


def _on(device, wide, fn):
    def run(inputs):
        with jax.enable_x64(wide), jax.default_device(device):
            return [np.asarray(out) for out in fn(inputs)]

    return run


def _float64(inputs):
    """Exactly the numbers of the low precision, as float64."""
    return [np.asarray(x, np.float64) if is_float(x) else x for x in inputs]
