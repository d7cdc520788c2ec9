"""Handwritten digits: a multi-layer network with a softmax output. Lecture L4, L8.

    python experiments/digits.py --gradients both

1797 digits of 8 x 8 pixels, a third of them held out. The picture: how the loss fell, and the held-out digits that the
network gets wrong, each with what it took it for.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.networks import softmax_classifier
from backproplab.training import accuracy, data
from backproplab.training.experiment import Gradients, Outcome, descent, fit
from backproplab.training.options import run
from backproplab.training.picture import learning_curve, mistakes, panels

SIZES = (64, 512, 256, 10)
BATCH_SIZE = 32


def main(gradients: Gradients = "hand", epochs: int = 60, seed: int = 0, picture: Path = Path("digits.png")) -> Outcome:
    """A softmax network learns handwritten digits."""
    train, held_out = data.digits(seed)
    steps = epochs * (len(train.x) // BATCH_SIZE)
    trained = fit(
        "softmax network",
        softmax_classifier.loss,
        softmax_classifier.init(jax.random.key(seed), SIZES),
        train,
        descent(0.1, steps, decay=1e-3),
        gradients=gradients,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        seed=seed,
    )
    predicted = np.argmax(softmax_classifier.apply(trained.params, jnp.asarray(held_out.x)), axis=-1)
    held_out_accuracy = accuracy(predicted, held_out.target)
    with panels(picture, f"Digits: {held_out_accuracy:.1%} of the held-out third are right", columns=2) as (
        left,
        right,
    ):
        learning_curve(left, trained)
        mistakes(right, held_out.x.reshape(-1, 8, 8), predicted, held_out.target)
    return Outcome({"held-out accuracy": held_out_accuracy}, (trained,))


if __name__ == "__main__":
    run(main)
