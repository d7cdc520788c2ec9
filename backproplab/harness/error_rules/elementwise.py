"""Operations on one entry, or on two at the same place: arithmetic, functions of one number, casts, complex numbers."""

import numpy as np

from backproplab.harness.error_rules.arithmetic import (
    doubt,
    error_array,
    largest_size,
    plus,
    rounded,
    times,
    values,
    within_range,
)
from backproplab.harness.error_rules.machine import Bounded, dtype_of, is_complex, is_inexact
from backproplab.harness.error_rules.units import FLOORED, STEPS, UNITS, floor, units
from backproplab.harness.primitives import bind

# A complex product is off by sqrt 5 roundings at most (Brent, Percival, Zimmermann 2007); a quotient scales as well.
_COMPLEX_PRODUCT, _COMPLEX_QUOTIENT = 3.0, 16.0


def add(eqn, inputs, machine):
    x, y = inputs
    (out,) = bind(eqn, values(inputs), machine.xp)
    error = plus(x.error, y.error)
    if not is_inexact(out):
        return [Bounded(out, doubt(machine.xp, error))]
    return [rounded(out, error, dtype_of(eqn), machine)]


def mul(eqn, inputs, machine):
    x, y = inputs
    xp = machine.xp
    (out,) = bind(eqn, values(inputs), xp)
    if not is_inexact(out):
        return [Bounded(out, doubt(xp, x.error, y.error))]
    both = None if x.error is None or y.error is None else times(x.error, y.error, xp)
    error = plus(times(y.value, x.error, xp), times(x.value, y.error, xp), both)
    if is_complex(out):  # the products of the parts do not cancel in size
        out_size = rounded(xp.abs(x.value) * xp.abs(y.value), error, dtype_of(eqn), machine, _COMPLEX_PRODUCT)
        return [Bounded(out, out_size.error)]
    if _by_power_of_two(eqn):
        return [within_range(out, error, dtype_of(eqn), machine)]
    return [rounded(out, error, dtype_of(eqn), machine)]


def _by_power_of_two(eqn) -> bool:
    """A literal factor or divisor of +-2^k changes no digit."""
    literals = [float(v.val) for v in eqn.invars if hasattr(v, "val") and np.ndim(v.val) == 0]
    return any(abs(np.frexp(value)[0]) == 0.5 and 1 / 16 <= abs(value) <= 16 for value in literals)


def div(eqn, inputs, machine):
    x, y = inputs
    xp = machine.xp
    (out,) = bind(eqn, values(inputs), xp)
    if not is_inexact(out):
        return [Bounded(out, doubt(xp, x.error, y.error))]
    error = plus(x.error, times(out, y.error, xp))
    if error is not None:
        denominator = xp.abs(y.value) - (0.0 if y.error is None else y.error)
        quotient = xp.where(denominator > 0, error / xp.where(denominator > 0, denominator, 1.0), xp.inf)
        maybe_zero = False if y.error is None else denominator <= 0  # and of either sign: 0 / y may not be a number
        error = xp.where((error == 0) & ~xp.asarray(maybe_zero), 0.0, quotient)
    if is_complex(out):
        square = largest_size(y, xp) ** 2  # the squares of the parts are not to leave the range
        dtype = dtype_of(eqn)
        inside = (square < machine.largest[dtype]) & (xp.abs(y.value) ** 2 > machine.smallest[dtype])
        error = plus(error, xp.where(inside, 0.0, xp.inf))
        return [rounded(out, error, dtype, machine, _COMPLEX_QUOTIENT)]
    if hasattr(eqn.invars[1], "val") and _by_power_of_two(eqn):
        return [within_range(out, error, dtype_of(eqn), machine)]
    # two units: XLA may multiply by a reciprocal instead
    return [rounded(out, error, dtype_of(eqn), machine, 2.0)]


