"""The command line. jax is imported only after the arguments are parsed, so that `--help` comes at once."""

import contextlib
import io
import math
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Verify:
    """Verify hand-written gradients: everything built in, or what you name.

    Exit codes: 0 verified, 1 wrong, 2 usage, 3 inconclusive, 4 the target could not be loaded, 5 nothing selected.
    """

    targets: tyro.conf.Positional[tuple[str, ...]] = ()
    """A layer, network or room, package.module, package.module:function, file.py or file.py::name."""
    args: str | None = None
    """Where to verify a function of your own: 'x=f32[8,5], big=f32[8]*100, labels=i32[8]<10, rate=0.1, key=key'.
    f64, f32, bf16 and f16 are drawn at random and differentiated; a constant is not, unless nothing is drawn."""
    seed: int = 0
    """Of the sampled arguments and cotangents."""
    dtypes: tuple[Literal["float64", "float32", "bfloat16", "float16"], ...] = ()
    """Instead of those that each case names."""
    platform: Literal["default", "cpu", "gpu", "tpu", "all"] = "default"
    """Where the rules run; oracles always run in float64 on the CPU."""
    transforms: Literal["examples", "all", "none"] = "examples"
    """Where rules are asked under vmap, jit, scan, checkpoint, eager and on several devices: at cases without a name, at all,
    or at none."""
    jobs: int = 0
    """Processes; 0: one per core, if there is enough to do."""
    rerun: str | None = None
    """Only the case with this id, as a verdict's first line and `id` in the JSON have it: 'relu[zero: slope 0]'."""
    budget: float = math.inf
    """Seconds after which no case is begun; those left are inconclusive."""
    mutate: bool = False
    """Plant bugs in each rule instead and say which of them its own cases would let pass; 1 unless 95 % are caught."""
    json: str | None = None
    """Write the verdicts to this file, - for standard output in place of the table.
    After Ctrl-C it holds the verdicts so far and "interrupted": true."""
    junit: str | None = None
    """Write a JUnit report to this file, likewise."""


@dataclass(frozen=True)
class Graph:
    """Print the computational graph of a scalar function, with value and gradient on every edge."""

    target: tyro.conf.Positional[str]
    """A layer, package.module:function or file.py::name."""
    args: str | None = None
    """Its arguments, as for verify: 'x=4.0, y=-3.0'. Default: its first case."""
    seed: int = 0
    """Of the sampled arguments."""


@dataclass(frozen=True)
class Bench:
    """Measure what hand-written rules cost beside JAX's own gradients of the same functions, in float32.

    Ways: hand, the rule; plain, autodiff of the function without it; checkpoint, the same under jax.checkpoint; library,
    the function of that name in jax or optax. Exit codes: 0 measured, 1 the function raises, 2 usage,
    4 not loaded, 5 nothing selected.
    """

    targets: tyro.conf.Positional[tuple[str, ...]] = ()
    """As for verify; everything built in if nothing is named."""
    args: str | None = None
    """Where to measure a function of your own, as for verify."""
    numbers: int = 2**18
    """The first case of each function is made larger until an argument has up to so many entries."""
    rounds: int = 15
    """How often each way is timed beside the rule; 0 for no times."""
    json: str | None = None
    """Write the figures to this file, - for standard output in place of the table."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses, runs, and exits: 0 verified, 1 wrong, 2 usage, 3 inconclusive, 4 not loaded, 5 nothing selected.

    As shells have it, 130 if interrupted, and 141 if nobody reads the output any more.
    """
    try:
        try:
            sys.exit(_run(_parsed(arguments)))
        finally:
            if sys.stdout:  # None if it was closed before we began
                sys.stdout.flush()
    except KeyboardInterrupt:
        print("backproplab: interrupted", file=sys.stderr)
        sys.exit(130)
    except OSError as error:  # most often of standard output
        if sys.stdout:
            os.dup2(
                os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
            )  # or Python complains when it flushes at exit
        if isinstance(error, BrokenPipeError):
            sys.exit(141)
        print(f"backproplab: {error.strerror}", file=sys.stderr)
        sys.exit(2)


def _parsed(arguments: Sequence[str] | None) -> Verify | Graph | Bench:
    """The command; a mistake in the options is told in one line."""
    command = (
        Annotated[Verify, tyro.conf.subcommand("verify")]
        | Annotated[Graph, tyro.conf.subcommand("graph")]
        | Annotated[Bench, tyro.conf.subcommand("bench")]
    )
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                command,  # type: ignore[arg-type]
                prog="backproplab",
                description="Layers with hand-written gradients, and a harness that verifies them and yours.",
                args=arguments,
                config=(tyro.conf.HelptextFromCommentsOff,),
            )
    finally:
        if complaint.getvalue():
            print("backproplab:", _in_one_line(complaint.getvalue()), file=sys.stderr)


def _in_one_line(box: str) -> str:
    """What is written in the sections of a box of tyro's, without its colours, title and frame."""
    body = re.sub("\x1b\\[[0-9;]*m", "", box).partition("\n")[2].replace("│", " ")
    sections = (" ".join(section.split()) for section in re.split("^[ ╰─╯-]+$", body, flags=re.MULTILINE))
    return "; ".join(filter(None, sections))


def _run(command: Verify | Graph | Bench) -> int:
    # JAX's compilation cache, if the user has set one up, is to keep what takes less than a second to compile, too
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    from backproplab import commands

    return {Verify: commands.verify, Graph: commands.graph, Bench: commands.bench}[type(command)](command)
