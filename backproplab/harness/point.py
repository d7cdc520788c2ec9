"""A case at one seed and dtype: its arguments, cotangents, and the compiled pair of rule and oracle."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from backproplab.case import Case
from backproplab.harness.compare import AS_GOOD, Difference, everywhere, in_double, largest
from backproplab.harness.error_rules import executed, lifted
from backproplab.harness.opaque import Gradients, by_differences
from backproplab.harness.precise import NotPrecise, precise
from backproplab.harness.programs import Pair, beside_differences, pair
from backproplab.harness.remembered import Remembered
from backproplab.harness.retyped import retyped
from backproplab.harness.strip import count_rules, operations_in, prove_stripped, without_rules
from backproplab.harness.view import View, view

_KEPT_PROGRAMS = 48
_OFTEN = 64  # points of one function, shapes and dtype: from then on a second of compiling with care pays
_KEPT_FORMULAS = 3  # of one function, shapes and dtype: a round of cotangents each
# Of the largest entry. A reference is a second text of the function, in which an epsilon of 1e-12 may stand elsewhere, or not
# at all: no bound on rounding covers that, and nobody means it when they say that a gradient is wrong.
_WRITTEN_TWICE = 2.0**-33
# Of a large entry, and of an entry itself: a function made of pieces, a series here and a closed form there, has the
# derivative of its pieces up to what each leaves out, and a rule made of other pieces up to that. A tail is not let off, but
# for what float32 cannot tell.
_PIECES, _OF_ENTRY = 2.0**-43, 2.0**-24
_BEYOND_FLOAT32 = 2.0**-126  # of a large entry: in float32 it is 0, by whichever formula
_ROUNDOFF = 2.0**-24  # of float32
_NUDGES, _NUDGE_SAFETY = 3, 8.0
_programs: dict[Any, "_Made"] = {}
_proved: set[Any] = set()


class _Made(NamedTuple):
    """What the points of one function, shapes and dtype share; see `Point`. asked: how many there have been."""

    outputs: list[jax.ShapeDtypeStruct]
    stripped: ClosedJaxpr
    rules: int
    program: Callable[[list], list]
    pair: Pair
    widened: Pair | None
    kept: dict
    often: bool
    asked: int = 0


@dataclass(frozen=True)
class Point:
    """Everything that the checks of one dtype share.

    outputs: shapes and dtypes of the function's floating outputs. stripped: the function (or its reference) without any
    hand-written rule, from `(view.diff, view.rest)` to these; rules: how many there were. program: the rule, from
    `[*view.diff, *view.rest, *cotangents]` to `[*outputs, *gradients]`; pair: compiled, beside its oracle.
    widened: the pair of the wider point that was given, if both rule and oracle are the same but for the widths of their types.
    kept: what else was made for this function, shapes and dtype. often: whether so many points had these that to compile with
    care pays.
    """

    case: Case
    dtype: str
    wide: bool
    args: tuple
    view: View
    device: Any
    matmul: float
    outputs: list[jax.ShapeDtypeStruct]
    stripped: ClosedJaxpr
    rules: int
    program: Callable[[list], list]
    pair: Pair
    widened: Pair | None
    kept: dict
    often: bool

    def plain(self, diff: list, rest: list) -> list:
        """`stripped` as a function."""
        return jaxpr_as_fun(self.stripped)(*diff, *rest)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` returns; made once per function, shapes and dtype, and kept as long as the compiled programs."""
        if name not in self.kept:
            self.kept[name] = make()
        return self.kept[name]

    def moved(self, diff: list[np.ndarray], rest: list | None = None) -> "Point":
        """The same at other arguments of the same shapes."""
        return replace(self, view=replace(self.view, diff=diff, rest=self.view.rest if rest is None else rest))

    def beside_differences(self) -> "Point":
        """The same with finite differences for an oracle. Raises ValueError for too many entries, or complex ones."""
        make = lambda: (beside_differences(self.pair.rule, _slopes(self.case, self.view), self.pair.by_hand), {})
        pair, kept = self.once("beside differences", make)
        return replace(self, pair=pair, kept=kept)

    def inputs(self, cotangents: list[np.ndarray]) -> list:
        return [*self.view.diff, *self.view.rest, *cotangents]

    def gradients(self, cotangents: list[np.ndarray]) -> list[np.ndarray]:
        """The rule's gradients, run on the device."""
        return self.pair.rule(self.inputs(cotangents))[len(self.outputs) :]

    def ran(self, cotangents: list[np.ndarray]) -> list[np.ndarray]:
        """The rule's values and gradients, run on the device unless they were before."""
        inputs = self.inputs(cotangents)
        return self.once("ran", lambda: Remembered(_KEPT_FORMULAS)).get(None, inputs, lambda: self.pair.rule(inputs))

    def cotangents(self, kind: str, seed: int) -> list[np.ndarray]:
        """`random`, `ones` or `zeros` for every output; `entry`: one random entry of each is 1."""
        generator = np.random.default_rng([seed, len(kind)])
        return [_cotangent(kind, y, generator) for y in self.outputs]

    def rounds(self, seed: int) -> list[list[np.ndarray]]:
        """The cotangents to compare for: one of every kind; for a single number, where each is a multiple of another, one."""
        if sum(np.prod(y.shape, dtype=int) for y in self.outputs) == 1:
            return [self.cotangents("random", seed)]
        return [self.cotangents("random", seed), self.cotangents("entry", seed), self.cotangents("random", seed + 1)]

    def formulas(self, cotangents: list[np.ndarray]) -> list[Difference]:
        """Rule against oracle as formulas in float64, per output and then per gradient."""
        known = self.once("formulas", lambda: Remembered(_KEPT_FORMULAS))
        return known.get(None, self.inputs(cotangents), lambda: self._formulas(cotangents))

    def _formulas(self, cotangents: list[np.ndarray]) -> list[Difference]:
        inputs = self.inputs(cotangents)
        ours, autodiffs = self.pair.in_float64()
        if ours and autodiffs and (alike := self._alike(ours(inputs), autodiffs(inputs), cotangents)) is not None:
            return alike
        values, errors = self.pair.analyse_rule(inputs, lifted())
        exact, exact_errors = self.pair.analyse_oracle(inputs, lifted())
        bounds = [1.001 * (np.asarray(e) + f) for e, f in zip(errors, exact_errors)]
        if self.case.reference is not None:
            bounds = [b + _WRITTEN_TWICE * largest([a]) for b, a in zip(bounds, exact)]
        return list(map(_with_room_for_pieces, self._differences(values, exact, bounds, cotangents)))

    def _alike(self, got: list, exact: list, cotangents) -> list[Difference] | None:
        """The differences of what agrees so well, entry by entry, that no analysis of rounding can add to it.

        None otherwise; and where all of a gradient is 0, which a number too large may have swallowed.
        """
        none = [everywhere(0.0, a) for a in exact]
        room = _with_room_for_pieces if self.wide else _with_room_for_units
        found = list(map(room, self._differences(got, exact, none, cotangents)))
        zero = lambda d: d.exact.size and not d.peak
        return None if any(d.any_wrong or d.any_undefined or zero(d) for d in found) else found

    def precise_formulas(self, cotangents: list[np.ndarray]) -> list[Difference]:
        """The same in 120 digits, rounded to float64 at the end: the judge of formulas that cancel. Raises NotPrecise.

        The bound counts that rounding, what is left of the digits after cancellation, and the rounding of the programs'
        own constants, which is measured.
        """
        if self.pair.numerical:
            raise NotPrecise("finite differences")
        inputs = self.inputs(cotangents)
        run = lambda jaxpr, nudge=None: [np.asarray(x, np.float64) for x in precise(jaxpr, inputs, nudge)]
        values, exact = (run(jaxpr) for jaxpr in self.pair.jaxprs)
        bounds = [2.0**-51 * np.abs(a) + 1e-60 * largest([*cotangents, a]) for a in exact]
        generator = np.random.default_rng(0)
        for at_point, jaxpr in zip((values, exact), self.pair.jaxprs):
            for _ in range(_NUDGES):
                nudged = run(jaxpr, generator)
                with np.errstate(invalid="ignore"):  # inf - inf: no bound
                    bounds = [b + _NUDGE_SAFETY / _NUDGES * np.abs(n - v) for b, n, v in zip(bounds, nudged, at_point)]
        return list(map(_with_room_for_pieces, self._differences(values, exact, bounds, cotangents)))

    def arithmetic(self, cotangents: list[np.ndarray]) -> list[Difference]:
        """The rule as it ran on the device, in its dtype, against its own formula in float64, per output and gradient."""
        inputs = self.inputs(cotangents)
        ran = self.ran(cotangents)
        # elsewhere than on a CPU it may be computed in fewer digits than its dtype has
        known = self.wide or (self.dtype == "float32" and self.device.platform == "cpu")
        formula = (self.widened or self.pair).in_float64()[0] if known else None
        if formula and (alike := self._alike(ran, formula(inputs), cotangents)) is not None:
            return alike
        values, errors = self.pair.analyse_rule(inputs, executed(self.matmul))
        both = 2.002 if self.wide else 1.002  # in float64 the formula's own value is as far off as the device's
        bounds = [both * np.asarray(e) for e in errors]
        return self._differences(ran, values, bounds, cotangents)

    def rounding_of_oracle(self, cotangents: list[np.ndarray]) -> list[np.ndarray]:
        """Bounds on what rounding in the same dtype does to the oracle's values and gradients."""
        return [np.asarray(e) for e in self.pair.analyse_oracle(self.inputs(cotangents), executed(self.matmul))[1]]

    def _differences(self, got, exact, bounds, cotangents) -> list[Difference]:
        """With floors: an output of size y and a cotangent of size c make gradients of size c y / x."""
        count = len(self.outputs)
        product = max((largest([y]) * largest([c]) for y, c in zip(exact, cotangents)), default=0.0) or largest(
            cotangents
        )
        inputs = [largest([x]) for x in self.view.diff]
        floors = [0.0 if largest([y]) else max(inputs) for y in exact[:count]] + [product / (x or 1.0) for x in inputs]
        return [
            Difference(in_double(g), in_double(a), b, floor)
            for g, a, b, floor in zip(got, exact, bounds, floors, strict=True)
        ]