def rem(eqn, inputs, machine):
    """x - trunc(x / y) y, which is exact where the quotient cannot truncate otherwise."""
    x, y = inputs
    xp = machine.xp
    (out,) = bind(eqn, values(inputs), xp)
    if not is_inexact(out):
        return [Bounded(out, doubt(xp, x.error, y.error))]
    if x.error is None and y.error is None:
        return [Bounded(out, None)]
    quotient = x.value / y.value
    whole = xp.trunc(quotient)
    error = plus(x.error, times(whole, y.error, xp))
    low = xp.abs(y.value) - (0.0 if y.error is None else y.error)
    width = xp.where(low > 0, error / xp.where(low > 0, low, 1.0), xp.inf)
    # at 0 the quotient truncates to 0 from both sides
    same = (xp.trunc(quotient + width) == whole) & (xp.trunc(quotient - width) == whole)
    return [Bounded(out, xp.where(same | (error == 0), error, xp.inf))]


def one_minus_square(eqn, inputs, machine):
    """(1 + x)(1 - x): three roundings, and nothing that cancels."""
    (x,) = inputs
    xp = machine.xp
    (out,) = bind(eqn, [x.value], xp)
    if not is_inexact(out):
        return [Bounded(out, doubt(xp, x.error))]
    error = None if x.error is None else times(largest_size(x, xp) + xp.abs(x.value), x.error, xp)
    return [rounded(out, error, dtype_of(eqn), machine, 3.0)]


def polynomial(eqn, inputs, machine):
    """Horner's rule from the highest coefficient down, each step as a product and a sum."""
    x, *coefficients = inputs
    total = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        xp, dtype = machine.xp, dtype_of(eqn)
        product = plus(times(largest_size(x, xp), total.error, xp), times(total.value, x.error, xp))
        total = rounded(total.value * x.value, product, dtype, machine)
        total = rounded(total.value + c.value, plus(total.error, c.error), dtype, machine)
    return [total]


# --- functions of one number ----------------------------------------------------------------------------------------


def function(eqn, inputs, machine):
    """A monotone or convex function is furthest from f(x) over [x - e, x + e] at an end; the others are so between poles."""
    (x,) = inputs
    xp = machine.xp
    name = eqn.primitive.name
    f = lambda a: bind(eqn, [a], xp)[0]
    out = f(x.value)
    error = None
    if x.error is not None:
        width = x.error if name in STEPS else xp.maximum(x.error, _LEAST * xp.abs(x.value))
        error = _reach(f, x, out, width, xp)
        if name in ("lgamma", "digamma"):  # a pole at each whole number that is not positive
            low, high = x.value - width, x.value + width
            pole = (low <= 0) & ((xp.floor(low) != xp.floor(high)) | (low == xp.floor(low)))
            error = xp.where(pole & (x.error > 0), xp.inf, error)
    if name in STEPS:
        return [Bounded(out, error)]
    if name == "logistic":  # 1 / (1 + exp(-x)), whose denominator overflows
        error = plus(error, xp.where(xp.abs(out) * machine.largest[dtype_of(eqn)] < 2.0, xp.abs(out), 0.0))
    if name in FLOORED:
        error = plus(error, UNITS[name] * machine.roundoff[dtype_of(eqn)] * floor(name, x.value, xp))
    return [rounded(out, error, dtype_of(eqn), machine, units(name, x.value, xp))]


def exp_of_minus_square(eqn, inputs, machine):
    """exp(-x^2) from the upper and the lower half of the bits of x, where x has bits enough to be split."""
    (x,) = inputs
    xp, dtype = machine.xp, dtype_of(eqn)
    f = lambda a: xp.exp(-a * a)
    out = f(x.value)
    error = None
    if x.error is not None:
        error = _reach(f, x, out, xp.maximum(x.error, _LEAST * xp.abs(x.value)), xp)
    split = dtype in ("float64", "float32")
    return [rounded(out, error, dtype, machine, UNITS["exp"] + (2.0 if split else 1 + x.value**2))]


# An error of x that is a smaller part of it would not show in the float64 values of a function: the slope counts.
_LEAST = 2.0**-26


def _reach(f, x, out, width, xp):
    """How far f gets from `out` within the error of x: a share of how far it gets within `width`, which is no smaller."""
    share = xp.where(width == x.error, 1.0, x.error / xp.where(width == 0, 1.0, width))
    ends = [xp.abs(f(x.value + sign * width) - out) for sign in (1.0, -1.0)]
    # beyond an end of the domain there is nothing to compare with, unless the other end says something
    ends = [xp.where(xp.isnan(end), xp.where(share == 1.0, xp.inf, 0.0), end) for end in ends]
    reach = xp.where(x.error == 0, 0.0, xp.maximum(*ends) * share)
    reach = xp.where(share == 1.0, reach, 1.001 * reach)  # over so small a width the slope is nearly the same
    return xp.where(xp.isinf(x.error), xp.inf, reach)  # the argument may not be a number


