"""The same function at a size where costs show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backproplab import Case, integers, normal
from backproplab.bench.size import at_size


def shapes(case, numbers):
    return [np.shape(x) for x in jax.tree.leaves(at_size(case, numbers))]


def test_axes_grow_together():
    """Axes of one size are one axis of the problem; all grow by the same factor, as far as the largest array may."""
    case = Case(lambda x, w: x @ w, (normal(8, 5), normal(5, 6)))
    assert shapes(case, 1000) == [(32, 20), (20, 24)]


def test_short_axes_stay():
    """A kernel of three by three stays one."""
    case = Case(lambda x, k: jax.scipy.signal.convolve2d(x, k), (normal(8, 8), normal(3, 3)))
    assert shapes(case, 300) == [(16, 16), (3, 3)]


def test_labels_stay_labels():
    """Whole numbers that index an axis index the longer one, too."""
    case = Case(lambda x, i: x[jnp.arange(len(i)), i].sum(), (normal(5, 4), integers(0, 4, 5)))
    x, i = at_size(case, 400)
    assert x.shape == (20, 16)
    assert i.shape == (20,)
    assert i.max() < 16


@pytest.mark.parametrize("fixed", [True, False])
def test_as_it_is(fixed):
    """What does not take longer axes, or must not be moved, is measured as the case has it."""

    def at_most_eight(x):
        if x.shape[0] > 8:
            raise ValueError("too long")
        return x * x

    fn, domain = (lambda x: x * x, {0: "fixed"}) if fixed else (at_most_eight, {})
    assert shapes(Case(fn, (normal(8),), domain=domain), 10_000) == [(8,)]


def test_what_lies_between_counts():
    """An outer product of two vectors is what fills the memory, not the vectors."""
    assert shapes(Case(lambda x: jnp.outer(x, x).sum(), (normal(8),)), 1024) == [(128,)]
