"""Where a rule rounds to fewer digits than its arguments have, which the function does not: a cast in words, with its line."""

from collections.abc import Iterator
from typing import Any

import ml_dtypes
from jax.extend.core import Literal

from backproplab.harness.backward import author_frame, rule_of
from backproplab.harness.error_rules import is_float, name_of_dtype
from backproplab.harness.point import Point
from backproplab.harness.programs import float_types
from backproplab.harness.pruning import needed_at_any_depth

_PRECISIONS = {(8, 7): "bfloat16", (5, 10): "float16", (8, 23): "float32"}  # by bits of exponent and mantissa


def narrowed(p: Point, leaf: int) -> str | None:
    """`bfloat16 (rules.py:12)`, on the way to the gradient number `leaf`; None where no cast is seen, as in a host function."""
    try:
        rule = rule_of(p)
    except Exception:  # one that cannot be read by itself has its verdict without a line
        return None
    output, function = rule.leaves[leaf], float_types(p.pair.jaxprs[-1])
    if output is None:
        return None
    back, forth = rule.backward.jaxpr.jaxpr, rule.forward.jaxpr
    equations = [*needed_at_any_depth(back, [back.outvars[output]]), *needed_at_any_depth(forth, forth.outvars)]
    digits = ml_dtypes.finfo(p.dtype).nmant
    found = [(low, eqn) for eqn in equations for low in _rounded_to(eqn) if ml_dtypes.finfo(low).nmant < digits]
    low, eqn = next(((low, eqn) for low, eqn in found if low not in function), (None, None))
    frame = author_frame(eqn) if eqn else None
    return f"{low} ({frame.file_name.rsplit('/', 1)[-1]}:{frame.start_line})" if frame else low


def _rounded_to(eqn: Any) -> Iterator[str]:
    """The type of few digits that an equation casts to."""
    name = eqn.primitive.name
    if name == "reduce_precision":
        known = _PRECISIONS.get((eqn.params["exponent_bits"], eqn.params["mantissa_bits"]))
        yield from [known] if known else []
    elif name == "convert_element_type" and not isinstance(eqn.invars[0], Literal):
        was, made = eqn.invars[0].aval, eqn.outvars[0].aval
        if is_float(was) and is_float(made) and ml_dtypes.finfo(made.dtype).nmant < ml_dtypes.finfo(was.dtype).nmant:
            yield name_of_dtype(made.dtype)
