"""Other sizes and ranks, made from one example of arguments.

Axes of equal size are taken to be the same axis of the problem (the features of `x` and of `w`) and change together.
Numbers are drawn anew between those given, so that they stay in any interval, and masks stay masks, those of floats
too; whole numbers that index an axis stay inside it, lengths become lengths, offsets end where the axis does, and what is
sorted stays sorted.
"""

from collections.abc import Container, Iterator
from typing import Any

import jax
import numpy as np

from backproplab.case import Case, static_argnums
from backproplab.harness.view import is_inexact

_ODD = (3, 5, 7, 11, 13)
_BLOCK_AND_ONE = 17  # one more than a multiple of 8 and 16: kernels that work in blocks have a remainder


def resized(case: Case, args: tuple, seed: int) -> Iterator[tuple[str, tuple]]:
    """`(words, args)` for each other set of shapes; none where the case says that its arguments must not be moved."""
    static = static_argnums(case.fn)
    sizes = axis_sizes(args, static)
    if not sizes or "fixed" in case.domain.values():
        return
    odd = dict(zip(sizes, (n for n in _ODD if n not in sizes)))
    other = next(n for n in _ODD if n not in sizes)
    plans = {
        "with odd sizes": odd,
        f"with {sizes[-1]} made {_BLOCK_AND_ONE}": {sizes[-1]: _BLOCK_AND_ONE},
        "with every size 1": dict.fromkeys(sizes, 1),
    }
    if any(1 in x.shape for x in _arrays(args, static)):
        plans[f"with every size of 1 made {other}"] = {1: other}
    for words, change in plans.items():
        yield words, with_sizes(args, static, change, seed)
    first = next((i for i, arg in enumerate(args) if i not in static and is_inexact(arg)), None)
    if first is not None:
        # axes of size 1 fit anything: a rule that takes no further axis would not notice
        args = with_sizes(args, static, {1: other}, seed)
        batch = np.stack([args[first], np.asarray(args[first])[..., ::-1] if np.ndim(args[first]) else args[first]])
        yield "with a leading batch axis of 2", (*args[:first], batch, *args[first + 1 :])


def axis_sizes(args: tuple, static: tuple[int, ...]) -> list[int]:
    """The different sizes above 1 of the arguments' axes, in order."""
    return sorted({size for x in _arrays(args, static) for size in x.shape if size > 1})


def _arrays(args: tuple, static: tuple[int, ...]) -> list:
    """The leaves that have axes."""
    return [x for i, arg in enumerate(args) if i not in static for x in jax.tree.leaves(arg) if _is_array(x)]


def with_sizes(args: tuple, static: tuple[int, ...], change: dict[int, int], seed: int) -> tuple:
    """The arguments with every axis of size n made `change[n]`, if it is there; the static ones as they are."""
    resize = lambda x: _resize(x, change, seed) if _is_array(x) else x
    return tuple(arg if i in static else jax.tree.map(resize, arg) for i, arg in enumerate(args))


def _resize(x: Any, change: dict[int, int], seed: int) -> np.ndarray:
    shape = tuple(change[size] if size in change else int(size) for size in x.shape)
    ends = is_offsets(x, change)
    if not x.size or (shape == x.shape and not ends):
        return x
    generator = np.random.default_rng([seed, *shape])
    flat = x.reshape(-1)
    one = generator.choice(flat, shape)
    if x.dtype.kind in "iu":
        for size, new in change.items():  # between the values given, but inside an axis that they can index or measure
            one = _inside(one, flat, size, new)
    elif x.dtype.kind != "b" and not np.isin(flat, (0, 1)).all():  # which are a mask
        share, other = generator.random(shape), generator.choice(flat, shape)
        with np.errstate(invalid="ignore"):
            one = np.where(np.isfinite(one) & np.isfinite(other), share * one + (1 - share) * other, one)
    if x.ndim == 1 and x.dtype.kind != "b" and np.all(x[:-1] <= x[1:]) and x[0] < x[-1]:
        one = np.sort(one)
    if ends:
        one[0], one[-1] = 0, change[int(x[-1])]
    return one.astype(x.dtype)


def is_offsets(x: Any, sizes: Container[int]) -> bool:
    """Whether these are the places at which the parts of an axis begin, 0 first, and its size at the end."""
    x = np.asarray(x)
    if x.dtype.kind not in "iu" or x.ndim != 1 or x.size < 2 or x[0] != 0 or int(x[-1]) not in sizes:
        return False
    return bool(np.all(x[:-1] <= x[1:]))


def _inside(chosen: np.ndarray, given: np.ndarray, size: int, new: int) -> np.ndarray:
    """Whole numbers for an axis whose `size` is `new` now: places in it or, if one was its end, lengths."""
    if given.max() < size:
        return np.where(chosen >= new, chosen % new, chosen)
    least = min(1, given.min())  # of lengths that are all positive none is 0
    return least + (chosen - least) % (new + 1 - least) if given.max() == size else chosen


def _is_array(x: Any) -> bool:
    return hasattr(x, "dtype") and not jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended) and np.ndim(x) > 0
