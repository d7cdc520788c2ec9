"""Of which other function a wrong gradient would be the right one: its mistake in terms of the function, rule unseen.

Autodiff differentiates the function once with a switch at every operation (`switches`). A switch on a path shows what the
path contributes: where the rule is off by a multiple of that, it has left the path out, or counts it so many times. The
other switches make another function, whose gradient may be the rule's. What fits at the point that failed is said only
if it fits at another cotangent and at a point beside it.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from backproplab.harness.backward import flat
from backproplab.harness.compare import largest
from backproplab.harness.diagnosis import in_numbers, place
from backproplab.harness.evaluated import evaluated, evaluated_anew
from backproplab.harness.jitted import jitted
from backproplab.harness.neighbours import jittered
from backproplab.harness.point import Point
from backproplab.harness.programs import short
from backproplab.harness.remembered import Remembered
from backproplab.harness.switches import Switch, with_switches

_SECONDS = 3.0
_MANY = 400  # switches
_REMEMBERED = 6
_LARGE = 50_000  # numbers in the arguments; above, what every switch does would fill the memory
_SAME = 1e-7  # of the mistake: what two programs may differ by
_NEAR = 1e-9  # of the mistake's square: worth a closer look
_DIGITS = 1e-11  # of the gradient: what rounding may do to both
_SHOWS = 1e-8  # of the gradient: a smaller mistake says nothing
_CUT = 0.0  # of a path: it is not followed
_ROUND = (0.0, -1.0, 2.0, 0.5)  # factors that a single number is enough to tell


@dataclass(frozen=True)
class _Found:
    """What would explain the gradient, and the sentence that is then true of it.

    turned: a switch and where it would stand. more: or else paths, each with how much more often it would count than it
    should, beside the right gradient, or without that if they are `alone`. along: or else a path and an axis, at each
    index of which it counts a number of times of its own. lost: or else a path that is left out where another one, or
    where the array, is not 0.
    """

    words: str
    turned: tuple[int, float] | None = None
    more: tuple[tuple[int, float], ...] = ()
    alone: bool = False
    along: tuple[int, int] | None = None
    lost: tuple[int, int | np.ndarray] | None = None


def other_function(p: Point, leaf: int, seed: int, sizes: Mapping[float, str], seconds: float = _SECONDS) -> str | None:
    """What is true of the wrong gradient of the argument number `leaf`; None if no single change of the function explains it.

    sizes: numbers in play, as `diagnose` has them. Searches for `seconds` at most; never raises.
    """
    try:
        return _search(p, leaf, seed, sizes, time.monotonic() + seconds)
    except Exception:  # an explanation is an extra: a function that cannot be taken apart has its verdict without one
        return None


def _search(p: Point, leaf: int, seed: int, sizes: Mapping[float, str], deadline: float) -> str | None:
    if not p.wide or p.pair.numerical or sum(map(np.size, p.view.diff)) > _LARGE:
        return None
    switched = p.once("switched", lambda: _Switched(p))
    here = switched.witness(p, p.cotangents("random", seed))
    right = here.right[leaf]
    if not here.same(here.at(0, 1.0, leaf), right, leaf) or largest([here.mistakes[leaf]]) <= _SHOWS * largest([right]):
        return None  # as its author would have it differentiated, the function has another gradient; or rounding is all there is
    others: list[_Witness] = []
    for found in _candidates(here, leaf, sizes, deadline):
        if here.explains(found, leaf):
            others = others or [switched.witness(q, c) for q, c in _beside(p, seed)]
            if all(w.explains(found, leaf) for w in others):
                return found.words
    return None


def _candidates(here: "_Witness", leaf: int, sizes: Mapping[float, str], deadline: float) -> Iterator[_Found]:
    """What may explain the gradient, by what a look at the mistake says where one is enough."""
    got, mistake = here.rule[leaf], here.mistakes[leaf]
    switches = here.switched.switches
    shares: dict[int, np.ndarray] = {}
    # what its author has named says most, and of several on one path the last
    for i in sorted(range(len(switches)), key=lambda i: (not switches[i].named, -i)):
        if time.monotonic() > deadline:
            return
        switch = switches[i]
        if switch.path:
            shares[i] = share = here.share(i, leaf)
            more = _multiple(mistake, share)
            if abs(more) > _SAME and (got.size > 1 or _is_round(1 + more)):
                yield _Found(_counted([switch], 1 + more, sizes), (i, 1 + more))
            if switch.repeated:  # what counts anew in every step is no multiple of what it contributes
                yield from (_Found(_counted([switch], s, sizes), (i, s)) for s in _ROUND)
            words = f"is what comes through {switch.what} alone, all other paths left out"
            yield _Found(words, more=((i, 1.0),), alone=True)
        yield from (_Found(words, (i, setting)) for setting, words in switch.settings)
    if got.size > 1 and shares:
        yield from _pairs(here, leaf, shares, sizes)
    yield from _overwritten(here, leaf, shares)
    for i, share in shares.items() if got.ndim > 1 else ():
        if not here.same(share, here.right[leaf], leaf):  # of the whole gradient, that is another sentence
            for axis in range(got.ndim):
                times = f"a number of times that differs along axis {axis} of the gradient, and alone"
                yield _Found(f"counts the path through {switches[i].what} {times}", along=(i, axis))


def _multiple(a: np.ndarray, b: np.ndarray) -> float:
    """How many times `b` is in `a`."""
    norm = float(np.real(np.vdot(b, b)))
    return float(np.real(np.vdot(b, a))) / norm if norm else 0.0


def _scaled_along(axis: int, share: np.ndarray, mistake: np.ndarray) -> np.ndarray:
    """The nearest to `mistake` that `share` comes with a factor at each index of an axis."""
    rest = tuple(a for a in range(share.ndim) if a != axis)
    norm = np.sum(np.abs(share) ** 2, rest, keepdims=True)
    return share * np.sum(np.conj(share) * mistake, rest, keepdims=True) / np.where(norm == 0, 1, norm)


def _pairs(here: "_Witness", leaf: int, shares: dict[int, np.ndarray], sizes: Mapping[float, str]) -> Iterator[_Found]:
    """Two paths of which one counts twice and the other not (a product's two factors taken for one, a symmetric half), or
    which both count the same number of times (through a mean and a variance, say).
    """
    numbers, mistake = list(shares), here.mistakes[leaf]
    flat = np.stack([*shares.values(), mistake]).reshape(len(shares) + 1, -1)
    flat = np.concatenate([np.real(flat), np.imag(flat)], 1)
    products = flat @ flat.T  # from which the distances of all sums and differences from the mistake follow
    within, aligned, whole = products[:-1, :-1], products[:-1, -1], products[-1, -1]
    squares = np.diag(within)
    switches = here.switched.switches
    away = np.add.outer(squares + 2 * aligned, squares - 2 * aligned) - 2 * within + whole
    for i, j in np.argwhere(away <= _NEAR * whole):
        i, j = numbers[i], numbers[j]
        if i != j:
            words = f"counts the path through {switches[j].what} twice and leaves out that through {switches[i].what}"
            yield _Found(words, more=((i, -1.0), (j, 1.0)))
    norms, along = np.add.outer(squares, squares) + 2 * within, np.add.outer(aligned, aligned)
    with np.errstate(divide="ignore", invalid="ignore"):
        count = along / norms
        away = whole - along * count
    for i, j in np.argwhere(np.triu(away <= _NEAR * whole, 1)):
        more, several = float(count[i, j]), [numbers[i], numbers[j]]
        words = _counted([switches[k] for k in several], 1 + more, sizes)
        yield _Found(words, more=tuple((k, more) for k in several))


def _overwritten(here: "_Witness", leaf: int, shares: dict[int, np.ndarray]) -> Iterator[_Found]:
    """A path that is lost at some entries: where another one comes in as well, or at places of their own."""
    mistake, switches = here.mistakes[leaf], here.switched.switches
    wrong = np.abs(mistake) > _SAME * largest([mistake])
    for i, share in shares.items():
        if wrong.all() or here.same(share, here.right[leaf], leaf):  # of the whole gradient, its place says more
            continue
        if not here.same(mistake, -share * wrong, leaf) or not np.any((share != 0) & ~wrong):
            continue
        path = f"leaves out the path through {switches[i].what}"
        for j, other in shares.items():
            if j != i and np.array_equal((share != 0) & (other != 0), (share != 0) & wrong):
                words = f"{path} where that through {switches[j].what} comes in as well: one overwrites the other"
                yield _Found(words, lost=(i, j))
        yield _Found(f"{path} in {int(wrong.sum())} of {wrong.size} entries{place(wrong)}", lost=(i, wrong))


def _is_round(count: float) -> bool:
    return any(abs(count - known) < _SAME for known in _ROUND)


def _counted(through: list[Switch], count: float, sizes: Mapping[float, str]) -> str:
    paths = f"the path{'s' if len(through) > 1 else ''} through {' and '.join(switch.what for switch in through)}"
    if abs(count) < _SAME:
        return f"leaves out {paths}, as if that were a constant"
    if abs(count + 1) < _SAME:
        return f"counts {paths} with the wrong sign"
    return f"counts {paths} {count:.6g}{in_numbers(count, sizes)} times"


class _Switched:
    """The gradients of a point's function, switches among the inputs, as one program: `[*inputs, *settings]` to gradients."""

    def __init__(self, p: Point):
        count, given = len(p.view.diff), len(p.view.diff) + len(p.view.rest)
        with jax.enable_x64(p.wide):
            names = [*p.view.labels, *p.view.rest_labels]
            run, self.switches = with_switches(p.stripped, [i < count for i in range(given)], names)
            if len(self.switches) > _MANY:
                raise ValueError("too many operations")

            def gradients(inputs, settings):
                diff, rest, cotangents = inputs[:count], inputs[count:given], inputs[given:]
                _, pull = jax.vjp(lambda diff: run([*diff, *rest], settings), list(diff))
                return pull(list(cotangents))[0]

            inputs = p.inputs(p.cotangents("zeros", 0))
            self.closed = flat(jax.make_jaxpr(gradients)(inputs, [1.0] * len(self.switches)))
        self.settings = self.closed.jaxpr.invars[len(inputs) :]
        self.equations = set(map(id, self.closed.jaxpr.eqns))
        self.runs = None if short(self.closed, len(self.switches)) else self._compiled(sum(map(np.size, inputs)))
        self.witnesses = Remembered(_REMEMBERED)

    def witness(self, p: Point, cotangents: list[np.ndarray]) -> "_Witness":
        """What is known of `p` with these cotangents, which every argument is asked at."""
        return self.witnesses.get(None, p.inputs(cotangents), lambda: _Witness(p, self, cotangents))

    def _compiled(self, entries: int) -> Callable[[list], list]:
        cpu = jax.devices("cpu")[0]
        run = jitted(lambda inputs: jaxpr_as_fun(self.closed)(*inputs), entries, cpu)

        def compiled(inputs):
            with jax.enable_x64(True), jax.default_device(cpu):
                return run(inputs)

        return compiled


class _Witness:
    """A point with a cotangent: the rule's gradients there, autodiff's, and those of the function with a switch turned."""

    def __init__(self, p: Point, switched: _Switched, cotangents: list[np.ndarray]):
        found = p.formulas(cotangents)[len(p.outputs) :]
        self.rule, self.right = [d.got for d in found], [d.exact for d in found]
        self.mistakes = [got - right for got, right in zip(self.rule, self.right)]
        self.switched = switched
        self.inputs = [*p.inputs(cotangents), *[np.float64(1)] * len(switched.settings)]
        self._start()
        # what is subtracted before an exponential and comes out again would blur what goes through the sum of those
        extremes = [i for i, switch in enumerate(switched.switches) if switch.extreme]
        idle = [i for i in extremes if all(self._unmoved(i, k) for k in range(len(self.right)))]
        for i in idle:
            self.inputs[i - len(switched.settings)] = np.float64(_CUT)
        if idle:
            self._start()

    def _unmoved(self, switch: int, leaf: int) -> bool:
        right = self.right[leaf]
        return bool(np.allclose(self.at(switch, _CUT, leaf), right, 0, _DIGITS * largest([right])))

    def _start(self) -> None:
        """Nothing turned, but for what the inputs say."""
        self.turned: dict[tuple[int, float], list[np.ndarray]] = {}
        if self.switched.runs:
            return
        jaxpr, consts = self.switched.closed.jaxpr, self.switched.closed.consts
        made = [v for eqn in jaxpr.eqns for v in eqn.outvars]
        values = evaluated(ClosedJaxpr(jaxpr.replace(outvars=made), consts), self.inputs)
        self.values = (
            dict(zip(jaxpr.constvars, consts)) | dict(zip(jaxpr.invars, self.inputs)) | dict(zip(made, values))
        )

    def at(self, switch: int, setting: float, leaf: int) -> np.ndarray:
        """The gradient of one argument with one switch turned."""
        if (switch, setting) not in self.turned:
            runs = self.switched.runs
            made = self._run(runs, switch, setting) if runs else self._downstream(switch, setting)
            self.turned[switch, setting] = [np.broadcast_to(x, g.shape) for x, g in zip(made, self.right)]
        return self.turned[switch, setting][leaf]

    def _run(self, program: Callable[[list], list], switch: int, setting: float) -> list:
        turned = list(self.inputs)
        turned[switch - len(self.switched.settings)] = np.float64(setting)
        return list(map(np.asarray, program(turned)))

    def _downstream(self, switch: int, setting: float) -> list:
        """By what depends on the switch, evaluated anew."""
        changed = {self.switched.settings[switch]: np.float64(setting)}
        return evaluated_anew(self.switched.closed.jaxpr, self.values, changed, self.switched.equations)

    def same(self, a: np.ndarray, b: np.ndarray, leaf: int) -> bool:
        """Whether two gradients of one argument, or two mistakes in it, are one but for rounding."""
        room = _SAME * largest([self.mistakes[leaf]]) + _DIGITS * largest([self.right[leaf]])
        return bool(np.isfinite(a).all() and np.isfinite(b).all() and np.all(np.abs(a - b) <= room))

    def share(self, switch: int, leaf: int) -> np.ndarray:
        """What a path contributes to the right gradient."""
        return self.right[leaf] - self.at(switch, _CUT, leaf)

    def explains(self, found: _Found, leaf: int) -> bool:
        """Whether it is true here."""
        if found.turned:
            expected = self.at(*found.turned, leaf)
        elif found.along:
            expected = self.right[leaf] + _scaled_along(
                found.along[1], self.share(found.along[0], leaf), self.mistakes[leaf]
            )
        elif found.lost:
            i, where = found.lost
            at = where if isinstance(where, np.ndarray) else self.share(where, leaf) != 0
            expected = self.right[leaf] - self.share(i, leaf) * at
        else:
            beside = np.zeros_like(self.right[leaf]) if found.alone else self.right[leaf]
            expected = sum((more * self.share(i, leaf) for i, more in found.more), beside)
        return self.same(expected, self.rule[leaf], leaf)


def _beside(p: Point, seed: int) -> list[tuple[Point, list[np.ndarray]]]:
    """Where an explanation must hold as well: at another cotangent, and beside the point."""
    moved = p.moved(jittered(p, seed))
    return [(q, q.cotangents("random", seed + 1)) for q in (p, moved)]
