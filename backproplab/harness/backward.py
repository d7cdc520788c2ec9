"""A hand-written rule as flat jaxprs that keep the line of every operation, to be read and edited.

The rule's own functions are traced, not `jax.vjp` of the whole: only so does each equation know its place in the file.
Calls (jit, closed_call, custom_jvp, ...) are written out, so that every value of the backward pass is in one scope;
loops and branches stay, with bodies that are flat in turn.
"""

import ast
import functools
import inspect
import itertools
import linecache
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal, Var

from backproplab.case import backward_rule, forward_rule, static_argnums, with_defaults
from backproplab.harness.contract import given_to_fwd
from backproplab.harness.point import Point
from backproplab.harness.pruning import BODIES, pruned
from backproplab.harness.rounding import body_of

# What runs between a rule and its trace and is no part of it.
_HELPERS = (
    "backproplab/rule.py",
    *(
        f"backproplab/harness/{name}.py"
        for name in ("backward", "called", "inside", "point", "view", "counterfactual", "switched")
    ),
)
_FLOAT0 = jax.dtypes.float0


class NoRule(ValueError):
    """The function is no `custom_vjp` of its own, or its rule cannot be read: nothing to edit."""


@dataclass(frozen=True)
class Backward:
    """One trace of a backward rule.

    jaxpr: flat, from the leaves of the residuals and of the cotangent to those of the returned cotangents, None and
    float0 left out. names: of its inputs, as the rule calls them. tree: of what the rule returned.
    bwd: the rule as its author wrote it.
    """

    jaxpr: ClosedJaxpr
    names: tuple[str, ...]
    tree: Any
    bwd: Callable


@dataclass(frozen=True)
class Rule:
    """Forward and backward pass of a point's function.

    forward: flat, from `[*view.diff, *view.rest]` to the leaves of the residuals. values: the variables of what it returns.
    leaves: for each gradient of the point, which output of the backward jaxpr it is; None where the rule returns none.
    """

    forward: ClosedJaxpr
    values: tuple[Any, ...]
    backward: Backward
    leaves: tuple[int | None, ...]

    def program(self, edited: ClosedJaxpr | None = None, only: int | None = None) -> ClosedJaxpr:
        """The whole rule with an edited backward pass, from the point's inputs to its gradients, or to `only` one."""
        back = edited or self.backward.jaxpr
        kept = self.forward.jaxpr.outvars
        bound = dict(zip(back.jaxpr.invars, kept))
        place = lambda v: v if isinstance(v, Literal) else bound.get(v, v)
        eqns = [e.replace(invars=[place(v) for v in e.invars]) for e in back.jaxpr.eqns]
        outputs = [place(back.jaxpr.outvars[i]) if i is not None else _zero() for i in self.leaves]
        outputs = outputs if only is None else [outputs[only]]
        whole = self.forward.jaxpr.replace(
            constvars=[*self.forward.jaxpr.constvars, *back.jaxpr.constvars],
            invars=[*self.forward.jaxpr.invars, *back.jaxpr.invars[len(kept) :]],
            outvars=outputs,
            eqns=[*self.forward.jaxpr.eqns, *eqns],
        )
        return pruned(ClosedJaxpr(whole, [*self.forward.consts, *back.consts]))


def rule_of(p: Point) -> Rule:
    """The rule of the point's function at the point's shapes. Raises NoRule."""
    fn = p.case.fn
    fwd, bwd = forward_rule(fn), backward_rule(fn)
    if fwd is None or bwd is None:
        raise NoRule(f"{getattr(fn, '__name__', 'the function')} has no rule of its own")
    static = static_argnums(fn)

    def forward(diff, rest):
        args = with_defaults(fn, p.view.rebuild(diff, rest))
        y, residuals = fwd(*[arg if i in static else given_to_fwd(fn, arg) for i, arg in enumerate(args)])
        return [leaf for leaf in jax.tree.leaves(residuals)], y, residuals

    with jax.enable_x64(p.wide):
        closed, (leaves, y, residuals) = jax.make_jaxpr(forward, return_shape=True)(p.view.diff, p.view.rest)
        args = with_defaults(fn, p.view.rebuild(p.view.diff, p.view.rest))
        cotangent = jax.tree.map(_cotangent_type, y)
        backward = trace_backward(bwd, [args[i] for i in static], residuals, cotangent)
    closed = flat(closed)
    kept, values = closed.jaxpr.outvars[: len(leaves)], closed.jaxpr.outvars[len(leaves) :][: len(jax.tree.leaves(y))]
    keeping = ClosedJaxpr(closed.jaxpr.replace(outvars=kept), closed.consts)
    return Rule(keeping, tuple(values), backward, _gradient_leaves(p, backward, static))


