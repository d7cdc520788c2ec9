"""Registration: `defvjp(layer, fwd, bwd)` in place of `layer.defvjp(fwd, bwd)`.

JAX leaves three duties to the author of a backward rule: each cotangent must have its argument's dtype, must be summed
over the mesh axes that vary in it but not in the argument (`shard_map`), and must be given a sharding when the mesh has
Explicit axes. They are the same for every rule, so they are done here, and a rule is mathematics only.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType

from backproplab.case import static_argnums


class _Type(NamedTuple):
    """What the cotangent of one array must look like."""

    dtype: Any
    varying: frozenset
    sharding: Any


@jax.tree_util.register_static
class _Types(tuple):
    """Per argument, the tree and the `_Type` of its leaves: static data, so that it may travel with the residuals."""


def defvjp(layer: Any, fwd: Callable, bwd: Callable) -> None:
    """Registers `fwd` and `bwd` as the VJP rule of `layer`, a `jax.custom_vjp` function.

    fwd: takes the arguments of `layer`, returns `(y, residuals)`.
    bwd: takes the static arguments, `residuals` and the cotangent of `y`; returns a tuple of one cotangent per other
        argument (None for an integer argument). Each is brought to its argument's dtype, varying axes and sharding.
    """
    static = static_argnums(layer)

    @wraps(fwd)
    def forward(*args):
        y, residuals = fwd(*(arg if i in static else _arrays(arg) for i, arg in enumerate(args)))
        return y, (residuals, _Types(_types(arg) for i, arg in enumerate(args) if i not in static))

    @wraps(bwd)
    def backward(*args):
        *options, (residuals, types), dy = args
        rule = _under_explicit_axes(bwd, types) if _has_explicit_axes() else bwd
        cotangents = rule(*options, _arrays(residuals), dy)
        return tuple(_fit(cotangent, *type) for cotangent, type in zip(cotangents, types, strict=True))

    layer.defvjp(forward, backward)


def _arrays(tree):
    """Python numbers as arrays of their types: JAX hands them on as they are, and constants of a loop in that form too."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, (int, float, complex)) else leaf, tree)


def _types(arg):
    leaves, tree = jax.tree.flatten(arg)
    avals = [jax.typeof(leaf) for leaf in leaves]
    return tree, tuple(_Type(aval.dtype, _varying(aval), getattr(aval, "sharding", None)) for aval in avals)


def _varying(aval) -> frozenset:
    """The mesh axes of a shard_map along which the value differs; newer JAX has renamed where it is kept."""
    kind = getattr(aval, "manual_axis_type", None)
    return frozenset(kind.varying if kind is not None else getattr(aval, "vma", ()))


def _fit(cotangent, tree, types):
    """The cotangent in its argument's types; a structure that does not match is left for JAX to reject."""
    if jax.tree.structure(cotangent) != tree:
        return cotangent
    return jax.tree.unflatten(tree, [_fit_leaf(leaf, type) for leaf, type in zip(jax.tree.leaves(cotangent), types)])


def _fit_leaf(leaf, type):
    if not jnp.issubdtype(type.dtype, jnp.inexact) or leaf.dtype == jax.dtypes.float0:
        return leaf
    extra = tuple(sorted(_varying(jax.typeof(leaf)) - type.varying))
    return (jax.lax.psum(leaf, extra) if extra else leaf).astype(type.dtype)


def _has_explicit_axes() -> bool:
    mesh = jax.sharding.get_abstract_mesh()
    return not mesh.empty and AxisType.Explicit in mesh.axis_types


def _under_explicit_axes(bwd, types):
    """A rule written without shardings, as JAX wants it under Explicit axes: the compiler lays out what is inside."""
    shardings = tuple(jax.tree.unflatten(tree, [leaf.sharding for leaf in leaves]) for tree, leaves in types)

    def rule(*args):
        *options, residuals, dy = args
        inner: Any = jax.sharding.auto_axes(lambda *operands: bwd(*options, *operands), out_sharding=shardings)
        return inner(residuals, dy)

    return rule
