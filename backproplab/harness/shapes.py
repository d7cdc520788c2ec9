"""Other sizes and ranks, made from one example of arguments.

Axes of equal size are taken to be the same axis of the problem (the features of `x` and of `w`) and change together.
Numbers are drawn anew between those given, so that they stay in any interval, and masks stay masks, those of floats
too; whole numbers that index an axis stay inside it, lengths become lengths, offsets end where the axis does, and what is
sorted stays sorted.
"""

from collections.abc import Container, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from backproplab.case import Case, static_argnums
from backproplab.harness.view import is_inexact

_ODD = (3, 5, 7, 11, 13)
_ANYWHERE: Mapping[int, Any] = {}
_BLOCK_AND_ONE = 17  # one more than a multiple of 8 and 16: kernels that work in blocks have a remainder


def resized(case: Case, args: tuple, seed: int) -> Iterator[tuple[str, tuple]]:
    """`(words, args)` for each other set of shapes; arguments of which the case says that they must not be moved keep theirs."""
    static, domains = static_argnums(case.fn), case.domain
    kept = [x for i, arg in enumerate(args) if domains.get(i) == "fixed" for x in jax.tree.leaves(arg)]
    fixed = {n for x in kept for n in np.shape(x)}
    most = [np.max(x) for x in kept if _is_whole(x)]
    sizes = [n for n in axis_sizes(args, static) if n not in fixed]
    other = next(n for n in _ODD if n not in sizes)
    plans: dict[str, dict[int, int]] = {}
    if sizes:
        plans["with odd sizes"] = dict(zip(sizes, (n for n in _ODD if n not in sizes)))
        plans[f"with {sizes[-1]} made {_BLOCK_AND_ONE}"] = {sizes[-1]: _BLOCK_AND_ONE}
        plans["with every size 1"] = dict.fromkeys(sizes, 1)
    alone = 1 not in fixed and any(1 in x.shape for x in _arrays(args, static))
    if alone:
        plans[f"with every size of 1 made {other}"] = {1: other}
    for words, change in plans.items():
        # whole numbers that are to stay may be places on an axis, or its length
        change = {n: new for n, new in change.items() if not any(new <= m < n or m == n for m in most)}
        if change:
            yield words, with_sizes(args, static, change, seed, domains)
    movable = (i for i, arg in enumerate(args) if i not in static and is_inexact(arg) and domains.get(i) != "fixed")
    first = next(movable, None)
    if first is not None and plans:
        # axes of size 1 fit anything: a rule that takes no further axis would not notice
        args = with_sizes(args, static, {1: other} if alone else {}, seed, domains)
        batch = np.stack([args[first], np.asarray(args[first])[..., ::-1] if np.ndim(args[first]) else args[first]])
        yield "with a leading batch axis of 2", (*args[:first], batch, *args[first + 1 :])


def axis_sizes(args: tuple, static: tuple[int, ...]) -> list[int]:
    """The different sizes above 1 of the arguments' axes, in order."""
    return sorted({size for x in _arrays(args, static) for size in x.shape if size > 1})


def _arrays(args: tuple, static: tuple[int, ...]) -> list:
    """The leaves that have axes."""
    return [x for i, arg in enumerate(args) if i not in static for x in jax.tree.leaves(arg) if _is_array(x)]


def with_sizes(
    args: tuple, static: tuple[int, ...], change: dict[int, int], seed: int, domains: Mapping[int, Any] = _ANYWHERE
) -> tuple:
    """The arguments with every axis of size n made `change[n]`, if it is there; the static ones as they are."""
    resize = lambda x, domain: _resize(x, change, domain, seed) if _is_array(x) or _is_length(x) else x
    return tuple(
        arg if i in static else jax.tree.map(lambda x, i=i: resize(x, domains.get(i)), arg)
        for i, arg in enumerate(args)
    )


def _resize(x: Any, change: dict[int, int], domain: Any, seed: int) -> np.ndarray:
    if not x.ndim:
        return np.asarray(min([int(x), *[new for size, new in change.items() if size >= x]]), x.dtype)
    shape = tuple(change[size] if size in change else int(size) for size in x.shape)
    ends = is_offsets(x, change)
    whole = x.dtype.kind in "iu"
    if not x.size or (shape == x.shape and not ends and not whole):
        return x
    generator = np.random.default_rng([seed, *shape])
    flat = x.reshape(-1)
    one = generator.choice(flat, shape) if shape != x.shape else x
    if whole:
        if np.all(flat == flat[0]) and shape != x.shape:
            one = from_zero(one, shape, change, seed)
        for size, new in change.items():  # between the values given, but inside an axis that they can index or measure
            one = _inside(one, flat, size, new)
    elif x.dtype.kind != "b" and not np.isin(flat, (0, 1)).all():  # which are a mask
        share, other = generator.random(shape), generator.choice(flat, shape)
        with np.errstate(invalid="ignore"):
            one = np.where(np.isfinite(one) & np.isfinite(other), share * one + (1 - share) * other, one)
        if np.all(flat == flat[0]):
            one = _apart(one, domain, share)
    if x.ndim == 1 and x.dtype.kind != "b" and np.all(x[:-1] <= x[1:]):
        one = np.sort(one)
    if ends:
        one[0], one[-1] = 0, change[int(x[-1])]
    return one.astype(x.dtype)


def _apart(equal: np.ndarray, domain: Any, share: np.ndarray) -> np.ndarray:
    """Numbers that were all equal no longer are, where the domain allows it: down to a half of what they were."""
    apart = equal * (1 - share / 2)
    legal = domain is None or np.all((domain[0] < apart) & (apart < domain[1]))
    return apart if legal else equal


def from_zero(given: np.ndarray, shape: tuple[int, ...], sizes: Container[int], seed: int) -> np.ndarray:
    """Whole numbers up to the largest of those given, which are as many: places from 0 on, or lengths, of which none is 0.

    Those given themselves if there is no other choice, or if some of them are 0 and others not.
    """
    least, most = np.min(given), np.max(given)
    if not shape or most <= 0 or (least < most and least < 1):
        return given
    drawn = np.random.default_rng([seed, *shape]).integers(int(most in sizes), most + 1, shape)
    return drawn.astype(given.dtype)


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


def _is_whole(x: Any) -> bool:
    """Whether these are whole numbers, one at least."""
    return hasattr(x, "dtype") and jax.dtypes.issubdtype(x.dtype, np.integer) and bool(np.size(x))


def _is_length(x: Any) -> bool:
    """Whether this is one whole number, which may measure an axis. A place on it may come to lie beyond its end: see `astray`."""
    return _is_whole(x) and not np.ndim(x)


def _is_array(x: Any) -> bool:
    return hasattr(x, "dtype") and not jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended) and np.ndim(x) > 0
