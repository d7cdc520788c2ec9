"""The equations of a backward pass that may be edited: what is in scope at each, and the program with another in its place."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal, Var
from jax.extend.core.primitives import closed_call_p

from backproplab.harness.backward import Backward, author_frame, statement_names
from backproplab.harness.contract import line_of
from backproplab.harness.error_rules import is_float
from backproplab.harness.pruning import bodies, needed_at_any_depth, pruned, with_bodies

# These only move numbers: what can go wrong there is which numbers.
_MOVES = {"broadcast_in_dim", "reshape", "convert_element_type", "squeeze", "expand_dims", "transpose", "copy", "copy_p", "stop_gradient",
          "slice", "rev", "concatenate", "pad", "gather", "dynamic_slice", "iota", "eq", "ne", "optimization_barrier"}  # fmt: skip


@dataclass(frozen=True)
class _Value:
    """A value that an edit may use: its variable, how it is called in words, and what knows it again in another trace."""

    var: Any
    name: str
    key: str
    given: bool  # an input of the rule


@dataclass(frozen=True)
class Site:
    """One equation with what is in scope before it.

    shared: whether a result that is to stay as it is depends on it. made_by: the equations before it, by what they make.
    """

    eqn: Any
    scope: Sequence[_Value]
    numbers: Sequence[float]
    replace: Callable[[list], ClosedJaxpr]
    shared: bool
    made_by: Mapping[Any, Any]

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
                and is_float(value.var.aval)
                and broadcasts(value.var.aval, self.out.aval)
            ):
                yield value


def program_of(backward: Backward, outputs: Sequence[int]) -> list:
    """The equations that some outputs need."""
    closed = backward.jaxpr
    chosen = [closed.jaxpr.outvars[i] for i in outputs]
    return pruned(ClosedJaxpr(closed.jaxpr.replace(outvars=chosen), closed.consts)).jaxpr.eqns


def sites_of(
    backward: Backward, numbers: Sequence[float], output: int | None, spared: Sequence[int] = ()
) -> Iterator[tuple[str, int, Site]]:
    """Every equation that the rule's author wrote, and the copies of cotangent and results at its ends.

    output: if given, only those that this output depends on. spared: outputs that are to stay as they are.
    """
    counts: dict[tuple, int] = {}
    closed = backward.jaxpr
    at_the_ends = line_of(backward.bwd) or "the rule"
    outvars = closed.jaxpr.outvars
    behind = lambda outputs: set(map(id, needed_at_any_depth(closed.jaxpr, [outvars[i] for i in outputs])))
    wanted, shared = behind(range(len(outvars)) if output is None else [output]), behind(spared)

    def walk(jaxpr, scope, replace):
        names = statement_names(jaxpr.eqns)
        made_by = {v: eqn for eqn in jaxpr.eqns for v in eqn.outvars}
        for i, eqn in enumerate(jaxpr.eqns):
            frame = author_frame(eqn)
            where = f"{frame.file_name.rsplit('/', 1)[-1]}:{frame.start_line}" if frame else at_the_ends
            here = (where, shown(eqn))
            number = counts[here] = counts.get(here, -1) + 1
            put = functools.partial(_put, replace, jaxpr, i)
            # a result that an equation has just made is edited there
            end = eqn.primitive.name in ("copy", "copy_p") and (
                isinstance(eqn.invars[0], Literal)
                or eqn.invars[0] not in made_by
                or not author_frame(made_by[eqn.invars[0]])
            )
            if id(eqn) in wanted and (frame or end):
                yield where, number, Site(eqn, tuple(scope), numbers, put, id(eqn) in shared, made_by)
            for body, inner_replace in _bodies(eqn, put) if id(eqn) in wanted else ():
                inputs = [
                    _Value(v, f"input {k} of the loop", f"input {k}", False) for k, v in enumerate(body.jaxpr.invars)
                ]
                yield from walk(body.jaxpr, inputs, inner_replace)
            for k, v in enumerate(eqn.outvars):
                if eqn.primitive.name in ("copy", "copy_p") and not frame:
                    scope = [_Value(v, s.name, s.key, True) if s.var is eqn.invars[0] else s for s in scope]
                else:
                    moved = (
                        eqn.primitive.name in _MOVES and next((s.name for s in scope if s.var is eqn.invars[0]), None)
                        if eqn.invars
                        else None
                    )
                    name = names.get(i) or moved or f"the {shown(eqn)} of {where}"
                    scope = [*scope, _Value(v, name, f"{where} {shown(eqn)} {number} {k}", False)]

    inputs = [_Value(v, name, name, True) for v, name in zip(closed.jaxpr.invars, backward.names)]
    yield from walk(closed.jaxpr, inputs, lambda eqns: ClosedJaxpr(closed.jaxpr.replace(eqns=eqns), closed.consts))


def _put(replace, jaxpr, index, eqns):
    """The program with the equation at `index` replaced by `eqns`."""
    return replace([*jaxpr.eqns[:index], *eqns, *jaxpr.eqns[index + 1 :]])


def _bodies(eqn, put) -> Iterator[tuple[ClosedJaxpr, Callable]]:
    """The bodies of a loop or branch, each with what puts other equations in its place."""
    several = bodies(eqn)
    for k, body in enumerate(several):

        def replace(eqns, k=k, body=body):
            changed = ClosedJaxpr(body.jaxpr.replace(eqns=eqns), body.consts)
            return put([with_bodies(eqn, [*several[:k], changed, *several[k + 1 :]])])

        yield body, replace


def changed(site: Site, eqns: Callable[[], list]) -> ClosedJaxpr:
    """The program with `eqns()` in the place of the site's equation."""
    return site.replace(eqns())


