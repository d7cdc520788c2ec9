"""One case, one verdict. `verify` reads as the list of its checks."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from backproplab.case import Case, backward_rule, dtypes_of, function_name
from backproplab.harness import arithmetic, autodiff, contract, explore, inside, numerical, promises, second, transforms
from backproplab.harness.platform import matmul_roundoff
from backproplab.harness.point import Point, point, prove_point
from backproplab.harness.refused import quoted, raised, without_float64
from backproplab.harness.remedy import remedies
from backproplab.harness.undisturbed import undisturbed
from backproplab.harness.verdict import Check, Verdict
from backproplab.harness.view import NothingToDifferentiate, is_inexact, view

TRANSFORMS = ("examples", "all", "none")


def verify(
    case_or_fn: Case | Callable,
    *args: Any,
    seed: int = 0,
    under: Any = None,
    transforms: str = "examples",
    **fields: Any,
) -> Verdict:
    """Judges the hand-written gradient of one function at one point.

    case_or_fn: a `Case`, or any JAX function followed by its arguments (arrays, samplers, pytrees of them).
    seed: of the samplers and of the random cotangents; a verdict is the same for the same seed.
    under: the `jax.Device` that the rule runs on; default: JAX's first device. Oracles run on the CPU in float64.
    transforms: at which cases the rule is asked under JAX's transformations: "examples" (those without a name; under vmap
        every case of a rule that is batched in a way of its own), "all" or "none".
    fields: any field of `Case`.

    An exception of the function under test becomes a failing check that quotes it.
    Raises NothingToDifferentiate, a ValueError, if no argument is floating; ValueError for other `transforms`.
    """
    if transforms not in TRANSFORMS:
        raise ValueError(f"transforms is one of {', '.join(TRANSFORMS)}, not {transforms!r}")
    case = replace(case_or_fn, **fields) if isinstance(case_or_fn, Case) else Case(case_or_fn, args, **fields)
    device = under or jax.devices()[0]
    began = time.perf_counter()
    checks: list[Check] = []
    notes: list[str] = []
    kept, widest, contracts = None, None, set()
    try:
        with undisturbed():
            for i, dtype in enumerate(dtypes_of(case)):
                checks += _contract(case, seed, dtype, contracts)
                p = point(case, seed, dtype, device, matmul_roundoff(device), widest)
                if widest is None:
                    widest, kept = p, promises.residual_bytes(p)
                    notes += [] if p.rules else ["no hand-written rule was found: this verifies JAX's own gradient"]
                for check in _checks(p, seed, p is widest, i == len(dtypes_of(case)) - 1, transforms, notes):
                    checks.append(check)
                if _wrong_formula(checks):
                    break
    except NothingToDifferentiate:
        raise
    except Exception as error:
        if narrower := without_float64(case, seed):
            verdict = verify(replace(case, dtypes=narrower), seed=seed, under=under, transforms=transforms)
            note = f"verified in {' and '.join(narrower)} alone: in float64 it raises {quoted(error, 100)}"
            return replace(verdict, notes=(note, *verdict.notes))
        checks.append(raised(case, seed, error))
    seconds = time.perf_counter() - began
    return Verdict(function_name(case.fn), case.name, tuple(checks), seed, kept, tuple(notes), seconds)


def _contract(case: Case, seed: int, dtype: str, asked: set[tuple]) -> list[Check]:
    """Asked before anything is compiled: what JAX refuses is named here with its argument and its line.

    Once for the types of the arguments as JAX takes them: unless the user works in 64 bits, float64 is float32 here, and a
    rule that was not written for it is judged by its digits.
    """
    if backward_rule(case.fn) is None:
        return []
    args = case.arguments(seed, dtype)
    view(case, args)  # raises NothingToDifferentiate
    types = tuple(str(jnp.result_type(x)) for x in jax.tree.leaves(args) if is_inexact(x))
    if types in asked:
        return []
    asked.add(types)
    return contract.contract_checks(case.fn, args, f"contract {dtype}")


def _checks(p: Point, seed: int, widest: bool, last: bool, under: str, notes: list[str]) -> Iterator[Check]:
    """All questions asked at one dtype; those that do not depend on it only at the first, which is the widest.

    In that one, where rounding is the least of all, a function is run at its example alone, the case without a name.
    """
    if widest:
        prove_point(p)
    # a formula that holds in the widest may still ask for its dtype
    given = [] if p.widened else inside.judged(p, seed, notes, again=not widest)
    yield from given
    differences = list(numerical.difference_checks(p, seed, notes)) if widest else []
    yield from differences
    if widest:
        yield from promises.linearity_checks(p, seed)
    if _wrong_formula(given):
        wrong = [check for check in given if check.status == "fail"]
        if any(check.error is not None for check in wrong):  # else autodiff, which remedies go by, is wrong itself
            argument = next((check.argument for check in wrong if check.argument), None)
            notes += remedies(autodiff.oracle_of(p, notes), argument, seed)
        return
    if widest:
        yield from promises.expectation_checks(p)
        yield from promises.residual_checks(p)
        yield from second.second_order_checks(p, seed)
        if not p.case.name:
            yield from explore.other_points(p, seed, notes, differences_apply=bool(differences))
            yield from explore.other_shapes(p, seed, notes)
            yield from explore.other_settings(p, seed, notes)
        if under != "none":
            whole = under == "all" or not p.case.name
            yield from transforms.transform_checks(p, seed, notes, whole)
    if not widest or last or not p.case.name:
        yield from transforms.repeated(p, seed)
        yield from arithmetic.arithmetic_checks(p, seed)
    if p.dtype == "float32" and not widest and not p.case.name:
        yield from explore.near_zero(p, seed)


def _wrong_formula(checks: list[Check]) -> bool:
    """Then it is wrong in every dtype and under every transformation, and these need not be asked."""
    return any(check.status == "fail" and check.name.startswith(autodiff.FORMULA) for check in checks)
