"""A point between two numbers is no farther off than they are: an interval that is halved over and over stays bounded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backproplab import verify
from backproplab.harness.error_rules import executed
from backproplab.harness.rounding import bounded

random = np.random.default_rng(0)


def bisected(k, steps=100):
    """The root of x + sinh(x) = k, and how it is found."""

    def halve(_, ends):
        low, high = ends
        middle = low + (high - low) / 2
        above = middle + jnp.sinh(middle) > k
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    low, high = jax.lax.fori_loop(0, steps, halve, (jnp.full_like(k, -20), jnp.full_like(k, 20)))
    return low + (high - low) / 2


def analysed(f, *inputs):
    """Values, bounds, and values in float32 as they come out."""
    narrow = [np.float32(x) for x in inputs]
    closed = jax.make_jaxpr(f)(*narrow)
    with jax.enable_x64(True):
        found = bounded(closed, set())([np.asarray(x, np.float64) for x in narrow], executed())
    return np.asarray(found.values[0]), np.asarray(found.errors[0]), np.asarray(jax.jit(f)(*narrow))


def test_a_bisection():
    """In float32 it has settled after 40 steps; 60 more, in each of which rounding may turn the comparison, add nothing."""
    k = random.normal(size=20)
    values, bound, got = analysed(bisected, k)
    assert np.all(np.abs(got - values) <= bound)
    assert np.all(bound <= 2 * analysed(lambda k: bisected(k, 40), k)[1])


FORMS = {
    "half of the way": lambda a, b: a + (b - a) / 2,
    "a third": lambda a, b: a + (b - a) * 0.3,
    "the number first": lambda a, b: 0.7 * (b - a) + a,
    "as much as one": lambda a, b: a + (b - a) * 1.5,
}


@pytest.mark.parametrize("form", FORMS)
def test_the_bound_holds(form):
    """Of numbers that are off themselves, and some come near it."""
    f = lambda x, y: FORMS[form](jnp.sin(x) * 3, jnp.exp(y))
    x, y = random.normal(size=(2, 4000))
    values, bound, got = analysed(f, x, y)
    assert np.all(np.abs(got - values) <= bound)
    assert np.max(np.abs(got - values) / bound) > 0.1


@jax.custom_vjp
def root(k):
    return bisected(k)


def forward(k):
    x = root(k)
    return x, x


root.defvjp(forward, lambda x, dy: (dy / (1 + jnp.cosh(x)),))


def test_a_rule_of_a_bisection():
    """Autodiff knows nothing of it, finite differences do, once its rounding is known."""
    assert verify(root, random.normal(size=5)).status == "pass"


def test_a_bisection_beside_a_kink():
    """What has no kink is judged as elsewhere: finite differences side with the rule there, too."""
    both = jax.custom_vjp(lambda k: (bisected(k), jnp.abs(k)))
    both.defvjp(
        lambda k: (both(k), (k, bisected(k))),
        lambda kept, dy: (dy[0] / (1 + jnp.cosh(kept[1])) + dy[1] * jnp.sign(kept[0]),),
    )
    k = np.array([0.0, 0.7, -1.2])
    assert verify(both, k, dtypes=("float64",), domain={0: "fixed"}).status == "pass"
