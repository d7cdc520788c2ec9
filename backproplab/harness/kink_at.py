"""Whether a point lies on a kink of its function, and what its rule chose there."""

from collections.abc import Callable

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun

from backproplab.harness.error_rules import lifted
from backproplab.harness.evaluated import evaluated
from backproplab.harness.jitted import jitted
from backproplab.harness.kinks import AT_ONCE, Kink, judge_kink
from backproplab.harness.point import Point
from backproplab.harness.programs import analysis, short
from backproplab.harness.strip import batches_by_itself, holds, strip

_UNEVEN = 0.75  # a cotangent at a kink: exact in every dtype, and not its own square
_MANY = 5_000  # numbers; of more, slopes are asked for in one direction after the other
_CONVOLUTIONS = ("conv_general_dilated",)
_SLOPES = 12  # times that they are asked for, about


def kink_at(p: Point, seed: int) -> Kink | None:
    """Whether the point lies on a kink, and what the rule chose there; all in float64 at exactly these numbers."""
    if any(np.iscomplexobj(x) for x in p.view.diff) or p.pair.numerical:  # whose error bars count jumps of the slope
        return None
    diff = [np.asarray(x, np.float64) for x in p.view.diff]
    oracle = strip(p.view.call(p.case.reference or p.case.fn))

    def forward(diff, v, rest):
        return jax.jvp(lambda d: oracle(d, rest), (diff,), (v,))[1]

    few = sum(map(np.size, diff)) + sum(np.prod(y.shape, dtype=int) for y in p.outputs) <= _MANY
    # several kernels in one convolution are groups of channels, over which XLA's CPU compiler is slow
    together = few and not batches_by_itself(p.pair.jaxprs[1]) and not holds(_CONVOLUTIONS, p.pair.jaxprs[1])
    several = jax.vmap(forward, (0, 0, None)) if together else forward

    def value_slopes(directions, offsets):
        moved = [[x + d for x, d in zip(diff, offset)] for offset in offsets]
        if not together:
            found = [_slopes(p, several, at, v) for at, v in zip(moved, directions)]
            return [np.stack([np.ravel(s) for s in slopes]) for slopes in zip(*found)]
        last = [-1] * (AT_ONCE - len(moved))  # repeated: one program for any number of them
        stacked = [
            [np.stack([each[i] for each in (*xs, *[xs[k] for k in last])]) for i in range(len(diff))]
            for xs in (moved, directions)
        ]
        return [np.reshape(s, (AT_ONCE, -1))[: len(moved)] for s in _slopes(p, several, *stacked)]

    def row_gradients(places):
        cotangents = [np.zeros((len(places), *y.shape), y.dtype) for y in p.outputs]
        for row, (output, entry) in enumerate(places):
            cotangents[output].reshape(len(places), -1)[row, entry] = _UNEVEN
        rule = p.pair.by_hand
        if batches_by_itself(rule):  # another way to the gradients than the one that is judged
            one_by_one = [
                p.pair.analyse_rule(p.inputs([c[k] for c in cotangents]), lifted())[0] for k in range(len(places))
            ]
            return [np.stack(rows) / _UNEVEN for rows in zip(*(values[len(p.outputs) :] for values in one_by_one))]
        inputs = p.inputs(cotangents)
        axes = [None] * (len(inputs) - len(cotangents)) + [0] * len(cotangents)
        with jax.enable_x64(p.wide):
            rows = jax.make_jaxpr(jax.vmap(jaxpr_as_fun(rule), axes))(*inputs)
        return [gradient / _UNEVEN for gradient in analysis(rows, set())(inputs, lifted())[0][len(p.outputs) :]]

    return judge_kink(value_slopes, row_gradients, diff, seed, AT_ONCE if few else 1)


def _slopes(p: Point, forward: Callable, diff: list, v: list) -> list:
    """`forward` in float64 at so many points: interpreted or compiled, whichever costs less."""
    inputs = [*diff, *v, *p.view.rest]

    def traced():
        with jax.enable_x64(True):
            try:
                closed = jax.make_jaxpr(forward)(diff, v, p.view.rest)
            except Exception:  # it runs in fewer digits alone
                return _as_written(p, forward, diff, v)
            if short(closed, _SLOPES):
                return lambda inputs: evaluated(closed, inputs)
            return jitted(lambda inputs: jaxpr_as_fun(closed)(*inputs), sum(map(np.size, diff)), jax.devices("cpu")[0])

    with jax.enable_x64(True):
        return p.once("slopes", traced)(inputs)


def _as_written(p: Point, forward: Callable, diff: list, v: list) -> Callable[[list], list]:
    """`forward` as traced in the dtype of `p`, its formula in float64."""
    typed = [[x.astype(like.dtype) for x, like in zip(xs, p.view.diff)] for xs in (diff, v)]
    with jax.enable_x64(p.wide):
        analyse = analysis(jax.make_jaxpr(forward)(*typed, p.view.rest), set())
    return lambda inputs: analyse(inputs, lifted())[0]
