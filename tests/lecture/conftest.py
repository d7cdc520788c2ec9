"""What the tests of the lecture share."""

import jax
import pytest


@pytest.fixture
def float64():
    """The rows were computed in float64, and so are the tests."""
    with jax.enable_x64(True):
        yield
