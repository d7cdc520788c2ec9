"""`verify` and `graph` in this process: what each kind of input leads to, and what the reports hold."""

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
from command_line import complaint, run

from backproplab import commands

RULES = """
import functools
import jax
import jax.numpy as jnp
from backproplab import Case, integers, normal

@jax.custom_vjp
def double(x):
    return 2 * x
double.defvjp(lambda x: (2 * x, None), lambda _, dy: (2 * dy,))

@jax.custom_vjp
def triple(x):
    return 3 * x
triple.defvjp(lambda x: (3 * x, None), lambda _, dy: (2 * dy,))

@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def scaled(x, by):
    return by * x
scaled.defvjp(lambda x, by: (by * x, None), lambda by, _, dy: (by * dy,))

def plain(x):
    return jnp.sin(x)

def loud(x):
    print("heard")
    return x * 2

def raising(x):
    raise RuntimeError("two\\nlines of\\n   trouble")

def leaving(x):
    raise SystemExit(7)

def interrupting(x):
    raise KeyboardInterrupt

def undefined(x):
    return jnp.where(x > 0, jnp.nan, jnp.nan)

def norm(x):
    return jnp.sum(x * x)

HALF = dict(dtypes=("float64",))
CASES = (
    Case(double, (normal(3),), **HALF),
    Case(double, (normal(2, 2),), name="square", **HALF),
    Case(triple, (normal(3),), **HALF),
)
"""
INTERRUPTED = RULES + "CASES = (*CASES[:2], Case(interrupting, (normal(3),)), CASES[2])\n"
INTEGER = RULES + "CASES = (Case(double, (integers(0, 9, 3),)),)\n"
INPUT = ("--args", "x=f64[3]")


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory):
    """A user's folder, where the commands are given."""
    here = tmp_path_factory.mktemp("user")
    for name, text in (("mine", RULES), ("interrupted", INTERRUPTED), ("integer", INTEGER)):
        (here / f"{name}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setattr(sys, "path", sys.path[:])
        yield here


@pytest.mark.parametrize(
    "options, words",
    [
        (("--seed", "-1"), "--seed wants a whole number from 0"),
        (("--seed", str(2**31)), "--seed wants a whole number from 0"),
        (("--jobs", "-1"), "--jobs wants a number of processes"),
        (("--budget", "-1"), "--budget wants a number of seconds"),
        (("--budget", "nan"), "--budget wants a number of seconds"),
        (("--json", "nowhere/report.json"), "cannot write nowhere/report.json: No such file"),
        (("--junit", "."), "cannot write .: Is a directory"),
        (("--json", ""), "cannot write a file without a name"),
        (("--json", "-", "--junit", "-"), "--json and --junit want a file each"),
        (("--platform", "tpu"), "JAX sees no tpu here"),
    ],
)
def test_options_that_do_not_fit(capsys, options, words):
    """One line and exit code 2, before anything is verified."""
    assert words in complaint(capsys, 2, "verify", "tanh", *options)


@pytest.mark.skipif(any(device.platform == "gpu" for device in jax.devices()), reason="there is a GPU")
def test_platform_gpu_without_one(capsys):
    """--platform gpu on a machine without: one line that says what to type, and no report left behind."""
    assert "--platform all" in complaint(capsys, 2, "verify", "tanh", "--platform", "gpu", "--json", "gpu.json")
    assert not Path("gpu.json").exists()


def test_platform_all(capsys):
    """--platform all verifies on what there is, and says on what not."""
    code, out, err = run(capsys, "verify", "mine.py::double", *INPUT, "--platform", "all", "--json", "-")
    here = [verdict["platform"] for verdict in json.loads(out)["verdicts"]]
    assert code == 0 and "cpu" in here
    assert [p for p in ("cpu", "gpu", "tpu") if f"no {p} here, not verified on it" not in err] == here


def test_seeds_that_graph_refuses(capsys):
    """`graph` holds its seed to the same."""
    complaint(capsys, 2, "graph", "multiply", "--args", "x=1.0, y=2.0", "--seed", "-3")


def test_integers_only(capsys):
    """Nothing to differentiate is the user's slip, not a verdict: named as such, from --args and from CASES."""
    line = complaint(capsys, 2, "verify", "mine.py::double", "--args", "x=i32[3]<9")
    assert "double: no floating array among the arguments x" in line
    assert "nothing to differentiate" in complaint(capsys, 2, "verify", "integer.py")


def test_static_argument_given_an_array(capsys):
    """A static argument wants a constant, and says so; with a constant the function is verified."""
    line = complaint(capsys, 2, "verify", "mine.py::scaled", "--args", "x=f64[3], by=f32")
    assert "'by' is static in scaled: give a constant" in line
    assert run(capsys, "verify", "mine.py::scaled", "--args", "x=f64[3], by=3")[0] == 0


@pytest.mark.parametrize("name, quoted", [("raising", "RuntimeError: two lines of trouble"), ("leaving", "SystemExit: 7")])  # fmt: skip
def test_function_that_raises(capsys, name, quoted):
    """An exception of the function, sys.exit too, is its verdict: exit code 1, quoted in one line."""
    code, out, err = run(capsys, "verify", f"mine.py::{name}", *INPUT)
    assert (code, err) == (1, "verifying on cpu: 1 of 1 done\n")
    assert out.splitlines()[1:] == [f"  fail in runs: {quoted}"]


def test_function_without_a_rule(capsys):
    """Nothing hand-written is said, and what can be verified is."""
    code, out, _ = run(capsys, "verify", "mine.py::plain", *INPUT)
    assert code == 0
    assert out.startswith("PASS plain") and "no hand-written rule was found: this verifies JAX's own gradient" in out


def test_exit_codes_of_verdicts(capsys):
    """A failure outweighs what is inconclusive, which outweighs what passes."""
    assert run(capsys, "verify", "mine.py::double")[0] == 0
    assert run(capsys, "verify", "mine.py")[0] == 1
    assert run(capsys, "verify", "mine.py::undefined", *INPUT)[0] == 3
    assert run(capsys, "verify", "mine.py::undefined", "mine.py", "--budget", "0")[0] == 2  # undefined has no cases


def test_table_and_failures_in_full(capsys):
    """Several verdicts: a row per function, the failures in full with their ids, and a tally."""
    _, out, err = run(capsys, "verify", "mine.py")
    rows = out.splitlines()
    assert [row.split()[0] for row in rows[:3]] == ["function", "double", "triple"]
    assert rows[1].split()[1] == "2" and rows[1].endswith("pass   ")
    assert "FAIL triple" in out and "0.6666667 times the right one" in out
    assert rows[-1] == "2 passed, 1 failed, 0 inconclusive"
    assert err == "verifying on cpu: 3 of 3 done\n"


def test_json(capsys):
    """--json -: the schema's keys, ids that --rerun takes, and nothing else on standard output."""
    code, out, _ = run(capsys, "verify", "mine.py", "--json", "-", "--seed", "3")
    report = json.loads(out)
    assert code == 1 and report.keys() == {"schema", "environment", "interrupted", "verdicts"}
    assert (report["schema"], report["interrupted"]) == (1, False)
    assert report["environment"]["jax"] == jax.__version__
    assert [verdict["id"] for verdict in report["verdicts"]] == ["double", "double[square]", "triple"]
    failed = report["verdicts"][2]
    assert failed.keys() >= {"function", "case", "status", "argument", "cause", "checks", "seed", "platform"}
    assert (failed["function"], failed["case"], failed["status"], failed["argument"]) == ("triple", "", "fail", "x")
    assert "0.6666667 times the right one" in failed["cause"]
    assert failed["checks"][0].keys() >= {"name", "status", "argument", "error", "bound", "resolves", "cause", "where"}


def test_prints_of_the_function_are_no_report(capsys):
    """What a function prints goes to standard error, and the report stays valid."""
    code, out, err = run(capsys, "verify", "mine.py::loud", *INPUT, "--json", "-")
    assert code == 0 and len(json.loads(out)["verdicts"]) == 1
    assert "heard" in err


def test_both_reports_and_the_table(capsys, folder):
    """--json and --junit to files leave the table on standard output; the two reports agree."""
    code, out, _ = run(capsys, "verify", "mine.py", "--json", "both.json", "--junit", "both.xml")
    (suite,) = ElementTree.parse(folder / "both.xml").getroot()
    statuses = [verdict["status"] for verdict in json.loads((folder / "both.json").read_text())["verdicts"]]
    assert code == 1 and "2 passed, 1 failed" in out
    assert ["fail" if case.find("failure") is not None else "pass" for case in suite.iter("testcase")] == statuses


def test_rerun(capsys):
    """--rerun judges the one case that a report calls so."""
    code, out, err = run(capsys, "verify", "mine.py", "--rerun", "double[square]")
    assert (code, err) == (0, "verifying on cpu: 1 of 1 done\n")
    assert out.startswith("PASS double[square] ")


def test_rerun_of_no_case(capsys):
    """An id that is not there selects nothing: exit code 5, and the nearest ids."""
    assert "did you mean 'double[square]'" in complaint(capsys, 5, "verify", "mine.py", "--rerun", "double[sqare]")


def test_transforms(capsys):
    """Named cases are asked under all of JAX's transformations on request."""
    for chosen, asked in (("examples", False), ("all", True)):
        _, out, _ = run(
            capsys, "verify", "relu", "--rerun", "relu[zero: slope 0]", "--transforms", chosen, "--json", "-"
        )
        assert ('"scan"' in out) is asked


def test_budget(capsys):
    """What the budget does not reach is inconclusive, and a case that was begun ends."""
    code, out, _ = run(capsys, "verify", "mine.py", "--budget", "0", "--json", "-")
    verdicts = json.loads(out)["verdicts"]
    assert code == 3
    assert {(v["status"], v["cause"]) for v in verdicts} == {("inconclusive", "not reached within --budget 0")}
    code, out, _ = run(capsys, "verify", "mine.py", "--budget", "0")
    assert code == 3
    assert out.splitlines()[-1] == "0 passed, 0 failed, 3 inconclusive (3 not reached within --budget 0)"


def test_budget_that_ends_midway(capsys, monkeypatch):
    """The clock is read before each case: the first two are begun in time, the third is not."""
    readings = iter([100.0, 100.5, 101.9, 102.0])
    monkeypatch.setattr(commands, "time", SimpleNamespace(time=lambda: next(readings)))
    code, out, _ = run(capsys, "verify", "mine.py", "--budget", "2", "--json", "-")
    assert code == 3
    assert [verdict["status"] for verdict in json.loads(out)["verdicts"]] == ["pass", "pass", "inconclusive"]


def test_interrupt(capsys, folder):
    """Ctrl-C: exit code 130; both reports hold the verdicts so far and say that they are not all."""
    code, out, err = run(capsys, "verify", "interrupted.py", "--json", "part.json", "--junit", "part.xml")
    report = json.loads((folder / "part.json").read_text())
    (suite,) = ElementTree.parse(folder / "part.xml").getroot()
    assert (code, err) == (130, "backproplab: interrupted\n")
    assert report["interrupted"] is True
    assert [(v["id"], v["status"]) for v in report["verdicts"]] == [("double", "pass"), ("double[square]", "pass")]
    assert suite.find("properties/property").attrib == {"name": "interrupted", "value": "true"}
    assert len(suite.findall("testcase")) == 2
    assert out.splitlines()[-1] == "2 passed, 0 failed, 0 inconclusive"


@pytest.mark.slow
def test_processes_change_nothing(capsys):
    """Two processes find what one finds, in the same order, and leave with the same exit code."""

    def told(jobs):
        code, out, _ = run(capsys, "verify", "mine.py", "--jobs", jobs, "--json", "-")
        return code, [{k: v for k, v in verdict.items() if k != "seconds"} for verdict in json.loads(out)["verdicts"]]

    assert told("2") == told("1")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("tanh",), "no graph of tanh: ValueError: the function returns shape (4, 5)"),
        (("multiply",), "as in --args 'x=f32, y=f32'"),
        (("mine.py::raising", *INPUT), "no graph of raising: RuntimeError: two lines of trouble"),
        (("mine.py::leaving", *INPUT), "no graph of leaving: SystemExit: 7"),
        (("activations",), "graph draws exactly one function, and activations holds celu, clip"),
        (("mine.py::norm",), "mine.py::norm has no cases: say at what arguments, as in --args 'x=f32[8,5]'"),
    ],
)
def test_graphs_that_cannot_be_drawn(capsys, arguments, words):
    """One line that says why, exit code 2."""
    assert words in complaint(capsys, 2, "graph", *arguments)


def test_graph_with_a_static_argument(capsys):
    """A static argument is bound, not drawn."""
    code, out, err = run(capsys, "graph", "mine.py::scaled", "--args", "x=2.0, by=3")
    assert (code, err) == (0, "")
    assert [row.split() for row in out.splitlines()[1:]] == [["x", "argument", "2", "3"], ["v1", "scaled(x)", "6", "1"]]
