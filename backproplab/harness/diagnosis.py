"""From a wrong gradient to its cause, in words.

The whole wrong array is compared with the whole right one. Each hypothesis transforms the right gradient as a known
mistake would; the first that reproduces the wrong one names the cause. What fits none is located instead.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from backproplab.harness.compare import SAME, same
from backproplab.harness.factors import factors, terms

_NUMBER = 1e-7
_NEARLY = 5e-7  # 1, in seven digits
_NOT_BY_CHANCE = 200  # ways to choose so many entries
_NOT_MASKED = ", where the right one is zero: a mask, a clip or a comparison is left out"


def diagnose(
    label: str,
    got: np.ndarray,
    right: np.ndarray,
    wrong: np.ndarray,
    sizes: Mapping[float, str],
    others: Mapping[str, np.ndarray],
    suspects: Iterable[tuple[str, np.ndarray]],
    arrays: Mapping[str, np.ndarray],
    otherwise: Callable[[], str | None] = lambda: None,
    unread: Iterable[tuple[str, np.ndarray]] = (),
    last: Iterable[tuple[str, np.ndarray]] = (),
) -> str:
    """One sentence on why `got` differs from `right` at the entries where `wrong`.

    label: the argument's name. sizes: numbers in play (sizes of axes, counts of a mask) and what they are.
    others: the right gradients of the other arguments. suspects: sentences, each with the gradient of which it is true.
    arrays: by name, what a factor or a term may have been. otherwise: a sentence that was found to be true by other means.
    unread: more suspects, of arguments that are not read; a mask that is a factor is better called that. last: those that
    are told if nothing else is known.
    """
    with np.errstate(all="ignore"):  # an array in play may hold infinities
        sentence = next(_hypotheses(got, right, wrong, sizes, others, suspects, arrays, otherwise, unread, last), None)
        sentence = sentence or f"is wrong in {int(wrong.sum())} of {wrong.size} entries{_spread(got, right, wrong)}"
    return f"the gradient of {label} {sentence}; {worst_entry(got, right, wrong)}"


def _hypotheses(got, right, wrong, sizes, others, suspects, arrays, otherwise, unread, last):
    finite = np.isfinite(got)
    if not finite.all():
        kind = "nan" if np.isnan(got).any() else "infinite"
        against = " where the right one is finite" if np.isfinite(right[~finite]).any() else ""
        region = _region(~finite, arrays)
        where = f", {region}" if region else place(~finite & np.isfinite(right))
        yield f"is {kind} in {int((~finite).sum())} of {got.size} entries{against}{where}"
        return
    if not np.isfinite(right).all():
        return
    if not got.any():
        yield "is zero everywhere (None, dropped or stopped)"
        return
    factor = _factor(got, right)
    if factor is not None:
        if abs(factor + 1) < _NUMBER:
            yield "has the wrong sign"
            return
        named = in_numbers(factor, sizes)
        alone = {name: a for name, a in arrays.items() if np.size(a) == 1}
        if not named:
            yield from factors(got, right, alone)
            yield from terms(got, right, alone)
            yield from _of_suspects(got, right, itertools.chain(unread, last))
        elif " over " in named and (other := next(factors(got, right, alone), None)):
            named += f", or it {other}"  # two sizes may have any ratio
        if not named and got.size == 1:  # any number is so many times another
            yield from _of_suspects(got, right, suspects)
            if sentence := otherwise():
                yield sentence
        yield f"is {_in_digits(factor)} times the right one{named}"
        return
    near = same(got, right)  # then so is much else
    if not near and same(got, np.conj(right)):
        yield "is the complex conjugate of the right one"
        return
    yield from _rearranged(got, right, others)
    yield from _of_suspects(got, right, suspects)
    yield from _evened(got, right)
    yield from factors(got, right, arrays)
    yield from _of_suspects(got, right, unread)
    if sentence := otherwise():
        yield sentence
        return
    yield from _of_suspects(got, right, last)
    yield from terms(got, right, arrays)
    yield from _scaled_slices(got, right, sizes)
    if not near and same(np.sort(got, None), np.sort(right, None), _NUMBER):
        yield "holds the numbers of the right one at other places: an index, an axis or an order is wrong"
        return
    if region := _region(wrong, arrays):
        yield f"is wrong in {int(wrong.sum())} of {wrong.size} entries, {region}{_local_factor(got, right, wrong, sizes)}"
    if wrong.mean() > 0.5 and not (near or np.iscomplexobj(right)) and same(np.abs(got), np.abs(right), _NUMBER):
        yield f"has the wrong sign in {int(wrong.sum())} of {wrong.size} entries{place(wrong)}"
        return
    factor = "" if wrong.all() else _local_factor(got, right, wrong, sizes)
    if wrong.mean() <= 0.5 or factor:
        yield f"is wrong in {int(wrong.sum())} of {wrong.size} entries only{place(wrong)}{factor}"
        return
    yield from _missing_term(got, right)


def _of_suspects(got, right, suspects):
    near = same(got, right)
    for sentence, gradient in suspects:
        if same(got, gradient) and not (near and same(gradient, right)):
            yield sentence
            return


def _rearranged(got, right, others):
    for axes in itertools.permutations(range(right.ndim)):
        if axes != tuple(range(right.ndim)) and np.transpose(right, axes).shape == got.shape:
            if same(got, np.transpose(right, axes)):
                yield "is the transpose of the right one"
                return
            if same(got, -np.transpose(right, axes)):
                yield "is minus the transpose of the right one"
                return
    for sentence, folded in _folded(right):
        if same(got, folded) and not same(folded, right):
            yield sentence
            return
    for other, gradient in others.items():
        if gradient.shape == got.shape and same(got, gradient):
            yield f"is the right gradient of {other}: two cotangents are swapped"
            return
    for axis in range(right.ndim):
        for shift in (1, -1):
            if right.shape[axis] > 1 and same(got, np.roll(right, shift, axis)):
                yield f"is the right one shifted by one along axis {axis}"
                return
        if right.shape[axis] > 1 and same(got, np.flip(right, axis)):
            yield f"is the right one in reverse order along axis {axis}"
            return
    yield from _displaced(got, right)


def _displaced(got, right):
    """The right numbers one place off along an axis, or along two, but for the edge, where some are lost: a window, a crop."""
    long = [a for a in range(right.ndim) if right.shape[a] > 2]
    for axes in [*((a,) for a in long), *itertools.pairwise(long)]:
        for shifts in itertools.product((1, -1), repeat=len(axes)):
            here, there = [slice(None)] * right.ndim, [slice(None)] * right.ndim
            for axis, shift in zip(axes, shifts):
                here[axis], there[axis] = (slice(1, None), slice(-1)) if shift > 0 else (slice(-1), slice(1, None))
            inside = right[tuple(there)]
            if same(got[tuple(here)], inside) and not same(right[tuple(here)], inside):
                along = " and ".join(f"{shift:+d} along axis {axis}" for axis, shift in zip(axes, shifts))
                yield f"is the right one displaced by {along}, but for the edge"
                return


def _evened(got, right):
    """One number for each slice, spread over it, where the right one says who gets how much."""
    for axis in range(right.ndim):
        if right.shape[axis] > 1:
            for words, share in (("the mean", right.mean), ("the sum", right.sum)):
                if same(got, np.broadcast_to(share(axis, keepdims=True), right.shape)):
                    yield f"is {words} of the right one along axis {axis}, at every entry"
                    return


def _folded(right):
    """Of a matrix: what it becomes where it is taken for a triangle, or for symmetric."""
    if right.ndim < 2 or right.shape[-1] != right.shape[-2] or right.shape[-1] == 1:
        return
    turned = np.swapaxes(right, -1, -2)
    diagonal = right * np.eye(right.shape[-1])
    for name, triangle in (("lower", np.tril), ("upper", np.triu)):
        yield f"is the {name} triangle of the right one, the rest zero", triangle(right)
        yield (
            f"is the right one folded onto its {name} triangle, as of a symmetric matrix",
            triangle(right + turned - diagonal),
        )
    yield "is the right one and its transpose, added: the argument is taken for symmetric", right + turned
    yield (
        "is the right one and its transpose, added, the diagonal counted once: the argument is taken for symmetric",
        right + turned - diagonal,
    )
    yield "is the mean of the right one and its transpose: the argument is taken for symmetric", (right + turned) / 2


def _scaled_slices(got, right, sizes):
    """A factor that varies along one axis only: a per-row cotangent, a scale, a length that was left out."""
    for axis in range(right.ndim):
        if right.ndim < 2 or right.shape[axis] < 2:
            continue
        rest = tuple(a for a in range(right.ndim) if a != axis)
        norm = np.sum(right * right, rest, keepdims=True)
        factors = np.sum(got * right, rest, keepdims=True) / np.where(norm == 0, 1.0, norm)
        if np.ptp(factors) > _NUMBER and same(got, factors * right):
            off = np.flatnonzero(np.abs(factors.ravel() - 1) > _NUMBER)
            if off.size < right.shape[axis]:
                few = ", ".join(str(i) for i in off[:4]) + (", ..." if off.size > 4 else "")
                common = factors.ravel()[off]
                by = (
                    f"by a factor {common[0]:.6g}{in_numbers(common[0], sizes)}"
                    if np.ptp(common) < _NUMBER
                    else "by factors of its own each"
                )
                sign = "with the wrong sign" if np.allclose(common, -1, atol=_NUMBER) else f"scaled {by}"
                sign = "zero" if np.allclose(common, 0, atol=_NUMBER) else sign
                yield f"is {sign} at index {few} of axis {axis}"
            elif not _slices_alike(right, axis):
                yield f"has each slice along axis {axis} scaled by a factor of its own: a per-row factor or cotangent is missing, or another one stands there"
            return


def _slices_alike(right, axis) -> bool:
    """Whether all slices are multiples of one, as an outer product's are: then any other outer product is scaled slices too."""
    slices = np.moveaxis(right, axis, 0).reshape(right.shape[axis], -1)
    return slices.shape[1] == 1 or np.linalg.matrix_rank(slices) <= 1


