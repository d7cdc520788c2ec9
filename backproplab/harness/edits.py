"""Every small change of a backward pass: each edit replaces one equation of its jaxpr, as a slip of the pen would.

Read one way an edit plants a bug (`mutation`), read the other it mends one (`repair`). An edit is known by the line, the
operation and what is changed, so that it is the same edit in every trace of one rule, whatever the shapes.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var

from backproplab.harness.backward import Backward, author_frame
from backproplab.harness.contract import line_of
from backproplab.harness.edit_kinds import CHANGES, FUNCTIONS, MAKERS
from backproplab.harness.pruning import bodies, with_bodies
from backproplab.harness.relocated import in_words, sums_met
from backproplab.harness.sites import (
    broadcasts,
    call,
    changed,
    is_float,
    is_number,
    program_of,
    quoted,
    shown,
    sites_of,
)

MUTATIONS = ("sign", "left out", "dropped", "swapped", "transposed", "exponent", "number", "other value", "average",
             "first only", "times input", "row", "unmasked", "bfloat16")  # fmt: skip
# In the order of how likely each is to be what was meant.
REPAIRS = ("sign", "transposed", "swapped", "dropped", "left out", "exponent", "number", "accumulated", "times input", "over input",
           "symmetric", "other value", "conjugated", "turned", "other way", "axes", "added up", "displaced", "steps", "scaled", "shifted", "masked", "centred", "average", "times slope", "function", "plus", "unmasked", "times")  # fmt: skip
_FEW, _EXACTLY = 4, 1e-9  # multiples of a number, and how exactly they are such


@dataclass(frozen=True)
class Edit:
    """One change of one equation.

    kind: one of MUTATIONS or REPAIRS. where: `file:line`. operation: of the equation. number: of the equations of this
    operation on this line, from 0. detail: tells edits of one kind at one equation apart. words: what the operation is
    changed to do, from "to" on.
    """

    kind: str
    where: str
    operation: str
    number: int
    detail: str
    words: str
    change: Callable[[], ClosedJaxpr]

    @property
    def key(self) -> tuple:
        """The same for the same edit in every trace of one rule."""
        return self.where, self.operation, self.number, self.kind, self.detail


def edits(
    backward: Backward,
    kinds: Iterable[str],
    numbers: Iterable[float] = (),
    output: int | None = None,
    spared: Sequence[int] = (),
) -> Iterator[Edit]:
    """All edits of the given kinds, kind by kind; those that change none of the `spared` outputs first.

    numbers: literals that may have been meant where another stands, those of the primal, say. output: if given, only
    edits that change this output of the backward jaxpr.
    """
    numbers = tuple(sorted({0.0, 1.0, *literals(backward.jaxpr), *numbers}))
    sites = list(sites_of(backward, numbers, output, spared))
    for shared, kind in itertools.product((False, True), kinds):
        for where, number, site in (found for found in sites if found[2].shared is shared):
            for detail, words, eqns in MAKERS[kind](site):
                change = functools.partial(changed, site, eqns)
                yield Edit(kind, where, shown(site.eqn), number, detail, words, change)


def edits_of_inputs(backward: Backward, output: int) -> Iterator[Edit]:
    """An input of the rule multiplied or divided by another, or replaced by it or by a function of its own: wherever one
    gradient, and no other, takes it, or else throughout."""
    jaxpr = backward.jaxpr.jaxpr
    own = program_of(backward, [output])
    others = program_of(backward, [i for i in range(len(jaxpr.outvars)) if i != output])
    copied = {eqn.invars[0]: eqn.outvars[0] for eqn in jaxpr.eqns if eqn.primitive.name in ("copy", "copy_p")}
    given = [(copied.get(v, v), name) for v, name in zip(jaxpr.invars, backward.names)]
    takes = lambda v, eqns: [eqn for eqn in eqns if v in [u for u in eqn.invars if not isinstance(u, Literal)]]
    for v, name in given:
        exclusive, everywhere = takes(v, [eqn for eqn in own if eqn not in others]), takes(v, jaxpr.eqns)
        if is_float(v.aval) and exclusive:
            yield from _edits_of_input(backward, v, name, given, exclusive, "wherever this gradient takes it")
        if is_float(v.aval) and takes(v, own) and len(everywhere) > len(exclusive):
            yield from _edits_of_input(backward, v, name, given, everywhere, "throughout")


def _edits_of_input(
    backward: Backward, v: Any, name: str, given: Sequence[tuple[Any, str]], users: list, where_to: str
) -> Iterator[Edit]:
    frame = next((f for f in map(author_frame, users) if f), None)
    where = f"{frame.file_name.rsplit('/', 1)[-1]}:{frame.start_line}" if frame else line_of(backward.bwd) or ""
    by_another = [
        (words, function, w, other)
        for (w, other), (words, function) in itertools.product(given, CHANGES)
        if is_float(w.aval) and broadcasts(w.aval, v.aval) and w is not v
    ]
    changes = [(f"{words} {quoted(other)}", other, function, [v, w]) for words, function, w, other in by_another]
    changes += [(f"replaced by its {what}", what, function, [v]) for what, function in FUNCTIONS]
    for words, detail, function, operands in changes:
        change = functools.partial(_used, backward.jaxpr, users, v, function, operands)
        yield Edit("input", where, name, 0, detail, f"to be {words} {where_to}", change)


def edits_of_numbers(backward: Backward, numbers: Iterable[float]) -> Iterator[Edit]:
    """A number written into the rule, another wherever it or a small multiple of it stands."""
    places = [(own, eqn) for eqn in _all_equations(backward.jaxpr) for own in _numbers_of(eqn)]
    for own, eqn in dict(reversed(places)).items():  # each with the first equation that has it
        if own in (0.0, 1.0) or sum(_times(own, other) is not None for other, _ in places) < 2:
            continue
        frame = author_frame(eqn)
        where = f"{frame.file_name.rsplit('/', 1)[-1]}:{frame.start_line}" if frame else line_of(backward.bwd) or ""
        for other in numbers:
            if other != own:
                change = functools.partial(_renumbered, backward.jaxpr, own, other)
                words = f"to use {other:.9g} in place of {own:.9g}, there and wherever else it stands,"
                yield Edit("numbers", where, shown(eqn), 0, f"{own:.9g} {other:.9g}", words, change)


def edits_of_sums(backward: Backward, output: int) -> Iterator[Edit]:
    """Sums or means over the same axes, several of them: over others, all at once. A norm's rule has two of a kind."""
    found: dict[tuple, list] = {}
    for where, _, site in sites_of(backward, (), output):
        if site.eqn in backward.jaxpr.jaxpr.eqns:
            for _, axes, other, what, eqns in sums_met(site):
                found.setdefault((axes, other, what), []).append((where, site.eqn, eqns))
    for (axes, other, what), places in found.items():
        if len(places) > 1:
            where, eqn, _ = places[0]
            words = f"to take the {what} over {in_words(other)}, not over {in_words(axes)}, and all others like it,"
            change = functools.partial(_all_at_once, backward.jaxpr, [(e, eqns) for _, e, eqns in places])
            yield Edit("sums", where, shown(eqn), 0, f"{axes} {other} {what}", words, change)


