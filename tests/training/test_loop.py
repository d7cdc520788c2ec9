"""The training loop: pure, reproducible, and with the gradients that it was given."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from backproplab.harness.strip import strip
from backproplab.layers.activations.tanh import tanh
from backproplab.training.loop import train

KEY = jax.random.key(3)


def loss(params, x, target):
    """A layer with a hand-written rule inside, and the square error."""
    return jnp.mean(jnp.square(tanh(x @ params["w"] + params["b"]) - target))


def problem(rows=40):
    """A target that the layer can reach: data from a layer of the same shape."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, 3)).astype(np.float32)
    w = np.array([0.5, -1.0, 0.3], np.float32)
    return {"w": jnp.zeros(3), "b": jnp.zeros(())}, (x, np.tanh(x @ w + np.float32(0.2)))


def test_the_loss_falls_and_the_parameters_are_found():
    """Training minimises the loss it is given."""
    params, data = problem()
    trained, losses = train(loss, params, data, optax.sgd(0.3), 200, 8, KEY)
    assert losses.shape == (200, 5)
    assert losses[-1].mean() < 1e-3 * losses[0].mean()
    np.testing.assert_allclose(
        trained["w"], [0.5, -1.0, 0.3], rtol=0, atol=0.01
    )  # an error that the loss above still allows


def test_the_first_full_step_is_gradient_descent_as_the_lecture_has_it():
    """L10: one step over all rows is w - rate * (mean of the gradients of the instances)."""
    params, (x, target) = problem()
    trained, losses = train(loss, params, (x, target), optax.sgd(0.5), 1, None, KEY)
    gradients = [jax.grad(loss)(params, x[i : i + 1], target[i : i + 1]) for i in range(len(x))]
    expected = jax.tree.map(lambda p, *g: p - 0.5 * sum(g) / len(x), params, *gradients)
    # sums of 40 float32 numbers of size 1, in two orders
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=40 * np.finfo(np.float32).eps), trained, expected
    )
    assert losses[0, 0] == pytest.approx(float(loss(params, x, target)), rel=1e-6)


def test_hand_written_and_autodiff_gradients_train_alike():
    """The rule inside the loss and autodiff of the stripped loss give one curve, up to rounding."""
    params, data = problem()
    hand, hand_losses = train(loss, params, data, optax.sgd(0.3), 20, 8, KEY)
    autodiff, autodiff_losses = train(strip(loss), params, data, optax.sgd(0.3), 20, 8, KEY)
    steps = hand_losses.size  # a rounding error per step at most is left over: this problem contracts
    np.testing.assert_allclose(hand_losses, autodiff_losses, rtol=0, atol=steps * np.finfo(np.float32).eps)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=steps * np.finfo(np.float32).eps), hand, autodiff
    )


def test_the_key_decides_the_run():
    """Same key, same run to the last bit; another key, another order of the rows."""
    params, data = problem()
    runs = [train(loss, params, data, optax.sgd(0.3), 3, 8, key)[1] for key in (KEY, KEY, jax.random.key(4))]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_every_row_is_visited_once_per_epoch():
    """Minibatches share no row; the rows that do not fill one are left out of this epoch only."""
    rows = np.arange(10, dtype=np.float32)
    visits = lambda params, x: jnp.sum(2.0**x) + 0 * params  # the losses of an epoch spell out its rows in binary
    _, losses = train(visits, jnp.zeros(()), (rows,), optax.sgd(0.1), 30, 3, KEY)
    missing = 2**10 - 1 - losses.sum(axis=1)
    assert np.all(np.isin(missing, 2.0**rows))
    assert len(np.unique(missing)) > 1


def test_progress_hears_of_every_epoch():
    """The callback gets the number of the epoch and its mean loss, in order."""
    params, data = problem()
    heard = []
    _, losses = train(loss, params, data, optax.sgd(0.3), 3, 8, KEY, lambda epoch, value: heard.append((epoch, value)))
    assert [epoch for epoch, _ in heard] == [1, 2, 3]
    np.testing.assert_allclose([value for _, value in heard], losses.mean(axis=1), rtol=1e-6)  # a mean of 5 in float32


@pytest.mark.parametrize(("epochs", "batch_size"), [(0, 8), (-1, 8), (1, 0), (1, 41)])
def test_a_run_that_cannot_be_is_refused(epochs, batch_size):
    """No epochs, no rows in a minibatch or more than there are: an error that names the numbers, not an empty result."""
    params, data = problem()
    with pytest.raises(ValueError, match=f"{epochs} epochs in minibatches of {batch_size} out of 40 rows"):
        train(loss, params, data, optax.sgd(0.3), epochs, batch_size, KEY)