def reaching_further(rule: Rule, names: Sequence[str]) -> Rule:
    """The rule whose backward pass is handed all arguments, called `names`, and the outputs, whether or not it kept them."""
    kept, inputs = rule.forward.jaxpr.outvars, rule.forward.jaxpr.invars
    outputs = [("the output" if len(rule.values) == 1 else f"output {k}", v) for k, v in enumerate(rule.values)]
    more = {v: name for name, v in reversed([*zip(names, inputs), *outputs]) if isinstance(v, Var) and v not in kept}
    handed = [Var(v.aval) for v in more]
    back = rule.backward.jaxpr.jaxpr
    invars = [*back.invars[: len(kept)], *handed, *back.invars[len(kept) :]]
    called = (*rule.backward.names[: len(kept)], *more.values(), *rule.backward.names[len(kept) :])
    backward = replace(
        rule.backward, jaxpr=ClosedJaxpr(back.replace(invars=invars), rule.backward.jaxpr.consts), names=called
    )
    forward = ClosedJaxpr(rule.forward.jaxpr.replace(outvars=[*kept, *more]), rule.forward.consts)
    return replace(rule, forward=forward, backward=backward)


def trace_backward(bwd: Callable, options: Sequence, residuals: Any, dy: Any) -> Backward:
    """Traces a backward rule at the types of its residuals and its cotangent. Within a derivative, JAX would hide its lines."""
    leaves, tree = jax.tree.flatten((residuals, dy))
    shapes = [jax.ShapeDtypeStruct(np.shape(x), x.dtype) for x in map(_typed, leaves) if x.dtype != _FLOAT0]

    def run(given):
        given = iter(given)
        full = [np.zeros(np.shape(x), _FLOAT0) if _typed(x).dtype == _FLOAT0 else next(given) for x in leaves]
        kept, c = jax.tree.unflatten(tree, full)
        # a copy at either end: places where something may be multiplied in though the rule does nothing there
        c = jax.tree.map(lambda x: x if x.dtype == _FLOAT0 else jnp.copy(x), c)
        returned = jax.tree.map(lambda x: None if _typed(x).dtype == _FLOAT0 else x, bwd(*options, kept, c))
        return jax.tree.map(jnp.copy, returned)

    closed, returned = jax.make_jaxpr(run, return_shape=True)(shapes)
    names = _input_names(inspect.unwrap(bwd), len(options), residuals, dy)
    kept = [name for name, x in zip(names, leaves) if _typed(x).dtype != _FLOAT0]
    return Backward(flat(closed), tuple(kept), jax.tree.structure(returned), inspect.unwrap(bwd))


def flat(closed: ClosedJaxpr) -> ClosedJaxpr:
    """The same program with all calls written out, also in the bodies of loops and branches; every variable is fresh.

    What a function of JAX's own does stands at the line that calls it.
    """
    constvars, consts, eqns = list(closed.jaxpr.constvars), list(closed.consts), []

    def write(jaxpr, env, called_at=None):
        read = lambda v: v if isinstance(v, Literal) else env.get(v, v)
        for eqn in jaxpr.eqns:
            eqn = eqn.replace(source_info=called_at or eqn.source_info)
            operands = [read(v) for v in eqn.invars]
            body = body_of(eqn)
            if body is None:
                made = [Var(v.aval) for v in eqn.outvars]
                eqns.append(eqn.replace(invars=operands, outvars=made, params=_flat_bodies(eqn)))
            else:
                made = inside(body, operands, None if is_authors(eqn, body) else eqn.source_info)
            env.update(zip(eqn.outvars, made))
        return [read(v) for v in jaxpr.outvars]

    def inside(body, operands, called_at):
        held = list(getattr(body, "consts", []))
        fresh = [Var(v.aval) for v in body.jaxpr.constvars] if held else []
        constvars.extend(fresh)
        consts.extend(held)
        inner = getattr(body, "jaxpr", body)
        return write(inner, dict(zip(inner.constvars, fresh)) | dict(zip(inner.invars, operands)), called_at)

    outputs = write(closed.jaxpr, {})
    return ClosedJaxpr(closed.jaxpr.replace(constvars=constvars, outvars=outputs, eqns=eqns), consts)


def author_frame(eqn: Any) -> Any | None:
    """The innermost frame of the rule that made an equation; None if the harness or the registration made it."""
    return next(iter(author_frames(eqn)), None)


def author_frames(eqn: Any) -> list:
    """The frames of the rule and its helpers, innermost first."""
    from jax._src import source_info_util

    frames = source_info_util.user_frames(eqn.source_info.traceback)
    return list(itertools.takewhile(lambda frame: not frame.file_name.endswith(_HELPERS), frames))


