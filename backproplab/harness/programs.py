"""The two programs that are compared, compiled once per function, shapes and dtype, and their running error analyses."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun

from backproplab.harness.error_rules import Machine, is_inexact
from backproplab.harness.rounding import bounded

# Interpreting a small program in numpy takes milliseconds, compiling its analysis half a second and more: the analysis is
# compiled once this much has been interpreted, counted in entries, an equation being as much work as so many entries.
_INTERPRETED = 100_000_000
_EQUATION = 3000
_REMEMBERED = 6
QUICK = {"xla_backend_optimization_level": 0}


Analysis = Callable[[list, Machine], tuple[list[np.ndarray], list[np.ndarray]]]


@dataclass(frozen=True)
class Pair:
    """A rule and its oracle: two functions of one list of arrays, whose outputs (a list) correspond entry by entry.

    analyse_rule, analyse_oracle: from inputs and a machine to values and errors, both float64.
    unknown: names of primitives without an error rule; fills with the first analysis.
    jaxprs: of the rule and of the oracle.
    """

    rule: Callable[[list], list]
    oracle: Callable[[list], list]
    analyse_rule: Analysis
    analyse_oracle: Analysis
    unknown: set[str]
    jaxprs: tuple[ClosedJaxpr, ClosedJaxpr]


def pair(rule: Callable, oracle: Callable, inputs: Sequence[Any], wide: bool, device: Any) -> Pair:
    """Traces both functions at the types of `inputs` (x64 iff `wide`); the rule is to run on `device`, all else on the CPU."""
    with jax.enable_x64(wide):
        shapes = [jax.ShapeDtypeStruct(np.shape(x), x.dtype) for x in inputs]
        jaxprs = jax.make_jaxpr(rule)(shapes), jax.make_jaxpr(oracle)(shapes)
    unknown: set[str] = set()
    analyse_rule, analyse_oracle = (analysis(jaxpr, unknown) for jaxpr in jaxprs)
    run_oracle = jax.jit(lambda inputs: jaxpr_as_fun(jaxprs[1])(*inputs), compiler_options=QUICK)
    on_cpu = _on(jax.devices("cpu")[0], wide, run_oracle)
    return Pair(_on(device, wide, jax.jit(rule)), on_cpu, analyse_rule, analyse_oracle, unknown, jaxprs)


def analysis(jaxpr: ClosedJaxpr, unknown: set[str]) -> Analysis:
    """The running error analysis of one program, which remembers its last results: several checks ask for the same."""
    interpret = bounded(jaxpr, unknown)
    others = _float_types(jaxpr) - {"float64"}  # without any, a program is the same to every machine
    work = sum(_EQUATION + math.prod(v.aval.shape) for eqn in jaxpr.jaxpr.eqns for v in eqn.outvars)
    compiled = jax.jit(lambda inputs, machine: interpret(inputs, machine._replace(xp=jnp))[:2])
    remembered: dict[Any, tuple] = {}
    calls = 0

    def analyse(inputs, machine):
        nonlocal calls
        key = (repr(machine._replace(xp=None) if others else machine.float64), *map(_content, inputs))
        if key not in remembered:
            calls += 1
            while len(remembered) >= _REMEMBERED:
                del remembered[next(iter(remembered))]
            with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
                if calls * work <= _INTERPRETED:
                    remembered[key] = interpret(_float64(inputs), machine)[:2]
                else:
                    remembered[key] = jax.tree.map(np.asarray, compiled(_float64(inputs), machine._replace(xp=None)))
        return remembered[key]

    return analyse


def _float_types(node: Any) -> set[str]:
    """Names of the floating and complex types in a jaxpr, at any depth."""
    if isinstance(node, ClosedJaxpr | Jaxpr):
        jaxpr = node.jaxpr if isinstance(node, ClosedJaxpr) else node
        avals: list[Any] = [v.aval for eqn in jaxpr.eqns for v in (*eqn.invars, *eqn.outvars)]
        own = {str(a.dtype) for a in avals if is_inexact(a)} - {"complex128"}
        return own.union(*(_float_types(value) for eqn in jaxpr.eqns for value in eqn.params.values()))
    return set().union(*map(_float_types, node)) if type(node) in (tuple, list) else set()


def _content(x):
    """What tells two inputs of one shape apart."""
    data = jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended) else x
    return hashlib.blake2b(np.asarray(data).tobytes()).digest()


def _on(device, wide, fn):
    def run(inputs):
        with jax.enable_x64(wide), jax.default_device(device):
            placed = [jax.device_put(x, device) for x in inputs]
            return [np.asarray(out) for out in fn(placed)]

    return run


def _float64(inputs):
    """Exactly the numbers of the low precision, as float64."""
    return [np.asarray(x, np.float64) if jax.dtypes.issubdtype(jnp.result_type(x), np.floating) else x for x in inputs]
