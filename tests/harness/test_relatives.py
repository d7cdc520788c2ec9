"""A slope that belongs to another function is named by it."""

import jax
import numpy as np
import pytest
from by_hand import by_hand

from backproplab import verify
from backproplab.harness.relatives import FUNCTIONS

X = np.random.default_rng(0).normal(size=(4, 5))


@pytest.mark.parametrize(("function", "other"), [("GELU (erf)", "GELU (tanh)"), ("softplus", "sigmoid"), ("mish", "SiLU"), ("tanh", "hard tanh")])  # fmt: skip
def test_the_other_function_is_named(function, other):
    """Where the slope is right for it."""
    slope = lambda r, dy: jax.vjp(FUNCTIONS[other], *r)[1](dy)
    verdict = verify(by_hand(FUNCTIONS[function], slope), X, dtypes=("float64",))
    assert verdict.status == "fail" and f"the gradient of x is that of {other}" in verdict.cause


def test_nothing_is_named_that_is_not_so():
    """A slope of no such function; and a function of several numbers each."""
    assert " is that of " not in verify(by_hand(jax.nn.gelu, lambda r, dy: (dy * (1 + r[0] ** 3),)), X).cause
    total = by_hand(lambda x: x.sum(0), lambda r, dy: (dy * r[0],))
    assert " is that of " not in verify(total, X).cause