def is_authors(call: Any, body: Any) -> bool:
    """Whether the function that is called is the author's own: one of JAX's keeps the line that called it first of all."""
    frames = (frame for inner in getattr(body, "jaxpr", body).eqns for frame in author_frames(inner))
    return "name" not in call.params or any(frame.function_name == call.params["name"] for frame in frames)


def statement_names(eqns: Sequence) -> dict[int, str]:
    """For equations (by index) whose value is what a statement of the rule assigns to a name: that name."""
    last: dict[tuple, int] = {}
    for i, eqn in enumerate(eqns):
        for frame in author_frames(eqn):  # of a helper and of the rule that calls it, the rule's name comes last
            for first, end, name in _assignments(frame.file_name):
                if first <= frame.start_line <= end:
                    last[frame.file_name, first, name] = i
    return {i: name for (_, _, name), i in last.items()}


@functools.cache
def _assignments(file: str) -> list[tuple[int, int, str]]:
    """First line, last line and name of every statement of a file that assigns to one name."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:  # no Python: a notebook's cell with magic, say
        return []
    return [
        (node.lineno, node.end_lineno or node.lineno, node.targets[0].id)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
    ]


def _gradient_leaves(p: Point, backward: Backward, static: tuple[int, ...]) -> tuple[int | None, ...]:
    """Numbers stand in for the leaves of the arguments, to see where each comes to lie."""
    numbers = p.view.rebuild(list(range(len(p.view.diff))), [-1] * len(p.view.rest))
    dynamic = [arg for i, arg in enumerate(numbers) if i not in static]
    returned = jax.tree.unflatten(backward.tree, list(range(backward.tree.num_leaves)))
    if not isinstance(returned, (tuple, list)) or len(returned) < len(dynamic):
        raise NoRule("the rule does not return one cotangent per argument")
    found: dict[int, int] = {}
    for arg, cotangent in zip(dynamic, returned):
        none = lambda x: x is None
        marks, places = jax.tree.leaves(arg, is_leaf=none), jax.tree.leaves(cotangent, is_leaf=none)
        if cotangent is not None and len(marks) != len(places):
            raise NoRule("a cotangent has another structure than its argument")
        found |= {m: i for m, i in zip(marks, places) if cotangent is not None and i is not None}
    return tuple(found.get(k) for k in range(len(p.view.diff)))


def _input_names(bwd: Callable, options: int, residuals: Any, dy: Any) -> list[str]:
    """`scale` where the rule unpacks its residuals into names, `residuals[2]` or `residuals['x']` where not; `dy`."""
    parameters = list(inspect.signature(bwd).parameters)[options:]
    held, cotangent = parameters if len(parameters) == 2 else ("residuals", "the cotangent")
    if type(residuals) is tuple and len(residuals) == 2 and type(residuals[1]).__module__ == "backproplab.rule":
        residuals = residuals[0]  # beside them the registration keeps the types of the arguments
    unpacked = _unpacked(bwd, held)
    names = []
    for path, _ in jax.tree_util.tree_leaves_with_path(residuals):
        index = getattr(path[0], "idx", len(unpacked)) if path else len(unpacked)
        known = index < len(unpacked) and unpacked[index].strip("_") != ""  # `_` names nothing
        names.append((unpacked[index] if known else held) + jax.tree_util.keystr(path[1:] if known else path))
    return names + [cotangent + jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(dy)]


def _unpacked(bwd: Callable, held: str) -> list[str]:
    """The names that a rule gives its residuals in a statement such as `x, scale = residuals`."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(bwd)))
    except (OSError, TypeError, SyntaxError):  # typed in, compiled, or one line of a larger expression
        return []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id == held:
            target = node.targets[0]
            if isinstance(target, ast.Tuple) and all(isinstance(e, ast.Name) for e in target.elts):
                return [e.id for e in target.elts if isinstance(e, ast.Name)]
    return []


def _flat_bodies(eqn: Any) -> dict:
    name = BODIES.get(eqn.primitive.name)
    if name is None:
        return eqn.params
    bodies = eqn.params[name]
    return eqn.params | {name: tuple(map(flat, bodies)) if isinstance(bodies, tuple) else flat(bodies)}


def _typed(x: Any) -> Any:
    return x if hasattr(x, "dtype") else np.asarray(x)


def _cotangent_type(y: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    inexact = jnp.issubdtype(y.dtype, jnp.inexact)
    return jax.ShapeDtypeStruct(y.shape, y.dtype if inexact else _FLOAT0)


def _zero() -> Literal:
    return Literal(np.zeros(()), jax.make_jaxpr(lambda: 0.0)().out_avals[0])
