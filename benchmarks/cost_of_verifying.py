"""What does a verdict cost? Seconds to verify a network, compiled already, beside seconds for one gradient of it.

    python benchmarks/cost_of_verifying.py --largest 10000000

For networks with 1,000 to 10,000,000 parameters: the median of several runs each, in the same process, in float32. The
point is verified as such (its case has a name), in float64 and float32. The picture: the ratio over the size.
"""

import argparse
import itertools
import statistics
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np

from backproplab import Case, verify
from backproplab.networks import mlp
from backproplab.training.extras import optional

ROWS, INPUTS, OUTPUTS = 64, 32, 10


def main(largest: int, picture: Path) -> None:
    """Measures, prints a line for each size, draws."""
    found = []
    print(f"{'parameters':>12}  {'gradient':>10}  {'verdict':>9}  {'ratio':>8}  {'status'}")
    for size in [10**k for k in range(3, 8) if 10**k <= largest]:
        case, count = network(size)
        gradient = jax.jit(jax.value_and_grad(case.fn))
        args = case.arguments()
        one = seconds(lambda gradient=gradient, args=args: jax.block_until_ready(gradient(*args)), 20)
        status = verify(case).status  # compiles
        seeds = itertools.count(1)  # of cotangents and directions: what a seed has found is remembered
        verdict = seconds(lambda case=case, seeds=seeds: verify(case, seed=next(seeds)), 5)
        found.append((count, verdict / one))
        print(f"{count:>12,}  {one * 1e3:>7.2f} ms  {verdict:>7.2f} s  {verdict / one:>8.0f}  {status}")
    draw(found, picture)


def network(size: int) -> tuple[Case, int]:
    """The loss of an MLP with two equal hidden layers and about `size` parameters, as a case; and their number."""
    hidden = int((-(INPUTS + OUTPUTS) + ((INPUTS + OUTPUTS) ** 2 + 4 * size) ** 0.5) / 2)
    params = jax.tree.map(np.asarray, mlp.init(jax.random.key(0), (INPUTS, hidden, hidden, OUTPUTS)))
    generator = np.random.default_rng(0)
    x, target = (generator.normal(size=(ROWS, n)).astype(np.float32) for n in (INPUTS, OUTPUTS))
    case = Case(partial(mlp.loss), (params, x, target), name=f"{size:,} parameters", argnums=(0,), dtypes=("float64", "float32"))  # fmt: skip
    return case, sum(leaf.size for leaf in jax.tree.leaves(params))


def seconds(run, times: int) -> float:
    """The median of several runs, the first left out."""
    run()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def draw(found: list[tuple[int, float]], picture: Path) -> None:
    """The ratio over the number of parameters."""
    figure, axes = optional("matplotlib.pyplot").subplots(figsize=(6, 4), layout="constrained")
    axes.loglog(*zip(*found), marker="o")
    axes.axhline(40, color="grey", linewidth=1)
    axes.set(title="Verifying costs so many gradients", xlabel="parameters", ylabel="verdict / value and gradient")
    figure.savefig(picture)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=1_000_000, help="number of parameters")
    parser.add_argument("--picture", type=Path, default=Path("cost_of_verifying.png"), help="where the picture goes")
    main(**vars(parser.parse_args()))
