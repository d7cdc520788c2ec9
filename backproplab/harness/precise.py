"""A program evaluated with 120 digits: the judge where float64 itself runs out of digits.

Autodiff of tanh at 30 yields 0 in float64, and so does no rule that is right. The same two jaxprs in mpmath arithmetic
tell which formula is which. Slow, so for small programs only, and only for primitives that need no further rule here.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import mpmath
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from backproplab.harness.error_rules import is_complex, is_float, storage_roundoff
from backproplab.harness.primitives import NUMPY, bind, name_of
from backproplab.harness.pruning import bodies
from backproplab.harness.rounding import body_of, is_short
from backproplab.harness.unrolled import UNROLLED

_DIGITS = 120
_MOST_ENTRIES = 40_000
_WALKED = ("scan", "cond")  # of a `while` nobody knows how many steps it takes


class NotPrecise(Exception):
    """The program has a primitive that is not known here, or is too large."""


def precise(closed: ClosedJaxpr, inputs: Sequence[Any], nudge: np.random.Generator | None = None) -> list[np.ndarray]:
    """The outputs of `closed`, floating ones as object arrays of mpmath numbers. Raises NotPrecise.

    nudge: moves the program's own constants, at random, by the half unit in the last place that storing them cost.
    """
    if (entries := _entries(closed.jaxpr)) > _MOST_ENTRIES:
        raise NotPrecise(f"{entries} numbers")

    def constant(value, typed):
        number = _exact(value, typed)
        if (
            nudge is None
            or not is_float(typed)
            or is_short(np.asarray(value, np.float64), storage_roundoff(typed.dtype))
        ):
            return number
        return np.asarray(number * (1 + storage_roundoff(typed.dtype) * mpmath.mpf(nudge.choice([-1.0, 1.0]))), object)

    with mpmath.workdps(_DIGITS), np.errstate(all="ignore"), jax.enable_x64(True):
        return _run(closed.jaxpr, [constant(c, c) for c in closed.consts], [_exact(x, x) for x in inputs], constant)


def _entries(program: ClosedJaxpr | Jaxpr) -> int:
    """How many numbers a program makes, those in the bodies of its calls and loops among them."""
    equations: list[Any] = (program.jaxpr if isinstance(program, ClosedJaxpr) else program).eqns
    own = sum(math.prod(v.aval.shape) for eqn in equations for v in eqn.outvars)
    inner = lambda eqn: bodies(eqn) if (body := body_of(eqn)) is None else (body,)
    return own + sum(eqn.params.get("length", 1) * _entries(body) for eqn in equations for body in inner(eqn))


def _run(jaxpr: Jaxpr, consts, inputs, constant):
    env = dict(zip(jaxpr.constvars, consts)) | dict(zip(jaxpr.invars, inputs))
    read = lambda v: constant(v.val, v.aval) if isinstance(v, Literal) else env[v]
    for eqn in jaxpr.eqns:
        env.update(zip(eqn.outvars, _equation(eqn, [read(v) for v in eqn.invars], constant)))
    return [read(v) for v in jaxpr.outvars]


def _equation(eqn, values, constant):
    name = name_of(eqn)
    if any(is_complex(v.aval) for v in (*eqn.invars, *eqn.outvars)):
        raise NotPrecise(f"{name} of complex numbers")
    if (body := body_of(eqn)) is not None:
        return _body(body, values, constant)
    if name in _WALKED:
        return UNROLLED[name](eqn, values, lambda body, inputs: _body(body, inputs, constant))
    if name in _INDEXED:
        return [_INDEXED[name](eqn, *values)]
    if not any(jax.dtypes.issubdtype(v.aval.dtype, np.inexact) for v in (*eqn.invars, *eqn.outvars)):
        return bind(eqn, values, np)
    rule = NUMPY.get(name) if name in _AS_NUMPY else _PRECISE.get(name)
    if rule is None:
        raise NotPrecise(name)
    out = rule(eqn.params, *values)
    outputs = (
        out if isinstance(out, list | tuple) else [out]
    )  # a function that JAX composes counts as one of several results
    return [_typed(o, v.aval) for o, v in zip(outputs, eqn.outvars)]


def _body(body: ClosedJaxpr | Jaxpr, values, constant):
    consts = [constant(c, c) for c in body.consts] if isinstance(body, ClosedJaxpr) else []
    return _run(body.jaxpr if isinstance(body, ClosedJaxpr) else body, consts, values, constant)


def _typed(x, aval) -> np.ndarray:
    return np.asarray(x, object if is_float(aval) else aval.dtype).reshape(aval.shape)


def _exact(x, typed) -> np.ndarray:
    """Floating numbers as mpmath's, exactly; others as they are."""
    if not is_float(typed):
        return x if jax.dtypes.issubdtype(typed.dtype, jax.dtypes.extended) else np.asarray(x)
    return _mpf(np.asarray(x, np.float64))


