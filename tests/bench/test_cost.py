"""What is counted is what a reader of the program would count."""

import time

import jax.numpy as jnp
import numpy as np

from backproplab.bench.cost import cost, floor, median_seconds, paired_ratios, quartiles

X = np.ones((256, 256), np.float32)


def test_bytes_kept():
    """The sine keeps an array of cosines, a sum nothing."""
    (sine, _), (total, _) = (
        cost(lambda d, r, f=f: [f(d[0])], [X], [], [c]) for f, c in ((jnp.sin, X), (jnp.sum, X[0, 0]))
    )
    assert (sine.residual_bytes, total.residual_bytes) == (X.nbytes, 0)


def test_temporary_bytes():
    """Between two products of matrices there is one matrix at least; within one pass over x there is none."""
    (products, _), (square, _) = (
        cost(lambda d, r, f=f: [f(d[0])], [X], [], [X]) for f in (lambda x: jnp.sin(x @ x) @ x, lambda x: x * x)
    )
    assert products.temporary_bytes >= X.nbytes
    assert square.temporary_bytes == 0


def test_instructions():
    """More of them for more operations, and compiling takes time."""
    (short, _), (long, _) = (
        cost(lambda d, r, f=f: [f(d[0])], [X], [], [X]) for f in (lambda x: x * x, lambda x: jnp.sin(x * x) / (1 + x))
    )
    assert 0 < short.instructions < long.instructions
    assert short.compile_seconds > 0


def test_the_program_runs():
    """It is the compiled value and gradient: what is returned runs it and says nothing."""
    _, run = cost(lambda d, r: [d[0] * r[0]], [X], [X], [X])
    assert run() is None


def test_paired_ratios():
    """A function that sleeps five times as long takes about five times as long, whatever else the machine does."""
    low, middle, high = paired_ratios(lambda: time.sleep(0.05), lambda: time.sleep(0.01), 5)
    assert low <= middle <= high
    assert 2 < middle < 8


def test_quartiles():
    """Of numbers in any order."""
    assert quartiles([5.0, 1.0, 3.0, 2.0, 4.0]) == (2.0, 3.0, 4.0)


def test_median_leaves_the_first_runs_out():
    """They compile and warm up."""
    runs = []
    assert median_seconds(lambda: runs.append(time.sleep(0.2 if len(runs) < 2 else 0)), 3) < 0.1


def test_floor():
    """In words and units."""
    words = floor(1)
    assert "GB/s copying" in words
    assert "GFLOP/s multiplying" in words
