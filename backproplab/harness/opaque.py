"""The gradient of a function that JAX cannot differentiate (a while loop, a callback, a kernel): by finite differences.

Entry by entry fourth-order central differences at a ladder of steps, of which that with the narrowest error bar counts.
The bar holds truncation (the change from twice the step), rounding (a guess, so many roundings of the value), and the
jump between the slopes from the two sides where it does not fall with the step: at a kink any slope between them is right.
Where kinks of several entries meet, as of equal numbers that are sorted, slopes beyond those of the two sides may be right
as well: then nothing is known.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from backproplab.harness.jitted import jitted
from backproplab.harness.programs import float_types

MOST = 2_000  # entries to differentiate by; each costs some thirty runs of the function
_FEW = 10  # entries: the program runs so seldom that it is compiled in a hurry
_STEPS = 2.0 ** -np.arange(3.0, 17.0, 2.0)  # of the size of an entry
_PLACES = np.array([0.0, 1.0, -1.0, 2.0, -2.0, 4.0, -4.0])  # in steps
_ROUNDINGS = 64.0
_SAFETY = 4.0
_BENT = 1e-3  # of a slope: a jump that stays and is larger is a kink
_BESIDE = 2  # points
_NO_ROOM = 1e-290  # for a step, at the end of an interval: then it goes beyond, where a kink or NaN widens the bar
_SHARP, _CLOSER = 1e-6, 2.0**-14  # of a slope; of a step
_NARROW = 2.0**-6  # of a step, where only small changes are allowed

Gradients = Callable[[list], tuple[list[np.ndarray], list[np.ndarray]]]


def by_differences(call: Callable, diff: list, rest: list, domains: list, device: Any) -> Gradients:
    """From `[*diff, *rest, *cotangents]` to values and gradients of `call(diff, rest)`, and how far each may be off.

    In float64 if the function runs in it, else in the dtype of `diff`. domains: of each argument, as a case declares them.
    Raises ValueError if there are too many entries, or complex ones.
    """
    entries = sum(map(np.size, diff))
    if entries > MOST:
        raise ValueError(f"JAX cannot differentiate the function without its rule, and {entries} numbers are too many for "
                         "finite differences: give smaller arguments, or a reference")  # fmt: skip
    if any(map(np.iscomplexobj, diff)):
        raise ValueError(
            "JAX cannot differentiate the function without its rule, which takes complex numbers: give a reference"
        )
    wide = _runs(call, [np.asarray(x, np.float64) for x in diff], rest)
    with jax.enable_x64(wide):
        typed = [np.asarray(x, np.float64 if wide else x.dtype) for x in diff]
        closed = jax.make_jaxpr(call)(typed, rest)
    unit = max(float(ml_dtypes.finfo(t).eps) for t in float_types(closed)) / 2
    compiled = jax.jit if entries > _FEW else lambda f: jitted(f, entries, device)
    values = compiled(call)
    along = [compiled(_samples(call, leaf)) for leaf in range(len(diff))]

    def gradients(inputs):
        given, others, cotangents = (
            inputs[: len(diff)],
            inputs[len(diff) : len(diff) + len(rest)],
            inputs[len(diff) + len(rest) :],
        )
        with jax.enable_x64(wide), jax.default_device(device):
            x = [np.asarray(g, t.dtype) for g, t in zip(given, typed)]
            out = [np.asarray(y, np.float64) for y in values(x, others)]
            ladders = [*map(_steps, given, domains)]
            at_steps = lambda f, x, leaf, steps: _slopes(
                f(x, others, cotangents, steps.astype(x[leaf].dtype)), steps, unit
            )
            slopes = lambda x: [
                _sharper(functools.partial(at_steps, f, x, leaf), steps, wide)
                for leaf, (f, steps) in enumerate(zip(along, ladders))
            ]
            found = _unless_kinks_meet(slopes, x, ladders)
        shaped = [(v.reshape(np.shape(g)), e.reshape(np.shape(g))) for (v, e), g in zip(found, given)]
        errors = [_ROUNDINGS * unit * np.abs(y) for y in out]
        return [*out, *[v for v, _ in shaped]], [*errors, *[e for _, e in shaped]]

    return gradients


def _sharper(slopes: Callable[[np.ndarray], tuple], steps: np.ndarray, wide: bool) -> tuple:
    """At these steps and, where the bar is wide, at shorter ones: beside an entry of 1e5, one of 1 takes long steps."""
    found = slopes(steps)
    if not wide or np.all(found[1] <= _SHARP * np.abs(found[0])):
        return found
    closer = slopes(_CLOSER * steps)
    better = closer[1] < found[1]
    return tuple(np.where(better, c, f) for c, f in zip(closer, found))


def _unless_kinks_meet(slopes: Callable[[list], list], x: list, ladders: list) -> list[tuple[np.ndarray, np.ndarray]]:
    """Slopes and bars at `x`: those of entries on kinks are infinite if a slope beside the point is none of those between."""
    found = slopes(x)
    bent = [b for _, _, b in found]
    generator = np.random.default_rng(0)
    for _ in range(_BESIDE if any(map(np.any, bent)) else 0):
        aside = [np.where(b, steps[:, 1] * generator.uniform(-1, 1, len(b)), 0) for b, steps in zip(bent, ladders)]
        beside = slopes([(y + d.reshape(y.shape)).astype(y.dtype) for y, d in zip(x, aside)])
        beyond = (np.abs(t - s) > e + f for (s, e, _), (t, f, _) in zip(found, beside))
        if any(np.any(far & b) for far, b in zip(beyond, bent)):
            return [(s, np.where(b, np.inf, e)) for s, e, b in found]
    return [(s, e) for s, e, _ in found]


def _runs(call: Callable, diff: list, rest: list) -> bool:
    try:
        with jax.enable_x64(True):
            jax.block_until_ready(jax.jit(call)(diff, rest))
    except Exception:  # a kernel for one dtype, say
        return False
    return True


def _samples(call: Callable, leaf: int) -> Callable:
    """`(diff, rest, cotangents, steps) -> <c, f>` and the sum of what it adds up, in size, around each entry of a leaf."""

    def at(diff, rest, cotangents):
        terms = [c * y for c, y in zip(cotangents, call(diff, rest))]
        return sum(map(jnp.sum, terms)), sum(jnp.sum(jnp.abs(x)) for x in terms)

    def run(diff, rest, cotangents, steps):
        def one(place):
            entry, offset = place
            moved = diff[leaf].reshape(-1).at[entry].add(offset).reshape(diff[leaf].shape)
            return at([*diff[:leaf], moved, *diff[leaf + 1 :]], rest, cotangents)

        entries, ladder = steps.shape
        offsets = steps[:, :, None] * _PLACES.astype(steps.dtype)
        which = jnp.broadcast_to(jnp.arange(entries)[:, None, None], offsets.shape)
        found = jax.lax.map(one, (which.ravel(), offsets.ravel()))
        return [f.reshape(entries, ladder, len(_PLACES)) for f in found]

    return run


def _steps(x: Any, domain: Any) -> np.ndarray:
    """(entries, ladder): a share of the size of the entry, or of the whole argument, within its domain."""
    x = np.ravel(np.asarray(x, np.float64))
    finite = np.where(np.isfinite(x), x, 0.0)
    size = np.maximum(np.abs(finite), np.sqrt(np.mean(finite * finite)) if x.size else 0.0)
    size = np.where(size == 0, 1.0, size)
    steps = size[:, None] * _STEPS
    if domain == "fixed":
        return _NARROW * steps
    if domain is None:
        return steps
    room = np.minimum(x - domain[0], domain[1] - x) / 5
    return np.where(room[:, None] > _NO_ROOM, np.minimum(steps, room[:, None]), steps)


def _slopes(samples: list, steps: np.ndarray, unit: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every entry the slope, its error bar and whether there is a kink; the samples are at `_PLACES`, of each step."""
    values, sizes = (np.asarray(s, np.float64) for s in samples)
    if not values.size:
        return np.zeros(len(values)), np.zeros(len(values)), np.zeros(len(values), bool)
    at = {place: values[..., i] for i, place in enumerate(_PLACES)}
    noise = _ROUNDINGS * unit * sizes.max(-1) / steps
    with np.errstate(invalid="ignore", over="ignore"):
        fine = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * steps)
        coarse = (8 * (at[2] - at[-2]) - (at[4] - at[-4])) / (24 * steps)
        jump = np.abs(4 * (at[1] + at[-1]) - (at[2] + at[-2]) - 6 * at[0]) / (2 * steps)
        before = np.concatenate([np.zeros_like(jump[:, :1]), jump[:, :-1]], 1)
        after = np.concatenate([jump[:, 1:], np.zeros_like(jump[:, :1])], 1)
        # wide steps may meet more kinks than the one at the point, whose jump narrow ones see as well
        stays = np.maximum(jump - 0.5 * before, np.where(after > 0.5 * jump, 0.5 * jump, 0.0))
        bar = _SAFETY / 15 * np.abs(fine - coarse) + 1.5 * noise + stays
    bar = np.where(np.isnan(bar), np.inf, bar)
    best = np.argmin(bar, 1)[:, None]
    slope, error, jump, noise = (np.take_along_axis(a, best, 1)[:, 0] for a in (fine, bar, stays, noise))
    return slope, error, jump > np.maximum(_BENT * np.abs(slope), _SAFETY * noise)
