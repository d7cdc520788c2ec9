"""Every small change of a backward pass: each edit replaces one equation of its jaxpr, as a slip of the pen would.

Read one way an edit plants a bug (`mutation`), read the other it mends one (`repair`). An edit is known by the line, the
operation and what is changed, so that it is the same edit in every trace of one rule, whatever the shapes.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var
from jax.extend.core.primitives import closed_call_p

from backproplab.harness.backward import BODIES, Backward, author_frame, pruned, statement_names
from backproplab.harness.contract import line_of

MUTATIONS = ("sign", "left out", "dropped", "swapped", "transposed", "exponent", "number", "other value", "average",
             "first only", "times input", "row", "unmasked", "bfloat16")  # fmt: skip
# In the order of how likely each is to be what was meant.
REPAIRS = ("sign", "transposed", "swapped", "dropped", "left out", "exponent", "number", "times input", "over input", "other value",
           "scaled", "shifted", "masked", "centred", "average", "plus", "unmasked", "times")  # fmt: skip

_BINARY = {"add", "sub", "add_any", "mul", "div", "max", "min"}
_ORDERED = {"sub", "div", "pow", "atan2", "rem", "gt", "lt", "ge", "le", "dot_general"}
_FUNCTIONS = {"exp", "exp2", "log", "log1p", "expm1", "tanh", "logistic", "sqrt", "rsqrt", "square", "abs", "neg", "sign", "erf", "sin",
              "cos", "not", "transpose", "rev", "cumsum", "integer_pow", "cumprod"}  # fmt: skip
# These only move numbers: what can go wrong there is which numbers.
_MOVES = {"broadcast_in_dim", "reshape", "convert_element_type", "squeeze", "expand_dims", "transpose", "copy", "copy_p", "stop_gradient",
          "slice", "rev", "concatenate", "pad", "gather", "dynamic_slice", "iota", "eq", "ne", "optimization_barrier"}  # fmt: skip


@dataclass(frozen=True)
class Edit:
    """One change of one equation.

    kind: one of MUTATIONS or REPAIRS. where: `file:line`. operation: of the equation. number: of the equations of this
    operation on this line, from 0. detail: tells edits of one kind at one equation apart. words: what the operation is
    changed to do, from "to" on.
    """

    kind: str
    where: str
    operation: str
    number: int
    detail: str
    words: str
    change: Callable[[], ClosedJaxpr]

    @property
    def key(self) -> tuple:
        """The same for the same edit in every trace of one rule."""
        return self.where, self.operation, self.number, self.kind, self.detail


@dataclass(frozen=True)
class _Value:
    """A value that an edit may use: its variable, how it is called in words, and what knows it again in another trace."""

    var: Any
    name: str
    key: str
    given: bool  # an input of the rule


@dataclass(frozen=True)
class _Site:
    """One equation with what is in scope before it."""

    eqn: Any
    scope: Sequence[_Value]
    numbers: Sequence[float]
    replace: Callable[[list], ClosedJaxpr]

    @property
    def out(self) -> Any:
        return self.eqn.outvars[0]

    def name(self, operand: int) -> str:
        v = self.eqn.invars[operand]
        if isinstance(v, Literal):
            return f"{np.asarray(v.val).item():.6g}" if np.ndim(v.val) == 0 else "a constant"
        known = next((value.name for value in self.scope if value.var is v), "the ")
        return (
            known
            if not known.startswith("the ")
            else ("its operand" if len(self.eqn.invars) == 1 else f"its {_ordinal(operand)} operand")
        )

    def floats(self, given_only: bool = False) -> Iterator[_Value]:
        """Floating values that broadcast against the result."""
        for value in self.scope:
            if (
                (value.given or not given_only)
                and _is_float(value.var.aval)
                and _broadcasts(value.var.aval, self.out.aval)
            ):
                yield value


def edits(
    backward: Backward, kinds: Iterable[str], numbers: Iterable[float] = (), output: int | None = None
) -> Iterator[Edit]:
    """All edits of the given kinds, kind by kind.

    numbers: literals that may have been meant where another stands, those of the primal, say. output: if given, only
    edits that change this output of the backward jaxpr.
    """
    sites = list(_sites(backward, tuple(sorted({0.0, 1.0, *literals(backward.jaxpr), *numbers})), output))
    for kind in kinds:
        for where, number, site in sites:
            for detail, words, eqns in _MAKERS[kind](site):
                change = functools.partial(_changed, site, eqns)
                yield Edit(kind, where, _shown(site.eqn), number, detail, words, change)


def edits_of_inputs(backward: Backward, output: int) -> Iterator[Edit]:
    """An input of the rule multiplied or divided by another wherever one gradient, and no other, takes it."""
    jaxpr = backward.jaxpr.jaxpr
    own = _program_of(backward, [output])
    others = _program_of(backward, [i for i in range(len(jaxpr.outvars)) if i != output])
    exclusive = [eqn for eqn in own if eqn not in others]
    copied = {eqn.invars[0]: eqn.outvars[0] for eqn in jaxpr.eqns if eqn.primitive.name in ("copy", "copy_p")}
    given = [(copied.get(v, v), name) for v, name in zip(jaxpr.invars, backward.names)]
    for (v, name), (w, factor), (words, function) in itertools.product(given, given, _FACTORS):
        users = [eqn for eqn in exclusive if v in [u for u in eqn.invars if not isinstance(u, Literal)]]
        if users and _is_float(v.aval) and _is_float(w.aval) and _broadcasts(w.aval, v.aval):
            frame = next((f for f in map(author_frame, users) if f), None)
            where = f"{frame.file_name.rsplit('/', 1)[-1]}:{frame.start_line}" if frame else line_of(backward.bwd) or ""
            change = functools.partial(_multiplied_in, backward.jaxpr, users, v, w, function)
            yield Edit(
                "input", where, name, 0, factor, f"to be {words} `{factor}` wherever this gradient takes it", change
            )


def _multiplied_in(closed, users, v, w, function) -> ClosedJaxpr:
    """The program in which `users` take `function(v, w)` in place of `v`."""
    changed = Var(v.aval)
    eqns, made = [], False
    for eqn in closed.jaxpr.eqns:
        if eqn in users:
            if not made:
                eqns.append(_call(eqn, function, [v, w], changed, {}))
                made = True
            eqn = eqn.replace(invars=[changed if u is v else u for u in eqn.invars])
        eqns.append(eqn)
    return ClosedJaxpr(closed.jaxpr.replace(eqns=eqns), closed.consts)


def _program_of(backward: Backward, outputs: Sequence[int]) -> list:
    """The equations that some outputs need."""
    closed = backward.jaxpr
    chosen = [closed.jaxpr.outvars[i] for i in outputs]
    return pruned(ClosedJaxpr(closed.jaxpr.replace(outvars=chosen), closed.consts)).jaxpr.eqns


def literals(closed: ClosedJaxpr) -> set[float]:
    """The finite floating literals of a program, at any depth."""
    found: set[float] = set()

    def search(node):
        if isinstance(node, (tuple, list)):
            for item in node:
                search(item)
        elif isinstance(node, (Jaxpr, ClosedJaxpr)):
            for eqn in getattr(node, "jaxpr", node).eqns:
                found.update(float(v.val) for v in eqn.invars if isinstance(v, Literal) and _is_number(v))
                search(list(eqn.params.values()))

    search(closed)
    return {x for x in found if np.isfinite(x)}


# --- places -----------------------------------------------------------------------------------------------------------


def _sites(backward: Backward, numbers: Sequence[float], output: int | None) -> Iterator[tuple[str, int, _Site]]:
    """Every equation that the rule's author wrote, and the copies of cotangent and results at its ends."""
    counts: dict[tuple, int] = {}
    closed = backward.jaxpr
    at_the_ends = line_of(backward.bwd) or "the rule"
    needed = _program_of(backward, range(len(closed.jaxpr.outvars)) if output is None else [output])

    def walk(jaxpr, scope, replace, wanted):
        names = statement_names(jaxpr.eqns)
        made = {v for eqn in jaxpr.eqns if author_frame(eqn) for v in eqn.outvars}
        for i, eqn in enumerate(jaxpr.eqns):
            frame = author_frame(eqn)
            where = f"{frame.file_name.rsplit('/', 1)[-1]}:{frame.start_line}" if frame else at_the_ends
            here = (where, _shown(eqn))
            number = counts[here] = counts.get(here, -1) + 1
            put = functools.partial(_put, replace, jaxpr, i)
            # a result that an equation has just made is edited there
            end = eqn.primitive.name in ("copy", "copy_p") and (
                isinstance(eqn.invars[0], Literal) or eqn.invars[0] not in made
            )
            if eqn in wanted and (frame or end):
                yield where, number, _Site(eqn, tuple(scope), numbers, put)
            for body, inner_replace in _bodies(eqn, put) if eqn in wanted else ():
                inputs = [
                    _Value(v, f"input {k} of the loop", f"input {k}", False) for k, v in enumerate(body.jaxpr.invars)
                ]
                yield from walk(body.jaxpr, inputs, inner_replace, body.jaxpr.eqns)
            for k, v in enumerate(eqn.outvars):
                if eqn.primitive.name in ("copy", "copy_p") and not frame:
                    scope = [_Value(v, s.name, s.key, True) if s.var is eqn.invars[0] else s for s in scope]
                else:
                    moved = (
                        eqn.primitive.name in _MOVES and next((s.name for s in scope if s.var is eqn.invars[0]), None)
                        if eqn.invars
                        else None
                    )
                    name = names.get(i) or moved or f"the {_shown(eqn)} of {where}"
                    scope = [*scope, _Value(v, name, f"{where} {_shown(eqn)} {number} {k}", False)]

    inputs = [_Value(v, name, name, True) for v, name in zip(closed.jaxpr.invars, backward.names)]
    yield from walk(
        closed.jaxpr, inputs, lambda eqns: ClosedJaxpr(closed.jaxpr.replace(eqns=eqns), closed.consts), needed
    )


