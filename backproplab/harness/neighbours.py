"""Other points of the same shapes, made from one: scaled, signed, zeroed, tied, at the edges of their domain and dtype.

Where real gradient bugs live is seldom where random numbers fall: a branch that no normal number reaches, a tie, an
exact zero, a saturated tail, a mask that hides everything. Each neighbour has its name in words.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from backproplab.harness.compare import in_double, largest
from backproplab.harness.point import Point
from backproplab.harness.primitives import NEVER_ENDS
from backproplab.harness.room import room
from backproplab.harness.shapes import from_zero, is_offsets
from backproplab.harness.strip import holds
from backproplab.harness.thresholds import thresholds, whole_thresholds
from backproplab.harness.view import view

_FAR = "times 1000"
_SPREAD = "over many sizes"
_JITTER = 0.1
_UNITS = (1e-3, 10.0)
_EXACT = ("zero", "unit matrices")
_MEETINGS = 6
_COUNTS, _A_BYTE = 4, 256  # times a count; what a byte does not hold
_ALONE = 4  # arguments that are also moved one by one; times 1000 all are


class Neighbour(NamedTuple):
    """What `View` holds of the arguments at the other point, and how it was made.

    exact: whether exact zeros were put in, or what makes some: numbers that meet, a unit matrix. far: whether an entry is a
    thousand times as large, or infinite; together: whether several arguments are so at once.
    """

    words: str
    diff: list
    rest: list
    exact: bool = False
    far: bool = False
    together: bool = False


def neighbours(p: Point, seed: int) -> Iterator[Neighbour]:
    """Every neighbour of the point `p` that its case's domain allows and that differs from it."""
    diff, rest = p.view.diff, p.view.rest
    domains = [p.case.domain.get(position) for position in p.view.positions]
    names = p.view.labels
    near = _near_thresholds(thresholds(p.pair.jaxprs), seed)
    for words, move in itertools.chain(_moves(seed), near, _equal_arguments(diff)):
        moved = [_within(x, move(i, x), domain) for i, (x, domain) in enumerate(zip(diff, domains))]
        if any(m is not x for m, x in zip(moved, diff)):
            far = _FAR in words
            exact = any(word in words for word in _EXACT)
            yield Neighbour(f"with {_listed(names)} {words}", moved, rest, exact, far, far and len(diff) > 1)
    yield from _meeting(p, domains)
    for factor in _UNITS:
        signals = [
            factor * r if _is_signal(r, p.case.domain.get(i)) else r for r, i in zip(rest, p.view.rest_positions)
        ]
        if any(s is not r for s, r in zip(signals, rest)):
            moved = [_within(x, factor * x, domain) for x, domain in zip(diff, domains)]
            yield Neighbour(f"with {_listed(names)} and what is not differentiated times {factor:g}", moved, signals)
    for words, move in _lonely_moves(seed) if len(diff) > 1 else ():
        for i, (x, domain) in enumerate(zip(diff, domains)):
            if (i < _ALONE or _FAR in words) and (m := _within(x, move(i, x), domain)) is not x:
                yield Neighbour(f"with {names[i]} {words}", [*diff[:i], m, *diff[i + 1 :]], rest, far=_FAR in words)
    for words, i, m in _towards_ends(diff, domains, seed):
        yield Neighbour(f"with {names[i]} {words}", [*diff[:i], m, *diff[i + 1 :]], rest)
        if len(diff) > 1:
            spread = [_within(x, _spread(k, x, seed), domain) for k, (x, domain) in enumerate(zip(diff, domains))]
            others = f"with {names[i]} {words} and the others {_SPREAD}"
            yield Neighbour(others, [*spread[:i], m, *spread[i + 1 :]], rest)
    for words, i, m in () if _never_ends(p) else _infinite(diff, domains, seed):
        yield Neighbour(f"with {words} of {names[i]}", [*diff[:i], m, *diff[i + 1 :]], rest, far=True)
    for words, change in _discrete_moves(_axis_sizes(p), seed):
        changed = [r if _parts(r, p) else change(r) for r in rest]
        if any(c is not r for c, r in zip(changed, rest)):
            yield Neighbour(f"with {words}", diff, changed)
    for k, r in enumerate(rest):
        for words, other in _other_sizes(p, k, seed) if _kind(r) in "iu" and not _parts(r, p) else ():
            yield Neighbour(f"with {p.view.rest_labels[k]} {words}", diff, [*rest[:k], other, *rest[k + 1 :]])
    again = view(p.case, p.case.arguments(seed + 1, p.dtype))
    if again.signature == p.view.signature:
        yield Neighbour("with other random numbers", again.diff, again.rest)


