"""Malignant or benign: logistic regression on thirty measurements of cell nuclei. Lecture L3, L7.

    python experiments/breast_cancer.py --gradients both

569 tumours, a third of them held out; all training rows in every step, as batch gradient descent has it (L10). The
picture: how the loss fell, and the probabilities that the unit gives to the held-out tumours.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.networks import logistic_regression
from backproplab.training import accuracy, data
from backproplab.training.experiment import Gradients, Outcome, descent, fit
from backproplab.training.options import run
from backproplab.training.picture import BLUE, ORANGE, learning_curve, panels


def main(
    gradients: Gradients = "hand", epochs: int = 300, seed: int = 0, picture: Path = Path("breast_cancer.png")
) -> Outcome:
    """A logistic unit tells malignant tumours from benign ones."""
    train, held_out = data.breast_cancer(seed)
    trained = fit(
        "logistic regression",
        logistic_regression.loss,
        logistic_regression.init(jax.random.key(seed), train.x.shape[1]),
        train,
        descent(0.1, decay=1e-2),
        gradients=gradients,
        epochs=epochs,
        batch_size=None,
        seed=seed,
    )
    probability = np.asarray(logistic_regression.apply(trained.params, jnp.asarray(held_out.x)))
    measures = {"held-out accuracy": accuracy(probability > 0.5, held_out.target == 1)}
    title = f"Breast cancer: {measures['held-out accuracy']:.1%} of the held-out tumours are right"
    with panels(picture, title, columns=2) as (left, right):
        learning_curve(left, trained)
        draw_probabilities(right, probability, held_out.target == 1)
    return Outcome(measures, (trained,))


def draw_probabilities(axes, probability, malignant):
    """How many held-out tumours of each kind got which probability."""
    axes.hist(
        [probability[~malignant], probability[malignant]],
        bins=np.linspace(0, 1, 21),
        color=[BLUE, ORANGE],
        label=["benign", "malignant"],
        stacked=True,
    )
    axes.axvline(0.5, color="#2b2f36", linewidth=1, linestyle=":")
    axes.set(title="Held-out tumours", xlabel="probability of malignant", ylabel="tumours")
    axes.legend()


if __name__ == "__main__":
    run(main)