def tangent(eqn, inputs, machine):
    """Between two poles the slope 1 + tan^2 is largest at an end."""
    (x,) = inputs
    xp = machine.xp
    (out,) = bind(eqn, [x.value], xp)
    error = None
    if x.error is not None:
        reach = x.error + 2.0**-50 * xp.abs(x.value)
        half_turns = [xp.floor((x.value + side * reach) / np.pi + 0.5) for side in (-1.0, 1.0)]
        steepest = 1 + xp.maximum(xp.tan(x.value - reach) ** 2, xp.tan(x.value + reach) ** 2)
        error = times(steepest, x.error, xp)
        error = xp.where((half_turns[0] == half_turns[1]) | (x.error == 0), error, xp.inf)
    return [rounded(out, error, dtype_of(eqn), machine, units("tan", x.value, xp))]


def gently_sloped(eqn, inputs, machine):
    """Functions whose slope and second derivative are 1 at most: sine, cosine, and the scaled Bessel functions."""
    (x,) = inputs
    xp = machine.xp
    (out,) = bind(eqn, [x.value], xp)
    name = eqn.primitive.name
    error = x.error
    if error is not None and name in ("sin", "cos"):
        slope = xp.cos(x.value) if name == "sin" else xp.sin(x.value)
        error = xp.minimum(xp.minimum(xp.abs(slope) * x.error + x.error**2 / 2, x.error), 2.0)
        error = xp.where(xp.isinf(x.error), xp.inf, error)
    return [rounded(out, error, dtype_of(eqn), machine, units(name, x.value, xp))]


def neg(eqn, inputs, machine):
    (x,) = inputs
    return [Bounded(-x.value, x.error)]


def absolute(eqn, inputs, machine):
    (x,) = inputs
    out = machine.xp.abs(x.value)
    return [rounded(out, x.error, dtype_of(eqn), machine, 4.0) if is_complex(x.value) else Bounded(out, x.error)]


def square(eqn, inputs, machine):
    (x,) = inputs
    (out,) = bind(eqn, [x.value], machine.xp)
    if not is_inexact(out):
        return [Bounded(out, doubt(machine.xp, x.error))]
    error = None if x.error is None else times(2 * machine.xp.abs(x.value) + x.error, x.error, machine.xp)
    return [rounded(out, error, dtype_of(eqn), machine, _COMPLEX_PRODUCT if is_complex(out) else 1.0)]


def integer_pow(eqn, inputs, machine):
    """|(x + e)^p - x^p| <= e |p| m^(p-1), with m the end of the interval where the slope is largest."""
    (x,) = inputs
    xp, power = machine.xp, eqn.params["y"]
    (out,) = bind(eqn, [x.value], xp)
    if not is_inexact(out):
        return [Bounded(out, doubt(xp, x.error))]
    dtype = dtype_of(eqn)
    error = None
    if x.error is not None and power > 0:
        error = times(power * largest_size(x, xp) ** (power - 1.0), x.error, xp)
    elif x.error is not None:
        low = xp.abs(x.value) - x.error
        steepest = abs(power) * xp.where(low > 0, low, 1.0) ** (power - 1.0)
        error = xp.where((low > 0) | (x.error == 0), times(steepest, x.error, xp), xp.inf)
    if power < 0:  # the reciprocal of a positive power, which leaves the range at either end where the result is inside
        least, most = xp.abs(x.value) ** float(-power), largest_size(x, xp) ** float(-power)
        error = plus(error, xp.where((least < machine.smallest[dtype]) & xp.isfinite(out), xp.inf, 0.0))
        error = plus(error, xp.where(most >= machine.largest[dtype], xp.abs(out), 0.0))
    each = _COMPLEX_PRODUCT if is_complex(out) else 1.0
    return [rounded(out, error, dtype, machine, 2.0 * each * abs(power))]


