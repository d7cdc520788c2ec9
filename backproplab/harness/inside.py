"""Which hand-written rule inside a function makes its gradient wrong: a layer of a network, a term of a loss.

The function is differentiated once without any rule, so every layer sees its right cotangent. What goes into each layer
and the cotangent that comes back are noted as they pass, wherever the layer sits: in jit, scan, cond, checkpoint, under
vmap, in another rule's forward pass. Each rule is then judged alone, as a case of its own at what was noted: errors of
one layer are never put down to another, and two that cancel are both seen.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun
from jax.extend.core.primitives import closed_call_p

from backproplab.case import Case, backward_rule, function_name
from backproplab.harness import autodiff
from backproplab.harness.blame import user_line
from backproplab.harness.called import called_rule, line_of_cotangent, passes
from backproplab.harness.compare import Difference
from backproplab.harness.point import Point, point
from backproplab.harness.primitives import is_key
from backproplab.harness.repair import hint
from backproplab.harness.strip import forward_body, is_closed
from backproplab.harness.verdict import Check
from backproplab.harness.view import is_inexact

_NOTED = 16  # as many calls of one layer are looked at: the last steps of a loop
_CLEARED = 1e-6  # a rule whose error is proved to be below this share of the gradient is right at this call


@dataclass(frozen=True)
class Culprit:
    """A wrong rule inside a function.

    layer: the name of the `custom_vjp` function. argument: of that layer, None if its forward pass is wrong.
    cause: what is wrong, in words. where: `file:line` that computes the cotangent. calls: `file:line` of each call.
    error, bound: at the cotangent that reaches the layer, at the entry where rounding explains it least.
    hint: which change of the rule would mend it, if one is known.
    """

    layer: str
    argument: str | None
    cause: str
    where: str | None
    calls: tuple[str, ...]
    error: float
    bound: float
    hint: str | None = None

    def __str__(self) -> str:
        called = f" called at {', '.join(self.calls)}" if self.calls else ""
        return f"the rule of {self.layer}{called} is wrong: {self.cause}"


class _Note(NamedTuple):
    """What was seen at one call: inputs, cotangents of the floating outputs, and which inputs have a derivative."""

    inputs: list[np.ndarray]
    cotangents: list[np.ndarray]
    perturbed: list[np.ndarray]


@dataclass
class _Layer:
    """One custom_vjp call in a jaxpr, the line it is `called` at, the calls in its forward pass, and its notes.

    keys: the kinds of the random keys among the inputs, which are noted as plain numbers.
    """

    eqn: Any
    called: str | None
    inner: list["_Layer"] = field(default_factory=list)
    keys: dict[int, Any] = field(default_factory=dict)
    noted: list[_Note] = field(default_factory=list)


def culprits(p: Point, cotangents: list[np.ndarray], seed: int) -> list[Culprit] | None:
    """The wrong rules inside the function of `p`, as its gradient for these cotangents meets them, from the output back.

    An argument that does not depend on what is differentiated is not judged. Empty if each rule is right at its own
    inputs; None if none is known to be wrong, but not all could be judged by themselves.
    """
    if p.case.by_design or p.case.reference is not None:
        return None
    with jax.enable_x64(p.wide):
        jaxpr = jax.make_jaxpr(p.view.call(p.case.fn))(p.view.diff, p.view.rest)
        try:
            layers = _noting(p, jaxpr, cotangents)
        except Exception:  # a transformation that JAX lets no callback pass: no notes, no culprit
            return None
        found = [culprit for layer in reversed(layers) for culprit in _wrong_inside(layer, p, seed)]
        wrong = [culprit for culprit in found if culprit is not None]
        return _merged(wrong) if wrong or not found else None


def judged(p: Point, seed: int, notes: list[str], again: bool = False) -> list[Check]:
    """The formula checks of `p`; a failing gradient's cause and line are those of the wrong rules inside, if there are any.

    A wrong rule that is the function of `p` itself is no news: its checks stay what they are. Where rules that are right
    by themselves meet at several kinks, what the chain rule makes of their slopes need not lie between the slopes of the
    whole from its two sides, and by autodiff it does not either: then the whole is compared a small step away.
    """
    checks = list(autodiff.formula_checks(p, seed, notes, again))
    by_hand = backward_rule(p.case.fn) is not None
    if all(check.status != "fail" for check in checks) or (by_hand and p.rules == 1):
        return checks
    found = culprits(p, p.cotangents("random", seed), seed)
    if found is None or (by_hand and any(c.layer == function_name(p.case.fn) for c in found)):
        return checks
    if not found:
        beside = autodiff.checks_beside_kink(p, seed, notes)
        if any(check.status == "fail" for check in (*checks[: len(p.outputs)], *beside)):  # a value is no slope
            return checks
        notes.append("several kinks meet at this point; each rule inside is right by itself, and the whole beside it")
        return beside
    notes += [f"hint: in {c.layer}, {c.hint}" for c in found if c.hint]
    inside = "; ".join(map(str, found))
    return [
        replace(check, cause=f"{inside}; so {check.cause}", where=found[0].where) if check.status == "fail" else check
        for check in checks
    ]


def _merged(found: list[Culprit]) -> list[Culprit]:
    """One culprit per layer, argument and line, with all the calls where it is wrong."""
    merged: dict[tuple, Culprit] = {}
    for c in found:
        key = (c.layer, c.argument, c.where)
        first = merged.get(key)
        merged[key] = replace(first, calls=tuple(dict.fromkeys(first.calls + c.calls))) if first else c
    return list(merged.values())


# --- what goes into each layer, and the cotangent that comes back ---------------------------------------------------


def _noting(p: Point, jaxpr: ClosedJaxpr, cotangents: list[np.ndarray]) -> list[_Layer]:
    """Differentiates the program without its rules on the CPU; returns its layers with their notes."""
    layers: list[_Layer] = []
    run = jaxpr_as_fun(_with_notes(jaxpr, layers, None))

    def gradients(diff, rest, cotangents):
        return jax.vjp(lambda d: run(*d, *rest), diff)[1](cotangents)

    with jax.default_device(jax.devices("cpu")[0]):
        jax.block_until_ready(jax.jit(gradients)(p.view.diff, p.view.rest, list(cotangents)))
        jax.effects_barrier()
    return layers


def _with_notes(node: Any, layers: list[_Layer], called: str | None) -> Any:
    """`node` (a jaxpr, or what holds jaxprs) with each custom_vjp call replaced by its forward body, which takes notes.

    called: the line that calls the jaxpr, for calls within it that have no line of their own.
    """
    if is_closed(node):
        return node.replace(jaxpr=_with_notes(node.jaxpr, layers, called))
    if isinstance(node, Jaxpr):
        return node.replace(eqns=[_with_note(eqn, layers, called) for eqn in node.eqns])
    if type(node) in (tuple, list):
        return type(node)(_with_notes(item, layers, called) for item in node)
    return node


def _with_note(eqn: Any, layers: list[_Layer], called: str | None) -> Any:
    body = forward_body(eqn)
    called = user_line(eqn) or called
    if body is None:
        return eqn.replace(params={name: _with_notes(value, layers, called) for name, value in eqn.params.items()})
    layer = _Layer(eqn, called)
    body = _with_notes(body, layer.inner, called)
    layers.append(layer)

    def run(*inputs):
        outputs = jaxpr_as_fun(body)(*inputs)
        layer.keys |= {i: jax.random.key_impl(x) for i, x in enumerate(inputs) if is_key(x)}
        plain = [jax.random.key_data(x) if is_key(x) else x for x in inputs]
        places = [i for i, y in enumerate(outputs) if jnp.issubdtype(y.dtype, jnp.inexact)]
        passed = _noted(layer, [outputs[i] for i in places], plain) if places else []
        for i, y in zip(places, passed):
            outputs[i] = y
        return outputs

    shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in eqn.invars]
    return eqn.replace(primitive=closed_call_p, params={"call_jaxpr": jax.make_jaxpr(run)(*shapes)})


def _noted(layer: _Layer, outputs: list, inputs: list) -> list:
    """`outputs`; on the way back a note is taken."""

    @jax.custom_vjp
    def passing(outputs, inputs):
        return outputs

    def fwd(outputs, inputs):
        outputs = [y.value for y in outputs]
        return outputs, ([x.value for x in inputs], outputs, [jnp.asarray(x.perturbed) for x in inputs])

    def bwd(residuals, cotangents):
        inputs, outputs, perturbed = residuals
        cotangents = [jnp.zeros_like(y) if _is_zero(c) else c for y, c in zip(outputs, cotangents)]
        jax.debug.callback(keep, inputs, cotangents, perturbed)
        return cotangents, [None] * len(inputs)

    def keep(*parts):
        if len(layer.noted) < _NOTED:
            layer.noted.append(_Note(*([np.asarray(x) for x in part] for part in parts)))

    passing.defvjp(fwd, bwd, symbolic_zeros=True)
    return passing(outputs, inputs)


def _is_zero(cotangent) -> bool:
    return isinstance(cotangent, jax.custom_derivatives.SymbolicZero)


# --- each rule alone ------------------------------------------------------------------------------------------------


def _wrong_inside(layer: _Layer, p: Point, seed: int) -> list[Culprit | None]:
    """What is wrong in the rules that this layer's forward pass calls, and in its own; None for what was not judged.

    If an inner rule is wrong, the outer one is judged with autodiff in place of the inner ones that it may run.
    """
    inner = [culprit for other in reversed(layer.inner) for culprit in _wrong_inside(other, p, seed)]
    try:
        with _without_rules() if any(inner) else nullcontext():
            own = _wrong(layer, p, seed)
    except Exception:  # cannot be run by itself: a named axis, say. Whether the whole fails is not decided here
        own = [None]
    more = [None] if len(layer.noted) == _NOTED else []
    return own + inner + more


@contextmanager
def _without_rules() -> Iterator[None]:
    """Within, a call of any custom_vjp function is a call of the function that it was made from.

    No jaxpr shows which rules a rule has run: `jax.vjp` within a backward pass is gone once it is traced.
    """
    kind: Any = type(jax.custom_vjp(lambda: None))
    call = kind.__call__
    kind.__call__ = lambda self, *args, **kwargs: self.__wrapped__(*args, **kwargs)
    try:
        yield
    finally:
        kind.__call__ = call


def _wrong(layer: _Layer, p: Point, seed: int) -> list[Culprit | None]:
    """The arguments whose cotangent is wrong at the call where most are; None if that could not be decided."""
    if not layer.noted:
        return []
    alone = _alone(layer)
    points = [_at(alone, noted, p) for noted in layer.noted]
    # a cotangent of ones for the scaled outputs is the noted cotangent for the layer itself
    found = [(sub, sub.formulas(sub.cotangents("ones", seed))) for sub in points]
    sub, differences = max(found, key=lambda item: sum(not _cleared(d) for d in item[1]))
    if all(_cleared(d) for d in differences):
        return []
    checks = list(autodiff.formula_checks(sub, seed, []))
    wrong = [(c, d) for c, d in zip(checks, differences, strict=True) if c.status == "fail" and not _cleared(d)]
    undecided = any(check.status == "inconclusive" for check in checks)
    if not wrong:
        return [None] if undecided else []
    first, *others = (_culprit(layer, check, d) for check, d in wrong)
    label = wrong[0][0].argument  # of several gradients, the first tells what the others would
    return [replace(first, hint=label and _hint(layer, sub, label, seed)), *others]


def _cleared(d: Difference) -> bool:
    return not d.any_wrong and not d.any_undefined and d.resolves <= _CLEARED


def _alone(layer: _Layer) -> Callable:
    """The layer as a function of its inputs and of what to multiply its outputs by."""
    avals = [v.aval for v in layer.eqn.invars]
    names = [f"argument_{i}" for i in range(len(avals))] + [
        f"factor_{i}" for i in range(len(layer.noted[0].cotangents))
    ]

    def restored(i, x):
        return jax.random.wrap_key_data(x, impl=layer.keys[i]) if i in layer.keys else jnp.asarray(x, avals[i].dtype)

    def scaled(*args):
        outputs = _bind(layer.eqn, [restored(i, x) for i, x in enumerate(args[: len(avals)])])
        floating = [y for y in outputs if jnp.issubdtype(y.dtype, jnp.inexact)]
        return [factor.astype(y.dtype) * y for factor, y in zip(args[len(avals) :], floating)]

    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names]
    scaled.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return scaled


class _ByItself:
    """A layer as a function of its own inputs, with the two passes of its rule, as `custom_vjp` functions have them."""

    def __init__(self, layer: _Layer):
        names = [f"argument_{i}" for i in range(len(layer.eqn.invars))]
        self.__signature__ = inspect.Signature([inspect.Parameter(n, inspect.Parameter.POSITIONAL_ONLY) for n in names])
        self.eqn = layer.eqn
        run, pull = passes(layer.eqn)
        self.fwd = lambda *args: run(list(args))
        self.bwd = lambda residuals, dy: tuple(pull(residuals, list(dy)))

    def __call__(self, *args):
        return _bind(self.eqn, list(args))


def _hint(layer: _Layer, at: Point, label: str, seed: int) -> str | None:
    """Which change of the layer's rule would make the gradient of one of its inputs right."""
    names = called_rule(layer.eqn).arguments
    try:
        case = Case(_ByItself(layer), at.args[: len(layer.eqn.invars)], argnums=at.case.argnums)
        found = hint(point(case, 0, at.dtype, at.device, at.matmul), label, seed)
    except Exception:  # keys, outputs without a derivative: the verdict does without
        return None
    return found and re.sub(r"argument_(\d+)", lambda match: names[int(match[1])], found)