def _put(replace, jaxpr, index, eqns):
    """The program with the equation at `index` replaced by `eqns`."""
    return replace([*jaxpr.eqns[:index], *eqns, *jaxpr.eqns[index + 1 :]])


def _bodies(eqn, put) -> Iterator[tuple[ClosedJaxpr, Callable]]:
    """The bodies of a loop or branch, each with what puts other equations in its place."""
    parameter = BODIES.get(eqn.primitive.name)
    if parameter is None:
        return
    bodies = eqn.params[parameter]
    several = bodies if isinstance(bodies, tuple) else (bodies,)
    for k, body in enumerate(several):

        def replace(eqns, k=k, body=body):
            changed = ClosedJaxpr(body.jaxpr.replace(eqns=eqns), body.consts)
            value = (*several[:k], changed, *several[k + 1 :]) if isinstance(bodies, tuple) else changed
            return put([eqn.replace(params=eqn.params | {parameter: value})])

        yield body, replace


def _changed(site: _Site, eqns: Callable[[], list]) -> ClosedJaxpr:
    return site.replace(eqns())


# --- what an equation becomes -------------------------------------------------------------------------------------------


def _after(site: _Site, function: Callable, *others: Any, **options: Any) -> Callable[[], list]:
    """The equation as it is, and its result passed through `function(result, *others)`."""

    def make():
        before = Var(site.out.aval)
        return [
            site.eqn.replace(outvars=[before, *site.eqn.outvars[1:]]),
            _call(site.eqn, function, [before, *others], site.out, options),
        ]

    return make