def jittered(p: Point, seed: int) -> list[np.ndarray]:
    """Each entry changed by about a tenth of itself and of the largest; a thousandth of itself where no more is legal."""
    generator = np.random.default_rng([seed, 11])
    domains = [p.case.domain.get(position) for position in p.view.positions]
    return [_jittered(x, domain, generator) for x, domain in zip(p.view.diff, domains)]


def _jittered(x: np.ndarray, domain: Any, generator: np.random.Generator) -> np.ndarray:
    wide = in_double(x)
    draw = lambda: generator.normal(size=wide.shape)
    moved = wide * (1 + _JITTER * draw()) + _JITTER * largest([wide]) * draw()
    if domain == "fixed":
        moved = wide * (1 + 1e-3 * draw())
    elif domain is not None:
        moved = np.where((domain[0] < moved) & (moved < domain[1]), moved, wide)
    return moved.astype(x.dtype)


Move = Callable[[int, np.ndarray], np.ndarray]


def _moves(seed: int) -> Iterator[tuple[str, Move]]:
    """What is done to all floating arguments at once; the number of the argument tells its random numbers apart."""
    random = lambda i, x: np.random.default_rng([seed, i, x.size])
    yield "moved a little", lambda i, x: x * (1 + 0.01 * random(i, x).normal(size=x.shape))
    yield "under random signs", lambda i, x: x * random(i, x).choice([-1.0, 1.0], x.shape)
    yield (
        "turned by random phases",
        lambda i, x: x * np.exp(6j * random(i, x).random(x.shape)) if np.iscomplexobj(x) else x,
    )
    yield "all positive", lambda i, x: np.abs(x)
    yield "all negative", lambda i, x: -np.abs(x)
    for factor in (10.0, 1e3, 1e-3, 1e-6):
        yield f"times {factor:g}", lambda i, x, factor=factor: factor * x
    yield _SPREAD, lambda i, x: _spread(i, x, seed)
    yield "zero in places", lambda i, x: np.where(random(i, x).random(x.shape) < 0.4, 0.0, x)
    yield "zero in some rows", lambda i, x: np.where(_some(x.shape[:-1], seed)[..., None], x, 0.0) if x.ndim > 1 else x
    yield "all zero", lambda i, x: np.zeros_like(x)
    yield "rounded to whole numbers", lambda i, x: np.round(2 * x)
    yield "constant along their last axis", lambda i, x: np.broadcast_to(x[..., :1], x.shape) if x.ndim else x
    yield "unit matrices", lambda i, x: np.broadcast_to(np.eye(x.shape[-1]), x.shape) if _is_square(x) else x
    yield "all equal", lambda i, x: np.full_like(x, x.flat[0]) if x.size else x


def _equal_arguments(diff: Sequence[np.ndarray]) -> Iterator[tuple[str, Move]]:
    """Arguments of one shape and type all the same: distances and divided differences of nothing."""
    first = {(x.shape, x.dtype): x for x in reversed(diff)}
    if len(first) < len(diff):
        yield "equal to the first", lambda i, x: first[x.shape, x.dtype]


def _is_square(x: np.ndarray) -> bool:
    return x.ndim > 1 and x.shape[-1] == x.shape[-2] > 1


