"""The value of one JAX primitive, in numpy where it has a counterpart there, else by JAX itself.

Small programs are interpreted once or twice; numpy runs an operation in microseconds where XLA would first compile it.
"""

import functools
import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy import special

from backproplab.harness import numpy_linalg, numpy_windows
from backproplab.harness.jitted import quick_options

# Functions that JAX (from 0.12 on) puts together from the bits of their argument.
COMPOSED = ("exp_neg_sq",)
# At an infinity: LAPACK's own loop has been seen not to return.
NEVER_ENDS = ("svd",)


def name_of(eqn: Any) -> str:
    """What an equation computes: the primitive's name, or that of the composed function that it calls."""
    name = eqn.primitive.name
    if name != "custom_jvp_call":
        return name
    composed, _, place = eqn.params["call_jaxpr"].jaxpr.debug_info.func_src_info.partition(" at ")
    return composed if composed in COMPOSED and "jax/_src" in place.replace("\\", "/") else name


def bind(eqn: Any, values: list, xp: Any, **changes: Any) -> list:
    """The outputs of `eqn` at `values`. With `xp` numpy, arrays are numpy's; with jax.numpy they may be tracers.

    Call it where numpy is told not to warn of infinities and NaN.
    """
    if xp is np:
        rule = NUMPY.get(name_of(eqn))
        if rule is not None and not any(map(is_key, values)):
            out = rule(eqn.params | changes if changes else eqn.params, *values)
            if out is not NotImplemented:
                outputs = list(out) if isinstance(out, list | tuple) else [out]
                typed = [_as_traced(o, v.aval) for o, v in zip(outputs, eqn.outvars)]
                return typed + outputs[len(typed) :]  # an error rule may have more sorted than the equation does
        if eqn.primitive.name in NEVER_ENDS and np.isinf(values[0]).any():
            return [np.full(v.aval.shape, np.nan, v.aval.dtype) for v in eqn.outvars]
        given = [jnp.asarray(v) if not is_key(v) else v for v in values]
        draws = eqn.primitive.name == "random_bits"
        out = _drawn(eqn.primitive, **eqn.params)(*given) if draws else _by_jax(eqn, given, changes)
        return [o if is_key(o) else np.asarray(o) for o in out]
    return _by_jax(eqn, values, changes)


def _as_traced(out, aval):
    """Whole numbers in their own dtype: numpy adds up in 64 bits."""
    if aval.dtype.kind not in "iu":
        return out
    out = np.asarray(out)
    return out.astype(aval.dtype, copy=False) if out.dtype.kind in "iu" else out


def _by_jax(eqn, values, changes):
    if eqn.primitive.name in _SCATTERS:  # these carry a jaxpr of the dtype that they were traced in: built afresh
        p = eqn.params
        options = {k: p[k] for k in ("indices_are_sorted", "unique_indices", "mode")}
        operand, places, updates = values
        return [_SCATTERS[eqn.primitive.name](operand, places, updates, p["dimension_numbers"], **options)]
    out = eqn.primitive.bind(*values, **{**eqn.params, **changes})
    return list(out) if eqn.primitive.multiple_results else [out]


@functools.cache
def _drawn(primitive, **params):
    """Random bits: for every shape another program, and a long one."""
    return jax.jit(lambda key: [primitive.bind(key, **params)], compiler_options=quick_options())


_SCATTERS = {"scatter": lax.scatter, "scatter-add": lax.scatter_add, "scatter_add": lax.scatter_add, "scatter-mul": lax.scatter_mul,
             "scatter_mul": lax.scatter_mul,
             "scatter-sub": lax.scatter_sub, "scatter_sub": lax.scatter_sub, "scatter-min": lax.scatter_min,
             "scatter_min": lax.scatter_min, "scatter-max": lax.scatter_max, "scatter_max": lax.scatter_max}  # fmt: skip


def is_key(value) -> bool:
    """Whether it is an array of PRNG keys."""
    return _extended(getattr(value, "dtype", None))


@functools.cache  # asked for every operand of every equation
def _extended(dtype) -> bool:
    return dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.extended)


def whole(x, target, xp):
    """Numbers cut to whole ones: what is too large for the type becomes its largest, where numpy leaves that open."""
    if np.dtype(target).kind not in "iu":
        return xp.asarray(x).astype(target)
    info = np.iinfo(target)
    cut = xp.nan_to_num(xp.trunc(xp.real(x)), nan=0.0, posinf=np.inf, neginf=-np.inf)
    above, below = cut >= float(info.max), cut <= float(info.min)
    fits = xp.where(above | below, 0.0, cut).astype(target)
    return xp.where(above, info.max, xp.where(below, info.min, fits)).astype(target)


def _convert(p, x):
    x = np.asarray(x)
    if np.issubdtype(x.dtype, np.inexact):
        target = np.dtype(p["new_dtype"])
        x = np.real(x) if target.kind != "c" else x
        return whole(x, target, np) if target.kind in "iub" else x.astype(target)
    return x.astype(p["new_dtype"])


