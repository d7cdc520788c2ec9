"""What is compiled in a hurry computes what it would compute otherwise."""

import jax

from backproplab.harness.jitted import jitted, quick_options


def test_the_options_are_known_to_the_compiler():
    """Whatever JAX is installed: those it does not know are left out, and a program compiles with the others."""
    assert "xla_backend_optimization_level" in quick_options()
    assert jitted(lambda x: x + 1, 10, jax.devices("cpu")[0])(1.0) == 2
