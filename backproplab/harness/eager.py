"""The rule outside jit, where it sees arrays in place of tracers."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax.extend.core import Primitive, primitives

from backproplab.harness.compare import Difference, in_double, largest
from backproplab.harness.error_rules import executed
from backproplab.harness.neighbours import with_other_rest
from backproplab.harness.point import Point
from backproplab.harness.primitives import NUMPY, is_key
from backproplab.harness.programs import short_for_jax
from backproplab.harness.verdict import Check

_PRIMITIVES = [p for p in vars(primitives).values() if isinstance(p, Primitive) and p.name in NUMPY]
_NARROW = ("float32", "float16", "bfloat16")  # in which numpy rounds elsewhere than XLA


def eager(p: Point, seed: int) -> Iterator[Check]:
    """Against the rule as it was traced, up to rounding: at numbers nearby, and then here, for there it may have kept something;
    here with another forward pass before the backward pass, from which it may have something, too.
    """
    nearby = p.moved([(x * (1 - 2.0**-7)).astype(x.dtype) for x in p.view.diff])
    elsewhere = with_other_rest(p)
    for q, program in ((nearby, p.program), (p, _interrupted(p)), (elsewhere, p.program)):
        if q is None:
            continue
        inputs = q.inputs(q.cotangents("random", seed))
        try:
            outputs = _outside_jit(q, inputs, program)
        except Exception:
            if q is elsewhere:  # masks and whole numbers that the function need not take
                continue
            raise
        labels = (*["the value"] * len(p.outputs), *p.view.labels)
        for label, got, traced, bound in zip(labels, outputs, *_traced(q, inputs)):
            d = Difference(in_double(got), in_double(traced), bound)
            if d.any_wrong:
                i = d.worst
                where = ", with another forward pass before the backward pass," if q is p else ""
                cause = f"outside jit{where} {label} is {d.got[i]:.6g} at {list(i)}, inside {d.exact[i]:.6g}"
                yield Check("eager", "fail", label, float(d.error[i]), float(d.bound[i]), cause=cause)
                return
    yield Check("eager", "pass")


def _interrupted(p: Point) -> Callable[[list], list]:
    """The point's program, but for a forward pass in the middle of it at numbers in another order, where that is legal."""
    count, rest = len(p.view.diff), len(p.view.rest)
    call, fixed = p.view.call(p.case.fn), [p.case.domain.get(position) == "fixed" for position in p.view.positions]

    def run(inputs):
        diff, others, cotangents = inputs[:count], inputs[count : count + rest], inputs[count + rest :]
        y, pull = jax.vjp(lambda d: call(d, others), diff)
        with suppress(Exception):  # an order that the function need not take
            jax.vjp(lambda d: call(d, others), [x if stays else jnp.roll(x, 1) for x, stays in zip(diff, fixed)])
        return [*y, *pull(list(cotangents))[0]]

    return run


def _traced(p: Point, inputs: list) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What the traced rule computes, and how far a run may be from it, per output and gradient. Without an error rule: half
    of the digits."""
    values, errors = p.pair.analyse_rule(inputs, executed(p.matmul))
    half = float(ml_dtypes.finfo(p.dtype).eps) ** 0.5
    return values, [
        np.where(np.isfinite(e), 2.002 * np.asarray(e), half * largest([v])) for v, e in zip(values, errors)
    ]


def _outside_jit(p: Point, inputs: list, program: Callable[[list], list]) -> list:
    """By numpy if that will do: JAX compiles every operation by itself, ten milliseconds each."""
    with jax.enable_x64(p.wide), jax.default_device(p.device):
        if p.wide and short_for_jax(p.pair.by_hand):
            try:
                with jax.disable_jit(), _by_numpy():
                    return program([x if is_key(x) else jax.device_put(x) for x in inputs])
            except Exception:  # as JAX does it, the rule may well run
                pass
        return program([x if is_key(x) else jnp.asarray(x) for x in inputs])


@contextmanager
def _by_numpy() -> Iterator[None]:
    """Within, JAX runs the primitives that numpy has a counterpart of by that, on the arrays it would compile them for."""
    native = [p.impl for p in _PRIMITIVES]
    for p, impl in zip(_PRIMITIVES, native):
        p.impl = functools.partial(_run, p, impl)
    try:
        yield
    finally:
        for p, impl in zip(_PRIMITIVES, native):
            p.impl = impl


def _run(primitive: Primitive, native: Callable, *args: Any, **params: Any) -> Any:
    if params.get("weak_type") or not all(map(_takes, args)):
        return native(*args, **params)
    try:
        shapes = _typed(primitive, tuple(params.items()), tuple((x.shape, x.dtype) for x in args))
    except TypeError:  # parameters that cannot be told apart
        return native(*args, **params)
    with np.errstate(all="ignore"):
        out = NUMPY[primitive.name](params, *map(np.asarray, args))
    if out is NotImplemented:
        return native(*args, **params)
    if not primitive.multiple_results:
        return jax.device_put(np.asarray(out, shapes.dtype))
    return [jax.device_put(np.asarray(o, s.dtype)) for o, s in zip(out, shapes)]


@functools.lru_cache(maxsize=4096)  # the same operations are run at several points
def _typed(primitive: Primitive, params: tuple, operands: tuple) -> Any:
    """Shapes and dtypes of what an operation yields."""
    structs = [jax.ShapeDtypeStruct(*operand) for operand in operands]
    return jax.eval_shape(lambda *args: primitive.bind(*args, **dict(params)), *structs)


def _takes(x: Any) -> bool:
    """Not a key, nothing narrow, and nothing whose type gives way to others, which an array of numpy's does not say."""
    if not hasattr(x, "dtype") or is_key(x) or getattr(x, "weak_type", False):
        return False
    return x.dtype.kind in "fbiuc" and x.dtype.name not in _NARROW
