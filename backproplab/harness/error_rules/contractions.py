"""Sums, products and what is made of them: dot products, convolutions, running sums, Fourier transforms."""

import math
from collections.abc import Sequence

import numpy as np
from jax import lax

from backproplab.harness.error_rules.arithmetic import (
    UNBOUNDED,
    accumulated,
    doubt_anywhere,
    error_array,
    largest_size,
    plus,
    rounded,
    tree_depth,
    values,
)
from backproplab.harness.error_rules.machine import (
    Bounded,
    Machine,
    accumulator,
    dtype_of,
    is_complex,
    is_inexact,
    storage_roundoff,
)
from backproplab.harness.primitives import bind


def reduce_sum(eqn, inputs, machine):
    (x,) = inputs
    count = math.prod(np.shape(x.value)[a] for a in eqn.params["axes"])
    return [sum_of(eqn, x, count, machine, stored=math.ceil(math.log2(max(count, 1))) + 1)]


def window_sum(eqn, inputs, machine):
    (x,) = inputs
    count = math.prod(eqn.params["window_dimensions"])
    return [sum_of(eqn, x, count, machine, stored=count)]


def sum_of(eqn, x: Bounded, count: int, machine: Machine, stored: int, others: Sequence = ()) -> Bounded:
    """`eqn` adds up to `count` terms of x per entry, in any order.

    stored: of 16-bit numbers, how many partial sums on the way of a term are rounded to 16 bits; between them the sums are
    made in float32. (XLA's CPU backend sums in stages: up to 3.3 roundings were seen for 512 terms.)
    """
    xp = machine.xp
    add = lambda terms: bind(eqn, [terms, *others], xp)[0]
    out = add(x.value)
    if not is_inexact(out):
        return Bounded(out, doubt_anywhere(np.shape(out), xp, x.error))
    dtype = dtype_of(eqn)
    wide = accumulator(dtype)
    total = add(largest_size(x, xp))
    error = accumulated(max(count - 1, 0), machine.roundoff[wide], xp) * total + count * machine.smallest[wide]
    error = xp.where(total > machine.largest[wide], xp.inf, error)
    error = xp.where((total == 0) | xp.isinf(out), 0.0, error) if count > 1 else None
    error = plus(error, None if x.error is None else add(x.error))
    if wide == dtype:
        return Bounded(out, error)
    partial = accumulated(stored, machine.roundoff[dtype], xp) * total + stored * machine.smallest[dtype]
    partial = xp.where(total > machine.largest[dtype], xp.inf, xp.where((total == 0) | xp.isinf(out), 0.0, partial))
    return Bounded(out, plus(error, partial))


def running_sum(eqn, inputs, machine):
    """Made as a tree whose every addition is stored in the dtype itself, 16 bits too."""
    (x,) = inputs
    count = np.shape(x.value)[eqn.params["axis"]]
    return [sum_of(eqn, x, count, machine, stored=tree_depth(count))]


def running_log_sum_exp(eqn, inputs, machine):
    """Moves by no more than the largest error of an operand; each of up to n steps takes an exp and a log1p of a
    difference, which cost no more than 16 roundings of 1, and rounds its result."""
    (x,) = inputs
    xp = machine.xp
    p = eqn.params
    (out,) = bind(eqn, [x.value], xp)
    count = np.shape(x.value)[p["axis"]]
    running = lambda a: _running_maximum(a, p, xp)
    size = running(xp.where(xp.isinf(x.value), 0.0, largest_size(x, xp))) + math.log(max(count, 1))
    error = count * machine.roundoff[dtype_of(eqn)] * (size + 16.0)
    error = xp.where(xp.isinf(out), 0.0, error)
    return [Bounded(out, plus(error, None if x.error is None else running(x.error)))]


def _running_maximum(a, params, xp):
    axis = params["axis"]
    if xp is np:
        run = lambda a: np.maximum.accumulate(a, axis)
        return np.flip(run(np.flip(a, axis)), axis) if params["reverse"] else run(a)
    return lax.cummax(a, axis=axis, reverse=params["reverse"])


def running_extreme(eqn, inputs, machine):
    """Running maxima and minima move by no more than the largest error they have seen."""
    (x,) = inputs
    (out,) = bind(eqn, [x.value], machine.xp)
    if x.error is None:
        return [Bounded(out, None)]
    return [Bounded(out, _running_maximum(x.error, eqn.params, machine.xp))]


def products_of_many(eqn, inputs, machine):
    """reduce_prod, cumprod: |prod(x + e) - prod(x)| <= prod(|x| + e) - prod(|x|), plus a rounding per factor."""
    (x,) = inputs
    axes = eqn.params["axes"] if "axes" in eqn.params else (eqn.params["axis"],)
    count = math.prod(np.shape(x.value)[a] for a in axes)
    f = lambda a: bind(eqn, [a], machine.xp)[0]
    return [product_of(eqn, f, [x], count, machine)]


