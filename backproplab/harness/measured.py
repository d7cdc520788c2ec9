"""A bound that is measured where none can be computed: how far rule and oracle move when their inputs move by an ulp."""

import ml_dtypes
import numpy as np

from backproplab.harness.compare import Difference
from backproplab.harness.error_rules import lifted
from backproplab.harness.point import Point
from backproplab.harness.view import is_inexact

_DRAWS = 4
_SAFETY = 16.0


def measured(p: Point, cotangents: list[np.ndarray], differences: list[Difference], seed: int) -> list[Difference]:
    """The same differences with measured bounds, per output and gradient.

    Counts what rule and oracle, both run in the dtype, change by under random changes of all floating inputs by one
    unit in the last place, how far autodiff itself is from float64 in this dtype, and a few roundings of the largest entry.
    Where autodiff has no number, the rule alone is asked.
    """
    generator = np.random.default_rng(seed)
    inputs = p.inputs(cotangents)
    runs = (p.pair.rule, p.pair.oracle)
    at_point = [_floats(run(inputs)) for run in runs]
    known = [np.ones(d.exact.shape, bool) for d in differences], [np.isfinite(o) for o in at_point[1]]
    spread = [np.zeros(d.exact.shape) for d in differences]
    for _ in range(_DRAWS):
        moved = [_moved(x, generator) for x in inputs]
        for run, before, has in zip(runs, at_point, known):
            changes = [np.nan_to_num(np.abs(a - b), nan=np.inf) for a, b in zip(_floats(run(moved)), before)]
            spread = [np.maximum(s, np.where(k, c, 0.0)) for s, c, k in zip(spread, changes, has)]
    unit = float(ml_dtypes.finfo(p.dtype).eps) / 2
    estimates = p.pair.analyse_oracle(inputs, lifted())[1] if p.pair.numerical else [0.0] * len(differences)
    of_autodiff = [
        np.where(k, np.abs(o - d.exact), 0.0) * (not p.wide) for d, o, k in zip(differences, at_point[1], known[1])
    ]
    return [
        d.with_bound(estimate + _SAFETY * (s + 0.05 * s.max(initial=0.0) + own + 4 * unit * d.scale))
        for d, s, own, estimate in zip(differences, spread, of_autodiff, estimates)
    ]


def _moved(x, generator):
    if not is_inexact(x):
        return x
    eps = float(ml_dtypes.finfo(np.asarray(x).dtype).eps)
    wide = np.asarray(x, np.complex128 if np.iscomplexobj(x) else np.float64)
    return (wide * (1 + eps * generator.choice([-1.0, 1.0], np.shape(x)))).astype(x.dtype)


def _floats(arrays):
    return [np.asarray(a, np.complex128 if np.iscomplexobj(a) else np.float64) for a in arrays]
