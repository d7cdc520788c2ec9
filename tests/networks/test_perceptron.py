"""The perceptron's own way to learn, which is no gradient descent, and what it cannot."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.networks import perceptron

KEY = jax.random.key(7)
SQUARE = jnp.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])


def test_the_perceptron_learns_what_can_be_separated():
    """Lecture L2: on AND and on OR it stops after finitely many mistakes, and then moves no more."""
    for target in (jnp.array([0.0, 0, 0, 1]), jnp.array([0.0, 1, 1, 1])):
        params = perceptron.init(KEY, 2)
        for _ in range(10):
            params = perceptron.epoch(params, SQUARE, target)
        assert perceptron.loss(params, SQUARE, target) == 0
        after = perceptron.epoch(params, SQUARE, target, 0.1)
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), after, params))


def test_the_perceptron_cannot_learn_xor():
    """No line separates XOR: at least one of four answers is wrong, after every epoch."""
    params = perceptron.init(KEY, 2)
    for _ in range(20):
        params = perceptron.epoch(params, SQUARE, jnp.array([0.0, 1, 1, 0]))
        assert perceptron.loss(params, SQUARE, jnp.array([0.0, 1, 1, 0])) >= 0.25


def test_an_epoch_takes_the_rows_in_turn():
    """Lecture S16: w <- w + rate (d - y) x, each row with the weights that the row before left behind."""
    x, target = SQUARE, jnp.array([1.0, 0, 0, 1])
    # at w = 0, b = 0 the unit says 0. Row 1: wrong, b = 1/2. Row 2: says 1, wrong, w = (0, -1/2), b = 0. Row 3: right.
    # Row 4: says 0, wrong, w = (1/2, 0), b = 1/2.
    params = perceptron.epoch(perceptron.init(KEY, 2), x, target, 0.5)
    np.testing.assert_array_equal(params["w"], [0.5, 0])
    assert params["b"] == 0.5


def test_threshold_units_in_two_layers_compute_xor():
    """Lecture S16: h1 = [x1 + x2 > 1/2], h2 = [-x1 - x2 > -3/2], y = [h1 + h2 > 3/2]. No gradient finds these weights."""
    h1 = perceptron.apply({"w": jnp.array([1.0, 1]), "b": jnp.array(-0.5)}, SQUARE)
    h2 = perceptron.apply({"w": jnp.array([-1.0, -1]), "b": jnp.array(1.5)}, SQUARE)
    y = perceptron.apply({"w": jnp.array([1.0, 1]), "b": jnp.array(-1.5)}, jnp.stack([h1, h2], -1))
    np.testing.assert_array_equal(y, [0, 1, 1, 0])
