"""The rule where there are two devices or more: one argument split over them, the others on each.

So runs a layer in data-parallel training. In `shard_map` a device computes what the rule yields there alone, and the
gradient of an argument that all devices hold is the sum over them. Under jit the layout is the compiler's business (Auto
axes) or part of JAX's types (Explicit axes), and the gradients are those of one device.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import ml_dtypes
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as Spec

from backproplab.harness.compare import Difference, largest
from backproplab.harness.error_rules import executed
from backproplab.harness.jitted import jitted
from backproplab.harness.point import Point, vjp_of
from backproplab.harness.strip import strip
from backproplab.harness.verdict import Check

_AXIS = "shards"


def parallel(p: Point, runs: list[list], notes: list[str]) -> Iterator[Check]:
    """In every way. What a rule refuses is loud: a note says how it is mended.

    runs: the inputs of the program of `p` at two points, one for each device; of the second, the first argument and the
    cotangents count.
    """
    devices = [d for d in jax.devices(p.device.platform)][: len(runs)]
    if len(devices) < len(runs):
        return
    yield from _in_shard_map(p, np.array(devices), runs, notes)
    yield from _laid_out(p, np.array(devices), runs[0], notes)


def _in_shard_map(p: Point, devices: np.ndarray, runs: list[list], notes: list[str]) -> Iterator[Check]:
    """With the check of varying axes and without it."""
    mesh = Mesh(devices, (_AXIS,))
    count, rest = len(p.view.diff), len(p.view.rest)
    split = [0, *range(count + rest, len(runs[0]))]
    stacked = [np.stack([run[i] for run in runs]) if i in split else x for i, x in enumerate(runs[0])]
    each = [[run[i] if i in split else x for i, x in enumerate(runs[0])] for run in runs]
    call = p.view.call(p.case.fn)
    right = _expected(p, each)
    for check_vma in (True, False):
        words = f"inside shard_map{'' if check_vma else ' without check_vma'}"
        program = lambda call, check_vma=check_vma: vjp_of(_sharded(p, mesh, call, check_vma), count, rest)
        yield from _compared(p, "shard_map", words, program, call, stacked, right, notes)


def _laid_out(p: Point, devices: np.ndarray, inputs: list, notes: list[str]) -> Iterator[Check]:
    """Under jit, with the first axis that the devices can share laid out over them."""
    places = ((i, a) for i, x in enumerate(p.view.diff) for a in range(np.ndim(x)) if np.shape(x)[a] % len(devices) == 0 < np.size(x))  # fmt: skip
    leaf, axis = next(places, (None, 0))
    if leaf is None:
        return
    count, rest = len(p.view.diff), len(p.view.rest)
    values, errors = _expected(p, [inputs])
    right = [values[0][0], *values[1:]], [errors[0][0], *errors[1:]]
    for kind in (AxisType.Auto, AxisType.Explicit):
        mesh = Mesh(devices, (_AXIS,), axis_types=(kind,))
        layout = lambda i, mesh=mesh: NamedSharding(mesh, Spec(*[None] * axis, _AXIS) if i == leaf else Spec())

        def program(call, explicit=kind is AxisType.Explicit):
            def run(inputs):
                diff, others, cotangents = inputs[:count], inputs[count : count + rest], inputs[count + rest :]
                y, pull = jax.vjp(lambda d: call(d, others), diff)
                if explicit:  # a cotangent lies where its output does
                    cotangents = [jax.sharding.reshard(c, jax.typeof(v).sharding) for c, v in zip(cotangents, y)]
                return [*y, *pull(list(cotangents))[0]]

            return run

        with jax.enable_x64(p.wide), jax.set_mesh(mesh):
            placed = [jax.device_put(x, layout(i)) for i, x in enumerate(inputs)]
            words = f"laid out over two devices under jit ({kind.name} axes)"
            found = list(_compared(p, "sharding", words, program, p.view.call(p.case.fn), placed, right, notes))
        yield from found  # outside the mesh, which is nobody else's


def _compared(
    p: Point,
    name: str,
    words: str,
    program: Callable,
    call: Callable,
    inputs: list,
    right: tuple[list, list],
    notes: list[str],
) -> Iterator[Check]:
    """The gradients of `program(call)` against values and their bounds."""
    try:
        found = _run(p, program(call), inputs)[len(p.outputs) :]
    except Exception as error:
        if _allows(p, program(strip(call)), inputs):
            told = " ".join(str(error).split())[:150]
            raised = f"{words} the rule raises {type(error).__name__}: {told}"
            notes.append(f"{raised}; registered with backproplab.defvjp it may not")
        return
    for label, got, exact, bound in zip(p.view.labels, found, *right):
        d = Difference(got.astype(exact.dtype), exact, bound)
        if d.any_wrong or np.any(np.isnan(d.got) & ~np.isnan(exact)):
            i = d.worst
            cause = f"{words} the gradient of {label} is {d.got[i]:.6g} at {list(i)}, on one device {d.exact[i]:.6g}"
            yield Check(name, "fail", label, float(d.error[i]), float(d.bound[i]), cause=cause)
            return
    yield Check(name, "pass")


def _sharded(p: Point, mesh: Mesh, call: Callable, check_vma: bool) -> Callable[[list, list], list]:
    """`call` on every device at its own entry of the first argument; each output with the devices as its leading axis."""

    def on_each(diff, rest):
        return [y[None] for y in call([diff[0][0], *diff[1:]], rest)]

    shared = ([Spec(_AXIS), *[Spec()] * (len(p.view.diff) - 1)], [Spec()] * len(p.view.rest))
    outputs = [Spec(_AXIS)] * len(p.outputs)
    return jax.shard_map(on_each, mesh=mesh, in_specs=shared, out_specs=outputs, check_vma=check_vma)


def _run(p: Point, program: Callable[[list], list], inputs: list) -> list[np.ndarray]:
    with jax.enable_x64(p.wide):
        return [np.asarray(x) for x in jitted(program, sum(map(np.size, inputs)), p.device)(inputs)]


def _allows(p: Point, program: Callable[[list], list], inputs: list) -> bool:
    try:
        _run(p, program, inputs)
    except Exception:
        return False
    return True


def _expected(p: Point, each: list[list]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Gradients and bounds: of the first argument one per device, of the others the sum. Without a bound, half of the digits."""
    alone = [p.pair.analyse_rule(inputs, executed(p.matmul)) for inputs in each]
    half = float(ml_dtypes.finfo(p.dtype).eps) ** 0.5
    exact, bounds = [], []
    for i in range(len(p.outputs), len(p.outputs) + len(p.view.diff)):
        values = np.stack([np.asarray(values[i]) for values, _ in alone])
        errors = np.stack([np.asarray(errors[i]) for _, errors in alone])
        together: Any = (lambda x: x) if i == len(p.outputs) else (lambda x: x.sum(0))
        rounding = float(ml_dtypes.finfo(p.dtype).eps) * together(np.abs(values))
        bound = 2.002 * together(errors) + rounding
        exact.append(together(values))
        bounds.append(np.where(np.isfinite(bound), bound, half * largest([values])))
    return exact, bounds
