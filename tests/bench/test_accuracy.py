"""Digits are counted against the formula in 120 digits."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from backproplab import Case, full, normal
from backproplab.bench.accuracy import worst_relative_errors
from backproplab.layers import affine
from backproplab.layers.activations import relu, sigmoid


def test_the_tail_of_the_sigmoid():
    """At 30 autodiff's y (1 - y) is 0, which is wrong by all of it; the rule has all digits but the last."""
    hand, plain = worst_relative_errors([Case(sigmoid, (normal(4),)), Case(sigmoid, (full(30.0, 2),), name="tail")])
    assert hand < 4e-7
    assert plain == 1


def test_kinks_are_left_out():
    """There no one number is right."""
    assert worst_relative_errors([Case(relu, (full(0.0, 2),), kink=True)]) is None


def test_no_such_digits():
    """A primitive that is not known in 120 digits: no figure, in place of a wrong one."""

    @jax.custom_vjp
    def digamma(x):
        return jax.scipy.special.digamma(x)

    digamma.defvjp(lambda x: (digamma(x), x), lambda x, dy: (dy * jax.scipy.special.polygamma(1, x),))
    assert worst_relative_errors([Case(digamma, (np.array([1.5, 2.5]),))]) is None


def test_no_derivative_of_jax():
    """Where autodiff refuses the function without its rule there is nothing to compare: no figure, and no error."""
    cases = [replace(case, reference=None) for case in affine.CASES if case.fn is affine.ragged_dot]
    assert worst_relative_errors(cases) is None


def test_a_wrong_number_counts_as_wrong():
    """What overflows where the formula is finite is infinitely wrong, not left out."""

    @jax.custom_vjp
    def square(x):
        return x * x

    # the square overflows in float32
    square.defvjp(lambda x: (x * x, x), lambda x, dy: (2 * dy * jnp.square(1e30 * x) / 1e30 / (1e30 * x),))
    hand, plain = worst_relative_errors([Case(square, (full(1.0, 3),))])
    assert hand == np.inf
    assert plain < 4e-7