def _instead(site: _Site, function: Callable, *operands: Any, **options: Any) -> Callable[[], list]:
    return lambda: [_call(site.eqn, function, list(operands), site.out, options)]


def _before(site: _Site, operand: int, function: Callable, **options: Any) -> Callable[[], list]:
    """One operand passed through `function` before the equation takes it."""

    def make():
        given = site.eqn.invars[operand]
        passed = Var(given.aval)
        call = _call(site.eqn, function, [given], passed, options)
        return [call, site.eqn.replace(invars=_with(site.eqn.invars, operand, passed))]

    return make


def _call(eqn, function, operands, out, options):
    body = _traced(function, tuple(v.aval for v in operands), out.aval, tuple(sorted(options.items())))
    return eqn.replace(primitive=closed_call_p, params={"call_jaxpr": body}, invars=operands, outvars=[out])


@functools.lru_cache(maxsize=1024)
def _traced(function, avals, out, options) -> ClosedJaxpr:
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals]
    with jax.enable_x64(any(str(a.dtype).endswith("64") for a in (*avals, out))):
        return jax.make_jaxpr(
            lambda *xs: jnp.broadcast_to(function(*xs, **dict(options)), out.shape).astype(out.dtype)
        )(*shapes)


def _operands(site: _Site, invars: list) -> Callable[[], list]:
    return lambda: [site.eqn.replace(invars=invars)]


def _with(items: Sequence, index: int, item: Any) -> list:
    return [*items[:index], item, *items[index + 1 :]]


# --- the kinds of edits: each yields (detail, words, how to make the equations) -----------------------------------------


def _sign(site):
    if _computes(site) and site.eqn.primitive.name not in ("neg", "square", "abs"):
        yield "", "to have the opposite sign", _after(site, _negative)


def _dropped(site):
    if site.eqn.primitive.name in _BINARY:
        for gone, kept in ((0, 1), (1, 0)):
            v = site.eqn.invars[kept]
            # a number that is left alone would be no slip; what is left of 1 / x is x
            if not isinstance(v, Literal) and v.aval.shape == site.out.aval.shape:
                function = _negative if site.eqn.primitive.name == "sub" and gone == 0 else _itself
                yield str(gone), f"to leave out {_quoted(site.name(gone))}", _instead(site, function, v)


