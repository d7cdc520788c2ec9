"""`backproplab verify --mutate` in this process: what became of planted bugs, and the exit code."""

import pytest
from command_line import complaint, run

from backproplab.harness import mutation

RULES = """
import jax
import jax.numpy as jnp
import numpy as np
from backproplab import Case, normal

def squared(bwd):
    square = jax.custom_vjp(lambda x: x * x)
    square.defvjp(lambda x: (x * x, x), bwd)
    return square

seen, unseen, wrong = (squared(bwd) for bwd in (
    lambda x, dy: (2 * x * dy,), lambda x, dy: (2 * x * dy,), lambda x, dy: (3 * x * dy,)))
plain = lambda x: x * x
CASES = [Case(seen, (normal(4),)), Case(unseen, (np.zeros(4),), name="at zero, where all factors are alike")]
WRONG = [Case(wrong, (normal(4),))]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(RULES)
    monkeypatch.chdir(tmp_path)


def test_cases_that_catch(capfd):
    """The share that was caught, and 0."""
    code, out, _ = run(capfd, "verify", "--mutate", "mine.py::seen")
    assert code == 0
    assert "100%" in out


def test_cases_that_do_not(capfd):
    """At x = 0 every factor of x yields the right gradient: what was missed is told, and the exit code is 1."""
    code, out, _ = run(capfd, "verify", "--mutate", "mine.py::unseen")
    assert code == 1
    assert "missed" in out


def test_nothing_was_tried(capfd, monkeypatch):
    """If time did not allow a single bug, nothing is known: 3, as for an inconclusive verdict."""
    keep = mutation.mutate
    monkeypatch.setattr(mutation, "mutate", lambda cases, seed, limit, seconds: keep(cases, seed, limit, -1.0))
    code, out, _ = run(capfd, "verify", "--mutate", "mine.py::seen")
    assert code == 3
    assert "not tried for lack of time" in out


def test_a_wrong_rule_and_no_rule(capfd):
    """Bugs are planted in what is right and written by hand."""
    asked = ("verify", "--args", "x=f32[4]", "--mutate")
    assert "does not pass `autodiff`: verify it first" in complaint(capfd, 1, *asked, "mine.py::wrong")
    assert "none of these has a hand-written rule" in complaint(capfd, 5, *asked, "mine.py::plain")
