"""Overlapping classes: the logistic unit computes P(class 1 | x). Lecture L3.

    python experiments/overlapping_classes.py --gradients both

Real tumours, malignant (class 1) or benign, seen through one and through two measurements that do not separate them. The
picture: the unit's output against the frequency of class 1 among the tumours near x, and its plane for two measurements.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.networks import logistic_regression
from backproplab.training import accuracy, data
from backproplab.training.experiment import Gradients, Outcome, descent, fit
from backproplab.training.options import run
from backproplab.training.picture import BLUE, GREY, ORANGE, landscape, panels

FEATURES = ("mean compactness", "mean texture")
BINS = 10


def main(
    gradients: Gradients = "hand",
    epochs: int = 200,
    seed: int = 0,
    picture: Path = Path("overlapping_classes.png"),
) -> Outcome:
    """A logistic unit's output is the local frequency of class 1."""
    rows = data.cell_nuclei(*FEATURES)
    mean, spread = rows.x.mean(axis=0), rows.x.std(axis=0)
    trained, units = [], []
    for count in (1, 2):
        x = (rows.x[:, :count] - mean[:count]) / spread[:count]
        unit = fit(
            f"logistic unit, {count}-D",
            logistic_regression.loss,
            logistic_regression.init(jax.random.key(seed), count),
            (x, rows.target),
            descent(0.3),
            gradients=gradients,
            epochs=epochs,
            batch_size=None,
            seed=seed,
        )
        trained.append(unit)
        units.append(
            lambda x, params=unit.params, count=count: probability(params, (x - mean[:count]) / spread[:count])
        )
    centers, frequency, error = local_frequency(rows.x[:, 0], rows.target)
    measures = {
        "accuracy in one dimension": accuracy(units[0](rows.x[:, :1]) > 0.5, rows.target == 1),
        "accuracy in two dimensions": accuracy(units[1](rows.x) > 0.5, rows.target == 1),
        "mean distance from the local frequency": float(np.mean(np.abs(units[0](centers[:, None]) - frequency))),
        "standard error of that frequency": float(np.mean(error)),
    }
    with panels(picture, "Overlapping classes: the logistic unit computes P(malignant | x)", columns=2) as (
        left,
        right,
    ):
        draw_unit(left, units[0], rows, centers, frequency, error)
        draw_plane(right, units[1], rows)
    return Outcome(measures, tuple(trained))


def probability(params, x):
    """The unit's output for x (rows, features) -> (rows,)."""
    return np.asarray(logistic_regression.apply(params, jnp.asarray(x)))


def local_frequency(x, target):
    """In bins of equally many tumours: mean x, frequency of class 1, and its standard error; (BINS,) each.

    The error is that of a fraction f of n, sqrt(f (1 - f) / n), with one tumour of each class added so that it is not 0.
    """
    bins = np.array_split(np.argsort(x), BINS)
    frequency = np.array([target[rows].mean() for rows in bins])
    smoothed = np.array([(target[rows].sum() + 1) / (len(rows) + 2) for rows in bins])
    error = np.sqrt(smoothed * (1 - smoothed) / [len(rows) for rows in bins])
    return np.array([x[rows].mean() for rows in bins], np.float32), frequency, error


def draw_unit(axes, unit, rows, centers, frequency, error):
    """One measurement: the tumours as ticks at 0 and 1, the local frequencies with their errors, the unit's curve."""
    x = np.linspace(rows.x[:, 0].min(), rows.x[:, 0].max(), 200, dtype=np.float32)
    for kind, color in ((0, BLUE), (1, ORANGE)):
        chosen = rows.x[rows.target == kind, 0]
        axes.scatter(chosen, np.full(len(chosen), 1.06 * kind - 0.03), marker="|", color=color, alpha=0.4, s=40)
    axes.errorbar(centers, frequency, error, fmt="o", color=GREY, label="frequency of class 1 nearby")
    axes.plot(x, unit(x[:, None]), color="#2b2f36", label="output of the unit")
    axes.axhline(0.5, color=GREY, linewidth=1, linestyle=":")
    axes.set(title="One measurement", xlabel=FEATURES[0], ylabel="P(malignant | x)")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.06))


def draw_plane(axes, unit, rows):
    """Two measurements: the tumours over the unit's output; the line is where it is 1/2."""
    low, high = rows.x.min(axis=0), rows.x.max(axis=0)
    margin = (high - low) / 20
    landscape(axes, unit, low - margin, high + margin)
    for kind, color, label in ((0, BLUE, "benign"), (1, ORANGE, "malignant")):
        chosen = rows.x[rows.target == kind]
        axes.scatter(*chosen.T, color=color, s=14, edgecolors="white", linewidths=0.4, label=label)
    axes.set(title="Two measurements", xlabel=FEATURES[0], ylabel=FEATURES[1])
    axes.legend(loc="upper right")


if __name__ == "__main__":
    run(main)
