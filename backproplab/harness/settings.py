"""Other values of what is not differentiated and is one number or a switch: rates, temperatures, flags."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from backproplab.case import Case, parameter_names
from backproplab.harness.error_rules import is_float
from backproplab.harness.view import view


def reset(case: Case, args: tuple) -> Iterator[tuple[str, tuple]]:
    """`(words, args)` with each single number or switch changed by itself, where the domain does not forbid it.

    A rule that has a rate of 0.5 written into it is right at 0.5; one that forgets to scale is right at a rate of 0.
    """
    names, differentiated = parameter_names(case.fn, len(args)), view(case, args).positions
    for i, arg in enumerate(args):
        if i not in differentiated and (other := _other(arg, case.domain.get(i))) is not None:
            yield f"with {names[i]} = {other} in place of {arg}", (*args[:i], other, *args[i + 1 :])


def _other(value: Any, domain: Any) -> Any:
    """The other switch, or half of a number, which leaves most intervals that hold it only at their lower end; of 0, a half."""
    if type(value) is bool:
        return not value
    if np.ndim(value) or not is_float(value) or not np.isfinite(value) or domain == "fixed":
        return None
    half = value / 2 or 0.5
    half = half if type(value) is float else np.asarray(half, value.dtype)
    return half if domain is None or domain[0] < half < domain[1] else None
