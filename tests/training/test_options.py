"""The command line of an experiment: options, one line for a mistake, exit codes."""

import sys
from pathlib import Path

import pytest

from backproplab.training.agreement import Agreement
from backproplab.training.experiment import Fit, Outcome
from backproplab.training.extras import MissingExtra
from backproplab.training.options import run

calls = []


def main(gradients="hand", epochs=7, seed=0, picture=Path("picture.png")):
    """An experiment that is over at once."""
    calls.append((gradients, epochs, seed, picture))
    agreement = Agreement(2e-3, 1e-16, 1e9 if seed == 13 else 0.5) if gradients == "both" else None
    return Outcome({"accuracy": 0.98765}, (Fit("unit", None, {}, agreement),))


def outcome(monkeypatch, capsys, *options, main=main):
    """Runs it with these options: (exit code or message, standard output, standard error)."""
    monkeypatch.setattr(sys, "argv", ["experiment.py", *options])
    calls.clear()
    with pytest.raises(SystemExit) as stop:
        run(main)
    return stop.value.code, *capsys.readouterr()


def test_without_options_the_defaults_of_main_hold(monkeypatch, capsys):
    """One line per measure on standard output, exit code 0."""
    assert outcome(monkeypatch, capsys) == (0, "accuracy: 0.9877\n", "")
    assert calls == [("hand", 7, 0, Path("picture.png"))]


@pytest.mark.parametrize("gradients", ["hand", "autodiff", "both"])
def test_options_reach_main(monkeypatch, capsys, tmp_path, gradients):
    """Each option, in its type."""
    picture = tmp_path / "a.SVG"
    options = ["--gradients", gradients, "--epochs", "3", "--seed=5", "--picture", str(picture)]
    assert outcome(monkeypatch, capsys, *options)[0] == 0
    assert calls == [(gradients, 3, 5, picture)]


def test_both_prints_how_far_apart_and_fails_if_it_is_too_far(monkeypatch, capsys):
    """The largest difference of the loss curves, what rounding alone does, and exit code 1 for more than that."""
    code, printed, _ = outcome(monkeypatch, capsys, "--gradients", "both")
    assert code == 0
    assert "unit, hand against autodiff in float64: loss curves at most 0.002 apart" in printed
    assert printed.endswith(": rounding level\n")
    code, printed, _ = outcome(monkeypatch, capsys, "--gradients", "both", "--seed", "13")
    assert code == 1 and "MORE THAN ROUNDING" in printed


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--gradients", "numeric"], "'numeric'"),
        (["--epochs", "0"], "'0' is not a whole number from 1 to 1000000"),
        (["--epochs", "1.5"], "'1.5' is not a whole number"),
        (["--epochs", "-3"], "--epochs"),
        (["--epochs", "1_000"], "'1_000' is not a whole number"),
        (["--epochs", "²"], "'²' is not a whole number"),
        (["--epochs", "9" * 5000], "is not a whole number"),
        (["--epochs"], "--epochs"),
        (["--seed", str(2**32)], "is not a whole number from 0 to 4294967295"),
        (["--seed", "x"], "'x' is not a whole number"),
        (["--picture", "picture.txt"], "'picture.txt' does not end in one of .png, .pdf, .svg"),
        (["--picture", "no/such/folder/p.png"], "'no/such/folder/p.png' cannot be written"),
        (["--epoch", "3"], "--epoch"),  # no abbreviations: they would change with a new option
        (["extra"], "extra"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value)[:30],
)
def test_a_mistake_gets_one_line(monkeypatch, capsys, options, says):
    """Exit code 2, the mistake named, nothing trained, no usage text and no traceback."""
    code, printed, error = outcome(monkeypatch, capsys, *options)
    assert (code, printed, calls) == (2, "", [])
    assert error.startswith("experiment.py: ") and says in error
    assert error.count("\n") == 1


def test_a_folder_is_not_a_picture(monkeypatch, capsys, tmp_path):
    """Found out before the training, not after it."""
    folder = tmp_path / "folder.png"
    folder.mkdir()
    code, _, error = outcome(monkeypatch, capsys, "--picture", str(folder))
    assert code == 2 and "cannot be written" in error and not calls


@pytest.mark.parametrize("error", [MissingExtra("sklearn is not installed"), OSError("no space left")])
def test_what_is_missing_is_said_in_one_line(monkeypatch, capsys, error):
    """The message alone, which Python prints and answers with exit code 1."""

    def failing(gradients="hand", epochs=7, seed=0, picture=Path("picture.png")):
        raise error

    assert outcome(monkeypatch, capsys, main=failing) == (str(error), "", "")


def test_help_names_options_and_defaults(monkeypatch, capsys):
    """`--help` says what the experiment is, what can be typed, and what holds otherwise."""
    code, printed, _ = outcome(monkeypatch, capsys, "--help")
    assert code == 0 and main.__doc__ in printed
    for words in ("{hand,autodiff,both}", "(default: 7)", "(default: picture.png)", "--seed"):
        assert words in " ".join(printed.split())
