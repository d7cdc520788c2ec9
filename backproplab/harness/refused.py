"""What a function or its rule raises when it runs alone, and in which dtypes it does not."""

from typing import Any

import jax
import jax.numpy as jnp

from backproplab.case import Case, backward_rule, dtypes_of, is_setting, module_of, parameter_names, static_argnums
from backproplab.harness.point import Point, point, vjp_of
from backproplab.harness.verdict import Check
from backproplab.harness.view import NothingToDifferentiate, view


class Refused(ValueError):
    """The function or its rule raises at its own arguments."""


def raised(case: Case, seed: int, error: Exception) -> Check:
    """What the function under test raises is its verdict; what it does not raise when it runs alone decides nothing."""
    if own := _refused(case, seed, dtypes_of(case)):
        return Check("runs", "fail", cause=_advice(case, own) + quoted(error))
    return Check("runs", "inconclusive", cause=f"the function runs, but the harness raised {quoted(error)}")


def without_float64(case: Case, seed: int) -> tuple[str, ...]:
    """The dtypes to verify in, where a function runs in those of its case that have fewer digits, and not in float64.

    It was written for these; what is built in is not.
    """
    narrower = tuple(dtype for dtype in dtypes_of(case) if dtype != "float64")
    if (
        len(narrower) in (0, len(dtypes_of(case)))
        or module_of(case.fn)[0] == "backproplab"
        or _refused(case, seed, narrower)
    ):
        return ()
    return narrower if _refused(case, seed, ("float64",)) else ()


def point_where_it_runs(case: Case, seed: int, device: Any, matmul: float) -> Point:
    """The point of a case in its first dtype, float64 by default, or else in the first in which it runs. Raises Refused,
    NothingToDifferentiate."""
    try:
        return point(case, seed, case.dtypes[0] if case.dtypes else "float64", device, matmul)
    except NothingToDifferentiate:
        raise
    except Exception as error:
        narrower = without_float64(case, seed)
        if not narrower:
            raise Refused(f"{case.id} raises {quoted(error)}") from error
        return point(case, seed, narrower[0], device, matmul)


def quoted(error: Exception, length: int = 300) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:length]}"


def _refused(case: Case, seed: int, dtypes: tuple[str, ...]) -> Exception | None:
    """What the function or its rule raises when it runs alone, outside jit or inside."""
    try:
        for dtype in dtypes:
            seen = view(case, case.arguments(seed, dtype))
            with jax.enable_x64(dtype == "float64"):
                outputs = jax.eval_shape(seen.call(case.fn), seen.diff, seen.rest)
                ones = [jnp.ones(y.shape, y.dtype) for y in outputs]
                run = vjp_of(seen.call(case.fn), len(seen.diff), len(seen.rest))
                for outside_or_inside in (run, jax.jit(run)):
                    jax.block_until_ready(outside_or_inside([*seen.diff, *seen.rest, *ones]))
    except Exception as error:
        return error
    return None


def _advice(case: Case, error: Exception) -> str:
    """What to do where a rule branches on a switch, or takes a number for an axis, that JAX traces under jit."""
    concrete = (jax.errors.ConcretizationTypeError, jax.errors.TracerIntegerConversionError)
    if not isinstance(error, concrete) or backward_rule(case.fn) is None:
        return ""
    static, names = static_argnums(case.fn), parameter_names(case.fn, len(case.args))
    traced = [names[i] for i, arg in enumerate(case.args) if is_setting(arg) and i not in static]
    return f"jit traces {' and '.join(traced)} unless nondiff_argnums says otherwise: " if traced else ""