def _broadcast_in_dim(p, x):
    shape = [1] * len(p["shape"])
    for axis, size in zip(p["broadcast_dimensions"], np.shape(x)):
        shape[axis] = size
    return np.broadcast_to(np.reshape(x, shape), p["shape"])


def _reshape(p, x):
    return np.reshape(x if p["dimensions"] is None else np.transpose(x, p["dimensions"]), p["new_sizes"])


def _slice(p, x):
    strides = p["strides"] or (1,) * np.ndim(x)
    return x[tuple(slice(*s) for s in zip(p["start_indices"], p["limit_indices"], strides))]


def _dot_general(p, x, y):
    """As one batched matrix product: (batch, free x, contracted) @ (batch, contracted, free y)."""
    (contract_x, contract_y), (batch_x, batch_y) = p["dimension_numbers"]
    free_x = [a for a in range(np.ndim(x)) if a not in (*contract_x, *batch_x)]
    free_y = [a for a in range(np.ndim(y)) if a not in (*contract_y, *batch_y)]
    batch = [x.shape[a] for a in batch_x]
    left = np.transpose(x, (*batch_x, *free_x, *contract_x))
    right = np.transpose(y, (*batch_y, *contract_y, *free_y))
    rows, columns = [x.shape[a] for a in free_x], [y.shape[a] for a in free_y]
    count, groups = math.prod(x.shape[a] for a in contract_x), math.prod(batch)
    out = left.reshape(groups, math.prod(rows), count) @ right.reshape(groups, count, math.prod(columns))
    return out.reshape([*batch, *rows, *columns])


def _select_n(p, which, *options):
    if len(options) == 1:
        return options[0]
    if len(options) == 2:
        return np.where(which, options[1], options[0])
    return np.choose(which, np.broadcast_arrays(*options))


def _arg(function):
    return lambda p, x: function(x, p["axes"][0]).astype(p["index_dtype"])


def _running(function):
    def run(p, x):
        axis = p["axis"]
        return np.flip(function(np.flip(x, axis), axis), axis) if p["reverse"] else function(x, axis)

    return run


def _reduced(function, **start):
    return lambda p, x: function(x, axis=tuple(p["axes"]), **start)


def _extreme(function, of_none):
    """Of no entries the infinity that loses to all; numpy has no word for that, and whole numbers are left to JAX."""
    with_start = _reduced(function, initial=of_none)
    plain = _reduced(function)
    return lambda p, x: plain(p, x) if np.size(x) else with_start(p, x) if x.dtype.kind == "f" else NotImplemented


def _maybe_integer(float_function, integer_function):
    """Division and remainder of integers truncate in JAX; such operands are rare, so numpy's own word is used."""
    return lambda p, x, y: (
        float_function(x, y) if np.issubdtype(np.result_type(x, y), np.inexact) else integer_function(x, y)
    )


def _truncated_quotient(x, y):
    return np.where(y == 0, -1, np.trunc(x / np.where(y == 0, 1, y))).astype(np.result_type(x, y))


def _round(p, x):
    """JAX's default rounds halves away from zero, and to even on request."""
    return np.rint(x) if int(p["rounding_method"]) == 1 else np.trunc(x) + np.sign(x) * (np.abs(x - np.trunc(x)) >= 0.5)


def _horner(x, coefficients):
    total = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total


def _shift(function):
    """By as many places as the number has bits, or more: nothing is left, but for the sign."""

    def run(p, x, places):
        x, places = np.asarray(x), np.asarray(places, getattr(x, "dtype", None))
        bits = 8 * x.dtype.itemsize
        outside = (places < 0) | (places >= bits)
        rest = -(x < 0).astype(x.dtype) if function is np.right_shift and x.dtype.kind == "i" else np.zeros_like(x)
        return np.where(outside, rest, function(x, np.where(outside, 0, places)))

    return run


def _logical_shift(p, x, places):
    x = np.asarray(x)
    unsigned = np.dtype(f"uint{8 * x.dtype.itemsize}")
    places = np.asarray(places, x.dtype)
    return _shift(np.right_shift)(p, x.view(unsigned), places.view(unsigned)).view(x.dtype)


def _function(f):
    return lambda p, *args: f(*args)


