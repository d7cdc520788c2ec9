"""One rule per primitive: how an operation passes on the errors of its operands, and what rounding it adds.

A rule takes an equation, its operands as `Bounded` and the `Machine`, and returns its results as `Bounded`. Unit
roundoffs count in the dtype that the equation computes in; the values themselves are float64. Integers and booleans
are `Bounded` too: their error is inf where they might come out otherwise within the bounds, and 0 elsewhere.
"""

from collections.abc import Callable

from backproplab.harness.error_rules.added_to_scattered import added_to_scattered
from backproplab.harness.error_rules.arithmetic import UNBOUNDED, error_array
from backproplab.harness.error_rules.between import between
from backproplab.harness.error_rules.casts import convert, exact, natively, reduce_precision
from backproplab.harness.error_rules.choices import (
    argmax,
    clamp,
    compare,
    finite,
    logical,
    maximum,
    reduce_max,
    select_n,
    sort,
    top_k,
)
from backproplab.harness.error_rules.contractions import (
    convolution,
    dot_general,
    fourier,
    products_of_many,
    ragged_dot,
    reduce_sum,
    running_extreme,
    running_log_sum_exp,
    running_sum,
    scatter_add,
    scatter_mul,
    window_sum,
)
from backproplab.harness.error_rules.elementwise import (
    absolute,
    add,
    atan2,
    complex_exp,
    complex_number,
    div,
    exp_of_minus_square,
    function,
    gently_sloped,
    integer_pow,
    mul,
    neg,
    next_after,
    one_minus_square,
    part,
    polynomial,
    power,
    rem,
    square,
    tangent,
)
from backproplab.harness.error_rules.indexing import (
    dynamic_update_slice,
    indexed,
    iota,
    moved,
    scatter,
    select_and_gather_add,
    select_and_scatter_add,
    window_extreme,
)
from backproplab.harness.error_rules.machine import (
    Bounded,
    Machine,
    executed,
    is_complex,
    is_float,
    is_inexact,
    lifted,
    name_of_dtype,
    storage_roundoff,
    widest,
)
from backproplab.harness.error_rules.matrices import cholesky, eigh, lu, svd, triangular_solve, without_bound
from backproplab.harness.error_rules.outcomes import BRANCHING, outcome
from backproplab.harness.error_rules.own_extremes import own_extreme
from backproplab.harness.error_rules.units import STEPS, UNITS
from backproplab.harness.primitives import name_of

__all__ = ["BRANCHING", "RULES", "UNBOUNDED", "Bounded", "Machine", "added_to_scattered", "between", "error_array", "executed", "is_complex", "is_float", "is_inexact",
           "lifted", "name_of_dtype", "natively", "outcome", "own_extreme", "rule_for", "storage_roundoff", "unbounded", "widest"]  # fmt: skip

_GENTLE = ("sin", "cos", "bessel_i0e", "bessel_i1e")
_MOVING = ("broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "slice", "rev", "copy", "copy_p", "stop_gradient",
           "pad", "concatenate", "optimization_barrier", "split", "stack", "unstack", "name", "tile", "broadcast_to", "device_put",
           "sharding_constraint", "reshard", "layout_constraint", "pvary", "reduced_vary_cast_p", "reduced_vary_cast", "vary_unreduced_cast")  # fmt: skip

RULES: dict[str, Callable] = {
    "add": add, "sub": add, "add_any": add, "mul": mul, "div": div, "rem": rem, "neg": neg, "abs": absolute, "square": square,
    "exp_neg_sq": exp_of_minus_square,
    "integer_pow": integer_pow, "pow": power, "one_minus_square": one_minus_square, "polynomial": polynomial, "atan2": atan2, "nextafter": next_after,
    **dict.fromkeys([f for f in (*UNITS, *STEPS) if f not in (*_GENTLE, "tan")], function),
    "tan": tangent, **dict.fromkeys(_GENTLE, gently_sloped),
    **dict.fromkeys(("real", "imag", "conj"), part), "complex": complex_number,
    "convert_element_type": convert, "reduce_precision": reduce_precision, "bitcast_convert_type": exact,
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge"), compare), **dict.fromkeys(("and", "or", "xor", "not"), logical),
    "is_finite": finite, "max": maximum, "min": maximum, "clamp": clamp, "select_n": select_n,
    **dict.fromkeys(("reduce_max", "reduce_min"), reduce_max), **dict.fromkeys(("argmax", "argmin"), argmax), "sort": sort, "top_k": top_k,
    "reduce_sum": reduce_sum, "cumsum": running_sum, "cumlogsumexp": running_log_sum_exp, "reduce_window_sum": window_sum,
    "cumprod": products_of_many, "reduce_prod": products_of_many, "cummax": running_extreme, "cummin": running_extreme,
    "dot_general": dot_general, "conv_general_dilated": convolution, "ragged_dot_general": ragged_dot, "fft": fourier,
    "gather": indexed, "dynamic_slice": indexed, "dynamic_update_slice": dynamic_update_slice,
    **{name.format(s): rule for s in "-_" for name, rule in (("scatter{}add", scatter_add), ("scatter{}sub", scatter_add), ("scatter{}mul", scatter_mul),
       ("scatter{}min", scatter), ("scatter{}max", scatter))}, "scatter": scatter,
    "reduce_window_max": window_extreme, "reduce_window_min": window_extreme,
    "select_and_scatter_add": select_and_scatter_add, "select_and_gather_add": select_and_gather_add,
    "triangular_solve": triangular_solve, "cholesky": cholesky, "lu": lu, "eigh": eigh, "svd": svd,
    **dict.fromkeys(("qr", "tridiagonal_solve"), without_bound),
    "iota": iota, **dict.fromkeys(_MOVING, moved),
}  # fmt: skip

# The rules that hold for complex numbers too, whose errors are bounds on the modulus.
_COMPLEX = {"add", "sub", "add_any", "mul", "div", "neg", "abs", "square", "integer_pow", "real", "imag", "conj", "complex",
            "convert_element_type", "eq", "ne", "is_finite", "select_n", "reduce_sum", "cumsum", "dot_general", "conv_general_dilated",
            "fft", "gather", "dynamic_slice", "dynamic_update_slice", "scatter-add", "scatter_add", *_MOVING}  # fmt: skip


def rule_for(eqn) -> Callable | None:
    """The rule of an equation, None if there is none."""
    name = name_of(eqn)
    variables = [v.aval for v in (*eqn.invars, *eqn.outvars)]
    if any(is_complex(v) for v in variables):
        return RULES[name] if name in _COMPLEX else complex_exp if name == "exp" else None
    return RULES.get(name) or (None if any(is_inexact(v) for v in variables) else exact)


def unbounded(eqn, inputs, machine):
    """An operation without a rule, run in its own dtypes: the value is a value, the bound says nothing."""
    return [Bounded(o, UNBOUNDED) for o in natively(eqn, inputs, machine.xp)]
