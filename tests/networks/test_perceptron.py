"""The perceptron's own way to learn, which is no gradient descent, and what it cannot."""

import jax
import numpy as np
from compiled import compiled

from backproplab.networks import perceptron

KEY = jax.random.key(7)
SQUARE = np.float32([[0.0, 0], [0, 1], [1, 0], [1, 1]])
loss = compiled(perceptron.loss)


def test_the_perceptron_learns_what_can_be_separated():
    """Lecture L2: on AND and on OR it stops after finitely many mistakes, and then moves no more."""
    for target in np.float32([[0.0, 0, 0, 1], [0.0, 1, 1, 1]]):
        params = perceptron.init(KEY, 2)
        for _ in range(10):
            params = perceptron.epoch(params, SQUARE, target)
        assert loss(params, SQUARE, target) == 0
        after = perceptron.epoch(params, SQUARE, target, 0.1)
        jax.tree.map(np.testing.assert_array_equal, after, params)


def test_the_perceptron_cannot_learn_xor():
    """No line separates XOR: at least one of four answers is wrong, after every epoch."""
    params, target = perceptron.init(KEY, 2), np.float32([0.0, 1, 1, 0])
    for _ in range(20):
        params = perceptron.epoch(params, SQUARE, target)
        assert loss(params, SQUARE, target) >= 0.25


def test_an_epoch_takes_the_rows_in_turn():
    """Lecture S16: w <- w + rate (d - y) x, each row with the weights that the row before left behind."""
    x, target = SQUARE, np.float32([1.0, 0, 0, 1])
    # at w = 0, b = 0 the unit says 0. Row 1: wrong, b = 1/2. Row 2: says 1, wrong, w = (0, -1/2), b = 0. Row 3: right.
    # Row 4: says 0, wrong, w = (1/2, 0), b = 1/2.
    params = perceptron.epoch(perceptron.init(KEY, 2), x, target, 0.5)
    np.testing.assert_array_equal(params["w"], [0.5, 0])
    assert params["b"] == 0.5


def test_threshold_units_in_two_layers_compute_xor():
    """Lecture S16: h1 = [x1 + x2 > 1/2], h2 = [-x1 - x2 > -3/2], y = [h1 + h2 > 3/2]. No gradient finds these weights."""
    unit = compiled(perceptron.apply)
    h1 = unit({"w": np.float32([1, 1]), "b": np.float32(-0.5)}, SQUARE)
    h2 = unit({"w": np.float32([-1, -1]), "b": np.float32(1.5)}, SQUARE)
    y = unit({"w": np.float32([1, 1]), "b": np.float32(-1.5)}, np.stack([h1, h2], -1))
    np.testing.assert_array_equal(y, [0, 1, 1, 0])
