"""A factor or a term is named where it explains a wrong gradient entry by entry, and nowhere else."""

import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import by_hand

from backproplab import verify
from backproplab.harness.factors import factors, terms

random = np.random.default_rng(0)
RIGHT, X = random.normal(size=(2, 3, 4))
ROWS, COLUMNS = random.normal(size=3), random.normal(size=4)
MASK = random.permutation(12).reshape(3, 4) < 5
ARRAYS = {"x": X, "rows": ROWS, "columns": COLUMNS, "mask": MASK, "t": np.array(0.3)}


def factor_or_term(*given):
    return (*factors(*given), *terms(*given))


SENTENCES = {
    "is the right one without its factor x": (RIGHT, RIGHT * X),
    "is the right one times x: a factor too many": (RIGHT * X, RIGHT),
    "is minus the right one times columns: a factor too many": (-RIGHT * COLUMNS, RIGHT),
    "is the right one without its factor rows": (RIGHT, RIGHT * ROWS[:, None]),
    "is the right one without its factor mask": (RIGHT, RIGHT * MASK),
    "is the right one without its factor 1 - x^2": (RIGHT, RIGHT * (1 - X * X)),
    "is the right one without its factor 1 - x": (RIGHT, RIGHT * (1 - X)),
    "is the right one times x^2: a factor too many": (RIGHT * X * X, RIGHT),
    "is the right one without its factor x[-1]": (RIGHT, RIGHT * X[-1]),
    "is the right one without its factor x[:, 0]": (RIGHT, RIGHT * X[:, :1]),
    "is the right one without its factor t": (RIGHT / 0.3, RIGHT),
    "is off by -0.01 times x: a term that does not belong there": (RIGHT - 0.01 * X, RIGHT),
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_sentences(sentence):
    """One mistake, one sentence, the first."""
    assert factor_or_term(*SENTENCES[sentence], ARRAYS)[0] == sentence


@pytest.mark.parametrize("got", [random.normal(size=(3, 4)), 2 * RIGHT, 0 * RIGHT], ids=["another", "twice", "zero"])
def test_nothing_is_named_without_need(got):
    """Neither of numbers without relation, nor of a right gradient of zero."""
    assert factor_or_term(got, RIGHT, ARRAYS) == ()
    assert factor_or_term(got, 0 * RIGHT, ARRAYS) == ()


def test_a_small_difference_is_no_factor_of_one():
    """A mask of nothing but ones explains nothing."""
    nearly = RIGHT * (1 + 1e-7 * random.normal(size=RIGHT.shape))
    assert factor_or_term(nearly, RIGHT, {"mask": np.ones((3, 4), bool)}) == ()


MISTAKES = {
    "the gradient of x is the right one without its factor w": lambda x, w, dy: (dy, (x * dy).sum(0)),
    "the gradient of x is the right one times the output: a factor too many": lambda x, w, dy: (
        w * dy * (w * x),
        (x * dy).sum(0),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_through_verify(mistake):
    """The names are those of the function's arguments."""
    scaled = lambda x, w: w * x
    bwd = MISTAKES[mistake]
    v = verify(by_hand(scaled, lambda args, dy: bwd(*args, dy)), X, COLUMNS)
    assert v.status == "fail"
    assert v.cause.startswith(mistake)


def test_a_mask_is_called_by_its_name():
    """Arguments that are not differentiated are factors too."""
    masked = by_hand(lambda x, mask: jnp.where(mask, x, 0), lambda args, dy: (dy, None))
    v = verify(masked, X, MASK)
    assert v.cause.startswith("the gradient of x is the right one without its factor mask")


def test_a_number_of_the_function():
    """Written into it, and left out of the rule."""
    scaled = by_hand(lambda x: jnp.sin(x) * 0.995, lambda args, dy: (dy * jnp.cos(args[0]),))
    assert verify(scaled, X).cause.startswith("the gradient of x is the right one without its factor the number 0.995")