def _missing_term(got, right):
    difference = got - right
    for axis in range(right.ndim):
        if right.shape[axis] > 1 and same(
            difference, np.broadcast_to(difference.mean(axis, keepdims=True), difference.shape)
        ):
            yield f"is off by a term constant along axis {axis}: a mean or sum over that axis is missing or extra"
            return


def _factor(got, right) -> float | None:
    norm = float(np.real(np.vdot(right, right)))
    if norm == 0:
        return None
    factor = float(np.real(np.vdot(right, got))) / norm
    return factor if abs(factor - 1) > 1e-12 and same(got, factor * right, max(SAME * abs(factor - 1), 1e-12)) else None


def in_numbers(factor: float, sizes: Mapping[float, str]) -> str:
    """A factor in terms of the numbers in play."""
    near = lambda value: abs(factor - value) <= _NUMBER * abs(value)
    for size, what in sizes.items():
        if near(1 / size):
            return f" = 1/{size:g} ({what}): a mean where the sum is right"
        if near(size):
            return f" = {size:g} ({what}): a sum where the mean is right"
    for value, what in ((2.0, "2"), (0.5, "1/2"), (4.0, "4"), (0.25, "1/4")):
        if near(value):
            return f" = {what}{_root(', or', near, factor, sizes)}"
    if root := _root(" =", near, factor, sizes):
        return root
    for (size, what), (other, of) in itertools.permutations(sizes.items(), 2):
        if near(size / other):
            return f" = {size:g}/{other:g} ({what} over {of})"
        if near(1 / (size * other)):
            return f" = 1/({size:g} x {other:g}) ({what}; {of})"
    return ""


