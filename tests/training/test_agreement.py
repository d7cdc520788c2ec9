"""The criterion for `--gradients both`: rounding passes, a wrong rule does not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from backproplab.harness.strip import strip
from backproplab.training.agreement import compare, last_place_moved, rows_reversed
from backproplab.training.loop import train

CURVE = np.linspace(1.0, 0.5, 12).reshape(4, 3)


def scaled_bias(factor):
    """An affine map whose bias gradient is `factor` times what it should be."""

    @jax.custom_vjp
    def affine(x, w, b):
        return x @ w + b

    affine.defvjp(lambda x, w, b: (x @ w + b, (x, w)), lambda r, dy: (dy @ r[1].T, r[0].T @ dy, factor * dy.sum(0)))
    return affine


def agreement_of_training(affine, optimizer):
    """A small network trained by the rule, by autodiff, and by autodiff rounded otherwise."""

    def loss(params, x, target):
        hidden = jnp.tanh(affine(x, *params[0]))
        return jnp.mean(jnp.square(affine(hidden, *params[1]) - target))

    generator = np.random.default_rng(1)
    x = generator.normal(size=(64, 5)).astype(np.float32)
    data = (x, np.sin(x[:, :1] * x[:, 1:2]) + 1)
    params = [tuple(jnp.asarray(generator.normal(size=shape), jnp.float32) / 3 for shape in shapes)
              for shapes in (((5, 16), (16,)), ((16, 1), (1,)))]  # fmt: skip
    key = jax.random.key(0)
    runs = [(loss, params), (strip(loss), params), (rows_reversed(strip(loss)), last_place_moved(params, key))]
    return compare(*(train(function, start, data, optimizer, 20, 16, key)[1] for function, start in runs))


@pytest.mark.slow
def test_a_right_rule_is_at_rounding_level():
    """The same mathematics written by hand: whatever parts the curves is rounding."""
    assert agreement_of_training(scaled_bias(1.0), optax.sgd(0.1, momentum=0.9)).at_rounding_level


@pytest.mark.parametrize("factor", [1.001, *[pytest.param(f, marks=pytest.mark.slow) for f in (0.0, 0.5, 0.99)]])
def test_a_wrong_rule_is_not(factor):
    """A bias gradient that is missing, halved, or 1 % or 0.1 % off parts the curves by more than rounding."""
    assert not agreement_of_training(scaled_bias(factor), optax.sgd(0.1, momentum=0.9)).at_rounding_level


def test_an_optimizer_that_divides_by_the_gradient_hides_a_wrong_factor():
    """Why the experiments use plain gradient descent: Adam does not notice that a gradient is twice what it should be."""
    doubled = agreement_of_training(scaled_bias(2.0), optax.adam(1e-2, eps=1e-20))
    assert doubled.at_rounding_level


def test_equal_curves_agree():
    """No difference at all is rounding level, even where the twin does not move either."""
    assert compare(CURVE, CURVE, CURVE).ratio == 0


def test_nan_does_not_agree():
    """A curve that has become NaN proves nothing, in whichever run it is."""
    for run in range(3):
        curves = [CURVE.copy() for _ in range(3)]
        curves[run][2, 1] = np.nan
        assert not compare(*curves).at_rounding_level


def test_late_chaos_does_not_excuse_an_early_difference():
    """The worst step decides: a difference of 1e-4 at the start stays one when the twin runs away at the end."""
    hand, twin = CURVE.copy(), CURVE.copy()
    hand[0, 0] += 1e-4
    twin[3, 2] += 1.0
    assert not compare(hand, CURVE, twin).at_rounding_level


def test_the_twin_is_one_rounding_away():
    """Every parameter moves by one unit in its last place, in both directions; a reversed minibatch has the same loss."""
    params = {"w": jnp.linspace(0.1, 2.0, 50)}
    moved = last_place_moved(params, jax.random.key(0))["w"] - params["w"]
    assert np.all(moved != 0) and np.all(np.abs(moved) <= np.spacing(params["w"])) and moved.min() < 0 < moved.max()
    weighted = lambda params, x: jnp.sum(params["w"] * x)
    assert rows_reversed(weighted)(params, jnp.arange(50.0)) == weighted(params, jnp.arange(50.0)[::-1])
