"""A call of a `custom_vjp` function as a jaxpr holds it: the rule's names and lines, and its two passes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from backproplab.harness.blame import line_that_made
from backproplab.harness.contract import line_of
from backproplab.harness.view import is_inexact


class Called(NamedTuple):
    """What a jaxpr knows of a rule: names of the layer and of its arguments' leaves, `file:line` of fwd and bwd."""

    layer: str
    arguments: tuple[str, ...]
    fwd: str | None
    bwd: str | None


def called_rule(eqn: Any) -> Called:
    """The rule of a custom_vjp call, in its present and its coming form."""
    if "_prim" in eqn.params:
        prim = eqn.params["_prim"]
        while hasattr(prim, "prim"):  # under vmap it holds the one that was called
            prim = prim.prim
        info = prim.traced.jaxpr.jaxpr.debug_info
        names, fwd, bwd = info.arg_names, line_of(prim.fwd), line_of(prim.bwd)
    else:
        info = eqn.params["call_jaxpr"].jaxpr.debug_info
        infos = eqn.params["fwd_jaxpr_thunk"].debug_info, eqn.params["bwd"].debug_info
        names, (fwd, bwd) = infos[0].arg_names, [_source(info)[1] for info in infos]
    captured = ["a captured array"] * (len(eqn.invars) - len(names or ()))
    names = captured + [name or "an argument" for name in names or ()]
    return Called(_source(info)[0], tuple(names), fwd, bwd)


def _source(info: Any) -> tuple[str, str | None]:
    """Name and `file:line` from JAX's `name at path:line`."""
    name, _, place = info.func_src_info.partition(" at ")
    return name, place.rsplit("/", 1)[-1] or None


def line_of_cotangent(eqn: Any, i: int, cotangents: list) -> str | None:
    """`file:line` where the backward rule makes the cotangent of input `i`; None if it cannot be traced by itself."""
    inputs = [v.aval for v in eqn.invars]
    cotangents = [jax.ShapeDtypeStruct(c.shape, c.dtype) for c in cotangents]
    try:
        forward, backward = passes(eqn)
        jaxpr = jax.make_jaxpr(lambda xs, cs: [backward(forward(xs)[1], cs)[i]])(inputs, cotangents).jaxpr
    except Exception:  # JAX keeps the parts of a rule in places of its own that may move
        return None
    return line_that_made(jaxpr, jaxpr.outvars[0])


def passes(eqn: Any) -> tuple[Callable[[list], tuple[list, list]], Callable[[list, list], list]]:
    """The rule's own fwd, from inputs to outputs and residuals, and bwd, from these and cotangents: with their lines."""
    if "_prim" in eqn.params:
        prim = eqn.params["_prim"]

        def forward(inputs):
            args = jax.tree.unflatten(prim.in_tree, inputs)
            y, residuals = prim.vjp_fwd(jax.tree.map(is_inexact, args), *args)
            return jax.tree.leaves(y), residuals

        def backward(residuals, cotangents):
            dy = jax.tree.unflatten(prim.out_tree, cotangents)
            return prim.in_tree.flatten_up_to(prim.vjp_bwd_retval(residuals, dy))

        return forward, backward
    _, fwd, bwd = eqn.primitive.get_bind_params(eqn.params)["subfuns"]

    def forward_now(inputs):
        results = iter(fwd.call_wrapped(*(part for x in inputs for part in (x, is_inexact(x)))))
        forwarded = eqn.params["out_trees"]()[2]  # residuals that are inputs are not returned again
        residuals = [next(results) if place is None else inputs[place] for place in forwarded]
        return list(results), residuals

    def backward_now(residuals, cotangents):
        found = bwd.call_wrapped(*residuals, *cotangents)
        return found[0] if isinstance(found[0], list) else found  # from jax 0.12 on there is something beside them

    return forward_now, backward_now