def product_of(eqn, f, operands: list[Bounded], count, machine: Machine) -> Bounded:
    """f multiplies `count` (a number or an array) of the operands' entries per result, in any order."""
    xp = machine.xp
    out = f(*values(operands))
    dtype = dtype_of(eqn)
    sizes = [largest_size(x, xp) for x in operands]
    size = f(*sizes)
    error = xp.zeros(np.shape(out))
    if any(x.error is not None for x in operands):
        # the difference itself is computed in float64
        error = (size - f(*[xp.abs(x.value) for x in operands])) + 4 * count * 2.0**-53 * size
        error = xp.where(size == 0, 0.0, error)
    # some partial product may leave the range where the whole does not
    least = f(*[xp.minimum(s, 1.0) for s in sizes])
    most = f(*[xp.maximum(s, 1.0) for s in sizes])
    leaves = ((least < machine.smallest[dtype]) & (least > 0)) | ((most > machine.largest[dtype]) & xp.isfinite(out))
    whole = xp.abs(out) < machine.smallest[dtype]
    error = xp.where(leaves & ~(whole & (most <= 1.0)), xp.inf, error)
    error = error + accumulated(1.5 * count, machine.roundoff[dtype], xp) * size
    return rounded(out, error, dtype, machine)


# --- bilinear -------------------------------------------------------------------------------------------------------


def dot_general(eqn, inputs, machine):
    x, y = inputs
    (contracted, _), _ = eqn.params["dimension_numbers"]
    return [_product(eqn, x, y, math.prod(np.shape(x.value)[a] for a in contracted), machine)]


def convolution(eqn, inputs, machine):
    """Zeros of the padding may be multiplied as well: what is not a number then spreads to any entry."""
    x, y = inputs
    xp = machine.xp
    kernel = np.shape(y.value)
    out = _product(eqn, x, y, math.prod(kernel[d] for d in eqn.params["dimension_numbers"].rhs_spec[1:]), machine)
    finite = xp.isfinite(xp.sum(largest_size(x, xp))) & xp.isfinite(xp.sum(largest_size(y, xp)))
    if out.error is UNBOUNDED or (xp is np and finite):
        return [out]
    return [Bounded(out.value, plus(out.error, xp.where(finite, 0.0, xp.inf)))]


def ragged_dot(eqn, inputs, machine):
    """As many products as there are groups, of which each row takes part in one."""
    x, y, *sizes = inputs
    numbers = eqn.params["ragged_dot_dimension_numbers"].dot_dimension_numbers
    count = math.prod(np.shape(x.value)[a] for a in numbers[0][0])
    out = _product(eqn, x, y, count, machine, [s.value for s in sizes])
    return [
        Bounded(out.value, plus(out.error, doubt_anywhere(np.shape(out.value), machine.xp, *[s.error for s in sizes])))
    ]


def _product(eqn, x: Bounded, y: Bounded, count: int, machine: Machine, others: Sequence = ()) -> Bounded:
    """A bilinear contraction of `count` terms per entry: |x| (e_y + gamma |y|) + e_x |y| bounds it, sizes with errors."""
    xp = machine.xp
    if not is_inexact(eqn.outvars[0].aval):
        (out,) = bind(eqn, [x.value, y.value, *others], xp)
        return Bounded(out, doubt_anywhere(np.shape(out), xp, x.error, y.error))

    def dot(a, b):
        kind = np.complex128 if is_complex(a) or is_complex(b) else np.float64
        wide = {"preferred_element_type": np.dtype(kind), "precision": lax.Precision.HIGHEST}
        return bind(eqn, [xp.asarray(a, kind), xp.asarray(b, kind), *others], xp, **wide)[0]

    out = dot(x.value, y.value)
    dtype = dtype_of(eqn)
    wide = accumulator(dtype)
    terms = 2 * count + 4 if is_complex(out) else count
    operands = _operand_roundoff(eqn, machine)
    if operands is None:
        return Bounded(out, UNBOUNDED)
    unit = accumulated(terms, machine.roundoff[wide], xp) + operands
    size_x, size_y = largest_size(x, xp), largest_size(y, xp)
    error = dot(size_x, unit * size_y if y.error is None else y.error + unit * size_y)
    total = (
        dot(size_x, size_y) if xp is not np or np.any(error > machine.largest[wide] * machine.roundoff[wide]) else 0.0
    )
    error = xp.where(total > machine.largest[wide], xp.inf, error)
    error = xp.where(error == 0, 0.0, error + terms * machine.smallest[wide])
    error = plus(error, None if x.error is None else dot(x.error, xp.abs(y.value)))
    return Bounded(out, error) if wide == dtype else rounded(out, error, dtype, machine)


# Per named algorithm, the roundoff to which both operands are rounded (or cut, where the digits are split over passes).
_ALGORITHMS = {"F32_F32_F32": 0.0, "F64_F64_F64": 0.0, "F16_F16_F32": 2.0**-11, "BF16_BF16_F32": 2.0**-8, "BF16_BF16_F32_X3": 2.0**-15,
               "BF16_BF16_F32_X6": 2.0**-22, "BF16_BF16_F32_X9": 2.0**-23, "TF32_TF32_F32": 2.0**-11, "TF32_TF32_F32_X3": 2.0**-20}  # fmt: skip