def point(case: Case, seed: int, dtype: str, device: Any, matmul: float, wider: Point | None = None) -> Point:
    """Makes the arguments and compiles, or finds what was compiled for the same function, shapes and dtype.

    wider: the point of the same case in a wider dtype.
    """
    args = case.arguments(seed, dtype)
    seen = view(case, args)
    key = (seen.signature, device, case.by_design)
    asked = 1 + (_programs[key].asked if key in _programs else 0)
    if key not in _programs or (asked >= _OFTEN and not _programs[key].often):
        made = _make(case, seen, dtype, device, wider, often=asked >= _OFTEN)
        while len(_programs) >= _KEPT_PROGRAMS:
            del _programs[next(iter(_programs))]
        _programs[key] = made
    _programs[key] = made = _programs[key]._replace(asked=asked)
    return Point(case, dtype, dtype == "float64", args, seen, device, matmul, *made[:-1])


def _make(case: Case, seen: View, dtype: str, device: Any, wider: Point | None, often: bool) -> _Made:
    """Traces the function, its rule and its oracle; see `point`."""
    wide, call = dtype == "float64", seen.call(case.fn)
    with jax.enable_x64(wide):
        whole = jax.make_jaxpr(call)(seen.diff, seen.rest)
        outputs = [jax.ShapeDtypeStruct(y.shape, y.dtype) for y in whole.out_avals]
        forward = whole if case.reference is None else jax.make_jaxpr(seen.call(case.reference))(seen.diff, seen.rest)
        stripped = forward if _declares(case) else without_rules(forward)
        plain = lambda diff, rest: jaxpr_as_fun(stripped)(*diff, *rest)
        with_cotangents = [*seen.diff, *seen.rest, *[np.zeros(y.shape, y.dtype) for y in outputs]]
        count, rest = len(seen.diff), len(seen.rest)
        program = vjp_of(call, count, rest)
        if wider and (wider.pair.numerical or _declares(case) or not retyped(stripped, wider.stripped, dtype)):
            wider = None  # the rule of a reference may look at its dtype, too
        programs = pair(
            program,
            vjp_of(plain, count, rest),
            with_cotangents,
            wide,
            device,
            lambda: _slopes(case, seen),
            bool(wider),
            often,
        )
        widened = wider.pair if wider and retyped(programs.by_hand, wider.pair.by_hand, dtype) else None
    return _Made(outputs, stripped, count_rules(whole), program, programs, widened, {}, often)


