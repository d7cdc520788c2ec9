"""The dtype that rules compute in, and that of what they return."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled

from backproplab.layers import activations
from backproplab.precision import floating_dtype, wide_dtype, widened


@pytest.mark.parametrize(
    ("x", "wide", "floating"),
    [
        (np.ones(2, np.float16), "float32", "float16"),
        (jnp.ones(2, jnp.bfloat16), "float32", "bfloat16"),
        (np.ones(2, np.float32), "float32", "float32"),
        (np.ones(2, np.int32), "float32", "float32"),
        (0.3, "float32", "float32"),
        (2, "float32", "float32"),
    ],
)
def test_dtypes(x, wide, floating):
    """Sixteen bits are widened, and what is no float becomes one."""
    assert wide_dtype(x) == widened(x).dtype == wide
    assert floating_dtype(x) == floating


def test_float64_stays():
    """Nothing is lost where x64 is on."""
    with jax.enable_x64(True):
        assert widened(np.ones(2)).dtype == floating_dtype(np.ones(2)) == np.float64


OF_AN_AXIS = ("crelu", "gumbel_softmax", "maxout")  # these put together several numbers, or draw them
OPTIONS = {"prelu": (0.2,), "threshold": (0.1, 0.5)}  # without defaults
ACTIVATIONS = [f for f in vars(activations).values() if isinstance(f, jax.custom_vjp) and f.__name__ not in OF_AN_AXIS]


@pytest.mark.parametrize("layer", ACTIVATIONS, ids=lambda layer: layer.__name__)
def test_python_numbers(layer):
    """An activation of a Python number, and of integers, is that of the same float32 number; so is its gradient."""
    options = OPTIONS.get(layer.__name__, ())
    assert layer(0.3, *options) == layer(jnp.float32(0.3), *options)
    assert jax.grad(layer)(0.3, *options) == jax.grad(layer)(jnp.float32(0.3), *options)
    both = compiled(lambda whole, same: (layer(whole, *options), layer(same, *options)))
    whole, same = both(np.arange(-2, 3), np.arange(-2, 3, dtype=np.float32))
    np.testing.assert_array_equal(whole, same)
