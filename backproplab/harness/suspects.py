"""What a gradient would be if a known mistake had been made that the function's own derivative can show.

An output's cotangent left out, one example's share, a sum over the wrong axis, a kernel that was not flipped, a matrix that
was not transposed, two arguments mixed up, one that is not read, a setting that is forgotten: each is asked of the oracle at other cotangents or arguments, and goes with the
sentence that holds if the wrong gradient equals it.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from backproplab.case import is_setting, parameter_names, static_argnums
from backproplab.harness.compare import same
from backproplab.harness.endless import ends
from backproplab.harness.error_rules import lifted
from backproplab.harness.evaluated import evaluated
from backproplab.harness.point import Point, point
from backproplab.harness.primitives import is_key
from backproplab.harness.view import view

Suspect = tuple[str, np.ndarray]
_EXAMPLES = 16  # of more, only the first and the last are looked at
_PAIRS = 10  # of arguments of one shape
_OUTPUTS = 4  # of more, it is not asked which were left out
_ASIDE = 2.0**-6  # of an argument
_LARGE = 50_000  # numbers in the arguments; above, these are not


def suspects(p: Point, leaf: int, cotangents: list[np.ndarray]) -> Iterator[Suspect]:
    """What may be said of the gradient of the argument `leaf` (its number in `p.view.diff`), and where it would be true."""
    yield from _of_examples(p, leaf, cotangents)
    if sum(map(np.size, p.view.diff)) <= _LARGE:
        yield from _of_ends(p, leaf, cotangents)
        yield from _of_places(p, leaf, cotangents)
        yield from _of_outputs(p, leaf, cotangents)
        yield from _of_other_cotangents(p, leaf, cotangents)
        yield from _of_rearranged_cotangents(p, leaf, cotangents)
        yield from _of_other_arguments(p, leaf, cotangents)
        yield from _of_exchanged_arguments(p, leaf, cotangents)
        yield from _of_forward_mode(p, leaf, cotangents)
        yield from _of_other_settings(p, leaf, cotangents)


def _right(p: Point, leaf: int, cotangents: list[np.ndarray]) -> np.ndarray:
    if not ends(p, 0):
        return np.full(np.shape(p.view.diff[leaf]), np.nan)
    inputs, run = p.inputs(cotangents), p.pair.in_float64()[1]
    gradients = run(inputs) if run else p.pair.analyse_oracle(inputs, lifted())[0]
    return np.asarray(gradients[len(p.outputs) + leaf])


def _of_outputs(p: Point, leaf: int, cotangents: list[np.ndarray]) -> Iterator[Suspect]:
    """With several outputs, the cotangents of some of them."""
    count = len(cotangents)
    numbers = range(count)
    for left_out in (
        (c for size in range(1, count) for c in itertools.combinations(numbers, size)) if count <= _OUTPUTS else ()
    ):
        without = [0 * c if i in left_out else c for i, c in enumerate(cotangents)]
        which = f"cotangent{'s' if len(left_out) > 1 else ''} of output {' and '.join(map(str, left_out))}"
        yield f"leaves out the {which} (of 0 to {count - 1})", _right(p, leaf, without)


def _of_other_cotangents(p: Point, leaf: int, cotangents: list[np.ndarray]) -> Iterator[Suspect]:
    """A cotangent that was taken for its sum or its mean, or not read at all."""
    for k, c in enumerate(cotangents):
        which = _cotangent(k, cotangents)
        changes = [(f"takes {which} to be 1 everywhere", np.ones_like(c))]
        along = [(a, f"axis {a}") for a in range(c.ndim) if 1 < c.shape[a] < c.size]
        for axes, where in [*along, (None, "all its entries")] if c.size > 1 else ():
            total = np.broadcast_to(c.sum(axes, keepdims=True), c.shape).astype(c.dtype)
            changes.append((f"adds up {which} over {where} before it is used", total))
            mean = np.broadcast_to(c.mean(axes, keepdims=True), c.shape).astype(c.dtype)
            changes.append((f"averages {which} over {where} before it is used", mean))
        for words, changed in changes:
            yield words, _right(p, leaf, [*cotangents[:k], changed, *cotangents[k + 1 :]])


def _cotangent(k: int, cotangents: list[np.ndarray]) -> str:
    return "the cotangent" if len(cotangents) == 1 else f"the cotangent of output {k}"


def _of_examples(p: Point, leaf: int, cotangents: list[np.ndarray]) -> Iterator[Suspect]:
    """The entries of the cotangent's first axis, a batch as a rule: only one counted, one left out, overwritten, summed across."""
    counts = {c.shape[0] if c.ndim else 1 for c in cotangents}
    if len(counts) > 1 or counts <= {0, 1}:
        return
    (count,) = counts
    right = _right(p, leaf, cotangents)
    looked_at = range(count) if count <= _EXAMPLES else (0, count - 1)
    shares = {i: _right(p, leaf, [_only(c, i) for c in cotangents]) for i in looked_at}
    name = {0: "the first", count - 1: "the last"}
    for i in (0, count - 1):
        yield f"holds the contribution of {name[i]} example alone: a sum over the batch is missing", shares[i]
    for i, share in shares.items():
        if np.any((share != 0) & (share != right)):  # else it is an entry by itself, which has its place said
            yield f"lacks the contribution of {name.get(i, 'one')} example (index {i} of the cotangent)", right - share
    if len(shares) < count:
        return
    stacked = np.stack([shares[i] for i in range(count)])
    yield from _overwritten("several examples", stacked)
    if right.shape == (count,):
        yield "is summed over the wrong axis: over what it should keep, in place of the batch", stacked.sum(1)


