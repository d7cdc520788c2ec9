"""A second derivative, where one is promised: the gradient of the rule's gradient."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import jax
import numpy as np

from backproplab.case import Case
from backproplab.harness.backward import author_frame, rule_of
from backproplab.harness.compare import Difference, largest
from backproplab.harness.error_rules import lifted
from backproplab.harness.inside import culprits
from backproplab.harness.opaque import Gradients, by_differences
from backproplab.harness.point import Point, point
from backproplab.harness.programs import pair
from backproplab.harness.pruning import needed_at_any_depth
from backproplab.harness.verdict import Check

_NINE_DIGITS = 1e-9
_SURE, _REFUTED = 1e-5, 1e-3  # of the largest: how near differences are to autodiff, and how far the rule is from both
_NAME = "second derivative"


def second_order_checks(p: Point, seed: int) -> Iterator[Check]:
    """Reverse over reverse, as a formula, against autodiff twice or, where JAX has none, against differences of the rule."""
    if p.case.order < 2:
        return
    generator = np.random.default_rng([seed, 2])
    probes = [generator.normal(size=np.shape(x)).astype(x.dtype) for x in p.view.diff]
    cotangents = p.cotangents("random", seed)
    inputs = [*p.view.diff, *cotangents, *p.view.rest, *probes]
    once = _gradient(p.view.call(p.case.fn), len(p.view.diff))
    try:
        with jax.enable_x64(p.wide):
            jax.eval_shape(_twice(p, once), inputs)
    except Exception as error:  # a backward pass that JAX cannot differentiate
        yield Check(_NAME, "fail", cause=f"promised, but {type(error).__name__}: {str(error)[:200]}")
        return
    oracle = _twice(p, _gradient(p.plain, len(p.view.diff)))
    differences = lambda: _differences(p, once, cotangents)
    programs = p.once("second", lambda: pair(_twice(p, once), oracle, inputs, p.wide, p.device, differences))
    values, errors = programs.analyse_rule(inputs, lifted())
    exact, exact_errors = programs.analyse_oracle(inputs, lifted())
    if programs.numerical:  # of which no rounding of the rule is known
        errors = [np.full(np.shape(a), _NINE_DIGITS * largest(exact)) for a in exact]
    labels = (*p.view.labels, *["the cotangent"] * len(cotangents))
    for k, (label, g, a, e, f) in enumerate(zip(labels, values, exact, errors, exact_errors)):
        d = Difference(np.asarray(g), np.asarray(a), (np.asarray(e) + np.asarray(f)) * 1.001)
        decides = np.isfinite(d.bound).all()
        third = lambda k=k: [np.asarray(found[k]) for found in differences()(inputs)]
        check = _check(
            label, d if decides else _without_bound(d, third), programs.numerical or not decides, programs.unknown
        )
        why = _stopped(p) or _called(p, once, cotangents, seed) if check.status == "fail" else None
        yield replace(check, cause=f"{check.cause}; {why}") if why else check


def _stopped(p: Point) -> str | None:
    """Where the rule has a `stop_gradient`, which no first derivative shows."""
    try:
        rule = rule_of(p)
    except Exception:  # one that cannot be read by itself
        return None
    programs = rule.backward.jaxpr.jaxpr, rule.forward.jaxpr
    equations = itertools.chain(*(needed_at_any_depth(jaxpr, jaxpr.outvars) for jaxpr in programs))
    frames = (author_frame(eqn) for eqn in equations if eqn.primitive.name == "stop_gradient")
    lines = (f"{frame.file_name.rsplit('/', 1)[-1]}:{frame.start_line}" for frame in frames if frame)
    return next((f"the rule stops a gradient at {line}" for line in lines), None)


def _called(p: Point, gradient: Callable, cotangents: list, seed: int) -> str | None:
    """Which other rule, that the backward pass calls, is wrong itself."""
    count = len(p.view.diff) + len(cotangents)
    case = Case(
        lambda *args: gradient(list(args[:count]), list(args[count:])),
        (*p.view.diff, *cotangents, *p.view.rest),
        argnums=tuple(range(count)),
    )
    try:
        q = point(case, 0, p.dtype, p.device, p.matmul)
        found = culprits(q, q.cotangents("random", seed), seed) or ()
        # within a derivative JAX hides the lines of a backward pass
        return next((str(replace(culprit, calls=())) for culprit in found), None)
    except Exception:  # a gradient that JAX cannot take apart has its verdict without a culprit
        return None


def _without_bound(d: Difference, differences: Callable[[], list[np.ndarray]]) -> Difference:
    """Nine digits that agree are no chance; where they do not, finite differences may side with autodiff."""
    near = d.with_bound(np.full(d.exact.shape, _NINE_DIGITS * d.scale))
    if not near.any_wrong:
        return near
    try:
        slopes, bars = differences()
    except ValueError:  # too many numbers for them
        return d
    sure = np.all(bars + np.abs(slopes - d.exact) <= _SURE * d.scale)
    return d.with_bound(np.full(d.exact.shape, _REFUTED * d.scale)) if sure else d


def _gradient(call: Callable, count: int) -> Callable[[list, list], list]:
    """`([*diff, *cotangents], rest) -> gradients` of `call(diff, rest)`."""

    def run(given, rest):
        return jax.vjp(lambda diff: call(diff, rest), given[:count])[1](list(given[count:]))[0]

    return run


def _twice(p: Point, gradient: Callable) -> Callable[[list], list]:
    """`[*diff, *cotangents, *rest, *probes]` to the gradients of <probes, gradient> by what it depends on."""
    given, rest = len(p.view.diff) + len(p.outputs), len(p.view.rest)

    def run(inputs):
        pull = jax.vjp(lambda x: gradient(x, inputs[given : given + rest]), inputs[:given])[1]
        return pull(list(inputs[given + rest :]))[0]

    return run


def _differences(p: Point, gradient: Callable, cotangents: list) -> Gradients:
    """The same by finite differences of the gradient, which is itself judged elsewhere."""
    domains = [*[p.case.domain.get(position) for position in p.view.positions], *[None] * len(cotangents)]
    run = by_differences(gradient, [*p.view.diff, *cotangents], p.view.rest, domains, p.device)

    def gradients(inputs):
        values, errors = run(inputs)
        return values[len(p.view.diff) :], errors[len(p.view.diff) :]  # the first are the gradients that went in

    return gradients


def _check(label: str, d: Difference, estimated: bool, unknown: set[str]) -> Check:
    i = d.worst
    numbers = (float(d.error[i]), float(d.bound[i])) if d.got.size else (0.0, 0.0)
    if d.any_wrong or np.isnan(d.got).any():
        cause = (
            f"the second derivative with respect to {label} is {d.got[i]:.6g} at {list(i)}, right is {d.exact[i]:.6g}"
        )
        return Check(_NAME, "fail", label, *numbers, cause=cause)
    if np.isfinite(d.bound).all():
        return Check(_NAME, "pass", label, *numbers, d.resolves, estimated=estimated)
    return Check(_NAME, "inconclusive", label, cause="no error bound: " + ", ".join(sorted(unknown)))