def _operand_roundoff(eqn, machine):
    """What rounding float32 operands first adds to the relative error of a product; None if the algorithm is not known."""
    if eqn.params.get("precision") is not None and not _precisions(eqn):
        name = getattr(eqn.params["precision"], "name", "")
        if name not in _ALGORITHMS:
            return None
        own = _ALGORITHMS[name]
        formula = machine.roundoff["float32"] < storage_roundoff(np.float32)
        return machine.xp.where(formula, 0.0, 2 * own)
    single = all(str(v.aval.dtype) in ("float32", "complex64") for v in eqn.invars[:2])
    return 2 * machine.matmul if single and not _highest_precision(eqn) else 0.0


def _precisions(eqn) -> list:
    given = eqn.params["precision"]
    return [p for p in (given if isinstance(given, tuple) else (given,)) if isinstance(p, lax.Precision)]


def _highest_precision(eqn) -> bool:
    return eqn.params.get("precision") is not None and all(p == lax.Precision.HIGHEST for p in _precisions(eqn))


# --- Fourier transforms ---------------------------------------------------------------------------------------------

# Roundings per level of a fast transform; a length with a large prime factor takes three transforms of powers of two.
_PER_LEVEL = 8.0


def fourier(eqn, inputs, machine):
    """A fast transform is off by a few roundings per level of the norm of its result (Higham, ch. 24); errors add up."""
    (x,) = inputs
    xp = machine.xp
    (out,) = bind(eqn, [x.value], xp)
    lengths = eqn.params["fft_lengths"]
    axes = tuple(range(-len(lengths), 0))
    count = math.prod(lengths)
    inverse = str(eqn.params["fft_type"]).endswith(("IFFT", "IRFFT"))
    half = 2.0 if str(eqn.params["fft_type"]).endswith("IRFFT") else 1.0  # entries that stand for two
    scale = half / count if inverse else 1.0
    sizes = largest_size(x, xp)
    dtype = dtype_of(eqn)
    norm = xp.sqrt(xp.sum(sizes**2, axes, keepdims=True)) * math.sqrt(count) * scale
    unit = _PER_LEVEL * (math.log2(max(count, 1)) + 2) * machine.roundoff[dtype]
    error = xp.where(norm == 0, 0.0, unit * norm + count * machine.smallest[dtype])
    error = xp.where(count * xp.max(sizes, axes, keepdims=True, initial=0.0) > machine.largest[dtype], xp.inf, error)
    if x.error is not None:
        error = error + scale * xp.sum(x.error, axes, keepdims=True)
    return [Bounded(out, xp.broadcast_to(error, np.shape(out)))]


def scatter_add(eqn, inputs, machine):
    """Like a sum, of as many terms as meet in an entry, which is counted; XLA accumulates in the stored type here."""
    data, places, updates = inputs
    xp = machine.xp
    add = lambda a, b: bind(eqn, [a, places.value, b], xp)[0]
    out = add(data.value, updates.value)
    unsure = doubt_anywhere(np.shape(out), xp, places.error)
    if not is_inexact(out):
        return [Bounded(out, plus(unsure, doubt_anywhere(np.shape(out), xp, data.error, updates.error)))]
    dtype = dtype_of(eqn)
    terms = xp.abs(add(xp.zeros(np.shape(data.value)), xp.ones(np.shape(updates.value))))
    size = _unsigned(eqn, places, xp)
    total = size(largest_size(data, xp), largest_size(updates, xp))
    error = accumulated(terms, machine.roundoff[dtype], xp) * total + terms * machine.smallest[dtype]
    error = xp.where(total == 0, 0.0, xp.where(total > machine.largest[dtype], xp.inf, error))
    if data.error is not None or updates.error is not None:
        error = error + size(error_array(data, xp), error_array(updates, xp))
    return [Bounded(out, plus(error, unsure))]


def _unsigned(eqn, places, xp):
    """The same for sizes, which add up also where the operation subtracts."""
    sign = -1.0 if eqn.primitive.name.endswith("sub") else 1.0
    return lambda a, b: bind(eqn, [a, places.value, sign * b], xp)[0]


def scatter_mul(eqn, inputs, machine):
    """A product of as many factors as meet in an entry."""
    data, places, updates = inputs
    xp = machine.xp
    f = lambda a, b: bind(eqn, [a, places.value, b], xp)[0]
    out = f(data.value, updates.value)
    unsure = doubt_anywhere(np.shape(out), xp, places.error)
    if not is_inexact(out):
        return [Bounded(out, plus(unsure, doubt_anywhere(np.shape(out), xp, data.error, updates.error)))]
    two = f(xp.ones(np.shape(data.value)), xp.full(np.shape(updates.value), 2.0))
    product = product_of(eqn, f, [data, updates], xp.log2(two), machine)
    met = product._replace(error=xp.where(two == 1, error_array(data, xp), product.error))  # nothing was multiplied
    return [Bounded(met.value, plus(met.error, unsure))]