def _meeting(p: Point, domains: Sequence[Any]) -> Iterator[Neighbour]:
    """Ends of an argument taken from another: a point that is one of the centres, a place that is a node, a score at its margin."""
    diff, given = p.view.diff, [*p.view.diff, *p.view.rest]
    labels = (*p.view.labels, *p.view.rest_labels)
    alike = lambda x, y: _kind(y) == x.dtype.kind and x.ndim and (np.ndim(y) == 0 or np.shape(y)[1:] == x.shape[1:])
    pairs = ((i, j) for i, x in enumerate(diff) for j, y in enumerate(given) if i != j and x.size and alike(x, y))
    for i, j in itertools.islice(pairs, _MEETINGS):
        met = np.array(diff[i])
        for end in (0, -1):
            met[end] = given[j][end] if np.ndim(given[j]) else given[j]
        moved = _within(diff[i], met, domains[i])
        if moved is not diff[i]:
            yield Neighbour(
                f"with {labels[i]} meeting {labels[j]}", [*diff[:i], moved, *diff[i + 1 :]], p.view.rest, True
            )


def _other_sizes(p: Point, k: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Lengths and counts of 0, where none is; whole numbers above those given, as far as the program has room for them;
    and those that it compares them with."""
    r, domain = np.asarray(p.view.rest[k]), p.case.domain.get(p.view.rest_positions[k])
    most = room(p.stripped, len(p.view.diff) + k)
    others = [("0 everywhere", np.zeros_like(r))] if np.min(r) > 0 else []
    top, fits = int(np.max(r)), int(np.iinfo(r.dtype).max)
    if most is not None and min(most, fits) > top:
        end = int(min(_COUNTS * max(top, 0) + _COUNTS if np.isinf(most) else most, fits))
        drawn = np.random.default_rng([seed, r.size]).integers(max(np.min(r), 0), end + 1, r.shape)
        drawn.reshape(-1)[-1] = end
        others.append((f"up to {end}", np.sort(drawn) if r.ndim == 1 and np.all(r[:-1] <= r[1:]) else drawn))
        others += [(f"{_A_BYTE} larger", r + _A_BYTE)] if np.isinf(most) and top + _A_BYTE <= fits else []
    for number in whole_thresholds(p.stripped, len(p.view.diff) + k):
        if np.iinfo(r.dtype).min <= number <= fits and not np.any(r == number):
            others.append((f"{number} in places", np.where(_some(r.shape, seed), r, np.asarray(number, r.dtype))))
    for words, other in others:
        moved = _within(r, other, domain)
        if moved is not r and np.array_equal(moved, other):
            yield words, moved


def _spread(i: int, x: np.ndarray, seed: int) -> np.ndarray:
    """Each entry by a factor of its own, down to 1e-4."""
    return x * 10.0 ** (-4 * np.random.default_rng([seed, i, x.size]).random(x.shape))


def _lonely_moves(seed: int) -> Iterator[tuple[str, Move]]:
    for factor in (1e3, 1e-3, -1.0):
        yield f"times {factor:g}", lambda i, x, factor=factor: factor * x
    yield "all zero", lambda i, x: np.zeros_like(x)
    yield "all one", lambda i, x: np.ones_like(x)


def _towards_ends(diff, domains, seed: int) -> Iterator[tuple[str, int, np.ndarray]]:
    """The entries of an argument at many distances from an end of its interval; from 0, which is one, scaling does that."""
    for i, (x, domain) in enumerate(zip(diff[:_ALONE], domains)):
        for end in () if domain in (None, "fixed") else domain:
            if np.finfo(np.float64).tiny < abs(end) < np.inf:
                m = _within(x, end + _spread(i, x - end, seed), domain)
                if m is not x:
                    yield f"near {end:g}", i, m


def _near_thresholds(numbers: Sequence[float], seed: int) -> Iterator[tuple[str, Move]]:
    """All entries on either side of a number that the program compares with, and of its negative, each with its own sign."""
    for number in numbers:
        around = lambda i, x: number * (1 + _JITTER * np.random.default_rng([seed, i, x.size]).normal(size=x.shape))
        yield f"near {number:g}", lambda i, x, around=around: x if np.iscomplexobj(x) else np.copysign(around(i, x), x)


def _never_ends(p: Point) -> bool:
    """Whether an infinity may keep a program at work for ever, as LAPACK's singular value decomposition."""
    return any(holds(NEVER_ENDS, jaxpr) for jaxpr in (p.stripped, p.pair.by_hand))


def _infinite(diff, domains, seed: int) -> Iterator[tuple[str, int, np.ndarray]]:
    """One entry at an infinity: a mask in logits, an overflow before the layer."""
    for i, (x, domain) in enumerate(zip(diff[:_ALONE], domains)):
        finite = np.flatnonzero(np.isfinite(x))
        if domain is None and finite.size and not np.iscomplexobj(x):
            at = np.random.default_rng([seed, i]).choice(finite)
            for value, words in ((-np.inf, "-inf at one entry"), (np.inf, "inf at one entry")):
                m = np.array(x)
                m.reshape(-1)[at] = value
                yield words, i, m


def with_other_rest(p: Point) -> Point | None:
    """The point with its masks inverted and its whole numbers in reverse; None if it has none."""
    changed = [r if _parts(r, p) else _reversed(_inverted(r)) for r in p.view.rest]
    return p.moved(p.view.diff, changed) if any(c is not r for c, r in zip(changed, p.view.rest)) else None


def _parts(r: Any, p: Point) -> bool:
    """Whether these numbers cut an axis of the arguments into parts: others would leave some of it out."""
    return _kind(r) in "iu" and is_offsets(r, _axis_sizes(p))


def _axis_sizes(p: Point) -> set[int]:
    return {n for x in jax.tree.leaves(p.args) for n in np.shape(x)}


def _discrete_moves(sizes: set[int], seed: int) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """What is done to masks and whole numbers; the latter stay between the smallest, or 0, and the largest given."""
    yield "every mask true", lambda r: np.ones_like(r) if _kind(r) == "b" else r
    yield "every mask false", lambda r: np.zeros_like(r) if _kind(r) == "b" else r
    yield "every mask inverted", _inverted
    yield "masks at random", lambda r: _mixed(r, seed)
    yield "all whole numbers at their smallest", lambda r: np.full_like(r, np.min(r)) if _kind(r) in "iu" else r
    yield "all whole numbers at their largest", lambda r: np.full_like(r, np.max(r)) if _kind(r) in "iu" else r
    yield "the whole numbers in reverse", _reversed
    yield "whole numbers from 0 up", lambda r: from_zero(r, np.shape(r), sizes, seed) if _kind(r) in "iu" else r


def _is_signal(r: Any, domain: Any) -> bool:
    """Whether these are numbers of any unit: of both signs, and not declared to be something else."""
    return domain is None and _kind(r) == "f" and np.ndim(r) > 0 and bool(np.min(r) < 0 < np.max(r))


def _inverted(r: Any) -> Any:
    return ~np.asarray(r) if _kind(r) == "b" else r


def _mixed(r: Any, seed: int) -> Any:
    """Some entries true and some false, also where all were the same; masks of floats, of zeros and ones or of ones, too."""
    floats = _kind(r) == "f" and np.isin(r, (0, 1)).all() and np.any(r)
    if np.size(r) < 2 or not (_kind(r) == "b" or floats):
        return r
    return _some(np.shape(r), seed).astype(r.dtype)


def _some(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """True in about two thirds of the entries, false in one at least."""
    count = int(np.prod(shape, dtype=int))
    return np.reshape(np.random.default_rng([seed, count]).permutation(count) > count // 3, shape)


def _reversed(r: Any) -> Any:
    return np.flip(r) if _kind(r) in "iu" and np.ndim(r) else r


def _kind(r: Any) -> str:
    """The numpy kind of an array with entries, "" for keys and what is empty."""
    if not hasattr(r, "dtype") or jax.dtypes.issubdtype(r.dtype, jax.dtypes.extended) or not np.size(r):
        return "-"
    return np.dtype(r.dtype).kind


def _within(x: np.ndarray, moved: np.ndarray, domain: Any) -> np.ndarray:
    """The moved argument in the dtype of `x`, or `x` itself where nothing changed or the domain forbids the move.

    Infinite entries mask: they stay, whatever their sign was to become.
    """
    moved = np.asarray(np.where(np.isfinite(x), moved, x), x.dtype)
    if domain == "fixed" or np.array_equal(moved, x, equal_nan=True):
        return x
    if domain is not None and not np.all((domain[0] < moved) & (moved < domain[1])):
        return x
    return moved


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
