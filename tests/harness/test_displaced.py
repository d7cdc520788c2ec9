"""What an operation makes that is off by one, and that a rule which is off by one is told so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import at, by_hand

from backproplab.harness.counterfactual import other_function
from backproplab.harness.displaced import axes, displaced
from backproplab.harness.switches import with_switches

X = np.random.default_rng(0).normal(size=(7, 4))
PLACES = np.array([1, 2, 3, 2])
KERNEL = np.random.default_rng(1).normal(size=(4, 4, 3))
along = lambda low: (
    lambda x: jax.lax.conv_general_dilated(
        x[None], KERNEL, (1,), [(low, 2 - low)], dimension_numbers=("NHC", "IOH", "NHC")
    )
)
pool = lambda low: lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (3, 1), (1, 1), ((low, 2 - low), (0, 0)))

# By the name of the operation: a function, and those in which that begins one place earlier and later.
FUNCTIONS = {
    "slice": tuple(lambda x, n=n: x[n : n + 3] for n in (2, 1, 3)),
    "gather": tuple(lambda x, n=n: x[PLACES + n] for n in (0, -1, 1)),
    "scatter-add": tuple(lambda x, n=n: jnp.zeros((8, 4)).at[PLACES + n].add(x[:4]) for n in (0, -1, 1)),
    "dynamic_slice": tuple(lambda x, n=n: jax.lax.dynamic_slice_in_dim(x, jnp.int32(n), 3) for n in (2, 1, 3)),
    "dynamic_update_slice": tuple(
        lambda x, n=n: jax.lax.dynamic_update_slice_in_dim(jnp.zeros((9, 4)), x, jnp.int32(n), 0) for n in (1, 0, 2)
    ),
    "pad": tuple(lambda x, n=n: jnp.pad(x, ((1 + n, 1 - n), (0, 0))) for n in (0, -1, 1)),
    "conv_general_dilated": (along(1), along(2), along(0)),
    "reduce_window_sum": (pool(1), pool(2), pool(0)),
    "cumsum": (
        lambda x: jnp.cumsum(x, 0),
        lambda x: jnp.pad(jnp.cumsum(x, 0)[1:], ((0, 1), (0, 0))),
        lambda x: jnp.pad(jnp.cumsum(x, 0)[:-1], ((1, 0), (0, 0))),
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_begins_one_place_earlier_or_later(name):
    """As the function does that is written so: its value, if the switch is set to that, else its slope alone."""
    fn, *others = FUNCTIONS[name]
    with jax.enable_x64(True):
        run, switches = with_switches(jax.make_jaxpr(fn)(X), [True], ["x"])
        which = next(i for i, s in enumerate(switches) if s.key[1:] == ("displaced", 0) and f"`{name}`" in s.what)
        at_setting = lambda x, setting: run([x], [setting if i == which else 1.0 for i in range(len(switches))])[0]
        for other, slope_alone, wholly in zip(others, (0.0, 2.0), (3.0, 4.0)):
            np.testing.assert_array_equal(at_setting(X, wholly), other(X))
            np.testing.assert_array_equal(at_setting(X, slope_alone), fn(X))
            pulled = [jax.vjp(f, X)[1](fn(X))[0] for f in (other, lambda x, s=slope_alone: at_setting(x, s))]
            np.testing.assert_allclose(*pulled, rtol=1e-13, atol=1e-13)  # two programs of the same few sums


@pytest.mark.parametrize(
    "name, words",
    [
        ("slice", "whose `slice` (test_displaced.py:"),
        ("gather", "one too large"),
        ("conv_general_dilated", "begins one place later along axis 0"),
        ("cumsum", "leaves out the entry itself"),
    ],
)
def test_a_rule_that_is_off_by_one_is_told_so(name, words):
    """Though the rule computes the gradient of the other function from its own forward pass."""
    fn, _, later = FUNCTIONS[name]
    rule = by_hand(lambda x: jnp.sin(fn(x)), lambda r, dy: jax.vjp(lambda x: jnp.sin(later(x)), r[0])[1](dy))
    assert words in other_function(at(rule, X), 0, 0, {})


def test_what_has_no_other_place():
    """A slice of everything, a start that is not reached, an operation without an index."""
    whole = jax.make_jaxpr(lambda x: jax.lax.slice(jnp.sin(x), (0, 0), (7, 4)))(X)
    assert [axes(eqn) for eqn in whole.eqns] == [[], []]
    (first,) = jax.make_jaxpr(lambda x: x[:3])(X).eqns
    assert displaced(first, [X], 0, -1) is None and displaced(first, [X], 0, 1).shape == (3, 4)