def _overwritten(what: str, shares: np.ndarray) -> Iterator[Suspect]:
    """What there is, one share after the other, if each is written over those before it."""
    for order, words in ((shares, "last"), (shares[::-1], "first")):
        written = np.zeros_like(shares[0])
        for share in order:
            written = np.where(share != 0, share, written)
        yield f"holds, where {what} meet, that of the {words} alone: they overwrite each other where they should add up", written  # fmt: skip


def _of_places(p: Point, leaf: int, cotangents: list[np.ndarray]) -> Iterator[Suspect]:
    """The entries along an axis behind the first, windows or bins as a rule."""
    c = cotangents[0]
    for axis in range(1, c.ndim) if len(cotangents) == 1 else ():
        if 1 < c.shape[axis] <= _EXAMPLES:
            shares = [_right(p, leaf, [_only(c, i, axis)]) for i in range(c.shape[axis])]
            yield from _overwritten(f"several entries of the cotangent along axis {axis}", np.stack(shares))


def _of_ends(p: Point, leaf: int, cotangents: list[np.ndarray]) -> Iterator[Suspect]:
    """What stands first or last along any axis of a cotangent, the steps of time as a rule: left out, or alone."""
    right = _right(p, leaf, cotangents)
    for k, c in enumerate(cotangents[:_OUTPUTS]):
        for axis, (name, i) in itertools.product(range(c.ndim), (("first", 0), ("last", -1))):
            if c.shape[axis] > 1:
                entry = f"the {name} entry of {_cotangent(k, cotangents)} along axis {axis}"
                share = _right(p, leaf, [_only(c, i, axis) if j == k else 0 * d for j, d in enumerate(cotangents)])
                yield f"holds what comes from {entry} alone", share
                if np.any((share != 0) & (share != right)):  # else it is an entry by itself, which has its place said
                    yield f"lacks what comes from {entry}", right - share


def _only(c: np.ndarray, i: int, axis: int = 0) -> np.ndarray:
    alone, place = np.zeros_like(c), (slice(None),) * axis + (i,)
    alone[place] = c[place]
    return alone


