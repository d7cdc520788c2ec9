"""What the experiments share: the choice of gradients, the dtypes, the progress bar, and the optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from backproplab.layers.activations import tanh
from backproplab.training.agreement import Agreement
from backproplab.training.experiment import Fit, Outcome, descent, fit

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3)
LABELS = np.arange(8, dtype=np.int32) % 2
PARAMS = {"w": np.array([0.3, -0.2, 0.1], np.float32)}


@jax.custom_vjp
def half_hearted(x):
    """The identity with a gradient of 1/2: autodiff of the stripped function knows better."""
    return x


half_hearted.defvjp(lambda x: (x, None), lambda _, dy: (dy / 2,))


def loss(params, x, target, activation=tanh):
    """One unit and the square error."""
    return jnp.mean(jnp.square(activation(x @ params["w"]) - target))


def fitted(gradients, loss=loss, optimizer=None, seed=0):
    """Three epochs in minibatches of 4."""
    return fit(
        "unit",
        loss,
        PARAMS,
        (X, LABELS),
        optimizer or descent(0.1),
        gradients=gradients,
        epochs=3,
        batch_size=4,
        seed=seed,
    )


@pytest.mark.parametrize("gradients", ["hand", "autodiff"])
def test_one_kind_of_gradients_runs_alone_in_float32(gradients, capsys):
    """One curve, one bar with the mean loss of the last epoch, on standard error; nothing was compared."""
    result = fitted(gradients)
    assert list(result.losses) == [gradients] and result.losses[gradients].shape == (3, 2)
    assert result.losses[gradients].dtype == result.params["w"].dtype == np.float32
    assert result.agreement is None
    shown = capsys.readouterr()
    assert f"unit, {gradients}" in shown.err and "3/3" in shown.err and not shown.out
    assert f"loss {result.losses[gradients][-1].mean():.4f}" in shown.err


def test_both_compares_in_float64(capsys):
    """Three runs, each with its bar; the losses have the digits of float64 and the params come back in float32."""
    result = fitted("both")
    assert list(result.losses) == ["hand", "autodiff", "rounding"]
    assert all(losses.dtype == np.float64 for losses in result.losses.values())
    assert result.params["w"].dtype == np.float32 and not jax.config.read("jax_enable_x64")
    assert result.agreement.at_rounding_level and result.agreement.difference < 1e-14
    shown = capsys.readouterr().err
    assert all(f"unit, {kind}" in shown for kind in result.losses)


def test_the_choice_of_gradients_decides_whose_are_used():
    """With a rule that is wrong by a factor, "hand" trains with it, "autodiff" does not, and "both" says so."""
    wrong = lambda params, x, target: loss(params, x, target, half_hearted)
    hand, autodiff = (fitted(kind, wrong, optax.sgd(0.1)) for kind in ("hand", "autodiff"))
    slower = fitted("autodiff", wrong, optax.sgd(0.05))
    # at the same learning rate half the gradient is half the rate: numbers of size 1, six steps in float32
    np.testing.assert_allclose(hand.params["w"], slower.params["w"], rtol=0, atol=6 * np.finfo(np.float32).eps)
    assert np.abs(hand.params["w"] - autodiff.params["w"]).max() > 1e-3
    assert not fitted("both", wrong).agreement.at_rounding_level


def test_the_seed_decides_the_order():
    """Same seed, same curve to the last bit; another seed, another curve."""
    curves = [fitted("hand", seed=seed).losses["hand"] for seed in (0, 0, 1)]
    assert np.array_equal(curves[0], curves[1]) and not np.array_equal(curves[0], curves[2])


@pytest.mark.parametrize("kinds", ["", "rr", "rw", "wr", "nr", "nnn"])
def test_an_outcome_is_at_rounding_level_if_every_comparison_is(kinds):
    """r: at rounding level, w: wrong, n: not compared. One wrong fit is enough; none compared is no disagreement."""
    agreement = {"r": Agreement(1e-16, 1e-16, 1.0), "w": Agreement(1.0, 1e-16, 1e16), "n": None}
    fits = tuple(Fit("unit", None, {}, agreement[kind]) for kind in kinds)
    assert Outcome({}, fits).at_rounding_level == ("w" not in kinds)


def steps(optimizer, gradients, start=2.0):
    """Where the optimizer goes from `start` under these gradients."""
    params, places = jnp.asarray(start), []
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
        places.append(float(params))
    return np.array(places)


def test_descent_is_nesterovs():
    """velocity = 0.9 velocity + gradient; the step is rate * (0.9 velocity + gradient), the gradient with its decay."""
    gradients, rate, decay = [1.0, -0.5, 2.0], 0.1, 0.01
    params, velocity, expected = 2.0, 0.0, []
    for gradient in gradients:
        slope = gradient + decay * params
        velocity = 0.9 * velocity + slope
        params -= rate * (0.9 * velocity + slope)
        expected.append(params)
    got = steps(descent(rate, decay=decay), gradients)
    np.testing.assert_allclose(got, expected, rtol=16 * 2.0**-24)  # some five roundings a step, three steps


def test_descent_comes_to_rest():
    """With the number of steps the rate falls to 0: afterwards nothing moves; without, it does not fall."""
    resting, steady = (steps(descent(0.1, count), [1.0] * 6) for count in (4, None))
    assert resting[4] == resting[5] == resting[3 + 1] and resting[0] == steady[0]
    assert np.all(np.diff(steady) < 0)


def test_descent_is_in_proportion_to_the_gradient():
    """Twice the gradient, twice the step: unlike Adam's, it shows a rule that is wrong by a factor."""
    once, twice = (steps(descent(0.1), [g, g], start=0.0) for g in (0.5, 1.0))
    assert np.array_equal(2 * once, twice)
