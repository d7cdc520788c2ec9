"""From a point at which a gradient is wrong to a small one, as a call that can be pasted."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from backproplab.case import static_argnums
from backproplab.harness.endless import ends
from backproplab.harness.point import Point, point
from backproplab.harness.shapes import axis_sizes, with_sizes

_SECONDS = 1.0
_NUMBERS = 40  # a call with more is nothing to paste


def reproducer(p: Point, label: str, seed: int) -> str | None:
    """`verify(layer, np.array(...), ...)` at the smallest arguments found at which the gradient of `label` is still wrong.

    Smaller axes first, then zeros, then short numbers, as long as time allows. None if it stays too large to read.
    """
    deadline = time.monotonic() + _SECONDS
    for smaller in _smaller_shapes(p, seed):
        if _still_wrong(smaller, label, seed):
            p = smaller
            break
    if sum(np.size(x) for x in (*p.view.diff, *p.view.rest)) > _NUMBERS:
        return None
    for leaf in range(len(p.view.diff)):
        for simplify in _simplifications(np.size(p.view.diff[leaf])):
            at = _with(p, leaf, simplify(np.array(p.view.diff[leaf])))
            if time.monotonic() < deadline and _still_wrong(at, label, seed):
                p = at
                if simplify in _SIMPLEST:
                    break
    args = p.view.rebuild(p.view.diff, p.view.rest)
    name = getattr(p.case.fn, "__name__", "")
    name = name if name.isidentifier() else "f"
    return f"verify({', '.join([name, *map(_text, args)])}, seed={seed})"


def _smaller_shapes(p: Point, seed: int) -> Iterator[Point]:
    given, static = p.view.rebuild(p.view.diff, p.view.rest), static_argnums(p.case.fn)
    for size in (1, 2, 3):
        args = with_sizes(given, static, {n: min(n, size) for n in axis_sizes(given, static)}, seed)
        try:
            yield point(replace(p.case, args=args), seed, p.dtype, p.device, p.matmul)
        except Exception:  # sizes that the function or its rule does not take
            continue


_SIMPLEST = (np.zeros_like, np.ones_like)


def _simplifications(size: int) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
    """All zero, all one, one entry zero after the other, whole numbers, one digit after the point."""
    yield from _SIMPLEST
    for i in range(size):
        yield lambda x, i=i: np.where(np.arange(size).reshape(x.shape) == i, 0, x)
    yield np.round
    yield lambda x: np.round(x, 1)


def _with(p: Point, leaf: int, x: np.ndarray) -> Point:
    diff = [*p.view.diff[:leaf], np.asarray(x, p.view.diff[leaf].dtype), *p.view.diff[leaf + 1 :]]
    return p.moved(diff)


def _still_wrong(p: Point, label: str, seed: int) -> bool:
    """By the formula alone, where the function is defined."""
    if not ends(p, seed):
        return False
    try:
        found = p.formulas(p.cotangents("random", seed))
    except Exception:
        return False
    count = len(p.outputs)
    d = found[count + p.view.labels.index(label)]
    return all(np.isfinite(v.exact).all() for v in found[:count]) and d.any_wrong and d.scale > 0


def _text(arg: Any) -> str:
    """The argument as Python."""
    if isinstance(arg, dict):
        return "{" + ", ".join(f"{key!r}: {_text(value)}" for key, value in arg.items()) + "}"
    if type(arg) in (list, tuple):
        inner = ", ".join(map(_text, arg)) + "," * (type(arg) is tuple and len(arg) == 1)
        return f"[{inner}]" if isinstance(arg, list) else f"({inner})"
    if not hasattr(arg, "dtype"):
        return repr(arg)
    if jax.dtypes.issubdtype(arg.dtype, jax.dtypes.prng_key):
        return f"jax.random.wrap_key_data(np.array({np.asarray(jax.random.key_data(arg)).tolist()}, np.uint32))"
    kind = "" if arg.dtype in (np.float64, np.bool_) else f", np.{arg.dtype}"
    numbers = str(np.asarray(arg).tolist()).replace("nan", "np.nan").replace("inf", "np.inf")
    return f"np.array({numbers}{kind})"
