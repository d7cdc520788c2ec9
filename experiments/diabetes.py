"""Diabetes: how far will it have come in a year? Regression with the square error. Lecture L6.

    python experiments/diabetes.py --gradients both

442 patients, ten measurements each, a third of them held out. The output has no activation (L16). R^2 is the share of
the variance that is explained; least squares on the same rows says what a linear map can reach.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.networks import mlp
from backproplab.training import data, r_squared
from backproplab.training.experiment import Gradients, Outcome, descent, fit
from backproplab.training.options import run
from backproplab.training.picture import GREY, learning_curve, panels

BATCH_SIZE = 32


def main(
    gradients: Gradients = "hand", epochs: int = 60, seed: int = 0, picture: Path = Path("diabetes.png")
) -> Outcome:
    """A network with one hidden layer predicts the progression of a disease."""
    train, held_out = data.diabetes(seed)
    mean, spread = train.target.mean(), train.target.std()
    rows = data.Rows(train.x, ((train.target - mean) / spread)[:, None])
    steps = epochs * (len(train.x) // BATCH_SIZE)
    trained = fit(
        "regression",
        mlp.loss,
        mlp.init(jax.random.key(seed), (train.x.shape[1], 16, 1)),
        rows,
        descent(0.01, steps, decay=3e-2),
        gradients=gradients,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        seed=seed,
    )
    predicted = np.asarray(mlp.apply(trained.params, jnp.asarray(held_out.x)))[:, 0] * spread + mean
    measures = {
        "held-out R^2": r_squared(predicted, held_out.target),
        "held-out R^2 of least squares": r_squared(least_squares(train, held_out.x), held_out.target),
    }
    title = f"Diabetes: R² = {measures['held-out R^2']:.2f} on held-out patients"
    with panels(picture, title, columns=2) as (left, right):
        learning_curve(left, trained)
        draw_prediction(right, predicted, held_out.target)
    return Outcome(measures, (trained,))


def least_squares(train, x):
    """What the best affine map of the training rows says about x, (rows,)."""
    extended = lambda x: np.column_stack([x, np.ones(len(x))])  # the bias as a weight on a constant 1, lecture L1
    return extended(x) @ np.linalg.lstsq(extended(train.x), train.target, rcond=None)[0]


def draw_prediction(axes, predicted, measured):
    """Each held-out patient: measured against predicted; the diagonal is where they are equal."""
    low, high = measured.min(), measured.max()
    axes.plot([low, high], [low, high], color=GREY, linewidth=1)
    axes.scatter(predicted, measured, s=22, alpha=0.7, edgecolors="none")
    axes.set(title="Held-out patients", xlabel="predicted progression", ylabel="measured progression", aspect="equal")


if __name__ == "__main__":
    run(main)
