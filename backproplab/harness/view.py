"""A case's function as the oracles want it: a function of the arrays that are differentiated and of those that are not."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, is_setting, parameter_names, static_argnums


class NothingToDifferentiate(ValueError):
    """The arguments hold no floating leaf."""


@dataclass(frozen=True)
class View:
    """`call(diff, rest)` runs the function and returns its floating outputs; `labels` names each entry of
    `diff`, `positions` says which argument it belongs to; `rest_labels` and `rest_positions` do so for `rest`."""

    diff: list[Any]
    rest: list[Any]
    labels: tuple[str, ...]
    positions: tuple[int, ...]
    rest_labels: tuple[str, ...]
    rest_positions: tuple[int, ...]
    rebuild: Callable[[list, list], tuple]
    signature: Any

    def call(self, fn: Callable) -> Callable[[list, list], list]:
        """`fn`, which takes the case's arguments, as a function `(diff, rest) -> floating output leaves`."""

        def run(diff, rest):
            leaves = jax.tree.leaves(fn(*self.rebuild(diff, rest)))
            return [leaf for leaf in leaves if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]

        return run


def is_inexact(leaf: Any) -> bool:
    """Whether a leaf is a floating or complex number or array."""
    if isinstance(leaf, (bool, int, str, bytes)) or leaf is None:
        return False
    dtype = getattr(leaf, "dtype", np.dtype(float) if isinstance(leaf, (float, complex)) else None)
    return dtype is not None and jax.dtypes.issubdtype(dtype, jnp.inexact)


def view(case: Case, args: tuple) -> View:
    """Splits the arguments. Raises NothingToDifferentiate."""
    static = static_argnums(case.fn)
    names = _names(_Itself(case.fn), len(args))
    argnums = tuple(range(len(args))) if case.argnums is None else case.argnums
    fixed = {i: arg for i, arg in enumerate(args) if i in static or _is_python(arg)}
    paths, tree = jax.tree_util.tree_flatten_with_path({i: arg for i, arg in enumerate(args) if i not in fixed})
    position = [path[0].key for path, _ in paths]
    chosen = [i in argnums and is_inexact(leaf) for i, (_, leaf) in zip(position, paths)]
    if not any(chosen):
        raise NothingToDifferentiate(
            f"no floating array among the arguments {', '.join(names)}: nothing to differentiate"
        )

    def rebuild(diff, rest):
        diff, rest = iter(diff), iter(rest)
        dynamic = jax.tree.unflatten(tree, [next(diff) if pick else next(rest) for pick in chosen])
        return tuple(fixed[i] if i in fixed else dynamic[i] for i in range(len(args)))

    diff = [leaf for pick, (_, leaf) in zip(chosen, paths) if pick]
    rest = [leaf for pick, (_, leaf) in zip(chosen, paths) if not pick]
    labelled = [
        (pick, names[i] + jax.tree_util.keystr(path[1:])) for i, pick, (path, _) in zip(position, chosen, paths)
    ]
    labels, rest_labels = (tuple(label for pick, label in labelled if pick is which) for which in (True, False))
    shapes = tuple((np.shape(leaf), str(getattr(leaf, "dtype", type(leaf)))) for _, leaf in paths)
    functions = _Itself(case.fn), _Itself(case.reference)
    signature = (*functions, repr(sorted(fixed.items())), tree, tuple(chosen), shapes)
    positions, rest_positions = (
        tuple(i for i, pick in zip(position, chosen) if pick is which) for which in (True, False)
    )
    return View(diff, rest, labels, positions, rest_labels, rest_positions, rebuild, signature)


class _Itself:
    """A function as part of a key: the very same one, whatever it holds; a callable object with arrays cannot be hashed."""

    def __init__(self, fn: Any):
        self.fn = fn

    def __hash__(self) -> int:
        return id(self.fn)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.fn is other.fn


@functools.lru_cache(maxsize=64)  # asked for at every point
def _names(function: _Itself, count: int) -> tuple[str, ...]:
    return parameter_names(function.fn, count)


def _is_python(arg: Any) -> bool:
    """Values that JAX could not take as arguments, None, and settings: handed over as they are."""
    if arg is None or isinstance(arg, (str, bytes)) or is_setting(arg):
        return True
    return callable(arg) and not hasattr(arg, "dtype") and jax.tree_util.all_leaves([arg])