def _swapped(site):
    name, operands = site.eqn.primitive.name, site.eqn.invars
    if name not in _ORDERED or len(operands) != 2:
        return
    x, y = operands
    if x.aval.shape == y.aval.shape and x.aval.dtype == y.aval.dtype:
        yield "", "to take its operands in the other order", _operands(site, [y, x])


def _left_out(site):
    if site.eqn.primitive.name not in _FUNCTIONS:
        return
    v = site.eqn.invars[0]
    if not isinstance(v, Literal) and _same_type(v.aval, site.out.aval):
        yield "", "to pass its operand through as it is", _instead(site, _itself, v)


def _exponent(site):
    if site.eqn.primitive.name == "integer_pow":
        power = site.eqn.params["y"]
        for other in (power - 1, power + 1):
            changed = lambda other=other: [site.eqn.replace(params=site.eqn.params | {"y": other})]
            yield str(other - power), f"to raise to the power {other}, not {power}", changed


def _number(site):
    for i, v in enumerate(site.eqn.invars):
        if isinstance(v, Literal) and _is_number(v):
            for other in site.numbers:
                literal = Literal(np.asarray(other, np.asarray(v.val).dtype), v.aval)
                if float(literal.val) != float(v.val):
                    words = f"to use {other:.9g} in place of {float(v.val):.9g}"
                    yield f"{i} {other:.6g}", words, _operands(site, _with(site.eqn.invars, i, literal))


def _other_value(site):
    for i, v in enumerate(site.eqn.invars):
        for value in site.scope:
            if not isinstance(v, Literal) and value.var is not v and _same_type(value.var.aval, v.aval):
                words = f"to use {_quoted(value.name)} in place of {_quoted(site.name(i))}"
                yield f"{i} {value.key}", words, _operands(site, _with(site.eqn.invars, i, value.var))


def _average(site):
    if site.eqn.primitive.name == "reduce_sum" and (count := _summed(site)) > 1:
        words = f"to average over the {count} entries, not to add them up"
        yield "", words, _after(site, _scaled_by, factor=1.0 / count)


def _first_only(site):
    if site.eqn.primitive.name == "reduce_sum" and (count := _summed(site)) > 1 and not _is_literal(site, 0):
        axes = tuple(site.eqn.params["axes"])
        words = f"to take the first of the {count} entries, not their sum"
        yield "", words, _instead(site, _first_entry, site.eqn.invars[0], axes=axes)


def _transposed(site):
    if site.eqn.primitive.name == "dot_general":
        for i, v in enumerate(site.eqn.invars):
            if len(v.aval.shape) >= 2 and v.aval.shape[-1] == v.aval.shape[-2] > 1:
                yield str(i), f"to transpose {_quoted(site.name(i))} first", _before(site, i, _swap_last)


def _times(site, given_only=False, function=None, words="to be multiplied by"):
    if _is_float(site.out.aval) and (_computes(site) or site.eqn.primitive.name in ("copy", "copy_p")):
        for value in site.floats(given_only):
            yield value.key, f"{words} {_quoted(value.name)}", _after(site, function or _product, value.var)


def _row(site):
    shape = site.out.aval.shape
    if _computes(site) and len(shape) and shape[0] > 1:
        yield "", "to double its last row", _after(site, _last_row_doubled)


def _unmasked(site):
    if site.eqn.primitive.name == "select_n" and len(site.eqn.invars) == 3:
        for kept in (1, 2):
            v = site.eqn.invars[kept]
            if v.aval.shape == site.out.aval.shape and not isinstance(v, Literal):
                yield (
                    str(kept),
                    f"to take {_quoted(site.name(kept))} whatever the condition",
                    _instead(site, _itself, v),
                )


def _bfloat16(site):
    if _computes(site):
        yield "", "to round its result to bfloat16", _after(site, _through_bfloat16)


def _scaled(site):
    """By the sizes and numbers in play: a mean for a sum, a factor that was forgotten."""
    if _computes(site):
        sizes = {d for s in site.scope for d in s.var.aval.shape if d > 1}
        for factor in dict.fromkeys([f for n in sorted(sizes) for f in (1.0 / n, float(n))] + [2.0, 0.5]):
            yield f"{factor:.6g}", f"to be multiplied by {_fraction(factor)}", _after(site, _scaled_by, factor=factor)
        for other in site.numbers:
            if other not in (0.0, 1.0):
                yield f"{other:.6g}", f"to be multiplied by {other:.6g}", _after(site, _scaled_by, factor=other)


