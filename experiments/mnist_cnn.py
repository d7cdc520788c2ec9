"""MNIST: a small convolutional network reads handwritten digits. Lecture L4, L8, L16.

    python experiments/mnist_cnn.py --gradients both

4000 images of 28 x 28 pixels to learn from, each also moved by a pixel to all four sides, and 1000 held out. The picture:
how the loss fell, and the held-out digits that the network gets wrong, each with what it took it for.
"""

from pathlib import Path

import jax
import numpy as np

from backproplab.networks import convolutional_classifier
from backproplab.training import accuracy, data
from backproplab.training.experiment import Gradients, Outcome, descent, fit
from backproplab.training.options import run
from backproplab.training.picture import learning_curve, mistakes, panels

BATCH_SIZE = 32
BIAS = 0.1
"""Where the biases start. From 0 every unit that sees blank paper would start exactly on the kink of its rectifier, where
the hand-written slope is 0, autodiff's 1/2, and both are right: the two runs would part at the first step."""


def main(
    gradients: Gradients = "hand", epochs: int = 2, seed: int = 0, picture: Path = Path("mnist_cnn.png")
) -> Outcome:
    """A small convolutional network learns MNIST."""
    train, held_out = data.mnist(seed)
    train = data.moved(train)
    layers = convolutional_classifier.init(jax.random.key(seed))
    start = {name: {"w": layer["w"], "b": layer["b"] + BIAS} for name, layer in layers.items()}
    steps = epochs * (len(train.x) // BATCH_SIZE)
    trained = fit(
        "convolutional network",
        convolutional_classifier.loss,
        start,
        train,
        descent(0.02, steps, decay=1e-3),
        gradients=gradients,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        seed=seed,
    )
    predicted = np.argmax(jax.jit(convolutional_classifier.apply)(trained.params, held_out.x), axis=-1)
    held_out_accuracy = accuracy(predicted, held_out.target)
    with panels(picture, f"MNIST: {held_out_accuracy:.1%} of 1000 held-out digits are right", columns=2) as (
        left,
        right,
    ):
        learning_curve(left, trained)
        mistakes(right, held_out.x[..., 0], predicted, held_out.target)
    return Outcome({"held-out accuracy": held_out_accuracy}, (trained,))


if __name__ == "__main__":
    run(main)
