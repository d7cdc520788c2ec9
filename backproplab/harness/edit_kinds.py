"""What each kind of edit makes of an equation: a detail that tells it apart, its words, and the equations in its place."""

import functools
import itertools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from backproplab.harness import relocated
from backproplab.harness.control import split
from backproplab.harness.error_rules import is_complex, is_float
from backproplab.harness.sites import (
    Site,
    after,
    before,
    broadcasts,
    computes,
    fraction,
    instead,
    is_literal,
    is_number,
    quoted,
    same_type,
    summed,
    with_item,
    with_operands,
)

_BINARY = {"add", "sub", "add_any", "mul", "div", "max", "min"}
_ORDERED = {"sub", "div", "pow", "atan2", "rem", "gt", "lt", "ge", "le", "dot_general"}
_FUNCTIONS = {"exp", "exp2", "log", "log1p", "expm1", "tanh", "logistic", "sqrt", "rsqrt", "square", "abs", "neg", "sign", "erf", "sin",
              "cos", "not", "transpose", "rev", "cumsum", "integer_pow", "cumprod"}  # fmt: skip


def _sign(site):
    if computes(site) and site.eqn.primitive.name not in ("neg", "square", "abs"):
        yield "", "to have the opposite sign", after(site, _negative)


def _dropped(site):
    if site.eqn.primitive.name in _BINARY:
        for gone, kept in ((0, 1), (1, 0)):
            v = site.eqn.invars[kept]
            # a number that is left alone would be no slip; what is left of 1 / x is x
            if not isinstance(v, Literal) and v.aval.shape == site.out.aval.shape:
                function = _negative if site.eqn.primitive.name == "sub" and gone == 0 else _itself
                yield str(gone), f"to leave out {quoted(site.name(gone))}", instead(site, function, v)


def _swapped(site):
    name, operands = site.eqn.primitive.name, site.eqn.invars
    if name not in _ORDERED or len(operands) != 2:
        return
    x, y = operands
    if x.aval.shape == y.aval.shape and x.aval.dtype == y.aval.dtype:
        yield "", "to take its operands in the other order", with_operands(site, [y, x])


def _left_out(site):
    if site.eqn.primitive.name not in _FUNCTIONS:
        return
    v = site.eqn.invars[0]
    if not isinstance(v, Literal) and same_type(v.aval, site.out.aval):
        yield "", "to pass its operand through as it is", instead(site, _itself, v)


def _exponent(site):
    if site.eqn.primitive.name == "integer_pow":
        power = site.eqn.params["y"]
        for other in (power - 1, power + 1):
            changed = lambda other=other: [site.eqn.replace(params=site.eqn.params | {"y": other})]
            yield str(other - power), f"to raise to the power {other}, not {power}", changed


def _number(site):
    for i, v in enumerate(site.eqn.invars):
        if isinstance(v, Literal) and is_number(v):
            for other in site.numbers:
                literal = Literal(np.asarray(other, np.asarray(v.val).dtype), v.aval)
                if float(literal.val) != float(v.val):
                    words = f"to use {other:.9g} in place of {float(v.val):.9g}"
                    yield f"{i} {other:.6g}", words, with_operands(site, with_item(site.eqn.invars, i, literal))


def _other_value(site):
    for i, v in enumerate(site.eqn.invars):
        for value in site.scope:
            if not isinstance(v, Literal) and value.var is not v and same_type(value.var.aval, v.aval):
                meant, own = quoted(value.name), quoted(site.name(i))
                words = f"to use {meant} in place of {own}" if meant != own else f"to use another value of {own}"
                yield f"{i} {value.key}", words, with_operands(site, with_item(site.eqn.invars, i, value.var))


def _average(site):
    if site.eqn.primitive.name == "reduce_sum" and (count := summed(site)) > 1:
        words = f"to average over the {count} entries, not to add them up"
        yield "", words, after(site, _scaled_by, factor=1.0 / count)


def _first_only(site):
    if site.eqn.primitive.name == "reduce_sum" and (count := summed(site)) > 1 and not is_literal(site, 0):
        axes = tuple(site.eqn.params["axes"])
        words = f"to take the first of the {count} entries, not their sum"
        yield "", words, instead(site, _first_entry, site.eqn.invars[0], axes=axes)


def _transposed(site):
    name, params = site.eqn.primitive.name, site.eqn.params
    if name in ("dot_general", "lu"):
        for i, v in enumerate(site.eqn.invars):
            if len(v.aval.shape) >= 2 and v.aval.shape[-1] == v.aval.shape[-2] > 1:
                yield str(i), f"to transpose {quoted(site.name(i))} first", before(site, i, _swap_last)
    if name == "custom_linear_solve":
        yield "", "to solve with the transpose", lambda: [_of_the_transpose(site.eqn)]
    if name == "triangular_solve":  # which triangle is meant is said of the matrix as it is given
        other = site.eqn.replace(params=params | {"transpose_a": not params["transpose_a"]})
        yield "", f"to solve with {quoted(site.name(0))} transposed{' back' * params['transpose_a']}", lambda: [other]


