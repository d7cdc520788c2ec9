"""Reports as files: what a reader of JSON and of JUnit finds in them."""

import json
import math
import xml.etree.ElementTree as ElementTree

import jax
import pytest

from backproplab import Verdict
from backproplab.harness.verdict import Check
from backproplab.report.files import environment, write_json, write_junit

PASSED = Verdict("relu", "at the kink", (Check("autodiff", "pass", "x", 0.0, 1e-15, 1e-15),), 3, (160, 320), ("a note",), 0.5)  # fmt: skip
FAILED = Verdict("gelu", "", (Check("runs", "fail", "x", math.inf, math.nan, cause="a <b> & \x1b[31m\x00 'c'"),), seconds=1.25)  # fmt: skip
UNDECIDED = Verdict("tanh", "", (Check("autodiff", "inconclusive", "x", cause="the bound is wide"),))
ALL = {"cpu": [PASSED, FAILED, UNDECIDED], "gpu": [PASSED]}


def read_json(path):
    """The report, read by the letter: inf and nan, which JSON does not have, are refused."""

    def refuse(word):
        raise ValueError(word)

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_json(tmp_path):
    """The schema, every verdict with its platform and id, and numbers that JSON has no word for as strings."""
    write_json(ALL, str(tmp_path / "report.json"))
    report = read_json(tmp_path / "report.json")
    assert (report["schema"], report["interrupted"]) == (1, False)
    assert [(v["platform"], v["id"], v["status"]) for v in report["verdicts"]] == [
        ("cpu", "relu[at the kink]", "pass"),
        ("cpu", "gelu", "fail"),
        ("cpu", "tanh", "inconclusive"),
        ("gpu", "relu[at the kink]", "pass"),
    ]
    assert report["verdicts"][1]["checks"][0]["error"] == "inf" and report["verdicts"][1]["checks"][0]["bound"] == "nan"


def test_json_holds_the_whole_verdict(tmp_path):
    """A verdict comes back from the file as it was."""
    write_json(ALL, str(tmp_path / "report.json"))
    back = [Verdict.from_dict(data) for data in read_json(tmp_path / "report.json")["verdicts"]]
    assert (back[0], back[2], back[3]) == (PASSED, UNDECIDED, PASSED)
    assert repr(back[1]) == repr(FAILED)  # nan differs from itself


def test_standard_output(capsys):
    """- is standard output, for both."""
    write_json({"cpu": [PASSED]}, "-", interrupted=True)
    assert json.loads(capsys.readouterr().out)["interrupted"] is True
    write_junit({"cpu": [PASSED]}, "-")
    assert ElementTree.fromstring(capsys.readouterr().out).tag == "testsuites"


def test_environment():
    """What the verdicts depend on, under the precision that is set at the moment."""
    assert environment()["jax"] == jax.__version__ and environment()["devices"]
    with jax.default_matmul_precision("highest"):
        assert environment()["matmul_precision"] == "highest"


def test_junit(tmp_path):
    """A suite per platform with its counts, a failure with its cause, and what is inconclusive skipped."""
    write_junit(ALL, str(tmp_path / "report.xml"))
    cpu, gpu = ElementTree.parse(tmp_path / "report.xml").getroot()
    assert {name: cpu.get(name) for name in ("name", "tests", "failures", "errors", "skipped", "time")} == {
        "name": "backproplab on cpu", "tests": "3", "failures": "1", "errors": "0", "skipped": "1", "time": "1.750",
    }  # fmt: skip
    assert gpu.get("tests") == "1" and cpu.find("properties") is None
    passed, failed, undecided = cpu
    assert (passed.get("classname"), passed.get("name"), len(passed)) == ("relu", "at the kink", 0)
    assert (failed.get("name"), failed[0].tag, failed[0].get("message")) == ("gelu", "failure", "a <b> & [31m 'c'")
    assert failed[0].text.startswith("FAIL gelu")
    assert (undecided[0].tag, undecided[0].get("message")) == ("skipped", "the bound is wide")


def test_interrupted_junit(tmp_path):
    """A run that was cut short is marked in every suite, before its cases as the schema of JUnit has it."""
    write_junit(ALL, str(tmp_path / "report.xml"), interrupted=True)
    for suite in ElementTree.parse(tmp_path / "report.xml").getroot():
        assert suite[0].tag == "properties"
        assert suite.find("properties/property[@name='interrupted']").get("value") == "true"


def test_places_that_cannot_be_written(tmp_path):
    """OSError, which the command line tells in its line."""
    for write in (write_json, write_junit):
        with pytest.raises(OSError):
            write(ALL, str(tmp_path / "nowhere" / "report"))
