"""The command line as a process: what it costs, what it says of bad options, how it ends."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import complaint, process, run, start

import backproplab

README = Path(__file__).parent.parent / "README.md"
HALTING = """
import pathlib, time
from backproplab import Case, normal

def quick(x):
    return 2 * x

def endless(x):
    pathlib.Path("one.begun").touch()
    time.sleep(100)

def endless_too(x):  # begun by the second process once it is done with `quick`
    pathlib.Path("two.begun").touch()
    time.sleep(100)

CASES = tuple(Case(fn, (normal(3),), dtypes=("float64",)) for fn in (quick, endless, endless_too))
"""
ALONE = {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}


def test_help_is_cheap():
    """`backproplab --help` takes 0.3 s of CPU at most and does not import jax."""
    code = (
        "import sys, time\n"
        "from backproplab.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as ended: print(ended.code, 'jax' in sys.modules, time.process_time())\n"
    )
    answers = [process("-c", code)[1].splitlines()[-1].split() for _ in range(3)]
    assert all(answer[:2] == ["0", "False"] for answer in answers)
    assert min(float(cpu) for _, _, cpu in answers) <= 0.3  # the best of three: other processes cost cache misses


def test_layers_touch_no_device():
    """Importing layers and networks starts no backend: with a platform that does not exist it would fail."""
    assert process("-c", "import backproplab.layers, backproplab.networks", env={"JAX_PLATFORMS": "nowhere"})[0] == 0


def test_public_names_are_there():
    """Every public name comes when asked for, and others are refused as Python does."""
    assert all(getattr(backproplab, name).__name__ == name for name in backproplab.__all__)
    with pytest.raises(ImportError, match="nothing_such"):
        from backproplab import nothing_such  # noqa: F401


@pytest.mark.parametrize("command, options", [("verify", ("--rerun", "--budget", "--json", "3 inconclusive")), ("graph", ("--args",))])  # fmt: skip
def test_help_names_every_option(capsys, command, options):
    """--help goes to standard output, and names the options and exit codes."""
    code, out, err = run(capsys, command, "--help")
    assert (code, err) == (0, "")
    assert all(option in " ".join(out.split()) for option in options)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((), "Expected one of {verify, graph, bench}"),
        (("frobnicate",), "Unrecognized options: frobnicate"),
        (("verify", "--jsn", "a"), "Perhaps you meant: --json"),
        (("verify", "tanh", "--seed"), "Missing value for argument '--seed'"),
        (("verify", "tanh", "--seed", "x"), "Error parsing --seed"),
        (("verify", "tanh", "--seed", "1.5"), "Error parsing --seed"),
        (("verify", "tanh", "--jobs", "x"), "Error parsing --jobs"),
        (("verify", "tanh", "--budget", "x"), "Error parsing --budget"),
        (("verify", "tanh", "--dtypes", "int8"), "'float64', 'float32', 'bfloat16', 'float16'"),
        (("verify", "tanh", "--platform", "abacus"), "'default', 'cpu', 'gpu', 'tpu', 'all'"),
        (("graph",), "Missing from backproplab graph"),
        (("graph", "add", "multiply"), "Unrecognized options: multiply"),
    ],
)
def test_bad_options(capsys, arguments, words):
    """One line, exit code 2, and where help is to be had."""
    line = complaint(capsys, 2, *arguments)
    assert words in line and "--help" in line
    assert not set("│─╭╰") & set(line)


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals")
def test_bad_options_on_a_terminal():
    """On a terminal, too, where the complaint comes in colour and in a frame."""
    ours, theirs = os.openpty()
    with start("-m", "backproplab", "verify", "--jsn", env={"TERM": "xterm-256color"}, stdout=theirs, stderr=theirs) as child:  # fmt: skip
        os.close(theirs)
        assert child.wait(60) == 2
    said = os.read(ours, 10_000).decode()
    os.close(ours)
    assert said.startswith("backproplab: Unrecognized options: --jsn; Perhaps") and said.count("\n") == 1
    assert "\x1b" not in said


@pytest.mark.parametrize("platform", ["nowhere", "cuda"])
def test_jax_platforms_that_are_not_here(platform):
    """JAX_PLATFORMS that names what is missing: one line, though JAX answers with an empty assertion for cuda."""
    if platform == "cuda" and any(importlib.util.find_spec(f"jax_cuda{i}_plugin") for i in (12, 13)):
        pytest.skip("JAX for CUDA is installed")
    code, out, err = process("-m", "backproplab", "verify", "tanh", env={"JAX_PLATFORMS": platform})
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert platform in err and "JAX_PLATFORMS" in err


def test_the_compilation_cache_keeps_small_programs(tmp_path):
    """Where the user has set one up: nothing here takes the second that JAX asks for."""
    env = {k: v for k, v in os.environ.items() if k != "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"}
    command = [sys.executable, "-m", "backproplab", "verify", "tanh"]
    subprocess.run(command, env={**env, "JAX_COMPILATION_CACHE_DIR": str(tmp_path)}, check=True, capture_output=True)
    assert len(list(tmp_path.iterdir())) > 3


def test_graph_as_a_module():
    """`python -m backproplab graph`, as the README has it: value and gradient of a gate."""
    code, out, err = process("-m", "backproplab", "graph", "multiply", "--args", "x=4.0, y=-3.0", env=ALONE)
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["x", "argument", "4", "-3"],
        ["y", "argument", "-3", "4"],
        ["v1", "multiply(x,", "y)", "-12", "1"],
    ]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_standard_output_that_is_full():
    """A full disk behind standard output: one line, exit code 2."""
    with open("/dev/full", "w") as full, start("-m", "backproplab", "--help", stdout=full, stderr=subprocess.PIPE) as child:  # fmt: skip
        _, err = child.communicate(timeout=60)
    assert child.returncode == 2
    assert err == "backproplab: No space left on device\n"


@pytest.mark.skipif(os.name != "posix", reason="pipes and signals")
def test_standard_output_that_nobody_reads():
    """A reader that left, as in `| head`: silence, and the exit code that shells give."""
    ours, theirs = os.pipe()
    os.close(ours)
    with start("-m", "backproplab", "--help", stdout=theirs, stderr=subprocess.PIPE) as child:
        os.close(theirs)
        _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (141, "")


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_interrupt_leaves_a_report(tmp_path, jobs):
    """Ctrl-C: exit code 130, one line, and a report of what was judged until then."""
    (tmp_path / "halting.py").write_text(HALTING)
    command = ["-m", "backproplab", "verify", "halting.py", "--jobs", str(jobs), "--json", "report.json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what is ignored here would be ignored there
    with start(*command, env=ALONE, cwd=tmp_path, start_new_session=True, **pipes) as child:
        signal.signal(signal.SIGINT, before)
        end = time.monotonic() + 100
        while len(list(tmp_path.glob("*.begun"))) < jobs and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(1)  # the verdict of `quick` is on its way from its process
        os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to all of its processes
        _, err = child.communicate(timeout=60)
    report = json.loads((tmp_path / "report.json").read_text())
    assert (child.returncode, err) == (130, "backproplab: interrupted\n")
    assert report["interrupted"] is True
    assert [(v["id"], v["status"]) for v in report["verdicts"]] == [("quick", "pass")]


def test_readme_example(tmp_path, monkeypatch, capsys):
    """The README's file, command and output, word for word, but for the time it takes."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", README.read_text(), re.DOTALL)
    file = next(text for language, text in blocks if language == "python" and "my_layer_bwd" in text)
    session = next(text for language, text in blocks if language == "console" and "verify my_rules.py" in text)
    command, shown = session.split("\n", 1)
    (tmp_path / "my_rules.py").write_text(file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    arguments = re.fullmatch(r"\$ backproplab verify (\S+) --args '(.*)'", command).groups()
    code, out, _ = run(capsys, "verify", arguments[0], "--args", arguments[1])
    assert code == 1
    assert _timeless(out) == _timeless(shown)
    assert "gradient of w is 0.125 times the right one = 1/8" in out


def _timeless(text):
    return re.sub(r"[\d.]+ s\)", "- s)", text).strip()
