"""The rule's rivals are the same function, differentiated by JAX."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab import Case, normal
from backproplab.bench.rivals import rivals
from backproplab.harness.view import view
from backproplab.layers.activations import gelu, relu
from backproplab.layers.linear_algebra import eig


def of(case):
    seen = view(case, case.arguments())
    return seen, rivals(case, seen)


def test_all_are_the_same_function():
    """Values and gradients agree."""
    seen, ways = of(Case(gelu, (normal(8),)))
    assert list(ways) == ["plain", "checkpoint"]  # jax.nn.gelu is the form with tanh unless told otherwise
    seen, ways = of(Case(relu, (normal(8),)))
    assert list(ways) == ["plain", "checkpoint", "library"]
    for call in ways.values():
        y, pull = jax.vjp(lambda d, call=call: call(d, seen.rest), seen.diff)
        np.testing.assert_array_equal(y[0], relu(seen.diff[0]))
        np.testing.assert_array_equal(pull([jnp.ones(8)])[0][0], seen.diff[0] > 0)


def test_another_function_of_the_same_name():
    """What is called sign but is no sign is not compared with jax.numpy.sign."""

    def sign(x):
        return x * x

    assert "library" not in of(Case(sign, (normal(4),)))[1]


def test_what_jax_cannot_differentiate_is_no_rival():
    """It raises for the vectors of jax.numpy.linalg.eig."""
    assert "library" not in of(Case(eig, (np.array([[1.0, 2.0], [3.0, 4.0]]),)))[1]


def test_the_reference_is_the_plain_way():
    """Where the function itself is lean, the textbook form is what autodiff would have differentiated."""
    case = Case(relu, (normal(4),), reference=lambda x: jnp.maximum(x, 0) + 0 * jnp.exp(x))
    seen, ways = of(case)
    assert "exp" in str(jax.make_jaxpr(ways["plain"])(seen.diff, seen.rest))