def _turned(site):
    """A matrix, as it is made or as it is taken."""
    shape = site.out.aval.shape
    if not computes(site) or len(shape) < 2 or shape[-1] != shape[-2] or shape[-1] == 1:
        return
    yield "", "to have its result transposed", after(site, _swap_last)
    for i, v in enumerate(site.eqn.invars):
        if not isinstance(v, Literal) and v.aval.shape == shape and site.eqn.primitive.name in _BINARY:
            yield str(i), f"to transpose {quoted(site.name(i))} first", before(site, i, _swap_last)


def _conjugated(site):
    if is_complex(site.out.aval):
        yield "", "to have its result conjugated", after(site, jnp.conj)
    for i, v in enumerate(site.eqn.invars):
        if is_complex(v.aval) and not isinstance(v, Literal):
            yield str(i), f"to conjugate {quoted(site.name(i))} first", before(site, i, jnp.conj)


def _symmetric(site):
    """What a matrix is to be with its own transpose, or on its diagonal: the rules of factorizations and of their inverses."""
    shape = site.out.aval.shape
    if is_float(site.out.aval) and len(shape) >= 2 and shape[-1] == shape[-2] > 1:
        for words, function in _SYMMETRIC.items():
            yield words, f"to have {words}", after(site, function)


def _accumulated(site):
    if site.eqn.primitive.name == "scatter":
        how = {name: site.eqn.params[name] for name in ("dimension_numbers", "mode")}
        words = "to add up what meets in one place, where it overwrites"
        yield "", words, instead(site, _added_up, *site.eqn.invars, **how)


def _function(site):
    for i, v in enumerate(site.eqn.invars):
        if computes(site) and is_float(v.aval) and not isinstance(v, Literal):
            for name, function in FUNCTIONS:
                yield f"{i} {name}", f"to take the {name} of {quoted(site.name(i))} first", before(site, i, function)


def _times(site, given_only=False, function=None, words="to be multiplied by"):
    if is_float(site.out.aval) and (computes(site) or site.eqn.primitive.name in ("copy", "copy_p")):
        for value in site.floats(given_only):
            yield value.key, f"{words} {quoted(value.name)}", after(site, function or _product, value.var)


def _times_slope(site):
    """By what the derivatives of logistic functions, hyperbolic tangents and logarithms are made of."""
    if is_float(site.out.aval) and computes(site):
        for value in site.floats(given_only=True):
            for (form, function), (words, how) in itertools.product(_SLOPES, FACTORS):
                name = form.format(quoted(value.name))
                of_slope = functools.partial(_by_function, how, function)
                yield f"{form} {words} {value.key}", f"to be {words} {name}", after(site, of_slope, value.var)


def _row(site):
    shape = site.out.aval.shape
    if computes(site) and len(shape) and shape[0] > 1:
        yield "", "to double its last row", after(site, _last_row_doubled)


def _unmasked(site):
    if site.eqn.primitive.name == "select_n" and len(site.eqn.invars) == 3:
        for kept in (1, 2):
            v = site.eqn.invars[kept]
            if v.aval.shape == site.out.aval.shape and not isinstance(v, Literal):
                yield (
                    str(kept),
                    f"to take {quoted(site.name(kept))} whatever the condition",
                    instead(site, _itself, v),
                )


def _bfloat16(site):
    if computes(site):
        yield "", "to round its result to bfloat16", after(site, _through_bfloat16)


def _scaled(site):
    """By the sizes and numbers in play: a mean for a sum, a factor that was forgotten."""
    if computes(site):
        sizes = {d for s in site.scope for d in s.var.aval.shape if d > 1}
        for factor in dict.fromkeys([f for n in sorted(sizes) for f in (1.0 / n, float(n))] + [2.0, 0.5]):
            yield f"{factor:.6g}", f"to be multiplied by {fraction(factor)}", after(site, _scaled_by, factor=factor)
        for other in site.numbers:
            if other not in (0.0, 1.0):
                yield f"{other:.6g}", f"to be multiplied by {other:.6g}", after(site, _scaled_by, factor=other)
                yield f"1/{other:.6g}", f"to be divided by {other:.6g}", after(site, _scaled_by, factor=1 / other)


def _shifted(site):
    """A small number added under a root or in a denominator."""
    if site.eqn.primitive.name in ("rsqrt", "sqrt", "div", "log", "integer_pow", "pow", "add", "sub", "mul"):
        for i, v in enumerate(site.eqn.invars):
            for number in site.numbers if is_float(v.aval) and not isinstance(v, Literal) else ():
                if number != 0:
                    words = f"to add {number:.6g} to {quoted(site.name(i))} first"
                    yield f"{i} {number:.6g}", words, before(site, i, _plus_number, number=number)


def _masked(site):
    if computes(site):
        for value in site.scope:
            aval = value.var.aval
            if aval.dtype == np.bool_ and broadcasts(aval, site.out.aval):
                yield f"{value.key}", f"to be 0 where {quoted(value.name)} is false", after(site, _where, value.var)
                yield (
                    f"not {value.key}",
                    f"to be 0 where {quoted(value.name)} is true",
                    after(site, _where_not, value.var),
                )


