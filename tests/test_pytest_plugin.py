"""The pytest plugin: module-level CASES become tests, the fixture fails without a traceback, reports are whole."""

import json

import jax  # noqa: F401  before pytester runs: it forgets what a run imported, and a process can import jax only once
import pytest

pytest_plugins = ["pytester"]

RULES = """
import jax
from backproplab import Case
from backproplab.case import normal

@jax.custom_vjp
def right(x):
    return x * x

right.defvjp(lambda x: (x * x, x), lambda x, dy: (2 * x * dy,))

@jax.custom_vjp
def wrong(x):
    return x * x

wrong.defvjp(lambda x: (x * x, x), lambda x, dy: (3 * x * dy,))
"""
CASES = """
CASES = (Case(right, (normal(3),), dtypes=("float64",)), Case(wrong, (normal(3),), name="planted", dtypes=("float64",)))
"""
USES = """
def test_right(verify):
    assert verify(right, normal(3), dtypes=("float64",)).passed

def test_wrong(verify):
    verify(wrong, normal(3), dtypes=("float64",))
"""


def test_cases_are_tests_with_readable_ids(pytester):
    """One test per case, selectable by name."""
    pytester.makepyfile(test_rules=RULES + CASES)
    result = pytester.runpytest_inprocess("-v", "-p", "no:cacheprovider", "-k", "right or planted")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*CASES::right PASSED*", "*CASES::wrong?planted? FAILED*"])


def test_fixture_fails_in_five_lines_without_a_traceback(pytester):
    """What a reader of a red test needs: function, check, argument, factor, line; no frames of the harness."""
    pytester.makepyfile(test_rules=RULES + USES)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    text = result.stdout.str()
    assert "the gradient of x is 1.5 times the right one" in text
    assert "Traceback" not in text and "verify.py" not in text
    failures, _ = text.split("short test summary")  # which repeats them in full where the variable CI is set
    assert sum(line.startswith(("FAIL", "  fail", "  note")) for line in failures.splitlines()) <= 5


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_reports_are_whole_under_xdist(pytester, workers):
    """Every verdict of every worker is in the file, and the same seeds give the same verdicts."""
    pytester.makepyfile(test_rules=RULES + CASES)
    pytester.runpytest_subprocess(
        "-n", workers, "--backprop-json=out.json", "--backprop-junit=out.xml", "--backprop-seeds=2"
    )
    report = json.loads((pytester.path / "out.json").read_text())
    found = sorted((v["function"], v["seed"], v["status"]) for v in report["verdicts"])
    assert found == [("right", 0, "pass"), ("right", 1, "pass"), ("wrong", 0, "fail")]
    assert "<failure" in (pytester.path / "out.xml").read_text()


ONLY_EAGER = """
import jax
import jax.numpy as jnp

from backproplab import Case

@jax.custom_vjp
def square(x):
    return x * x

square.defvjp(lambda x: (x * x, x), lambda x, dy: ((2 if isinstance(dy, jax.core.Tracer) else 3) * x * dy,))
CASES = [Case(square, (jnp.arange(1.0, 4.0),), dtypes=("float64",), domain={0: "fixed"})]
"""
UNDECIDED = """
import jax, jax.numpy as jnp, numpy as np
from backproplab import Case

@jax.custom_vjp
def log(x):
    return jnp.log(x)

log.defvjp(lambda x: (jnp.log(x), x), lambda x, dy: (dy / x,))
CASES = (Case(log, (-np.ones(2),), dtypes=("float64",)),)  # outside its domain
"""


@pytest.mark.parametrize(("transforms", "outcome"), [("none", {"passed": 1}), ("examples", {"failed": 1})])
def test_transforms(pytester, transforms, outcome):
    """A rule that only a transformation shows to be wrong passes without them."""
    pytester.makepyfile(test_seen_outside_jit=ONLY_EAGER)
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "--backprop-transforms", transforms).assert_outcomes(
        **outcome
    )


@pytest.mark.parametrize("strict, outcome", [((), {"skipped": 1}), (("--backprop-strict",), {"failed": 1})])
def test_inconclusive_is_skipped_or_fails(pytester, strict, outcome):
    """Neither is it passed off as verified."""
    pytester.makepyfile(test_log=UNDECIDED)
    pytester.runpytest_inprocess("-p", "no:cacheprovider", *strict).assert_outcomes(**outcome)
