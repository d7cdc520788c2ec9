"""Whether two programs are one formula, written in floating types of different widths.

What holds of a formula in float64 holds of it in float32; how many digits its arithmetic keeps there is another question.
"""

from typing import Any

import jax
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from backproplab.harness.primitives import is_key
from backproplab.harness.strip import is_closed, without_rules

_MADE_ANEW = "jvp_jaxpr_fun"  # of JAX's own, for every trace of what it belongs to


def retyped(one: ClosedJaxpr, other: ClosedJaxpr, dtype: str) -> bool:
    """Whether `one`, in `dtype`, is `other`: the same operations on the same shapes, with constants that are the same in `dtype`.

    Conversions from one floating type to another are left out: they round, and do nothing else. So are rules that were not
    asked, of functions of which the program takes the values.
    """
    narrow = jax.numpy.dtype(dtype)
    mine, others = (_outline(without_rules(program), narrow) for program in (one, other))
    return bool(mine == others)


def _outline(x: Any, narrow: np.dtype) -> Any:
    """A jaxpr, or what an equation has for a parameter, without the widths of its types and the names of its variables."""
    if is_closed(x):
        return [_outline(const, narrow) for const in x.consts], _outline(x.jaxpr, narrow)
    if isinstance(x, Jaxpr):
        return _outline_of_program(x, narrow)
    if type(x) in (tuple, list):
        return [_outline(item, narrow) for item in x]
    if isinstance(x, ShapedArray):
        return x.shape, _kind(x.dtype)
    if isinstance(x, np.dtype) or (isinstance(x, type) and issubclass(x, np.generic)):
        return _kind(np.dtype(x))
    if isinstance(x, int | float | complex | np.ndarray | np.generic | jax.Array) and not is_key(x):
        array = np.asarray(x)
        with np.errstate(over="ignore"):
            numbers = array.astype(narrow).tobytes() if _kind(array.dtype) == "f" else array.tolist()
        return array.shape, numbers
    return x


def _kind(dtype: Any) -> str:
    """f of all that are floating, bfloat16 included."""
    return "f" if jax.dtypes.issubdtype(dtype, np.floating) else getattr(dtype, "kind", str(dtype))


def _outline_of_program(jaxpr: Jaxpr, narrow: np.dtype) -> list:
    """Its equations, each with the places where its operands were made."""
    places = {v: i for i, v in enumerate([*jaxpr.constvars, *jaxpr.invars])}
    count = len(places)

    def at(v):
        return _outline(v.val, narrow) if isinstance(v, Literal) else places[v]

    outline: list = [[_outline(v.aval, narrow) for v in (*jaxpr.constvars, *jaxpr.invars)]]
    outline.append(_outline(list(getattr(jaxpr, "consts", [])), narrow))  # from jax 0.12 on
    for eqn in jaxpr.eqns:
        if _only_rounds(eqn):
            places[eqn.outvars[0]] = at(eqn.invars[0])
            continue
        params = [(k, _outline(v, narrow)) for k, v in sorted(eqn.params.items()) if k != _MADE_ANEW]
        made = [_outline(v.aval, narrow) for v in eqn.outvars]
        outline.append((eqn.primitive.name, params, [at(v) for v in eqn.invars], made))
        places |= {v: count + i for i, v in enumerate(eqn.outvars)}
        count += len(eqn.outvars)
    return [*outline, [at(v) for v in jaxpr.outvars]]


def _only_rounds(eqn: Any) -> bool:
    kinds = {_kind(v.aval.dtype) for v in (*eqn.invars, *eqn.outvars) if hasattr(v.aval, "dtype")}
    return eqn.primitive.name == "convert_element_type" and kinds == {"f"}