def _centred(site):
    if computes(site):
        for axis in range(len(site.out.aval.shape)):
            yield str(axis), f"to have its mean over axis {axis} subtracted", after(site, _less_mean, axis=axis)


def _plus(site):
    if computes(site) or site.eqn.primitive.name in ("copy", "copy_p"):
        for value in site.scope:
            if is_float(site.out.aval) and same_type(value.var.aval, site.out.aval):
                yield value.key, f"to have {quoted(value.name)} added", after(site, _sum, value.var)
                yield f"-{value.key}", f"to have {quoted(value.name)} subtracted", after(site, _difference, value.var)


MAKERS: dict[str, Callable[[Site], Iterator[tuple[str, str, Callable]]]] = {
    "sign": _sign, "dropped": _dropped, "swapped": _swapped, "left out": _left_out, "exponent": _exponent, "number": _number,
    "other value": _other_value, "average": _average, "first only": _first_only, "transposed": _transposed, "times": _times,
    "times input": lambda site: _times(site, given_only=True),
    "over input": lambda site: _times(site, True, _quotient, "to be divided by"),
    "times slope": _times_slope,
    "row": _row, "unmasked": _unmasked, "bfloat16": _bfloat16, "scaled": _scaled, "shifted": _shifted, "masked": _masked,
    "centred": _centred, "plus": _plus, "symmetric": _symmetric, "accumulated": _accumulated, "function": _function,
    "axes": relocated.other_axes, "displaced": relocated.one_place, "steps": relocated.more_steps, "added up": relocated.whole_axis,
    "other way": relocated.the_other_way, "turned": _turned, "conjugated": _conjugated,
}  # fmt: skip


def _itself(x):
    return x


def _negative(x):
    return -x


def _product(x, y):
    return x * _aligned(y, x)


def _quotient(x, y):
    return x / _aligned(y, x)


def _by_function(how, function, x, y):
    return how(x, function(y))


_SLOPES = (
    ("1 + {}", lambda y: 1 + y),
    ("1 - {}", lambda y: 1 - y),
    ("1 - {}^2", lambda y: 1 - y * y),
    ("{0} (1 - {0})", lambda y: y * (1 - y)),
)
FACTORS = (("multiplied by", _product), ("divided by", _quotient))
CHANGES = (*FACTORS, ("replaced by", lambda x, y: _aligned(y, x)))


FUNCTIONS = (
    ("square root", jnp.sqrt),
    ("square", jnp.square),
    ("reciprocal", jnp.reciprocal),
    ("exponential", jnp.exp),
    ("logarithm", jnp.log),
    ("hyperbolic tangent", jnp.tanh),
    ("logistic function", jax.nn.sigmoid),
)


def _diagonal_scaled(x, factor):
    return x * jnp.where(jnp.eye(x.shape[-1], dtype=bool), factor, 1)


_SYMMETRIC = {
    "its transpose added": lambda x: x + jnp.swapaxes(x, -1, -2),
    "its transpose subtracted": lambda x: x - jnp.swapaxes(x, -1, -2),
    "the mean with its transpose taken": lambda x: (x + jnp.swapaxes(x, -1, -2)) / 2,
    "its diagonal halved": functools.partial(_diagonal_scaled, factor=0.5),
    "its diagonal doubled": functools.partial(_diagonal_scaled, factor=2),
}


def _of_the_transpose(solve):
    """Which JAX keeps beside it: products and solves, each with its constants, forth and back."""
    lengths = solve.params["const_lengths"]
    matvec, vecmat, forth, back, rest = split(solve.invars, *lengths)
    turned = {"const_lengths": lengths.transpose(), "jaxprs": solve.params["jaxprs"].transpose()}
    return solve.replace(invars=[*vecmat, *matvec, *back, *forth, *rest], params=solve.params | turned)


def _added_up(x, indices, updates, dimension_numbers, mode):
    return jax.lax.scatter_add(x, indices, updates, dimension_numbers, mode=mode)


def _sum(x, y):
    return x + y


def _difference(x, y):
    return x - y


def _scaled_by(x, factor):
    return x * factor


def _plus_number(x, number):
    return x + number


def _swap_last(x):
    return jnp.swapaxes(x, -1, -2)


def _first_entry(x, axes):
    return x[tuple(0 if a in axes else slice(None) for a in range(x.ndim))]


def _last_row_doubled(x):
    return jnp.concatenate([x[:-1], 2 * x[-1:]])


def _through_bfloat16(x):
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)  # XLA takes out a cast there and back


def _where(x, mask):
    return jnp.where(_aligned(mask, x), x, 0)


def _where_not(x, mask):
    return jnp.where(_aligned(mask, x), 0, x)


def _less_mean(x, axis):
    return x - x.mean(axis, keepdims=True)


def _aligned(y, x):
    """`y` for an operation with `x`: along the last axes as in numpy, or else along the first."""
    if y.shape == x.shape[x.ndim - y.ndim :] or all(a in (1, b) for a, b in zip(y.shape[::-1], x.shape[::-1])):
        return y
    return y.reshape(y.shape + (1,) * (x.ndim - y.ndim))
