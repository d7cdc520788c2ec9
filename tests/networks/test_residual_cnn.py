"""The residual network: how it starts, any image size, whose gradients it has, that it learns, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled

from backproplab import strip
from backproplab.networks import residual_cnn as network

KEY = jax.random.key(1)
apply = jax.jit(network.apply)
init = lambda: network.init(KEY, 2, 3, 4)


def _example(dtype: type = np.float64):
    """Parameters, all of them random, and three images."""
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(init)
    params = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(dtype), shapes)
    return params, random.normal(size=(3, 5, 4, 2)).astype(dtype), np.array([0, 3, 1], np.int32)


def test_blocks_start_as_the_identity():
    """The second kernel of each is zeros, norms are neutral: the first outputs are those of a network without blocks."""
    params = compiled(init)()
    assert all(not block["conv2"].any() and block["conv1"].any() for block in params["blocks"])
    assert not (params["blocks"][0]["conv1"] == params["blocks"][1]["conv1"]).any()
    other = {**params, "blocks": [{**block, "conv1": -block["conv1"]} for block in params["blocks"]]}
    _, x, _ = _example(np.float32)
    np.testing.assert_array_equal(apply(params, x), apply(other, x))


def test_images_of_any_size():
    """The mean over all places comes last: the same parameters for 5 x 4 and 9 x 9, one image or two axes of them."""
    params, x, _ = _example(np.float32)
    y = apply(params, x)
    assert y.shape == (3, 4)
    np.testing.assert_allclose(y.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(apply(params, x[:, None])[:, 0], y, rtol=1e-5)
    assert apply(params, np.ones((9, 9, 2), np.float32)).shape == (4,)


@pytest.mark.slow
def test_gradients_are_those_of_autodiff():
    """Every parameter and the input, against autodiff of the network with its rules taken out, in float64."""
    params, x, target = _example()
    with jax.enable_x64(True):
        got, right = (jax.jit(jax.grad(f, (0, 1)))(params, x, target) for f in (network.loss, strip(network.loss)))
        for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(right), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
            assert other.any()


@pytest.mark.slow
def test_it_learns_which_way_stripes_run():
    """Horizontal or vertical, at any phase: no single pixel tells."""
    random = np.random.default_rng(3)
    stripes = np.tile([[1.0], [1.0], [-1.0], [-1.0]], (3, 8))
    target = random.integers(0, 2, 32).astype(np.int32)
    crops = [stripes[s : s + 8] if c else stripes[s : s + 8].T for c, s in zip(target, random.integers(0, 4, 32))]
    x = np.stack(crops)[..., None].astype(np.float32)

    @jax.jit
    def train(params):
        def step(params, _):
            value, gradient = jax.value_and_grad(network.loss)(params, x, target)
            return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), value

        return jax.lax.scan(step, params, length=120)

    params, losses = train(network.init(KEY, 1, 4, 2))
    assert losses[-1] < 0.2 < losses[0]
    assert (jnp.argmax(apply(params, x), -1) == target).all()


def test_what_does_not_fit_is_named():
    """A ValueError that says which shape was expected."""
    params, x, target = _example(np.float32)
    for call, words in (
        (lambda: network.init(KEY, 1, 0), "1 or more"),
        (lambda: network.apply(params, x[..., :1]), "height, width, 2"),
        (lambda: network.apply(params, x[:, :1]), "2 x 2 pixels"),
        (lambda: network.loss(params, x, target[:2]), "target must"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
