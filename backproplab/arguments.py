"""The argument language of the command line: `x=f32[8,5], labels=i32[8]<10, rate=0.1, key=key`.

It is Python's own keyword syntax, read with `ast` and never run:

    f32[8,5]        normally distributed; also f64, f16, bf16; f32 alone is a scalar
    f32[8]*100      a hundred times as large; likewise + - /;  abs(f32[8]) is positive
    i32[8]<10       whole numbers from 0 to 9; 0 and 1 without a bound; also i8, i16, i64, u8, u16, u32, u64
    bool[8]         a mask
    key             a PRNG key
    0.1, True, "a"  a constant, not differentiated unless no floating number is drawn
    {"w": f32[5,6]}, [f32[3], f32[3]]   a pytree
"""

import ast
import inspect
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

import ml_dtypes
import numpy as np

from backproplab.case import Case, Sampler, booleans, function_name, integers, normal, prng_key, static_argnums

_FLOATS = {"f16": np.float16, "bf16": ml_dtypes.bfloat16, "f32": np.float32, "f64": np.float64}
_INTEGERS = {f"{sign}{bits}": np.dtype(f"{sign}{bits // 8}") for sign in "iu" for bits in (8, 16, 32, 64)}
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_KEY = prng_key()
_TOO_MANY = 2**32
_EXAMPLE = "write 'x=f32[8,5], y=i32[8]<10'"


def parse_arguments(fn: Callable, text: str) -> Case:
    """The case that `text` describes. Raises ValueError, in one line, if it does not parse or does not fit `fn`."""
    keywords = _keywords(" ".join(text.split()))
    drawn = {name: _float_types(node) for name, node in keywords.items()}
    pairs = _in_order(fn, {name: _value(node) for name, node in keywords.items()})
    for position in static_argnums(fn):
        if position < len(pairs) and callable(pairs[position][1]):
            raise ValueError(f"{pairs[position][0]!r} is static in {function_name(fn)}: give a constant, not an array")
    argnums = tuple(i for i, (name, _) in enumerate(pairs) if drawn.get(name))
    return Case(fn, tuple(v for _, v in pairs), argnums=argnums or None, dtypes=_dtypes(set().union(*drawn.values())))


def parameters_of(fn: Callable) -> Mapping[str, inspect.Parameter]:
    """The parameters of `fn` by name; none if its signature is not known."""
    try:
        return inspect.signature(fn).parameters
    except (TypeError, ValueError):
        return {}


def _keywords(text: str) -> dict[str, ast.expr]:
    try:
        call = ast.parse(f"f({text})", mode="eval").body
    except SyntaxError as error:
        place = text[max(0, (error.offset or 3) - 3) :]  # the offset counts from 1 and includes "f("
        at = f"at {place[:20]!r}" if place else "at its end"
        raise ValueError(f"--args does not parse {at} ({error.msg}): {_EXAMPLE}") from error
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)) or call.args:
        raise ValueError(f"--args wants names and values: {_EXAMPLE}")
    names = [keyword.arg for keyword in call.keywords]
    for name in names:
        if name is None:
            raise ValueError(f"--args wants names and values: {_EXAMPLE}")
        if names.count(name) > 1:
            raise ValueError(f"--args gives {name!r} twice")
    return {str(keyword.arg): keyword.value for keyword in call.keywords}


def _float_types(node: ast.expr) -> set[str]:
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name) and name.id in _FLOATS}


def _dtypes(drawn: set[str]) -> tuple[str, ...] | None:
    """float64 for the formula, then what was asked for; what is narrower keeps its own dtype among float32."""
    if not drawn:
        return None
    widest = drawn.pop() if len(drawn) == 1 else "f32"
    return tuple(dict.fromkeys(("float64", np.dtype(_FLOATS[widest]).name)))


