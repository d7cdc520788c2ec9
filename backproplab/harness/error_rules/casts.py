"""From one dtype to another, to fewer digits, and to bits."""

import jax
import numpy as np
from jax import numpy as jnp

from backproplab.harness.error_rules.arithmetic import doubt_anywhere, plus, rounded
from backproplab.harness.error_rules.machine import (
    Bounded,
    dtype_of,
    is_complex,
    is_float,
    is_inexact,
    storage_roundoff,
    widest,
)
from backproplab.harness.primitives import bind, whole


def convert(eqn, inputs, machine):
    """A cast: one rounding if digits may be lost; to whole numbers, doubt where the interval straddles a step."""
    (x,) = inputs
    xp = machine.xp
    target, source = np.dtype(eqn.params["new_dtype"]), eqn.invars[0].aval
    if not jax.dtypes.issubdtype(target, np.inexact):
        return [_to_whole(x, source, target, xp)]
    value = (
        xp.real(x.value) if is_complex(source) and not jax.dtypes.issubdtype(target, np.complexfloating) else x.value
    )
    out = xp.asarray(value, widest(eqn.outvars[0].aval))
    if not is_inexact(source):
        return [_from_whole(eqn, out, x, machine)]
    if storage_roundoff(target) <= storage_roundoff(source.dtype) and _reaches(target, source.dtype):
        return [Bounded(out, x.error)]
    if target.itemsize == 1 or target.name not in (*machine.roundoff, "complex64", "complex128"):
        return [_to_few_bits(out, x.error, target, xp)]
    return [rounded(out, x.error, dtype_of(eqn), machine)]


def _reaches(target, source) -> bool:
    return float(jnp.finfo(target).max) >= float(jnp.finfo(source).max)


def _to_whole(x, source, target, xp):
    cast = lambda a: whole(a, target, xp) if is_inexact(source) else xp.asarray(a).astype(target)
    out = cast(x.value)
    if x.error is None or not is_float(source):
        return Bounded(out, x.error)
    differs = (cast(x.value + x.error) != out) | (cast(x.value - x.error) != out)
    return Bounded(out, xp.where(differs & (x.error > 0), xp.inf, 0.0))


def _from_whole(eqn, out, x, machine):
    """Whole numbers with more digits than the type holds are rounded."""
    xp = machine.xp
    kind, dtype = eqn.invars[0].aval.dtype, dtype_of(eqn)
    bits = 1 if kind == np.bool_ else jnp.iinfo(kind).bits
    target = eqn.outvars[0].aval.dtype
    if 2.0 ** (bits - 1) <= 1 / storage_roundoff(target):
        return Bounded(out, x.error)
    unit = xp.where(xp.abs(out) * machine.roundoff[dtype] <= 0.5, 0.0, machine.roundoff[dtype])
    rounding = unit * xp.abs(out)
    return Bounded(out, plus(x.error, xp.where(xp.abs(out) > machine.largest[dtype], xp.inf, rounding)))


def _to_few_bits(out, error, target, xp):
    """float8 and smaller: their own roundoff and range, on every machine."""
    info = jnp.finfo(target)
    size = xp.abs(out) if error is None else xp.abs(out) + error
    rounding = storage_roundoff(target) * size + float(info.smallest_subnormal)
    rounding = xp.where(size == 0, 0.0, xp.where(size + rounding > float(info.max), xp.inf, rounding))
    return Bounded(out, plus(rounding, error))


def reduce_precision(eqn, inputs, machine):
    """Fewer digits and a smaller range; in float64 throughout, a statement about the formula, nothing but a rounding."""
    (x,) = inputs
    xp, dtype = machine.xp, dtype_of(eqn)
    bits = eqn.params["exponent_bits"]
    bias = 2 ** (bits - 1) - 1
    own = machine.roundoff[dtype]
    formula = own < storage_roundoff(dtype)
    size = xp.abs(x.value) if x.error is None else xp.abs(x.value) + x.error
    rounding = 2.0 ** -(eqn.params["mantissa_bits"] + 1) * size + 2.0 ** (1 - bias)
    rounding = xp.where(size + rounding >= 2.0 ** min(bias + 1, 1023), xp.inf, rounding)
    rounding = xp.where((size == 0) | xp.isinf(x.value), 0.0, xp.where(formula, own * size, rounding))
    return [Bounded(x.value, plus(rounding, x.error))]


def natively(eqn, inputs, xp):
    """The operation in the dtypes it was traced with, floating results in float64."""
    given = [xp.asarray(x.value, v.aval.dtype) if is_inexact(v.aval) else x.value for x, v in zip(inputs, eqn.invars)]
    return [xp.asarray(o, widest(o)) if is_inexact(o) else o for o in bind(eqn, given, xp)]


def exact(eqn, inputs, machine):
    """Operations on whole numbers, booleans, keys and bits: exact, and in doubt everywhere if an operand is in doubt."""
    errors = [x.error for x in inputs]
    return [Bounded(o, doubt_anywhere(np.shape(o), machine.xp, *errors)) for o in natively(eqn, inputs, machine.xp)]