NUMPY = {
    "add": _function(np.add), "sub": _function(np.subtract), "add_any": _function(np.add), "mul": _function(np.multiply),
    "div": _maybe_integer(np.divide, _truncated_quotient), "neg": _function(np.negative), "abs": _function(np.abs),
    "square": _function(np.square), "integer_pow": lambda p, x: x ** float(p["y"]) if x.dtype.kind == "f" else  x ** p["y"],
    "one_minus_square": lambda p, x: (1 + x) * (1 - x), "polynomial": lambda p, x, *coefficients: _horner(x, coefficients),
    "rem": _maybe_integer(np.fmod, lambda x, y: np.fmod(x, np.where(y == 0, 1, y))), "atan2": _function(np.arctan2), "sin": _function(np.sin), "cos": _function(np.cos), "tan": _function(np.tan),
    "exp": _function(np.exp), "exp_neg_sq": lambda p, x: np.exp(-x * x), "exp2": _function(np.exp2), "log": _function(np.log), "log2": _function(np.log2), "log1p": _function(np.log1p),
    "expm1": _function(np.expm1), "tanh": _function(np.tanh), "logistic": _function(special.expit),
    "sqrt": _function(np.sqrt), "rsqrt": lambda p, x: 1 / np.sqrt(x), "cbrt": _function(np.cbrt),
    "erf": _function(special.erf), "erfc": _function(special.erfc), "erf_inv": _function(special.erfinv),
    "real": _function(np.real), "imag": _function(np.imag), "conj": _function(np.conj), "complex": lambda p, x, y: x + 1j * y,
    "lgamma": _function(special.gammaln),
    "atan": _function(np.arctan), "asin": _function(np.arcsin), "acos": _function(np.arccos), "sinh": _function(np.sinh),
    "cosh": _function(np.cosh), "bessel_i0e": _function(special.i0e), "bessel_i1e": _function(special.i1e), "asinh": _function(np.arcsinh), "acosh": _function(np.arccosh), "atanh": _function(np.arctanh),
    "floor": _function(np.floor), "ceil": _function(np.ceil), "round": _round, "sign": _function(np.sign),
    "eq": _function(np.equal), "ne": _function(np.not_equal), "lt": _function(np.less), "le": _function(np.less_equal),
    "gt": _function(np.greater), "ge": _function(np.greater_equal), "and": _function(np.bitwise_and),
    "or": _function(np.bitwise_or), "xor": _function(np.bitwise_xor), "not": _function(np.invert),
    "shift_left": _shift(np.left_shift), "shift_right_arithmetic": _shift(np.right_shift), "shift_right_logical": _logical_shift,
    "convert_element_type": _convert,
    **{f.__name__: f for f in (numpy_linalg.triangular_solve, numpy_linalg.lu, numpy_linalg.cholesky,
       numpy_linalg.sort, numpy_linalg.top_k)},
    "is_finite": _function(np.isfinite), "max": _function(np.maximum), "min": _function(np.minimum),
    "clamp": lambda p, low, x, high: np.minimum(np.maximum(x, low), high), "select_n": _select_n,
    "reduce_sum": _reduced(np.sum), "reduce_max": _extreme(np.max, -np.inf), "reduce_min": _extreme(np.min, np.inf),
    "reduce_prod": _reduced(np.prod), "reduce_and": _reduced(np.all), "reduce_or": _reduced(np.any),
    "argmax": _arg(np.argmax), "argmin": _arg(np.argmin), "cumsum": _running(np.cumsum), "cumprod": _running(np.cumprod),
    "cummax": _running(np.maximum.accumulate), "cummin": _running(np.minimum.accumulate), "dot_general": _dot_general,
    "broadcast_in_dim": _broadcast_in_dim, "reshape": _reshape,
    "transpose": lambda p, x: np.transpose(x, p["permutation"]), "squeeze": lambda p, x: np.squeeze(x, tuple(p["dimensions"])),
    "expand_dims": lambda p, x: np.expand_dims(x, tuple(p["dimensions"])), "slice": _slice, "pad": numpy_windows.pad, "dynamic_slice": numpy_windows.dynamic_slice, "dynamic_update_slice": numpy_windows.dynamic_update_slice,
    "conv_general_dilated": numpy_windows.convolution, "gather": numpy_windows.gather, "scatter": numpy_windows.scattered(operator.setitem),
    **{f"scatter{dash}{name}": numpy_windows.scattered(ufunc.at) for dash in "-_" for name, ufunc in
       (("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("min", np.minimum), ("max", np.maximum))},
    "reduce_window_sum": numpy_windows.reduced(np.sum, 0), "reduce_window_max": numpy_windows.reduced(np.max, -np.inf),
    "reduce_window_min": numpy_windows.reduced(np.min, np.inf), "rev": lambda p, x: np.flip(x, tuple(p["dimensions"])), "copy": lambda p, x: x, "copy_p": lambda p, x: x,
    "stop_gradient": lambda p, x: x, "concatenate": lambda p, *xs: np.concatenate(xs, p["dimension"]),
    "stack": lambda p, *xs: np.stack(xs, p["axis"]), "unstack": lambda p, x: list(np.moveaxis(x, p["axis"], 0)),
    "split": lambda p, x: np.split(x, np.cumsum(p["sizes"])[:-1], p["axis"]),
    "iota": lambda p: np.asarray(np.broadcast_to(np.arange(p["shape"][p["dimension"]], dtype=p["dtype"]).reshape(
        [-1 if a == p["dimension"] else 1 for a in range(len(p["shape"]))]), p["shape"])),
}  # fmt: skip
