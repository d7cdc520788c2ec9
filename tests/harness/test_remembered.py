"""Results are found again by contents, whatever the bits mean, and only so many are kept."""

import jax
import numpy as np

from backproplab.harness.remembered import Remembered


def test_found_again_by_contents():
    """A copy is the same; another bit, shape, type or question is not: NaN equals itself, and 0 is not -0."""
    known, made = Remembered(8), []

    def ask(x, asked=None):
        known.get(asked, [np.zeros(2), x], lambda: made.append(x))
        return len(made)

    x = np.array([[1.0, np.nan], [0.0, 2.0]])
    assert ask(x) == ask(x) == ask(x.copy()) == ask(np.asfortranarray(x)) == 1
    assert ask(x, "else") == 2
    assert ask(x.reshape(4)) == 3
    assert ask(np.where(x == 0, -0.0, x)) == 4
    assert ask(x.astype(np.float32)) == 5
    assert ask(jax.random.key(1)) == 6 == ask(jax.random.key(1))
    assert ask(jax.random.key(2)) == 7


def test_the_oldest_go():
    """What was asked long ago is made anew."""
    known, made = Remembered(2), []
    for i in (0, 1, 2, 2, 1, 0):
        known.get(None, [np.array(i)], lambda i=i: made.append(i))
    assert made == [0, 1, 2, 0]


def test_of_large_ones_few_are_kept():
    """Gradients of ten million numbers would fill the memory."""
    known, made = Remembered(8), []
    for i in (0, 1, 2, 1, 0):
        known.get(None, [np.array(i), np.zeros(2**22)], lambda i=i: made.append(i))
    assert made == [0, 1, 2, 0]
