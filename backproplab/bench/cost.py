"""The cost of a value and its gradient: what the compiler counts, and times that are measured in turn."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.harness.promises import kept_bytes

_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.-]+ = ", re.MULTILINE)
_WARM_UP = 2


@dataclass(frozen=True)
class Cost:
    """Of one function's value and gradient as one program.

    residual_bytes: what crosses from the forward to the backward pass if the two are run apart.
    temporary_bytes: what the compiled program needs besides its inputs and outputs.
    instructions: of the optimised program. compile_seconds: tracing not counted.
    """

    residual_bytes: int
    temporary_bytes: int
    instructions: int
    compile_seconds: float


def lowered(call: Callable, diff: list, rest: list, cotangents: list) -> jax.stages.Lowered:
    """`call(diff, rest)` and its gradient as one program, to be compiled."""

    def program(diff, rest, cotangents):
        y, pull = jax.vjp(lambda d: call(d, rest), diff)
        return y, pull(cotangents)[0]

    return jax.jit(program).lower(diff, rest, cotangents)


def cost(call: Callable, diff: list, rest: list, cotangents: list) -> tuple[Cost, Callable[[], None]]:
    """The cost of `call(diff, rest)` and its gradient, and the program as a function that runs it to its end."""
    program = lowered(call, diff, rest, cotangents)
    began = time.perf_counter()
    compiled = program.compile()
    seconds = time.perf_counter() - began
    memory: Any = compiled.memory_analysis()
    counted = Cost(
        kept_bytes(call, diff, rest),
        memory.temp_size_in_bytes,
        len(_INSTRUCTION.findall(compiled.as_text() or "")),
        seconds,
    )
    placed = jax.device_put((diff, rest, cotangents))

    def run() -> None:
        jax.block_until_ready(compiled(*placed))

    return counted, run


def paired_ratios(one: Callable[[], Any], other: Callable[[], Any], rounds: int) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile of the time of `one` over that of `other`, which are run in turn."""
    for _ in range(_WARM_UP):
        one()
        other()
    return quartiles([_seconds(one) / _seconds(other) for _ in range(rounds)])


def median_seconds(run: Callable[[], Any], rounds: int) -> float:
    """The median of several runs, the first ones left out."""
    for _ in range(_WARM_UP):
        run()
    return float(np.median([_seconds(run) for _ in range(rounds)]))


def floor(rounds: int = 5) -> str:
    """In words, what this machine reaches at the moment: copying, and multiplying matrices, both in float32."""
    numbers, side = jnp.ones(2**24), jnp.ones((1024, 1024))
    copy, product = jax.jit(lambda x: x + 1), jax.jit(jnp.matmul)
    copied = 2 * numbers.nbytes / median_seconds(lambda: copy(numbers).block_until_ready(), rounds)
    operations = 2 * 1024**3 / median_seconds(lambda: product(side, side).block_until_ready(), rounds)
    return f"{copied / 1e9:.1f} GB/s copying, {operations / 1e9:.0f} GFLOP/s multiplying matrices"


def quartiles(numbers: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = np.quantile(numbers, (0.25, 0.5, 0.75))
    return float(low), float(middle), float(high)


def _seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