def _at(alone: Callable, noted: _Note, p: Point) -> Point:
    """The layer's case at noted inputs and cotangents."""
    argnums = tuple(i for i, (x, moves) in enumerate(zip(noted.inputs, noted.perturbed)) if moves and is_inexact(x))
    case = Case(alone, (*noted.inputs, *noted.cotangents), argnums=argnums)
    return point(case, 0, "float64" if p.wide else "float32", p.device, p.matmul)


def _bind(eqn: Any, inputs: list) -> list:
    return eqn.primitive.bind(*inputs, **eqn.primitive.get_bind_params(eqn.params))


# --- names and lines ------------------------------------------------------------------------------------------------


def _culprit(layer: _Layer, check: Check, d: Difference) -> Culprit:
    rule = called_rule(layer.eqn)
    named = lambda text: re.sub(r"argument_(\d+)", lambda match: rule.arguments[int(match[1])], text or "")
    if check.argument is None:
        argument, where = None, rule.fwd
    else:
        argument, where = (
            named(check.argument),
            line_of_cotangent(layer.eqn, int(check.argument[9:]), layer.noted[0].cotangents) or rule.bwd,
        )
    i = d.worst
    calls = (layer.called,) if layer.called else ()
    return Culprit(rule.layer, argument, named(check.cause), where, calls, float(d.error[i]), float(d.bound[i]))