def _root(sign: str, near: Callable[[float], bool], factor: float, sizes: Mapping[float, str]) -> str:
    """As in a scale of dot products."""
    roots = (
        f"{sign} {'1/' if factor < 1 else ''}sqrt({size:g}) ({what})"
        for size, what in sizes.items()
        if near(size**0.5) or near(size**-0.5)
    )
    return next(roots, "")


def _local_factor(got, right, wrong, sizes) -> str:
    if not got[wrong].any():
        return ", where it is zero"
    if right.any() and not right[wrong].any():
        return _NOT_MASKED
    factor = _factor(got[wrong], right[wrong])
    if factor is None:
        return ""
    return (
        ", where its sign is wrong"
        if abs(factor + 1) < _NUMBER
        else f", where it is {factor:.6g} times the right one{in_numbers(factor, sizes)}"
    )


def _region(wrong: np.ndarray, arrays: Mapping[str, np.ndarray]) -> str | None:
    """On which side of a number an argument lies where the gradient is wrong, and on which where it is right."""
    if not wrong.any() or math.comb(wrong.size, int(wrong.sum())) < _NOT_BY_CHANCE:
        return None
    for name, array in arrays.items():
        if array.shape != wrong.shape or not np.isfinite(array).all():
            continue
        for words, x in ((name, array), (f"|{name}|", np.abs(array))):
            if x[wrong].min() > x[~wrong].max():
                return f"those where {words} is {x[wrong].min():.4g} or more (right up to {x[~wrong].max():.4g})"
            if x[wrong].max() < x[~wrong].min():
                return f"those where {words} is {x[wrong].max():.4g} or less (right from {x[~wrong].min():.4g} on)"
    return None


