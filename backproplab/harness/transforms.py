"""The rule under JAX's transformations: eager as jitted, vmapped as in a loop, and the same when run again."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax.extend.core import jaxpr_as_fun

from backproplab.harness.compare import Difference, largest
from backproplab.harness.contract import line_of
from backproplab.harness.error_rules import executed, lifted
from backproplab.harness.point import Point
from backproplab.harness.programs import analysis
from backproplab.harness.verdict import Check
from backproplab.harness.view import view

_BATCH = 3
_LARGE = 1_000_000


def transform_checks(p: Point, seed: int) -> Iterator[Check]:
    """All of them, in the dtype of `p`, with the rounding bounds of the rule.

    Outside jit once per function, at its example, the case without a name: there each operation is compiled by itself.
    """
    if sum(np.size(x) for x in p.view.diff) > _LARGE:
        return
    yield from repeated(p, seed)
    yield from interleaved(p, seed)
    if not p.case.name:
        yield from eager(p, seed)
    yield from vmapped(p, seed)


def repeated(p: Point, seed: int) -> Iterator[Check]:
    """The same numbers when it runs again after a run at other numbers: no state, no chance."""
    cotangents = p.cotangents("random", seed)
    first = p.gradients(cotangents)
    p.gradients(p.cotangents("random", seed + 1))
    for label, one, two in zip(p.view.labels, first, p.gradients(cotangents)):
        if not np.array_equal(one, two, equal_nan=True):
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

    mixed = list(zip(*_formula(p, "interleaved", both, jax.tree.leaves(runs))))
    for k, (diff, rest, cotangents) in enumerate(runs):
        alone = _formulas_alone(p, [*diff, *rest, *cotangents])
        for label, one, two in zip(p.view.labels, alone, mixed[k * len(diff) :]):
            d = _difference(two, one)
            if d.wrong.any():
                i = d.worst
                cause = f"with two forward passes before the backward passes the gradient of {label} is {d.got[i]:.6g} at {list(i)}, alone {d.exact[i]:.6g}: the rule keeps state outside its residuals"
                yield Check(
                    "interleaved",
                    "fail",
                    label,
                    float(d.error[i]),
                    float(d.bound[i]),
                    cause=cause,
                    where=line_of(getattr(p.case.fn, "bwd", None)),
                )
                return
    yield Check("interleaved", "pass")


def eager(p: Point, seed: int) -> Iterator[Check]:
    """Outside jit, where a rule sees arrays in place of tracers."""
    cotangents = p.cotangents("random", seed)
    with jax.enable_x64(p.wide), jax.default_device(p.device):
        placed = [x if _is_key(x) else jnp.asarray(x) for x in p.inputs(cotangents)]
        outputs = p.program(placed)
    inputs = p.inputs(cotangents)
    for label, got, jitted, bound in zip(
        (*["the value"] * len(p.outputs), *p.view.labels), outputs, p.pair.rule(inputs), _bounds(p, inputs)
    ):
        d = Difference(_wide(got), _wide(jitted), bound)
        if d.wrong.any():
            i = d.worst
            cause = f"outside jit {label} is {d.got[i]:.6g} at {list(i)}, inside {d.exact[i]:.6g}"
            yield Check("eager", "fail", label, float(d.error[i]), float(d.bound[i]), cause=cause)
            return
    yield Check("eager", "pass")


def vmapped(p: Point, seed: int) -> Iterator[Check]:
    """Batched over each argument and the cotangent by themselves and over all at once, against one run per element."""
    points = _points(p, seed, _BATCH)
    if points is None:
        return
    runs = [[*diff, *rest, *p.cotangents("random", seed + i)] for i, (diff, rest) in enumerate(points)]
    count, rest = len(p.view.diff), len(p.view.rest)
    groups = {label: {i} for i, label in enumerate(p.view.labels)}
    groups["the cotangent"] = set(range(count + rest, len(runs[0])))
    if count > 1:
        groups["all arguments"] = set(range(len(runs[0]))) - {
            i for i in range(count, count + rest) if _is_key(runs[0][i])
        }
    rule = jaxpr_as_fun(p.pair.jaxprs[0])
    for name, batched in groups.items():
        elements = [[runs[b if i in batched else 0][i] for i in range(len(runs[0]))] for b in range(_BATCH)]
        stacked = [np.stack([e[i] for e in elements]) if i in batched else runs[0][i] for i in range(len(runs[0]))]
        axes = tuple(0 if i in batched else None for i in range(len(runs[0])))
        program = lambda inputs, axes=axes: jax.vmap(rule, axes)(*inputs)
        outputs = [o[len(p.outputs) :] for o in _formula(p, f"vmap over {name}", program, stacked)]
        for b, element in enumerate(elements):
            for label, values, errors, one in zip(p.view.labels, *outputs, _formulas_alone(p, element)):
                d = _difference((values[b], errors[b]), one)
                if d.wrong.any():
                    i = d.worst
                    cause = f"under vmap over {name} the gradient of {label} is {d.got[i]:.6g} at {list(i)} of batch element {b}; alone it is {d.exact[i]:.6g}"
                    yield Check("vmap", "fail", label, float(d.error[i]), float(d.bound[i]), cause=cause)
                    return
    yield Check("vmap", "pass")


def _formula(p: Point, name: str, program, inputs: list) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Values and bounds of a transformed rule as a formula; traced once per program of `p`. Compiling it would cost more."""

    def traced():
        with jax.enable_x64(p.wide):
            return analysis(jax.make_jaxpr(program)(inputs), set())

    return p.once(name, traced)(inputs, lifted())


def _formulas_alone(p: Point, inputs: list) -> list[tuple[np.ndarray, np.ndarray]]:
    """Value and bound of each gradient of the rule itself."""
    values, errors = p.pair.analyse_rule(inputs, lifted())
    return list(zip(values, errors))[len(p.outputs) :]


def _difference(got: tuple, exact: tuple) -> Difference:
    """Of one formula evaluated in two ways; where no bound is known, half of the digits are left to rounding."""
    both = 1.001 * (np.asarray(got[1]) + exact[1])
    return Difference(_wide(got[0]), _wide(exact[0]), np.where(np.isfinite(both), both, 2.0**-26 * largest([exact[0]])))


def _points(p: Point, seed: int, count: int) -> list[tuple[list, list]] | None:
    """The arguments for as many seeds, no two the same even where the case fixes them; None if the shapes vary with the seed."""
    views = [view(p.case, p.case.arguments(seed + i, p.dtype)) for i in range(count)]
    if any(v.signature != p.view.signature for v in views):
        return None
    return [([(x * (1 - i / 128)).astype(x.dtype) for x in v.diff], v.rest) for i, v in enumerate(views)]


def _bounds(p: Point, inputs: list) -> list[np.ndarray]:
    """How far two runs of one formula may be apart, per output and gradient. Without an error rule: half of the digits."""
    values, errors = p.pair.analyse_rule(inputs, executed(p.matmul))
    half = float(ml_dtypes.finfo(p.dtype).eps) ** 0.5
    return [np.where(np.isfinite(e), 2.002 * np.asarray(e), half * largest([v])) for v, e in zip(values, errors)]


def _wide(x) -> np.ndarray:
    return np.asarray(x, np.complex128 if np.iscomplexobj(x) else np.float64)


def _is_key(x) -> bool:
    return jax.dtypes.issubdtype(getattr(x, "dtype", np.dtype(float)), jax.dtypes.prng_key)
