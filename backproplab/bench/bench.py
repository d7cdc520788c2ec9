"""One function, one line of figures: its rule beside JAX's own ways to the same gradient."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.bench.accuracy import worst_relative_errors
from backproplab.bench.cost import Cost, cost, paired_ratios
from backproplab.bench.rivals import rivals
from backproplab.bench.size import at_size
from backproplab.case import Case, function_name
from backproplab.harness.view import View, view


@dataclass(frozen=True)
class Bench:
    """What the rule of one function costs.

    numbers: entries of its floating arguments. costs: by name, `hand` first; see `rivals` for the others. ratios: the
    time of `hand` over that of the other, lower quartile, median and upper quartile; None if no times were taken.
    errors: the largest relative error of an entry in float32, of `hand` and of `plain`; None if not known.
    """

    function: str
    numbers: int
    costs: dict[str, Cost]
    ratios: dict[str, tuple[float, float, float]] | None
    errors: tuple[float, float] | None

    def leanest(self, field: str) -> float:
        """The least of the rivals' figures of this kind."""
        return min(getattr(c, field) for name, c in self.costs.items() if name != "hand")

    @property
    def greedy(self) -> bool:
        """Whether the rule's program needs clearly more temporary bytes than the leanest of its rivals."""
        return is_greedy(self.costs["hand"].temporary_bytes, int(self.leanest("temporary_bytes")))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def bench(cases: Sequence[Case], numbers: int = 2**18, rounds: int = 15) -> Bench:
    """Measures the function of the first of `cases`, in float32, on JAX's first device.

    cases: of one function; the first is made larger, until an argument has up to `numbers` entries; accuracy is that of
    all as they are. rounds: how often each is timed beside the rule; 0 for no times.
    """
    case = cases[0]
    seen, calls, cotangents = ways(case, numbers)
    found = {name: cost(call, seen.diff, seen.rest, cotangents) for name, call in calls.items()}
    runs = {name: run for name, (_, run) in found.items()}
    others = [name for name in calls if name != "hand"]
    ratios = {name: paired_ratios(runs["hand"], runs[name], rounds) for name in others} if rounds else None
    errors = worst_relative_errors([replace(c, reference=None) for c in cases])
    size = sum(int(np.size(x)) for x in seen.diff)
    return Bench(function_name(case.fn), size, {name: c for name, (c, _) in found.items()}, ratios, errors)


def ways(case: Case, numbers: int) -> tuple[View, dict[str, Callable], list[jax.Array]]:
    """The case's arguments at a size where costs show, its rule and the rule's rivals at them, and cotangents."""
    others = rivals(case, view(case, case.arguments(0, "float32")))
    seen = view(case, at_size(case, numbers))
    calls = {"hand": seen.call(case.fn), **others}
    outputs = jax.eval_shape(calls["hand"], seen.diff, seen.rest)
    generator = np.random.default_rng(0)
    return seen, calls, [jnp.asarray(generator.normal(size=y.shape), y.dtype) for y in outputs]


def is_greedy(temporary_bytes: int, of_the_leanest: int) -> bool:
    """Whether a program needs clearly more temporary bytes than another: by a tenth, and by a page of memory."""
    return temporary_bytes > 1.1 * of_the_leanest + 4096


def geometric_mean(numbers: Sequence[float]) -> float:
    """Of positive numbers."""
    return math.exp(math.fsum(map(math.log, numbers)) / len(numbers))
