"""What JAX accepts in silence and is wrong: the structure, shape and dtype of what `fwd` and `bwd` return."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import backward_rule, forward_rule, parameter_names, static_argnums, with_defaults
from backproplab.harness.verdict import Check
from backproplab.harness.view import is_inexact


def contract_checks(fn: Callable, args: tuple, name: str) -> list[Check]:
    """Checks, all called `name`, of a `custom_vjp`'s own two functions at `args`; none for other functions.

    Both are only traced. An exception that they raise propagates.
    """
    fwd, bwd = forward_rule(fn), backward_rule(fn)
    if fwd is None or bwd is None:
        return []
    static, args = static_argnums(fn), with_defaults(fn, args)
    dynamic = [arg for i, arg in enumerate(args) if i not in static]
    names = [label for i, label in enumerate(parameter_names(fn, len(args))) if i not in static]

    def all_args(dynamic):
        rest = iter(dynamic)
        return [args[i] if i in static else next(rest) for i in range(len(args))]

    def backward(dynamic):
        y, residuals = fwd(*all_args(given_to_fwd(fn, dynamic)))
        return y, bwd(*[args[i] for i in static], residuals, jax.tree.map(_cotangent, y))

    value = jax.eval_shape(lambda d: fn(*all_args(d)), dynamic)
    y, cotangents = jax.eval_shape(backward, dynamic)
    where = line_of(bwd)
    faults = [(None, cause, line_of(fwd)) for cause in _value_faults(value, y)]
    if not isinstance(cotangents, (tuple, list)):
        faults.append((None, f"bwd returns a {type(cotangents).__name__}, not a tuple of cotangents", where))
    elif len(cotangents) != len(dynamic):
        faults.append((None, f"bwd returns {len(cotangents)} cotangents for {len(dynamic)} arguments", where))
    else:
        for label, arg, cotangent in zip(names, dynamic, cotangents):
            faults += [(label + path, cause, where) for path, cause in _cotangent_faults(arg, cotangent)]
    return [Check(name, "fail", argument, cause=cause, where=at) for argument, cause, at in faults] or [
        Check(name, "pass")
    ]


def given_to_fwd(fn: Any, args: Any) -> Any:
    """Arguments as JAX hands them to the `fwd` of `fn`: for a rule with symbolic zeros, beside each leaf whether it is perturbed."""
    if not (getattr(fn, "symbolic_zeros", False) or getattr(fn, "symz", False)):
        return args
    return jax.tree.map(lambda x: jax.custom_derivatives.CustomVJPPrimal(x, is_inexact(x)), args)


def line_of(fn: Callable | None) -> str | None:
    """`file:line` of a function's definition, behind any wrapper; the name of the file without its folder."""
    if fn is None:
        return None
    code = getattr(inspect.unwrap(fn), "__code__", None)
    return f"{code.co_filename.rsplit('/', 1)[-1]}:{code.co_firstlineno}" if code else None


def _cotangent(y):
    dtype = y.dtype if jnp.issubdtype(y.dtype, jnp.inexact) else jax.dtypes.float0
    return np.zeros(y.shape, dtype) if dtype == jax.dtypes.float0 else jnp.ones(y.shape, dtype)


def _value_faults(value: Any, y: Any):
    """fwd must return what the function does, in structure, shape and dtype."""
    if jax.tree.structure(value) != jax.tree.structure(y):
        yield f"fwd returns {jax.tree.structure(y)}, the function {jax.tree.structure(value)}"
        return
    for ours, theirs in zip(jax.tree.leaves(y), jax.tree.leaves(value)):
        if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
            yield f"fwd returns {_type(ours)}, the function {_type(theirs)}"


def _cotangent_faults(arg: Any, cotangent: Any):
    """Per leaf of the argument: path and fault. None stands for zeros, and the formula check judges whether that is right."""
    if cotangent is None:
        return
    none = lambda x: x is None
    leaves, tree = jax.tree_util.tree_flatten_with_path(arg, is_leaf=none)
    given, given_tree = jax.tree.flatten(cotangent, is_leaf=none)
    if given_tree != tree:
        if len(given) == 1 and len(leaves) > 1:
            yield "", f"one array is returned for the {len(leaves)} leaves of the argument; JAX copies it to each"
        else:
            yield "", f"the cotangent's structure is {given_tree}, the argument's {tree}"
        return
    for (path, leaf), ours in zip(leaves, given):
        if ours is None or leaf is None or not is_inexact(leaf):
            continue
        place = jax.tree_util.keystr(path)
        wanted = jax.ShapeDtypeStruct(np.shape(leaf), jax.dtypes.canonicalize_dtype(np.asarray(leaf).dtype))
        if ours.dtype == jax.dtypes.float0:
            yield place, f"the cotangent is declared float0, but the argument is {wanted.dtype}"
        elif ours.shape != wanted.shape:
            yield place, f"the cotangent has shape {ours.shape}, the argument {wanted.shape}"
        elif ours.dtype != wanted.dtype:
            yield place, f"the cotangent is {ours.dtype}, the argument {wanted.dtype}"


def _type(x) -> str:
    return f"{x.dtype}{list(x.shape)}"
