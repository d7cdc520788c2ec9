"""The autodiff oracle: the same forward computation with every hand-written rule taken out.

`jax.grad(f)` runs the rules inside `f`; `jax.grad(strip(f))` is JAX's own autodiff of the same forward code, so nobody
has to write the function a second time to have its gradient checked.
"""

from collections.abc import Callable, Container
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun
from jax.extend.core.primitives import closed_call_p

# Calls that bring their own way of batching, or that JAX does not see into.
_BATCHING = ("custom_vmap_call", "pure_callback", "io_callback", "ffi_call", "pallas_call")


def strip(f: Callable) -> Callable:
    """`f` without its `custom_vjp` rules, however deep they sit: in jit, vmap, scan, while, cond, checkpoint.

    Takes and returns what `f` does. `custom_jvp` rules stay: they are part of what JAX's autodiff means at kinks.
    Works by rewriting the jaxpr, so `f` must be traceable at the arguments it is called with.
    """

    def stripped(*args):
        jaxpr, out = jax.make_jaxpr(f, return_shape=True)(*args)
        leaves = jaxpr_as_fun(without_rules(jaxpr))(*jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(out), leaves)

    return stripped


def prove_stripped(f: Callable, *args: Any) -> None:
    """Raises TypeError if a hand-written rule is left in `f`: JAX refuses forward mode through any of them.

    JAX traces `jax.jvp` through a rule without a word and refuses when it lowers what it traced, so the proof is a
    lowering, for the CPU, where oracles run; nothing is compiled or run.
    """
    forward = jax.jit(lambda primals: jax.jvp(f, primals, jax.tree.map(_zero_tangent, primals)))
    forward.trace(args).lower(lowering_platforms=("cpu",))


def without_rules(node: Any) -> Any:
    """`node` (a jaxpr, or anything that holds jaxprs) with each custom_vjp call replaced by a call of its forward body."""
    if is_closed(node):
        return node.replace(jaxpr=without_rules(node.jaxpr))
    if isinstance(node, Jaxpr):
        return node.replace(eqns=[_without_rule(eqn) for eqn in node.eqns])
    if type(node) in (tuple, list):
        return type(node)(without_rules(item) for item in node)
    return node


def is_closed(node: Any) -> bool:
    """A jaxpr with its constants around it; from jax 0.12 on the two are one class."""
    return isinstance(node, ClosedJaxpr) and node.jaxpr is not node


def forward_body(eqn: Any) -> ClosedJaxpr | None:
    """The forward jaxpr of a custom_vjp call in its present and its coming (JAX_CUSTOM_VJP3) form; None for other calls."""
    if eqn.primitive.name == "custom_vjp_call":
        return eqn.params["call_jaxpr"]
    rule = eqn.params.get("_prim")
    if type(rule).__name__ == "CustomVJPTraced":
        return rule.traced.jaxpr
    if _is_batched_rule(rule):
        forward = lambda *leaves: jax.tree.leaves(rule.expand(*jax.tree.unflatten(rule.in_tree, leaves)))
        return jax.make_jaxpr(forward)(*[v.aval for v in eqn.invars])
    return None


def _is_batched_rule(rule: Any) -> bool:
    """A custom_vjp of the coming form under vmap, which holds the unbatched one, or under several."""
    inner = getattr(rule, "prim", None)
    return type(rule).__name__ == "VmapOf" and (type(inner).__name__ == "CustomVJPTraced" or _is_batched_rule(inner))


def _without_rule(eqn):
    body = forward_body(eqn)
    if body is not None:
        return eqn.replace(primitive=closed_call_p, params={"call_jaxpr": without_rules(body)})
    return eqn.replace(params={name: without_rules(value) for name, value in eqn.params.items()})


def _zero_tangent(leaf):
    aval = jax.typeof(leaf)
    if jax.numpy.issubdtype(aval.dtype, jax.numpy.inexact):
        return jax.numpy.zeros(aval.shape, aval.dtype)
    return np.zeros(aval.shape, jax.dtypes.float0)


def count_rules(node: Any) -> int:
    """How many custom_vjp calls a jaxpr holds, at any depth."""
    if is_closed(node):
        return count_rules(node.jaxpr)
    if isinstance(node, Jaxpr):
        return sum(map(_count_in, node.eqns))
    return sum(count_rules(item) for item in node) if type(node) in (tuple, list) else 0


def _count_in(eqn: Any) -> int:
    body = forward_body(eqn)
    return count_rules(list(eqn.params.values())) if body is None else 1 + count_rules(body)


def batches_by_itself(node: Any) -> bool:
    """Whether a jaxpr holds, at any depth, a call whose batching is not JAX's own."""
    return holds(_BATCHING, node)


def holds(names: Container[str], node: Any) -> bool:
    """Whether a jaxpr holds, at any depth, an operation of one of these names."""
    if is_closed(node):
        return holds(names, node.jaxpr)
    if isinstance(node, Jaxpr):
        return any(eqn.primitive.name in names or holds(names, [*eqn.params.values()]) for eqn in node.eqns)
    return any(holds(names, item) for item in node) if type(node) in (tuple, list) else False


def operations_in(node: Any) -> set:
    """What a jaxpr consists of, at any depth: primitives, beside what kind of function one stands for that can stand for any."""
    if is_closed(node):
        return operations_in(node.jaxpr)
    if isinstance(node, Jaxpr):
        return set().union(*map(_operations, node.eqns))
    return set().union(*map(operations_in, node)) if type(node) in (tuple, list) else set()


def _operations(eqn: Any) -> set:
    return {(eqn.primitive, type(eqn.params.get("_prim")))} | operations_in([*eqn.params.values()])
