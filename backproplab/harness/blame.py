"""Which line of a hand-written rule computed a wrong gradient."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Literal

from backproplab.case import parameter_names, static_argnums, with_defaults
from backproplab.harness.contract import line_of


def line_of_gradient(fn: Callable, args: tuple, label: str) -> str | None:
    """`file:line` where the backward rule of the `custom_vjp` `fn` made the cotangent of the argument `label`.

    Traced from the rule itself, which keeps the line of every operation. None for functions that are no custom_vjp.
    """
    bwd = getattr(fn, "bwd", None)
    if bwd is None or getattr(fn, "fwd", None) is None:
        return None
    static, args = static_argnums(fn), with_defaults(fn, args)
    names = [name for i, name in enumerate(parameter_names(fn, len(args))) if i not in static]
    dynamic = [arg for i, arg in enumerate(args) if i not in static]

    def forward(dynamic):
        rest = iter(dynamic)
        return fn.fwd(*[args[i] if i in static else next(rest) for i in range(len(args))])  # type: ignore[attr-defined]

    def backward(dynamic, dy):
        cotangents = bwd(*[args[i] for i in static], forward(dynamic)[1], dy)
        return [jax.tree.leaves(c) for c in cotangents]

    try:
        y = jax.eval_shape(lambda dynamic: forward(dynamic)[0], dynamic)  # dy is an input: no line has made it
        jaxpr, shape = jax.make_jaxpr(backward, return_shape=True)(dynamic, y)
        owners = [name for name, leaves in zip(names, shape) for _ in leaves]
        outputs = [v for owner, v in zip(owners, jaxpr.jaxpr.outvars) if label.startswith(owner)]
    except Exception:  # a rule that cannot be traced alone has already failed a check that says so
        return line_of(bwd)
    made_by = {v: eqn for eqn in jaxpr.jaxpr.eqns for v in eqn.outvars}
    for v in outputs:
        if not isinstance(v, Literal) and v in made_by:
            return _user_line(made_by, v) or line_of(bwd)
    return line_of(bwd)


def _user_line(made_by: dict, v: Any) -> str | None:
    """The line of the equation, or of the one before it if it was made by the registration helper (a cast, a psum)."""
    from jax._src import source_info_util

    eqn = made_by[v]
    for frame in source_info_util.user_frames(eqn.source_info.traceback):
        if not frame.file_name.endswith("backproplab/rule.py"):
            return f"{frame.file_name.rsplit('/', 1)[-1]}:{frame.start_line}"
        before = [u for u in eqn.invars if not isinstance(u, Literal) and u in made_by]
        if before:
            return _user_line(made_by, before[0])
    return None