def after(site: Site, function: Callable, *others: Any, **options: Any) -> Callable[[], list]:
    """The equation as it is, and its result passed through `function(result, *others)`."""

    def make():
        first = Var(site.out.aval)
        return [
            site.eqn.replace(outvars=[first, *site.eqn.outvars[1:]]),
            call(site.eqn, function, [first, *others], site.out, options),
        ]

    return make


def instead(site: Site, function: Callable, *operands: Any, **options: Any) -> Callable[[], list]:
    """`function(*operands)` in place of the equation."""
    return lambda: [call(site.eqn, function, list(operands), site.out, options)]


def before(site: Site, operand: int, function: Callable, **options: Any) -> Callable[[], list]:
    """One operand passed through `function` before the equation takes it."""

    def make():
        given = site.eqn.invars[operand]
        passed = Var(given.aval)
        passing = call(site.eqn, function, [given], passed, options)
        return [passing, site.eqn.replace(invars=with_item(site.eqn.invars, operand, passed))]

    return make


def call(eqn, function, operands, out, options):
    """An equation that calls `function`, at the place of `eqn` in the file."""
    body = _traced(function, tuple(v.aval for v in operands), out.aval, tuple(sorted(options.items())))
    return eqn.replace(primitive=closed_call_p, params={"call_jaxpr": body}, invars=operands, outvars=[out])


@functools.lru_cache(maxsize=1024)
def _traced(function, avals, out, options) -> ClosedJaxpr:
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals]
    double = ("float64", "int64", "uint64", "complex128")
    with jax.enable_x64(any(str(a.dtype) in double for a in (*avals, out))):
        return jax.make_jaxpr(
            lambda *xs: jnp.broadcast_to(function(*xs, **dict(options)), out.shape).astype(out.dtype)
        )(*shapes)


def with_operands(site: Site, invars: list) -> Callable[[], list]:
    """The equation with other operands."""
    return lambda: [site.eqn.replace(invars=invars)]


def with_item(items: Sequence, index: int, item: Any) -> list:
    """The list with another item at `index`."""
    return [*items[:index], item, *items[index + 1 :]]


def computes(site) -> bool:
    """Whether the equation makes floating numbers, rather than moving them."""
    return is_float(site.out.aval) and site.eqn.primitive.name not in _MOVES and len(site.eqn.outvars) == 1


def is_number(v: Any) -> bool:
    """Whether a literal is a floating scalar."""
    return np.ndim(v.val) == 0 and is_float(v.aval)


def is_literal(site, operand) -> bool:
    """Whether the operand is written into the program."""
    return isinstance(site.eqn.invars[operand], Literal)


def same_type(a, b) -> bool:
    """Whether two values have the same shape and dtype."""
    return a.shape == b.shape and a.dtype == b.dtype


def broadcasts(aval, out) -> bool:
    """Whether a value of type `aval` spreads over one of type `out`, from the last axes or from the first."""
    y, x = aval.shape, out.shape
    if len(y) > len(x) or jax.dtypes.issubdtype(aval.dtype, jax.dtypes.extended):
        return False
    return all(a in (1, b) for a, b in zip(y[::-1], x[::-1])) or y == x[: len(y)]


def summed(site) -> int:
    """How many numbers each result of a reduction is made of."""
    shape = site.eqn.invars[0].aval.shape
    return int(np.prod([shape[a] for a in site.eqn.params["axes"]], dtype=int))


def shown(eqn) -> str:
    """The operation as a reader knows it."""
    name = eqn.primitive.name
    return "copy" if name == "copy_p" else name


def quoted(name: str) -> str:
    """The name in backquotes, unless it is a description."""
    return name if name.startswith(("its ", "the ", "input ")) else f"`{name}`"


def _ordinal(index: int) -> str:
    return ("first", "second", "third", "fourth")[index] if index < 4 else f"{index + 1}th"


def fraction(factor: float) -> str:
    """1/n for a factor below 1."""
    return f"1/{round(1 / factor)}" if factor < 1 else f"{factor:g}"
