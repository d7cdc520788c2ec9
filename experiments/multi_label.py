"""Seven yes-or-no answers at once: which segments of a display does a handwritten digit light? Lecture L9.

    python experiments/multi_label.py --gradients both

The network sees 8 x 8 pixels of handwriting and has seven sigmoid outputs, one per segment of a seven-segment display,
each with its own binary target. It is never told that there are ten digits. The picture: held-out digits, each above the
display that the network lights for it; the brighter a segment, the surer the network.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.networks import multi_label
from backproplab.training import accuracy, data, exact_match
from backproplab.training.experiment import Gradients, Outcome, descent, fit
from backproplab.training.options import run
from backproplab.training.picture import learning_curve, panels

SIZES = (64, 256, 7)
BATCH_SIZE = 32
STROKES = (((0, 2), (1, 2)), ((1, 2), (1, 1)), ((1, 1), (1, 0)), ((0, 0), (1, 0)), ((0, 1), (0, 0)), ((0, 2), (0, 1)),
           ((0, 1), (1, 1)))  # fmt: skip
"""The ends of the segments a to g on a display one wide and two high."""


def main(
    gradients: Gradients = "hand", epochs: int = 40, seed: int = 0, picture: Path = Path("multi_label.png")
) -> Outcome:
    """A network with seven binary outputs reads digits into a seven-segment display."""
    train, held_out = data.digit_segments(seed)
    steps = epochs * (len(train.x) // BATCH_SIZE)
    trained = fit(
        "seven outputs",
        multi_label.loss,
        multi_label.init(jax.random.key(seed), SIZES),
        train,
        descent(0.1, steps, decay=1e-3),
        gradients=gradients,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        seed=seed,
    )
    probability = np.asarray(multi_label.apply(trained.params, jnp.asarray(held_out.x)))
    measures = {
        "held-out segments right": accuracy(probability > 0.5, held_out.target == 1),
        "held-out displays right": exact_match(probability > 0.5, held_out.target == 1),
    }
    title = f"Seven segments: {measures['held-out displays right']:.1%} of the held-out displays are right in all seven"
    with panels(picture, title, columns=2, size=(5, 4.6)) as (left, right):
        learning_curve(left, trained)
        draw_displays(right, held_out.x.reshape(-1, 8, 8), probability, held_out.target == 1)
    return Outcome(measures, (trained,))


def draw_displays(axes, images, probability, target, columns=8):
    """The last row of pairs has mistakes, if there are any: a wrong segment is red, be it lit or dark."""
    wrong = np.flatnonzero(np.any((probability > 0.5) != target, axis=1))[:columns]
    right = np.setdiff1d(np.arange(len(target)), wrong)[: 3 * columns - len(wrong)]
    for place, row in enumerate([*right, *wrong]):
        left, top = place % columns / columns, 1 - place // columns / 3
        pixels = axes.inset_axes((left, top - 0.15, 0.11, 0.14))
        pixels.imshow(images[row], cmap="gray_r")
        pixels.axis("off")
        display = axes.inset_axes((left, top - 0.30, 0.11, 0.14), facecolor="#1d2129")
        for stroke, lit, wanted in zip(STROKES, probability[row], target[row]):
            correct = (lit > 0.5) == wanted
            color, strength = ("#ffb454", lit) if correct else ("#ff4d4d", max(lit, 1 - lit))
            display.plot(*zip(*stroke), color=color, alpha=0.08 + 0.92 * float(strength), linewidth=2.5)
        display.set(xlim=(-1, 2), ylim=(-0.5, 2.5), xticks=[], yticks=[])
    axes.axis("off")
    axes.set_title("Held-out digits and what they light")


if __name__ == "__main__":
    run(main)