_to_mpf = np.frompyfunc(lambda v: mpmath.mpf(float(v)), 1, 1)


def _mpf(x):
    return np.asarray(_to_mpf(x), object)


def _each(f, count=1):
    """A function of `count` numbers, entry by entry."""
    ufunc = np.frompyfunc(f, count, 1)
    return lambda p, *args: ufunc(*args)


def _quotient(x, y):
    if y == 0:
        return mpmath.nan if x == 0 or mpmath.isnan(x) else mpmath.inf * mpmath.sign(x)
    return x / y


def _log(x):
    return -mpmath.inf if x == 0 else mpmath.log(x) if x > 0 else mpmath.nan


def _power(x, y):
    if y == 0:
        return mpmath.mpf(1)
    if x == 0:
        return mpmath.mpf(0) if y > 0 else mpmath.inf
    return mpmath.power(x, y) if x > 0 or y == mpmath.floor(y) else mpmath.nan


def _root(x):
    return mpmath.sqrt(x) if x >= 0 else mpmath.nan


def _convert(p, x):
    target = p["new_dtype"]
    if jax.dtypes.issubdtype(target, np.floating):
        return x if x.dtype == object else _mpf(x)
    return np.frompyfunc(bool if target == np.bool_ else int, 1, 1)(x)


def _gather(eqn, data, *places):
    """Which entry goes where is asked of the operation itself, run on the entries' numbers: 0 is what is filled in."""
    numbers = np.arange(1.0, data.size + 1).reshape(data.shape)
    filled = {"fill_value": 0.0} if "fill_value" in eqn.params else {}
    (source,) = bind(eqn, [numbers, *places], np, **filled)
    return np.append(_mpf(np.zeros(1)), data.ravel())[np.asarray(source, int)]


def _scattered(eqn, data, places, updates):
    return NUMPY[eqn.primitive.name](eqn.params, data, places, updates)


_INDEXED = {
    "gather": _gather,
    "dynamic_slice": _gather,
    "scatter": _scattered,
    "scatter-add": _scattered,
    "scatter_add": _scattered,
}

_PRECISE = {
    "div": _each(_quotient, 2), "exp": _each(mpmath.exp), "exp2": _each(lambda x: mpmath.mpf(2) ** x), "log": _each(_log), "log2": _each(lambda x: _log(x) / mpmath.log(2)),
    "log1p": _each(lambda x: _log(1 + x)), "expm1": _each(mpmath.expm1), "tanh": _each(mpmath.tanh),
    "logistic": _each(lambda x: 1 / (1 + mpmath.exp(-x))), "erf": _each(mpmath.erf), "erfc": _each(mpmath.erfc),
    "sin": _each(mpmath.sin), "cos": _each(mpmath.cos), "tan": _each(mpmath.tan), "sqrt": _each(_root),
    "rsqrt": _each(lambda x: _quotient(mpmath.mpf(1), _root(x))), "cbrt": _each(lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x))),
    "atan": _each(mpmath.atan), "sinh": _each(mpmath.sinh), "cosh": _each(mpmath.cosh), "asinh": _each(mpmath.asinh),
    "floor": _each(mpmath.floor), "ceil": _each(mpmath.ceil), "sign": _each(mpmath.sign), "pow": _each(_power, 2),
    "abs": _each(abs), "square": _each(lambda x: x * x), "one_minus_square": _each(lambda x: 1 - x * x), "exp_neg_sq": _each(lambda x: mpmath.exp(-x * x)), "is_finite": _each(lambda x: bool(mpmath.isfinite(x))),
    "integer_pow": lambda p, x: _each(lambda v: _power(v, mpmath.mpf(p["y"])))(p, x), "convert_element_type": _convert,
    "eq": _each(lambda a, b: a == b, 2), "ne": _each(lambda a, b: a != b, 2), "lt": _each(lambda a, b: a < b, 2),
    "le": _each(lambda a, b: a <= b, 2), "gt": _each(lambda a, b: a > b, 2), "ge": _each(lambda a, b: a >= b, 2),
    "max": _each(lambda a, b: a if a >= b or mpmath.isnan(a) else b, 2), "min": _each(lambda a, b: a if a <= b or mpmath.isnan(a) else b, 2),
    "optimization_barrier": lambda p, x: x,
}  # fmt: skip
_AS_NUMPY = {"add", "sub", "add_any", "mul", "neg", "select_n", "reduce_sum", "reduce_max", "reduce_min", "reduce_prod",
             "cumsum", "cumprod", "dot_general", "broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "slice", "rev",
             "copy", "copy_p", "pad", "stop_gradient", "concatenate", "stack", "unstack", "split", "argmax", "argmin", "clamp"}  # fmt: skip
