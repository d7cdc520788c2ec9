"""What does a verdict cost? Seconds to verify a network, compiled already, beside seconds for one gradient of it.

    python benchmarks/cost_of_verifying.py --largest 10000000

For networks with 1,000 to 10,000,000 parameters: medians of several runs each, in turn, in the same process, in float32.
The point is verified as such (its case has a name), in float64 and float32. again: the second time and the next; small
programs are interpreted then. often: when all has been compiled with care, after 70 verdicts (or half a minute of them).
The picture: that ratio over the size.
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
OFTEN, PATIENCE, ROUNDS = 70, 30.0, 5


def main(largest: int, picture: Path) -> None:
    """Measures, prints a line for each size, draws."""
    found = []
    print(
        f"{'parameters':>12}  {'gradient':>10}  {'again':>9}  {'ratio':>6}  {'often':>9}  {'ratio (least, most)':>20}  status"
    )
    for size in [10**k for k in range(3, 8) if 10**k <= largest]:
        case, count = network(size)
        gradient = jax.jit(jax.value_and_grad(case.fn))
        args, seeds = case.arguments(), itertools.count()
        once = lambda gradient=gradient, args=args: jax.block_until_ready(gradient(*args))
        # another seed of cotangents and directions each time: what a seed has found is remembered
        verdict = lambda case=case, seeds=seeds: verify(case, seed=next(seeds))
        status = verdict().status
        one, again = seconds(once, 20), seconds(verdict, 5)
        began = time.perf_counter()
        for _ in range(OFTEN):
            if time.perf_counter() - began < PATIENCE:
                verdict()
        ones, verdicts = zip(*((seconds(once, 20), seconds(verdict, 3)) for _ in range(ROUNDS)))
        ratios = sorted(v / g for v, g in zip(verdicts, ones))
        middle, often = statistics.median(ratios), statistics.median(verdicts)
        found.append((count, middle))
        print(f"{count:>12,}  {one * 1e3:>7.2f} ms  {again:>7.3f} s  {again / one:>6.0f}  {often:>7.3f} s  "
              f"{f'{middle:.0f} ({ratios[0]:.0f}, {ratios[-1]:.0f})':>20}  {status}", flush=True)  # fmt: skip
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