def place(wrong: np.ndarray) -> str:
    """The wrong entries as a product of index sets, if they are few along some axis."""
    words = []
    for axis in range(wrong.ndim):
        index = np.flatnonzero(wrong.any(tuple(a for a in range(wrong.ndim) if a != axis)))
        if 0 < len(index) < wrong.shape[axis]:
            few = ", ".join(str(i) for i in index[:6]) + (", ..." if len(index) > 6 else "")
            last = " (the last)" if list(index) == [wrong.shape[axis] - 1] else ""
            words.append(f"index {few}{last} of axis {axis}")
    return ", at " + " and ".join(words) if words else ""


def _spread(got, right, wrong) -> str:
    """What can be said of a difference without structure."""
    if right.any() and not right[wrong].any():
        return _NOT_MASKED
    relative = np.abs(got - right)[wrong] / np.abs(right[wrong])
    median = float(np.median(relative))
    if median < 1e-4:
        return f", by about {median:.1g} of their size: a constant such as an epsilon differs"
    if median < 2.0**-6:
        return f", by about {median:.1g} of their size: a small term left out, too few digits, or too few steps of an iteration"
    return ""


def worst_entry(got: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> str:
    """The entry that is off by most of those where `wrong`, both values."""
    with np.errstate(all="ignore"):
        error = np.where(wrong, np.nan_to_num(np.abs(got - right), nan=np.inf, posinf=np.inf), -1.0)
    if not error.size:
        return ""
    index = tuple(int(i) for i in np.unravel_index(np.argmax(error), error.shape))
    return f"worst at {list(index)}: {got[index]:.6g}, right is {right[index]:.6g}"


def numbers_in_play(
    arrays: Iterable[tuple[str, np.ndarray]], shapes: Iterable[tuple[str, np.ndarray]] = ()
) -> dict[float, str]:
    """Numbers that a gradient may have been divided by, with what they are.

    Sizes above 1 of the named arrays' axes, counts of what is true, 1 or not negative, and sums; of `shapes` sizes alone.
    """
    found: dict[float, str] = {}
    for name, array in arrays:
        values = np.asarray(array)
        _sizes(name, values, found)
        several = values.ndim and values.size > 1
        if several and values.dtype.kind in "bf" and np.isin(values, (0, 1)).all() and values.sum() > 1:
            found.setdefault(float(values.sum()), f"the number of ones in {name}")
        elif several and values.dtype.kind == "i" and 0 < (values >= 0).sum() < values.size:
            found.setdefault(float((values >= 0).sum()), f"how many of {name} are not negative")
        elif several and values.dtype.kind == "f" and np.isfinite(values).all() and values.sum() > _NUMBER:
            found.setdefault(float(values.sum()), f"the sum of {name}")
    for name, array in shapes:
        _sizes(name, np.asarray(array), found)
    return found


def _sizes(name: str, array: np.ndarray, found: dict[float, str]) -> None:
    for axis, size in enumerate(array.shape):
        if size > 1:
            found.setdefault(float(size), f"the size of axis {axis} of {name}")
    if array.size > 1:
        found.setdefault(float(array.size), f"the size of {name}")


def _in_digits(factor: float) -> str:
    """As many as tell it from 1."""
    off = abs(factor - 1)
    return f"{factor:.7g}" if off >= _NEARLY else f"(1 {'-' if factor < 1 else '+'} {off:.2g})"
