"""Which line of a hand-written rule computed a wrong gradient."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Jaxpr, Literal

from backproplab.case import backward_rule, forward_rule, parameter_names, static_argnums, with_defaults
from backproplab.harness.contract import given_to_fwd, line_of

# Files whose lines are nobody's rule.
_OURS = ("backproplab/rule.py", *(f"backproplab/harness/{name}.py" for name in ("blame", "called", "inside")))


def line_of_gradient(fn: Callable, args: tuple, label: str) -> str | None:
    """`file:line` where the backward rule of the `custom_vjp` `fn` made the cotangent of the argument `label`.

    Traced from the rule itself, which keeps the line of every operation. None for functions that are no custom_vjp.
    """
    fwd, bwd = forward_rule(fn), backward_rule(fn)
    if fwd is None or bwd is None:
        return None
    static, args = static_argnums(fn), with_defaults(fn, args)
    names = [name for i, name in enumerate(parameter_names(fn, len(args))) if i not in static]
    dynamic = [arg for i, arg in enumerate(args) if i not in static]

    def forward(dynamic):
        rest = iter(given_to_fwd(fn, dynamic))
        return fwd(*[args[i] if i in static else next(rest) for i in range(len(args))])

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
    lines = (line_that_made(jaxpr.jaxpr, v) for v in outputs)
    return next((line for line in lines if line is not None), None) or line_of(bwd)


def line_that_made(jaxpr: Jaxpr, v: Any) -> str | None:
    """The line of the equation that made `v`, or of the one before it if it was put behind the rule: a cast, a psum."""
    made_by = {u: eqn for eqn in jaxpr.eqns for u in eqn.outvars}
    while v is not None and not isinstance(v, Literal) and v in made_by:
        eqn = made_by[v]
        if (line := user_line(eqn)) is not None:
            return line
        v = next((u for u in eqn.invars if not isinstance(u, Literal) and u in made_by), None)
    return None


def user_line(eqn: Any) -> str | None:
    """`file:line` of the code that made an equation; None if it was not the user's."""
    from jax._src import source_info_util

    for frame in source_info_util.user_frames(eqn.source_info.traceback):
        if not frame.file_name.endswith(_OURS):
            return f"{frame.file_name.rsplit('/', 1)[-1]}:{frame.start_line}"
    return None