def power(eqn, inputs, machine):
    """x^y = exp(y log x): an error of the exponent is amplified by |log x|, a relative one of x by |y|."""
    x, y = inputs
    xp = machine.xp
    exponent = xp.asarray(y.value, np.float64)
    out = xp.power(x.value, exponent)
    log = xp.where(x.value == 0, 0.0, xp.log(xp.where(x.value == 0, 1.0, xp.abs(x.value))))
    relative = None
    if x.error is not None:
        low = xp.abs(x.value) - x.error
        relative = xp.where(low > 0, times(exponent, x.error, xp) / xp.where(low > 0, low, 1.0), xp.inf)
        relative = xp.where(x.error == 0, 0.0, relative)
    if y.error is not None:
        # at 0 the power jumps where the exponent does; below, it is real for whole exponents only
        low = xp.abs(x.value) - (0.0 if x.error is None else x.error)
        furthest = xp.maximum(xp.abs(log), xp.abs(xp.log(xp.where(low > 0, low, 1.0))))
        stays = (x.value == 0) & (exponent > y.error)  # 0 to any positive power
        change = xp.where(x.value > 0, times(furthest, y.error, xp), xp.where(stays, 0.0, xp.inf))
        relative = plus(relative, xp.where(y.error == 0, 0.0, change))
    error = None
    if relative is not None:
        error = times(out, xp.where(relative < 700, xp.expm1(xp.minimum(relative, 700.0)), xp.inf), xp)
        error = xp.where(xp.isinf(relative), xp.inf, error)
    return [rounded(out, error, dtype_of(eqn), machine, 4.0 + 8.0 * xp.abs(exponent * log))]


def atan2(eqn, inputs, machine):
    """The angle turns by asin(spread / radius) at most, but jumps by a full turn across the negative axis, where the sign
    of a zero decides, of which nothing is known."""
    y, x = inputs
    xp = machine.xp
    (out,) = bind(eqn, values(inputs), xp)
    spread = error_array(y, xp) + error_array(x, xp)
    radius = xp.sqrt(y.value**2 + x.value**2)
    turned = xp.where(radius > 2 * spread, 2 * spread / xp.where(radius > 0, radius, 1.0), 2 * np.pi)
    jumps = (xp.abs(y.value) <= error_array(y, xp)) & (x.value - spread <= 0)
    error = xp.where(jumps, 2 * np.pi, xp.where(spread == 0, 0.0, xp.minimum(turned, 2 * np.pi)))
    error = xp.where(xp.isinf(spread), xp.inf, error)
    return [rounded(out, error, dtype_of(eqn), machine, 6.0)]


def next_after(eqn, inputs, machine):
    """The neighbour in the traced dtype; a full unit in the last place away if the operand is in doubt."""
    x, y = inputs
    xp = machine.xp
    native = [xp.asarray(v.value, var.aval.dtype) for v, var in zip(inputs, eqn.invars)]
    out = xp.asarray(bind(eqn, native, xp)[0], np.float64)
    error = plus(x.error, doubt(xp, y.error))
    return [rounded(out, error, dtype_of(eqn), machine, 0.0 if error is None else 4.0)]


# --- complex numbers ------------------------------------------------------------------------------------------------


def part(eqn, inputs, machine):
    """real, imag, conj: none is further off than the number."""
    (x,) = inputs
    xp = machine.xp
    names = {"real": xp.real, "imag": xp.imag, "conj": xp.conj}
    out = names[eqn.primitive.name](x.value)
    return [Bounded(xp.asarray(out, np.complex128) if is_complex(eqn.outvars[0].aval) else out, x.error)]


def complex_number(eqn, inputs, machine):
    x, y = inputs
    return [Bounded(x.value + 1j * machine.xp.asarray(y.value), plus(x.error, y.error))]


def complex_exp(eqn, inputs, machine):
    """|exp(z + d) - exp(z)| <= |exp(z)| (exp(|d|) - 1)."""
    (x,) = inputs
    xp = machine.xp
    (out,) = bind(eqn, [x.value], xp)
    error = None
    if x.error is not None:
        error = xp.where(x.error < 700, times(out, xp.expm1(xp.minimum(x.error, 700.0)), xp), xp.inf)
    return [rounded(out, error, dtype_of(eqn), machine, 12.0)]
