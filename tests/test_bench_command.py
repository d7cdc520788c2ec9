"""`backproplab bench` in this process: the table, the file, and what each mistake leads to."""

import json

import pytest
from command_line import complaint, run

RULES = """
import jax
import jax.numpy as jnp
from backproplab import Case, normal

@jax.custom_vjp
def double(x):
    return 2 * x
double.defvjp(lambda x: (2 * x, None), lambda _, dy: (2 * dy,))

@jax.custom_vjp
def raising(x):
    raise RuntimeError("two\\nlines")
raising.defvjp(lambda x: (x, None), lambda _, dy: (dy,))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(RULES)
    monkeypatch.chdir(tmp_path)


def test_table(capsys):
    """A line per way, the machine's speed, and the means over all functions; progress is no part of it."""
    code, out, err = run(capsys, "bench", "relu", "silu", "--numbers", "1000", "--rounds", "1")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split()[:4] == ["function", "way", "kept", "temporary"]
    assert [line.split()[0] for line in lines if " s " in line] == ["relu", "plain", "checkpoint", "library", "silu", "plain", "checkpoint", "library"]  # fmt: skip
    assert lines[-2].startswith("hand / plain, geometric means: bytes kept 0.25 (of 2)")
    assert "GFLOP/s" in lines[-1]
    assert err == "measuring on cpu: 2 of 2 done\n"


def test_a_function_of_ones_own(capsys):
    """With arguments as for verify, made larger; without times nothing is said of time."""
    code, out, _ = run(capsys, "bench", "mine.py::double", "--args", "x=f32[8,5]", "--rounds", "0", "--json", "-")
    assert code == 0
    report = json.loads(out)
    assert report["schema"] == 1
    assert report["machine"] is None
    (found,) = report["costs"]
    assert found["function"] == "double"
    assert found["ratios"] is None
    assert found["costs"]["hand"]["residual_bytes"] == 0
    assert found["numbers"] > 100_000


@pytest.mark.parametrize(
    ("code", "arguments", "words"),
    [
        (4, ("no_such_page",), "no layer, network, room or module is called 'no_such_page'"),
        (2, ("relu", "--numbers", "0"), "--numbers wants a number from 1 on"),
        (2, ("relu", "--rounds", "-1"), "--rounds one from 0 on"),
        (2, ("relu", "--json", "nowhere/costs.json"), "cannot write nowhere/costs.json"),
        (1, ("mine.py::raising", "--args", "x=f32[8]"), "raising: RuntimeError: two lines"),
    ],
)
def test_mistakes(capsys, code, arguments, words):
    """One line, and the exit code that goes with it."""
    assert words in complaint(capsys, code, "bench", *arguments)