def _slopes(case: Case, seen: View) -> Gradients:
    """Of the function itself, or of its reference, by finite differences."""
    domains = [case.domain.get(position) for position in seen.positions]
    call = seen.call(case.reference or case.fn)
    return by_differences(call, seen.diff, seen.rest, domains, jax.devices("cpu")[0])


def _with_room_for_pieces(d: Difference) -> Difference:
    room = np.asarray(np.abs(d.exact))
    with np.errstate(invalid="ignore"):
        np.fmin(np.multiply(room, _OF_ENTRY, out=room), _PIECES * d.scale, out=room)
    room = np.asarray(room if d.scale < np.inf else np.nan_to_num(room))
    room += _BEYOND_FLOAT32 * d.scale if np.isfinite(d.scale) else 0.0
    room += d.bound
    return d.with_bound(room)


def _with_room_for_units(d: Difference) -> Difference:
    return d.with_bound(everywhere(AS_GOOD * _ROUNDOFF * d.scale, d.exact))


def _declares(case: Case) -> bool:
    """Whether the reference's own rule says what the gradient is, which is not the derivative of its value."""
    return case.by_design and isinstance(case.reference, jax.custom_vjp) and case.reference is not case.fn


def vjp_of(call: Callable, count: int, rest: int) -> Callable[[list], list]:
    """`call` as a program from arguments and cotangents to values and gradients."""

    def run(inputs):
        diff, others, cotangents = inputs[:count], inputs[count : count + rest], inputs[count + rest :]
        y, pull = jax.vjp(lambda d: call(d, others), diff)
        return [*y, *pull(list(cotangents))[0]]

    return run


