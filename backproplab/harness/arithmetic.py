"""The rule as arithmetic in each dtype: what rounding explains, and how many digits it may cost beside autodiff."""

import functools
from collections.abc import Callable, Iterator

import jax
import ml_dtypes
import numpy as np

from backproplab.harness.autodiff import ARITHMETIC_RESOLVES, FORMULA_RESOLVES, judged_leaf, labels_of
from backproplab.harness.blame import line_of_gradient
from backproplab.harness.compare import AS_GOOD, Difference, in_double, largest
from backproplab.harness.error_rules import lifted
from backproplab.harness.narrowed import narrowed
from backproplab.harness.point import Point
from backproplab.harness.programs import float64_alone, float_types
from backproplab.harness.verdict import Check

_FLOAT32 = 2.0**-24  # its roundoff
_FEW_DIGITS = 2.0**-12  # a unit in the last place of float16 or less
_CARRIES = 32.0  # how many times as much a program may lose that carries its sums in few digits
_CARRIED = 1.5  # units in the last place of the largest entry: what it then loses
_CARRIED_BESIDE = 5.0  # the same beside what autodiff loses


def arithmetic_checks(p: Point, seed: int) -> Iterator[Check]:
    """What the device computed in the dtype, against the rule's own formula in float64, which is judged elsewhere.

    Rounding must explain the difference, and must not take more digits than it takes from autodiff.
    """
    if p.pair.numerical:  # which have judged it in the dtype
        return
    rounds = p.rounds(seed)[:2]
    if float(ml_dtypes.finfo(p.dtype).eps) / 2 >= _FEW_DIGITS:  # a sum of one sign soon takes no more in
        rounds = [rounds[0], p.cotangents("ones", seed)]
    results = [(cotangents, p.arithmetic(cotangents)) for cotangents in rounds]
    of_oracle = functools.cache(lambda: [p.rounding_of_oracle(cotangents) for cotangents in rounds])  # seldom wanted
    # unless a part of the function itself computes in fewer digits
    exact = p.wide and float64_alone(p.pair.jaxprs[1])
    limit = FORMULA_RESOLVES if exact else ARITHMETIC_RESOLVES
    for leaf, label in enumerate(labels_of(p)):
        own = [found[leaf] for _, found in results]
        against = lambda own=own, leaf=leaf: [_as_good_as(d, bounds[leaf], p) for d, bounds in zip(own, of_oracle())]
        check = judged_leaf(p.dtype, label, p, leaf, results, limit, seed, finer=against)
        if check.status != "fail" and any(_as_good_as(d, np.zeros(()), p).any_wrong for d in own):
            lossy = next((d for d in against() if d.any_wrong), None)
            if lossy is not None and np.isfinite(lossy.bound).all():
                low = leaf >= len(p.outputs) and narrowed(p, leaf - len(p.outputs))
                reason = (
                    f"it is rounded to {low} on its way"
                    if low
                    else "a cast to fewer digits, or a difference that cancels"
                )
                check = check if _not_asked_for(p, lossy) else _lossy(p, label, lossy, reason)
        if _carried(p, rounds, leaf, own, of_oracle):
            furthest = max(own, key=lambda d: float(np.max(d.error, initial=0.0)) / (d.scale or 1.0))
            check = _lossy(p, label, furthest, f"sums are carried in {p.dtype}, where autodiff carries them in float32")
        yield check


def _not_asked_for(p: Point, lossy: Difference) -> bool:
    """Whether float64 is the harness's own choice: a rule that says float32, to users whose JAX has nothing wider, is right."""
    asked_for = p.case.dtypes is not None or jax.config.read("jax_enable_x64")
    by_name = "float32" in float_types(p.pair.by_hand) - float_types(p.pair.jaxprs[-1])
    return p.wide and not asked_for and by_name and lossy.furthest <= AS_GOOD * _FLOAT32 * lossy.scale


def _as_good_as(own: Difference, oracle_bound: np.ndarray, p: Point) -> Difference:
    """The difference with room for a few times the rounding of autodiff's program, and for a few units in the last place."""
    unit = float(ml_dtypes.finfo(p.dtype).eps) / 2
    return own.with_bound(AS_GOOD * (oracle_bound + unit * own.scale))


def _carried(p: Point, rounds: list, leaf: int, own: list[Difference], of_oracle: Callable) -> bool:
    """Whether the rule's program may lose, by its own bounds, far more than autodiff's, and does on the whole: sums in few digits.

    One entry of such a sum may be as good as any; their root mean square is not.
    """
    unit = float(ml_dtypes.finfo(p.dtype).eps) / 2
    if unit < _FEW_DIGITS:
        return False
    sizes = [_CARRIES * unit * d.scale for d in own]
    if not any(d.got.size and float(np.max(d.bound)) > size > 0 for d, size in zip(own, sizes)):
        return False
    if not any(
        float(np.max(d.bound)) > _CARRIES * float(np.max(b[leaf])) + size for d, b, size in zip(own, of_oracle(), sizes)
    ):
        return False
    plain = []
    for d, cotangents in zip(own, rounds):
        inputs = p.inputs(cotangents)
        exact = p.pair.analyse_oracle(inputs, lifted())[0][leaf]
        plain.append(Difference(in_double(p.pair.oracle(inputs)[leaf]), in_double(exact), d.bound, d.floor))
    ours, autodiffs = (_typical_error(found) for found in (own, plain))
    return bool(np.isfinite(ours)) and ours > max(_CARRIED * unit, _CARRIED_BESIDE * autodiffs)


def _typical_error(found: list[Difference]) -> float:
    """The root mean square over all entries, in units of the largest entry, unless too little is left of what was added up."""
    own = [(d, largest([d.exact])) for d in found if d.got.size]
    sizes = [(d, size if _CARRIES * size > d.scale else d.scale) for d, size in own]
    squares = [np.mean((d.error / size) ** 2) for d, size in sizes if size > 0]
    return float(np.sqrt(np.mean(squares))) if squares else 0.0


def _lossy(p: Point, label: str, d: Difference, reason: str) -> Check:
    i = d.worst
    share = float(d.error[i]) / d.scale if d.scale else float("inf")
    cause = (f"{label} loses digits in {p.dtype}: {d.got[i]:.6g} at {list(i)}, right is {d.exact[i]:.6g}, off by {share:.1g} of the "
             f"largest entry, more than rounding does to autodiff: {reason}")  # fmt: skip
    return Check(
        p.dtype,
        "fail",
        label,
        float(d.error[i]),
        float(d.bound[i]),
        cause=cause,
        where=line_of_gradient(p.case.fn, p.args, label),
    )
