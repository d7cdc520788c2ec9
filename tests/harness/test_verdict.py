"""Verdicts are plain data: their status, what decided, and the way to JSON and back."""

import json
import math

import pytest

from backproplab.harness.verdict import Check, Verdict

PASS = Check("autodiff", "pass", "x", error=1.0, bound=2.0, resolves=1e-12)
FAIL = Check("float32", "fail", "b", error=3.0, bound=0.0, cause="the gradient of b is zero", where="rules.py:7")
UNSURE = Check("value", "inconclusive", cause="no error bound", estimated=True)


def verdict(*checks, **fields):
    return Verdict("layer", "edge", checks, **fields)


@pytest.mark.parametrize(
    ("checks", "status"),
    [((PASS,), "pass"), ((PASS, UNSURE), "inconclusive"), ((UNSURE, PASS, FAIL), "fail"), ((), "inconclusive")],
)
def test_status(checks, status):
    """One failure decides, then one doubt; without a check nothing was verified."""
    assert verdict(*checks).status == status
    assert verdict(*checks).passed is (status == "pass")


def test_what_decided():
    """The first check with the verdict's own status lends it argument, cause and line."""
    failed = verdict(UNSURE, PASS, FAIL)
    assert failed.decisive is FAIL
    assert (failed.argument, failed.cause, failed.where) == ("b", "the gradient of b is zero", "rules.py:7")
    assert verdict(PASS, UNSURE).cause == "no error bound"
    passed = verdict(PASS)
    assert (passed.decisive, passed.argument, passed.cause, passed.where) == (None, None, None, None)


def test_strength():
    """One measured bound, and it is no proof."""
    assert verdict(PASS).strength == "proved"
    assert verdict(PASS, UNSURE).strength == "estimated"


def test_ratio():
    """Error in units of its bound; a bound of zero allows no error at all."""
    assert PASS.ratio == 0.5
    assert FAIL.ratio == math.inf
    assert Check("value", "pass", error=0.0, bound=0.0).ratio == 0.0
    assert UNSURE.ratio is None


def test_assert_passed():
    """Silent on a pass; otherwise the text of the verdict, cause and line included, is the message."""
    verdict(PASS).assert_passed()
    with pytest.raises(AssertionError) as raised:
        verdict(PASS, FAIL).assert_passed()
    assert str(raised.value) == str(verdict(PASS, FAIL))
    with pytest.raises(AssertionError, match="no error bound"):
        verdict(UNSURE).assert_passed()


def test_text():
    """Status, name, cause, line and notes; for a pass the evidence."""
    text = str(verdict(PASS, FAIL, notes=("a kink",), seed=3))
    assert text.startswith("FAIL layer[edge] (proved, seed 3")
    for part in ("fail in float32: the gradient of b is zero", "rules.py:7", "note: a kink"):
        assert part in text
    assert "largest error 0.5 of its bound" in str(verdict(PASS))


def test_to_json_and_back():
    """Nothing is lost, and numbers that JSON has no word for survive a strict writer."""
    odd = Check("autodiff", "fail", "x", error=math.inf, bound=-math.inf, resolves=math.inf, cause="nan")
    given = verdict(PASS, FAIL, UNSURE, odd, seed=5, residual_bytes=(24, 48), notes=("a", "b"), seconds=1.5)
    text = json.dumps(given.to_dict(), allow_nan=False)
    assert Verdict.from_dict(json.loads(text)) == given
    assert json.loads(text)["checks"][3]["error"] == "inf"
    plain = verdict(PASS)
    assert Verdict.from_dict(json.loads(json.dumps(plain.to_dict()))) == plain


def test_nan_survives():
    """A NaN comes back as the number, though it equals nothing."""
    back = Verdict.from_dict(json.loads(json.dumps(verdict(Check("linearity", "fail", error=math.nan)).to_dict())))
    assert math.isnan(back.checks[0].error)


def test_what_json_readers_get():
    """What is derived stands beside the checks, so that no reader has to derive it."""
    data = verdict(PASS, FAIL).to_dict()
    assert (data["status"], data["strength"], data["argument"], data["cause"]) == (
        "fail", "proved", "b", "the gradient of b is zero",
    )  # fmt: skip
    assert (data["function"], data["case"]) == ("layer", "edge")


def test_time_does_not_tell_verdicts_apart():
    """A slower run is the same verdict."""
    assert verdict(PASS, seconds=1.0) == verdict(PASS, seconds=2.0)
