"""Exclusive or: a perceptron cannot, a network with one hidden layer does. Lecture L2, L4.

    python experiments/xor.py --gradients both

No straight line parts the two classes, so the perceptron rule never comes to rest; two lines do, and a hidden layer has
them. The picture: the best that the perceptron found, the plane as the network sees it, and how the network got there.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.networks import mlp, perceptron
from backproplab.training import accuracy, data
from backproplab.training.experiment import Gradients, Outcome, descent, fit
from backproplab.training.options import run
from backproplab.training.picture import BLUE, ORANGE, landscape, learning_curve, panels

SIZES = (2, 8, 1)
PERCEPTRON_STEPS = 400


def main(gradients: Gradients = "hand", epochs: int = 200, seed: int = 0, picture: Path = Path("xor.png")) -> Outcome:
    """A perceptron and a network with one hidden layer try to learn the exclusive or."""
    rows = data.xor()
    unit, unit_accuracy = best_perceptron(rows, seed)
    trained = fit(
        "network",
        mlp.loss,
        mlp.init(jax.random.key(seed), SIZES),
        (rows.x, rows.target[:, None]),
        descent(0.1),
        gradients=gradients,
        epochs=epochs,
        batch_size=None,
        seed=seed,
    )
    network = lambda x: np.asarray(mlp.apply(trained.params, jnp.asarray(x)))[:, 0]
    network_accuracy = accuracy(network(rows.x) > 0.5, rows.target == 1)
    measures = {
        f"perceptron's accuracy, the best of {PERCEPTRON_STEPS} steps": unit_accuracy,
        "network's accuracy": network_accuracy,
    }
    title = f"XOR: the perceptron has {4 * unit_accuracy:.0f} rows of 4 right, the network {4 * network_accuracy:.0f}"
    with panels(picture, title, columns=3) as (left, middle, right):
        draw_plane(left, "Perceptron, at its best", lambda x: perceptron.apply(unit, jnp.asarray(x)), rows)
        draw_plane(middle, "One hidden layer", network, rows)
        learning_curve(right, trained)
    return Outcome(measures, (trained,))


def best_perceptron(rows, seed):
    """The parameters with the most rows right among all that the perceptron rule passes through, and that accuracy."""
    params = perceptron.init(jax.random.key(seed), 2)
    best = (params, accuracy(perceptron.apply(params, rows.x), rows.target))
    for row in np.random.default_rng(seed).integers(0, 4, PERCEPTRON_STEPS):
        params = perceptron.epoch(params, rows.x[row : row + 1], rows.target[row : row + 1])
        right = accuracy(perceptron.apply(params, rows.x), rows.target)
        best = max(best, (params, right), key=lambda found: found[1])
    return best


def draw_plane(axes, title, function, rows):
    """The four rows over the output; where the two colours disagree, the row is wrong."""
    landscape(axes, function, (-0.5, -0.5), (1.5, 1.5))
    for kind, color in ((0, BLUE), (1, ORANGE)):
        axes.scatter(
            *rows.x[rows.target == kind].T, s=140, color=color, edgecolors="white", linewidths=2, label=f"{kind}"
        )
    axes.set(title=title, xlabel="$x_1$", ylabel="$x_2$", aspect="equal", xticks=[0, 1], yticks=[0, 1])


if __name__ == "__main__":
    run(main)
