"""The classifier of sequences: lengths, how it starts, whose gradients it has, that it learns, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled

from backproplab import strip
from backproplab.networks import recurrent_classifier as network

KEY = jax.random.key(1)
LENGTHS = np.array([6, 1, 4, 0])
init = compiled(lambda key: network.init(key, 3, 5, 4))


def _example(dtype: type = np.float64):
    x = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(dtype)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), init(KEY))
    return params, x, np.array([0, 3, 1, 2], np.int32)


def test_how_it_starts():
    """Gates side by side; the forget gates' biases are 1, all others 0; float32; another key, another start."""
    params = init(KEY)
    assert jax.tree.map(jnp.shape, params) == {
        "lstm": {"w": (3, 20), "u": (5, 20), "b": (20,)},
        "output": {"w": (5, 4), "b": (4,)},
    }
    np.testing.assert_array_equal(params["lstm"]["b"], np.repeat([0, 1, 0, 0], 5))
    assert not params["output"]["b"].any()
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert (params["lstm"]["w"] != init(jax.random.key(2))["lstm"]["w"]).any()


@pytest.mark.slow
def test_padding_is_not_seen():
    """Probabilities and the loss's gradients are those of the sequences cut to their lengths, whatever the padding holds."""
    params, x, target = _example()
    with jax.enable_x64(True):
        beyond = np.arange(6) >= LENGTHS[:, None]
        grad = jax.jit(jax.grad(network.loss, (0, 1)))
        clean = grad(params, x, target, LENGTHS)
        poisoned = grad(params, np.where(beyond[..., None], np.nan, x), target, LENGTHS)
        for one, other in zip(jax.tree.leaves(clean), jax.tree.leaves(poisoned)):
            np.testing.assert_array_equal(one, other)
        assert not np.any(clean[1][beyond]) and np.all(clean[1][~beyond])
        apply = jax.jit(network.apply)
        whole = apply(params, x, LENGTHS)
        for n, length in enumerate(LENGTHS[:3]):
            np.testing.assert_allclose(whole[n], apply(params, x[n, :length]), rtol=1e-13)


@pytest.mark.slow
def test_gradients_are_those_of_autodiff():
    """Every parameter and the input, against autodiff of the network with its rules taken out, in float64."""
    params, x, target = _example()
    with jax.enable_x64(True):
        got, right = (
            jax.jit(jax.grad(f, (0, 1)))(params, x, target, LENGTHS) for f in (network.loss, strip(network.loss))
        )
        for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(right), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.slow
def test_it_learns_which_step_was_first():
    """Whether a sequence began with +1 or -1, told after eight steps of noise: the memory carries it."""
    random = np.random.default_rng(3)
    x = 0.3 * random.normal(size=(64, 8, 1)).astype(np.float32)
    target = random.integers(0, 2, 64).astype(np.int32)
    x[:, 0, 0] = 2 * target - 1

    @jax.jit
    def train(params):
        def step(params, _):
            value, gradient = jax.value_and_grad(network.loss)(params, x, target)
            return jax.tree.map(lambda p, g: p - 1.0 * g, params, gradient), value

        return jax.lax.scan(step, params, length=100)

    params, losses = train(network.init(KEY, 1, 4, 2))
    assert losses[-1] < 0.1 < losses[0]
    assert (jnp.argmax(network.apply(params, x), -1) == target).all()


def test_what_does_not_fit_is_named():
    """A ValueError that says which shape was expected."""
    params, x, target = _example(np.float32)
    for call, words in (
        (lambda: network.init(KEY, 0), "1 or more"),
        (lambda: network.apply(params, x[..., :2]), "time, 3"),
        (lambda: network.apply(params, x[:, :0]), "at least one step"),
        (lambda: network.apply(params, x, LENGTHS[:2]), "lengths must"),
        (lambda: network.loss(params, x, target[:2]), "target must"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
