"""What a rule or its case promises beyond the formula: linearity, exact values, bytes kept."""

from collections.abc import Callable, Iterator

import jax
import ml_dtypes
import numpy as np
from jax.extend.core import Literal

from backproplab.harness.compare import Difference, largest
from backproplab.harness.error_rules import executed, lifted
from backproplab.harness.point import Point
from backproplab.harness.strip import strip
from backproplab.harness.verdict import Check


def linearity_checks(p: Point, seed: int) -> Iterator[Check]:
    """A zero cotangent yields zeros, a doubled one the double. What is linear in nothing else is right for one cotangent."""
    cotangents = p.cotangents("random", seed)
    if p.case.by_design and not _linear_oracle(p, cotangents):
        return
    if (run := p.pair.in_float64()[0]) and _exactly_linear(lambda c: run(p.inputs(c))[len(p.outputs) :], cotangents):
        yield Check("linearity", "pass")
        return

    def gradients(cotangents):
        values, errors = p.pair.analyse_rule(p.inputs(cotangents), lifted())
        return list(zip(values, errors))[len(p.outputs) :]

    zero, once = gradients(p.cotangents("zeros", seed)), gradients(cotangents)
    twice = gradients([2 * c for c in cotangents])
    for label, (at_zero, _), (one, error), (two, _) in zip(p.view.labels, zero, once, twice):
        if np.any(at_zero != 0) and np.isfinite(one).all():
            cause = (
                "the incoming cotangent is ignored"
                if np.array_equal(two, one)
                else "the rule is not linear in the cotangent"
            )
            largest = float(np.nanmax(np.abs(at_zero))) if not np.isnan(at_zero).all() else float("nan")
            yield Check("linearity", "fail", label, error=largest, bound=0.0,
                        cause=f"{cause}: the gradient of {label} is {largest:.3g} for a cotangent of zeros")  # fmt: skip
        doubled = Difference(two, 2 * one, 4 * error)
        if np.isfinite(one).all() and doubled.any_wrong:
            index = doubled.worst
            yield Check("linearity", "fail", label, float(doubled.error[index]), float(doubled.bound[index]),
                        cause=f"the rule is not linear in the cotangent: doubling it does not double the gradient of {label}")  # fmt: skip
    yield Check("linearity", "pass")


def _linear_oracle(p: Point, cotangents: list[np.ndarray]) -> bool:
    """Whether the declared gradient is: not one that clips the cotangent."""
    if p.case.reference is None:
        return True
    one, two = (p.pair.oracle(p.inputs([factor * c for c in cotangents])) for factor in (1, 2))
    half = float(ml_dtypes.finfo(p.dtype).eps) ** 0.5
    return all(np.allclose(2 * o, t, half, 0) for o, t in zip(one[len(p.outputs) :], two[len(p.outputs) :]))


def _exactly_linear(gradients: Callable, cotangents: list[np.ndarray]) -> bool:
    """Whether they are, which costs less to see than to analyse: doubling rounds nothing."""
    zero, one, two = (gradients([factor * c for c in cotangents]) for factor in (0, 1, 2))
    return all(not np.any(z) and np.array_equal(2 * o, t) for z, o, t in zip(zero, one, two))


def expectation_checks(p: Point) -> Iterator[Check]:
    """The gradients that the case writes out, for a cotangent of ones."""
    if p.case.expect is None:
        return
    expected = jax.tree.leaves(p.case.expect)
    if len(expected) != len(p.view.diff):
        cause = f"the case expects {len(expected)} gradients, the function has {len(p.view.diff)}"
        yield Check("expected", "fail", cause=cause)
        return
    ones = p.cotangents("ones", 0)
    values, errors = p.pair.analyse_rule(p.inputs(ones), executed(p.matmul))
    half = float(ml_dtypes.finfo(p.dtype).eps) ** 0.5  # of the digits
    count = len(p.outputs)
    for label, g, want, error in zip(p.view.labels, values[count:], expected, errors[count:]):
        want = np.broadcast_to(np.asarray(want, np.float64), np.shape(g))
        # the number on the page has been rounded once; and where no bound is known, it is still no other number
        room = np.minimum(np.asarray(error), half * max(largest([want]), 1.0))
        d = Difference(np.asarray(g, np.float64), want, room + 2.0**-52 * np.abs(want))
        if d.any_wrong or np.isnan(d.got).any():
            i = d.worst
            cause = f"the gradient of {label} at {list(i)} is {d.got[i]:.9g}; the case expects {want[i]:.9g}"
            yield Check("expected", "fail", label, float(d.error[i]), float(d.bound[i]), cause=cause)
        else:
            yield Check("expected", "pass", label, *_worst(d))


def _worst(d: Difference) -> tuple[float, float]:
    return (float(d.error[d.worst]), float(d.bound[d.worst])) if d.got.size else (0.0, 0.0)


def residual_bytes(p: Point) -> tuple[int, int]:
    """Bytes that cross from the forward to the backward pass: by the rule, and by autodiff of the stripped function."""
    call = p.view.call(p.case.fn)
    plain = p.plain if p.case.reference is None else strip(call)
    with jax.enable_x64(p.wide):
        return p.once("residual bytes", lambda: tuple(kept_bytes(f, p.view.diff, p.view.rest) for f in (call, plain)))


def kept_bytes(call: Callable, diff: list, rest: list) -> int:
    """Of the distinct arrays that the pull-back of `call(diff, rest)` holds; what is a constant of the program is not kept.

    0 if autodiff cannot differentiate it.
    """
    try:
        jaxpr = jax.make_jaxpr(lambda diff, rest: jax.vjp(lambda d: call(d, rest), diff)[1])(diff, rest)
    except Exception:  # not differentiable by autodiff: nothing to compare with
        return 0
    constants = set(jaxpr.jaxpr.constvars)
    arrays = {v: v.aval for v in jaxpr.jaxpr.outvars if not isinstance(v, Literal) and v not in constants}
    return sum(int(np.prod(a.shape, dtype=int)) * _itemsize(a.dtype) for a in arrays.values())


def _itemsize(dtype) -> int:
    if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
        return 8
    return np.dtype(dtype).itemsize


def residual_checks(p: Point) -> Iterator[Check]:
    """Not more than the case allows."""
    allowed = p.case.residual_bytes
    if allowed is None:
        return
    limit = allowed(*p.args) if callable(allowed) else allowed
    kept = residual_bytes(p)[0]
    if kept <= limit:
        yield Check("residual bytes", "pass", error=float(kept), bound=float(limit))
    else:
        cause = f"the forward pass keeps {kept} bytes, the case allows {limit}"
        yield Check("residual bytes", "fail", error=float(kept), bound=float(limit), cause=cause)