def _in_order(fn: Callable, given: dict[str, Any]) -> list[tuple[str, Any]]:
    """Parameter names and values by position, up to the last that is given."""
    parameters = parameters_of(fn)
    if not parameters:
        return list(given.items())
    for name in given:
        if name not in parameters:
            raise ValueError(f"{function_name(fn)} has no argument {name!r}: it takes {', '.join(parameters)}")
    pairs: list[tuple[str, Any]] = []
    for name, parameter in parameters.items():
        missing = name not in given and parameter.default is parameter.empty
        if parameter.kind is parameter.VAR_POSITIONAL:
            values = given.get(name, ())
            pairs += [(name, value) for value in (values if isinstance(values, (list, tuple)) else [values])]
        elif parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD):
            if name in given or (missing and parameter.kind is parameter.KEYWORD_ONLY):
                raise ValueError(f"{name!r} of {function_name(fn)} goes by keyword only: name a function that sets it")
        elif missing:
            raise ValueError(f"--args leaves out {name!r}, which {function_name(fn)} needs")
        else:
            pairs.append((name, given.get(name, parameter.default)))
    while pairs and pairs[-1][0] not in given:
        pairs.pop()
    return pairs


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Subscript(value=ast.Name(id=kind), slice=shape):
            return _array(kind, _shape(shape))
        case ast.Name(id="key"):
            return _KEY
        case ast.Name(id=kind) if kind in _FLOATS:
            return _array(kind, ())
        case ast.Compare(left=ast.Subscript(value=ast.Name(id=kind), slice=shape), ops=[ast.Lt()], comparators=[high]):
            return _below(kind, _shape(shape), _number(high))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _changed(_OPERATORS[type(op)], _value(left), _value(right), ast.unparse(node))
        case ast.Call(func=ast.Name(id="abs"), args=[inner], keywords=[]) if _is_drawn(sample := _value(inner)):
            return _mapped(sample, np.abs)
        case ast.Dict(keys=keys, values=values):
            if not _sortable(keys):
                raise ValueError(f"--args: the keys of {ast.unparse(node)} are to be all strings or all whole numbers")
            return {ast.literal_eval(key): _value(value) for key, value in zip(keys, values) if key is not None}
        case ast.List(elts=items):
            return [_value(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item) for item in items)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        known = "f32[8,5], f32[8]*100, i32[8]<10, bool[8], key or a constant"
        raise ValueError(f"--args does not know {ast.unparse(node)!r}: write {known}") from None


def _sortable(keys: Sequence[ast.expr | None]) -> bool:
    """Whether the keys of a dictionary are all strings or all whole numbers: JAX sorts them."""
    types = {type(key.value) if isinstance(key, ast.Constant) else None for key in keys}
    return types in (set(), {str}, {int})


def _changed(change: Callable, left: Any, right: Any, written: str) -> Sampler:
    """A drawn array on one side of an operator, a number on the other."""
    if _is_drawn(left) and _is_number(right) and not (change is operator.truediv and right == 0):
        return _mapped(left, lambda x: change(x, right))
    if _is_drawn(right) and _is_number(left):
        return _mapped(right, lambda x: change(left, x))
    raise ValueError(f"--args does not know {written!r}: write a drawn array and a number, as in f32[8]*100")


def _is_drawn(value: Any) -> TypeGuard[Sampler]:
    return callable(value) and value is not _KEY


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _array(kind: str, shape: tuple[int, ...]) -> Sampler:
    if kind in _FLOATS:
        return _floats(np.dtype(_FLOATS[kind]), shape)
    if kind in _INTEGERS:
        return _integers(kind, 2, shape)
    if kind == "bool":
        return booleans(*shape)
    raise ValueError(f"--args does not know the type {kind!r}: {', '.join((*_FLOATS, *_INTEGERS, 'bool'))}")


def _floats(own: np.dtype, shape: tuple[int, ...]) -> Sampler:
    """In the dtype that is verified, but narrower among float32 if asked for: mixed precision."""
    draw = normal(*shape)
    return lambda key, dtype: draw(key, own if own.itemsize < dtype.itemsize < 8 else dtype)


def _below(kind: str, shape: tuple[int, ...], high: float) -> Sampler:
    if kind not in _INTEGERS:
        raise ValueError(f"--args: {kind} has no upper bound; whole numbers have, as in i32[8]<10")
    most = min(np.iinfo(_INTEGERS[kind]).max, 2**31 - 1) + 1
    if not (1 <= high <= most and high == int(high)):
        raise ValueError(f"--args: {kind}[...]<{high:g}: the bound is a whole number from 1 to {most}, as in i32[8]<10")
    return _integers(kind, int(high), shape)


def _integers(kind: str, high: int, shape: tuple[int, ...]) -> Sampler:
    draw = integers(0, high, *shape)
    return lambda key, dtype: draw(key, dtype).astype(_INTEGERS[kind])


def _mapped(sample: Sampler, change: Callable) -> Sampler:
    """Computed in float64, returned in the dtype of `sample`."""

    def mapped(key, dtype):
        x = sample(key, dtype)
        with np.errstate(all="ignore"):  # what overflows is infinite, and the verdict says so
            return np.asarray(change(x.astype(np.float64))).astype(x.dtype)

    return mapped


def _shape(node: ast.expr) -> tuple[int, ...]:
    try:
        value: Any = ast.literal_eval(node)
    except (ValueError, TypeError):
        value = None
    sizes = value if isinstance(value, tuple) else (value,)
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError(f"--args: {ast.unparse(node)!r} is no shape; write f32[8,5], or f32[()] for a scalar")
    if math.prod(sizes) >= _TOO_MANY:
        raise ValueError(f"--args: {ast.unparse(node)!r} are more numbers than a machine holds")
    return sizes


def _number(node: ast.expr) -> float:
    try:
        return float(ast.literal_eval(node))
    except (ValueError, TypeError):
        raise ValueError(f"--args: {ast.unparse(node)!r} is no number") from None
