"""Other values of what is not differentiated and is one number or a switch: rates, temperatures, flags."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from backproplab.case import Case, parameter_names, static_argnums
from backproplab.harness.error_rules import is_float
from backproplab.harness.view import view


def reset(case: Case, args: tuple) -> Iterator[tuple[str, tuple]]:
    """`(words, args)` with each single number or switch changed by itself, where the domain does not forbid it.

    A rule that has a rate of 0.5 written into it is right at 0.5; one that forgets to scale is right at a rate of 0, one
    that adds up the last step alone where there is one.
    """
    names, differentiated = parameter_names(case.fn, len(args)), view(case, args).positions
    static = static_argnums(case.fn)
    for i, arg in enumerate(args):
        if i in differentiated or case.domain.get(i) == "fixed":
            continue
        other = _other(arg, i in static)
        low, high = case.domain.get(i) or (-np.inf, np.inf)
        if other is not None and low < other < high:
            yield f"with {names[i]} = {other} in place of {arg}", (*args[:i], other, *args[i + 1 :])


def _other(value: Any, static: bool) -> Any:
    """The other switch; half of a number, which leaves most intervals that hold it only at their lower end; of 0, a half.

    Of a static count one less, which names an axis or an entry that there is, too; of a single one, two.
    """
    if type(value) is bool:
        return not value
    if type(value) is int and static and value > 0:
        return value - 1 or 2
    if np.ndim(value) or not is_float(value) or not np.isfinite(value):
        return None
    half = np.asarray(value) / 2 or 0.5
    return float(half) if type(value) is float else np.asarray(half, np.asarray(value).dtype)