def _cotangent(kind: str, y: jax.ShapeDtypeStruct, generator: np.random.Generator) -> np.ndarray:
    if kind in ("ones", "zeros"):
        return np.full(y.shape, 1.0 if kind == "ones" else 0.0).astype(y.dtype)
    if kind == "entry":
        flat = np.zeros(int(np.prod(y.shape, dtype=int)))
        if flat.size:
            flat[generator.integers(flat.size)] = 1.0
        return flat.reshape(y.shape).astype(y.dtype)
    draw = generator.normal(size=y.shape)
    if jnp.issubdtype(y.dtype, jnp.complexfloating):
        draw = draw + 1j * generator.normal(size=y.shape)
    # the same in float64 as in float32, so that the formula of both is one
    return draw.astype(np.complex64 if np.iscomplexobj(draw) else np.float32).astype(y.dtype)


def prove_point(p: Point) -> None:
    """Raises TypeError if a hand-written rule is left in the oracle, where that is autodiff.

    JAX refuses an operation, not a program: one made of operations that it has taken before needs no other proof.
    """
    if (p.case.by_design and p.case.reference is None) or _declares(p.case) or p.pair.numerical:
        return
    operations = p.once("operations", lambda: operations_in(p.stripped))
    if not operations <= _proved:
        with jax.enable_x64(p.wide):
            prove_stripped(p.plain, p.view.diff, p.view.rest)
        _proved.update(operations)