def _of_other_arguments(p: Point, leaf: int, cotangents: list[np.ndarray]) -> Iterator[Suspect]:
    """An argument that the rule should have flipped, transposed or moved on by one, or should not have."""
    for k, (x, label) in enumerate(zip(p.view.diff, p.view.labels)):
        for words, changed in _rearranged(x):
            other = p.moved([*p.view.diff[:k], changed, *p.view.diff[k + 1 :]])
            yield f"is the right one for {label} {words}", _right(other, leaf, cotangents)


def _of_rearranged_cotangents(p: Point, leaf: int, cotangents: list[np.ndarray]) -> Iterator[Suspect]:
    """The same of a cotangent."""
    for k, c in enumerate(cotangents[:_OUTPUTS]):
        for words, changed in _rearranged(c):
            other = [*cotangents[:k], changed, *cotangents[k + 1 :]]
            yield f"is the right one for {_cotangent(k, cotangents)} {words}", _right(p, leaf, other)


def _rearranged(x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """An array in another order, in words."""
    axes = [a for a in range(x.ndim) if x.shape[a] > 1]
    changes = [(f"flipped along axis {a}", np.flip(x, a)) for a in axes]
    changes += [("flipped along all axes", np.flip(x))] if len(axes) > 1 else []
    for a, b in itertools.pairwise(axes):
        if len(axes) > 2:
            changes.append((f"flipped along axes {a} and {b}", np.flip(x, (a, b))))
        if x.shape[a] == x.shape[b]:
            changes.append((f"with axes {a} and {b} exchanged", np.swapaxes(x, a, b)))
            changes.append((f"made symmetric in axes {a} and {b}", (x + np.swapaxes(x, a, b)) / 2))
    for a, by in itertools.product(axes, (1, -1)):
        rolled = np.roll(x, by, a)
        changes.append((f"moved on by {by} along axis {a}", rolled))
        changes.append(
            (f"moved on by {by} along axis {a}, zeros coming in", rolled - _only(rolled, 0 if by > 0 else -1, a))
        )
    changes += [("conjugated", np.conj(x))] if np.iscomplexobj(x) else []
    for words, changed in changes:
        yield words, np.array(changed, x.dtype, order="C")


def _of_exchanged_arguments(p: Point, leaf: int, cotangents: list[np.ndarray]) -> Iterator[Suspect]:
    """Two of one shape and type, each taken for the other: rows and columns, queries and keys."""
    given, count = [*p.view.diff, *p.view.rest], len(p.view.diff)
    labels = (*p.view.labels, *p.view.rest_labels)
    alike = [(i, j) for i, j in itertools.combinations(range(len(given)), 2) if _type(given[i]) == _type(given[j])]
    for i, j in alike[:_PAIRS]:
        swapped = list(given)
        swapped[i], swapped[j] = given[j], given[i]
        other = p.moved(swapped[:count], swapped[count:])
        yield f"is the right one with {labels[i]} and {labels[j]} exchanged", _right(other, leaf, cotangents)


def _of_forward_mode(p: Point, leaf: int, cotangents: list[np.ndarray]) -> Iterator[Suspect]:
    """A cotangent sent through the function forwards: a filter, a rotation or a matrix that was not transposed."""
    x = p.view.diff[leaf]
    for k, c in enumerate(cotangents[:_OUTPUTS]):
        if _type(c) == _type(x):
            alone = lambda diff, rest, v: p.plain([*diff[:leaf], v, *diff[leaf + 1 :]], rest)
            onwards = lambda diff, rest, v: jax.jvp(lambda y: alone(diff, rest, y), (diff[leaf],), (v,))[1]
            with jax.enable_x64(p.wide):
                program = jax.make_jaxpr(onwards)(p.view.diff, p.view.rest, c)
            sent = evaluated(program, [*p.view.diff, *p.view.rest, c])[k]
            yield f"is what the function makes of {_cotangent(k, cotangents)} forwards: it is not transposed", sent


def _of_other_settings(p: Point, leaf: int, cotangents: list[np.ndarray]) -> Iterator[Suspect]:
    """A static number or switch, a stride or an axis, of which the rule forgets the value."""
    names = parameter_names(p.case.fn, len(p.args))
    static = static_argnums(p.case.fn)
    for i in (i for i, arg in enumerate(p.args) if i in static or is_setting(arg)):
        for value in _values(p.args[i]):
            args = (*p.args[:i], value, *p.args[i + 1 :])
            try:
                other = point(replace(p.case, args=args), 0, p.dtype, p.device, p.matmul)
                gradient = _right(other.moved(p.view.diff, p.view.rest), leaf, cotangents)
            except Exception:  # a value that the function does not take, or with which its output has another shape
                continue
            yield f"is the right one for {names[i]} = {value}: the rule has that in place of {p.args[i]}", gradient


def _values(setting: Any) -> list:
    """Those that a rule may have in place of a setting: the usual ones, and those beside it."""
    if type(setting) is bool:
        return [not setting]
    if type(setting) is int:
        return [v for v in dict.fromkeys((1, 0, 2, setting - 1, setting + 1, -setting)) if v != setting]
    return [v for v in (1.0, 0.0, setting / 2, 2 * setting, -setting) if v != setting] if type(setting) is float else []


def unread(p: Point, leaf: int, cotangents: list[np.ndarray]) -> Iterator[Suspect]:
    """Positions that are counted anew, a mask that is left out, what an earlier call was given: whatever is given here."""
    places = range(len(p.view.diff), len(p.view.diff) + len(p.view.rest))
    yield from ((sentence, gradient) for _, sentence, gradient in _unread(p, leaf, cotangents, places))


def stale(p: Point, leaf: int, cotangents: list[np.ndarray]) -> Iterator[Suspect]:
    """The same of arguments that are differentiated, where the gradient tells their values apart."""
    for k, sentence, gradient in _unread(p, leaf, cotangents, range(len(p.view.diff))):
        before = list(view(p.case, p.args).diff)
        aside = [*p.view.diff[:k], (before[k] * (1 + _ASIDE)).astype(before[k].dtype), *p.view.diff[k + 1 :]]
        if not same(_right(p.moved(aside), leaf, cotangents), gradient):
            yield sentence, gradient


def _unread(
    p: Point, leaf: int, cotangents: list[np.ndarray], which: Iterable[int]
) -> Iterator[tuple[int, str, np.ndarray]]:
    if sum(map(np.size, p.view.diff)) > _LARGE:
        return
    count, before = len(p.view.diff), view(p.case, p.args)
    given, labels = [*p.view.diff, *p.view.rest], (*p.view.labels, *p.view.rest_labels)
    earlier = [*before.diff, *before.rest]
    for k in which:
        x = given[k]
        others = () if is_key(x) else (("as in the example", earlier[k]), *(_plain(x) if k >= count else ()))
        for words, other in others:
            if _type(x) == _type(other) and not np.array_equal(x, other):
                changed = [*given[:k], other, *given[k + 1 :]]
                moved = p.moved(changed[:count], changed[count:])
                yield k, f"is the right one for {labels[k]} {words}, whatever is given", _right(moved, leaf, cotangents)


def _plain(x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """What a rule may take an argument for that it does not read."""
    for value in (0, 1):
        plain = np.full_like(x, value)
        yield f"{plain.flat[0] if plain.size else value} everywhere", plain
    for axis in range(x.ndim) if x.dtype.kind in "iu" else ():
        counted = np.arange(x.shape[axis]).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        yield f"counted from 0 along axis {axis}", np.broadcast_to(counted, x.shape).astype(x.dtype)


def _type(x: Any) -> tuple:
    return np.shape(x), str(x.dtype)
