"""A verdict as text: one line for each fault."""

from backproplab import Verdict
from backproplab.harness.verdict import Check
from backproplab.report.text import verdict_text


def test_pass():
    """A pass names its tightest evidence: the largest error of its bound, and what would have been seen."""
    checks = (
        Check("value", "pass", "the value", 0.0, 1.0, 2e-16),
        Check("autodiff", "pass", "x", 1.0, 4.0, 3e-15),
        Check("float32", "pass", "x", 1.0, 2.0, 0.1),
        Check("residual bytes", "pass", None, 160.0, 160.0),
    )
    assert verdict_text(Verdict("relu", "at the kink", checks, 3, None, ("twice", "twice"), 1.26)).splitlines() == [
        "PASS relu[at the kink] (proved, seed 3, 1.3 s)",
        "  4 checks: largest error 0.5 of its bound; an error of 3e-15 of the gradient would have been seen",
        "  note: twice",
    ]


def test_pass_of_exact_arithmetic():
    """Where nothing rounds, any error would have been seen; where nothing was measured, no numbers are given."""
    exact = Verdict("f", "", (Check("autodiff", "pass", "x", 0.0, 0.0, 0.0),))
    assert "largest error 0 of its bound; any error would have been seen" in str(exact)
    assert str(Verdict("f", "", (Check("contract", "pass"),))).endswith("1 checks: no numbers")


def test_one_fault_in_two_dtypes_is_one_line():
    """The same cause for the same argument is told once, with the checks that found it, its line and its size."""
    checks = (
        Check("autodiff", "fail", "w", 2.4375, 3e-15, None, "half of it; worst at [1]", "rule.py:7"),
        Check("float64", "pass", "x", 0.0, 1.0),
        Check("autodiff float32", "fail", "w", 2.5, 1e-6, None, "half of it; worst at [2]", "rule.py:7"),
        Check("autodiff", "fail", "x", None, None, None, "half of it"),
        Check("float32", "inconclusive", "x", cause="too wide", estimated=True),
    )
    assert str(Verdict("f", "", checks)).splitlines() == [
        "FAIL f (estimated, seed 0, 0.0 s)",
        "  fail in autodiff, autodiff float32: half of it; worst at [1] (rule.py:7) [error 2.44, bound 3e-15]",
        "  fail in autodiff: half of it",
        "  inconclusive in float32: too wide",
    ]


def test_no_checks():
    """A verdict without checks decides nothing and says no more."""
    assert str(Verdict("f", "", ())) == "INCONCLUSIVE f (proved, seed 0, 0.0 s)"