def _shifted(site):
    """A small number added under a root or in a denominator."""
    if site.eqn.primitive.name in ("rsqrt", "sqrt", "div", "log", "integer_pow", "pow", "add", "sub", "mul"):
        for i, v in enumerate(site.eqn.invars):
            for number in site.numbers if _is_float(v.aval) and not isinstance(v, Literal) else ():
                if number != 0:
                    words = f"to add {number:.6g} to {_quoted(site.name(i))} first"
                    yield f"{i} {number:.6g}", words, _before(site, i, _plus_number, number=number)


def _masked(site):
    if _computes(site):
        for value in site.scope:
            aval = value.var.aval
            if aval.dtype == np.bool_ and _broadcasts(aval, site.out.aval):
                yield f"{value.key}", f"to be 0 where {_quoted(value.name)} is false", _after(site, _where, value.var)
                yield (
                    f"not {value.key}",
                    f"to be 0 where {_quoted(value.name)} is true",
                    _after(site, _where_not, value.var),
                )


def _centred(site):
    if _computes(site):
        for axis in range(len(site.out.aval.shape)):
            yield str(axis), f"to have its mean over axis {axis} subtracted", _after(site, _less_mean, axis=axis)


def _plus(site):
    if _computes(site) or site.eqn.primitive.name in ("copy", "copy_p"):
        for value in site.scope:
            if _is_float(site.out.aval) and _same_type(value.var.aval, site.out.aval):
                yield value.key, f"to have {_quoted(value.name)} added", _after(site, _sum, value.var)
                yield f"-{value.key}", f"to have {_quoted(value.name)} subtracted", _after(site, _difference, value.var)


_MAKERS: dict[str, Callable[[_Site], Iterator[tuple[str, str, Callable]]]] = {
    "sign": _sign, "dropped": _dropped, "swapped": _swapped, "left out": _left_out, "exponent": _exponent, "number": _number,
    "other value": _other_value, "average": _average, "first only": _first_only, "transposed": _transposed, "times": _times,
    "times input": lambda site: _times(site, given_only=True),
    "over input": lambda site: _times(site, True, _quotient, "to be divided by"),
    "row": _row, "unmasked": _unmasked, "bfloat16": _bfloat16, "scaled": _scaled, "shifted": _shifted, "masked": _masked,
    "centred": _centred, "plus": _plus,
}  # fmt: skip


# --- the functions that edits put into a program ------------------------------------------------------------------------


def _itself(x):
    return x


def _negative(x):
    return -x


def _product(x, y):
    return x * _aligned(y, x)


def _quotient(x, y):
    return x / _aligned(y, x)


_FACTORS = (("multiplied by", _product), ("divided by", _quotient))


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


# --- types and words ----------------------------------------------------------------------------------------------------


def _computes(site) -> bool:
    """Whether the equation makes floating numbers, rather than moving them."""
    return _is_float(site.out.aval) and site.eqn.primitive.name not in _MOVES and len(site.eqn.outvars) == 1


def _is_float(aval: Any) -> bool:
    return jax.dtypes.issubdtype(aval.dtype, np.floating)


def _is_number(v: Any) -> bool:
    return np.ndim(v.val) == 0 and _is_float(v.aval)


def _is_literal(site, operand) -> bool:
    return isinstance(site.eqn.invars[operand], Literal)


def _same_type(a, b) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype


def _broadcasts(aval, out) -> bool:
    """Whether a value of type `aval` spreads over one of type `out`, from the last axes or from the first."""
    y, x = aval.shape, out.shape
    if len(y) > len(x) or jax.dtypes.issubdtype(aval.dtype, jax.dtypes.extended):
        return False
    return all(a in (1, b) for a, b in zip(y[::-1], x[::-1])) or y == x[: len(y)]


def _summed(site) -> int:
    shape = site.eqn.invars[0].aval.shape
    return int(np.prod([shape[a] for a in site.eqn.params["axes"]], dtype=int))


def _shown(eqn) -> str:
    name = eqn.primitive.name
    return "copy" if name == "copy_p" else name


def _quoted(name: str) -> str:
    return name if name.startswith(("its ", "the ", "input ")) else f"`{name}`"


def _ordinal(index: int) -> str:
    return ("first", "second", "third", "fourth")[index] if index < 4 else f"{index + 1}th"


def _fraction(factor: float) -> str:
    return f"1/{round(1 / factor)}" if factor < 1 else f"{factor:g}"