def _all_at_once(closed: ClosedJaxpr, changes: list) -> ClosedJaxpr:
    made = {id(eqn): eqns for eqn, eqns in changes}
    eqns = [new for eqn in closed.jaxpr.eqns for new in (made[id(eqn)]() if id(eqn) in made else [eqn])]
    return ClosedJaxpr(closed.jaxpr.replace(eqns=eqns), closed.consts)


def _times(own: float, other: float) -> float | None:
    """How many times `own` the other number is, if a small fraction: a rule has k, 2 k and 3 k, each worked out already."""
    times = other / own
    small = (n for n in (1, 2, 3) if 0 < abs(n * times) <= _FEW and abs(n * times - round(n * times)) < _EXACTLY)
    return times if any(small) else None


def _all_equations(closed: ClosedJaxpr) -> Iterator:
    for eqn in closed.jaxpr.eqns:
        yield eqn
        for body in bodies(eqn):
            yield from _all_equations(body)


def _numbers_of(eqn) -> list[float]:
    """The finite floating numbers that are written into an equation."""
    return [float(v.val) for v in eqn.invars if isinstance(v, Literal) and is_number(v) and np.isfinite(v.val)]


def _renumbered(closed: ClosedJaxpr, own: float, other: float) -> ClosedJaxpr:
    """The program with one number in place of another, in loops and branches as well."""
    eqns = []
    for eqn in closed.jaxpr.eqns:
        renamed = lambda v: _with_number(v, own, other) if isinstance(v, Literal) and is_number(v) else v
        within = [_renumbered(body, own, other) for body in bodies(eqn)]
        eqns.append(with_bodies(eqn, within).replace(invars=list(map(renamed, eqn.invars))))
    return ClosedJaxpr(closed.jaxpr.replace(eqns=eqns), closed.consts)


def _with_number(v: Literal, own: float, other: float) -> Literal:
    times = _times(own, float(v.val)) if np.isfinite(v.val) else None
    return v if times is None else Literal(np.asarray(times * other, np.asarray(v.val).dtype), v.aval)


def _used(closed, users, v, function, operands) -> ClosedJaxpr:
    """The program in which `users` take `function(*operands)` in place of `v`."""
    changed = Var(v.aval)
    eqns, made = [], False
    for eqn in closed.jaxpr.eqns:
        if eqn in users:
            if not made:
                eqns.append(call(eqn, function, operands, changed, {}))
                made = True
            eqn = eqn.replace(invars=[changed if u is v else u for u in eqn.invars])
        eqns.append(eqn)
    return ClosedJaxpr(closed.jaxpr.replace(eqns=eqns), closed.consts)


def literals(closed: ClosedJaxpr) -> set[float]:
    """The finite floating literals of a program, at any depth."""
    found: set[float] = set()

    def search(node):
        if isinstance(node, (tuple, list)):
            for item in node:
                search(item)
        elif isinstance(node, (Jaxpr, ClosedJaxpr)):
            for eqn in getattr(node, "jaxpr", node).eqns:
                found.update(_numbers_of(eqn))
                search(list(eqn.params.values()))

    search(closed)
    return found
