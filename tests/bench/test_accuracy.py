"""Digits are counted against the formula in 120 digits, and no page loses one that autodiff keeps."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backproplab import Case, full, layers, networks, normal
from backproplab.bench.accuracy import beyond_autodiff, gradients, worst_relative_errors
from backproplab.case import function_name
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
    """A primitive that is not known in 120 digits and has no error rule: no figure, in place of a wrong one."""

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


def test_digits_lost():
    """A rule that is right in float64 and cancels in float32 is beyond what autodiff can be off by, at the case that shows it."""

    @jax.custom_vjp
    def root(x):
        return jnp.sqrt(1 + x)

    # 1 / (2 sqrt(1 + x)) as a difference of two roots
    root.defvjp(lambda x: (root(x), x), lambda x, dy: (dy * (jnp.sqrt(1.0001 + x) - jnp.sqrt(0.9999 + x)) / 2e-4,))
    assert beyond_autodiff(gradients(Case(root, (full(2.0, 3),)))) > 100
    assert beyond_autodiff(gradients(Case(sigmoid, (full(30.0, 3),)))) <= 1


def test_loops_are_known_in_float64():
    """A scan cannot be had in 120 digits; float64 is enough to judge float32 by."""
    case = next(case for case in layers.recurrence.CASES if case.fn is layers.recurrence.gru)
    found = gradients(replace(case, reference=None))
    assert np.mean([np.isfinite(e).mean() for e in found.exact]) > 0.8
    assert beyond_autodiff(found) <= 1


ROOMS = [room for room in (*vars(layers).values(), networks) if hasattr(room, "CASES")]


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__.split(".")[-1])
def test_no_page_loses_digits(room):
    """No entry of a gradient in float32 is further from the right one than rounding can put autodiff, at any case."""
    found = {case: gradients(replace(case, reference=None)) for case in room.CASES}
    beyond = {f"{function_name(c.fn)}: {c.name}": beyond_autodiff(g) for c, g in found.items() if g is not None}
    assert {name: worst for name, worst in beyond.items() if worst > 1} == {}
    assert beyond or room is layers.quantization  # there no page has one right gradient
