"""The lecture's formulas under the harness: slips in its sources, kinks and ties, gradient checks. Rows S22, S25, L11."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import value_and_grad

from backproplab import normal, verify
from backproplab.layers.activations import relu, sigmoid, tanh
from backproplab.layers.affine import affine
from backproplab.layers.convolution import max_pool
from backproplab.layers.gates import maximum, multiply
from backproplab.layers.losses import square_error

WIDE = {"dtypes": ("float64",)}  # formulas are judged there


def with_rule(function, bwd):
    """`function` as a stranger registers it, with a backward pass that gets all arguments."""
    layer = jax.custom_vjp(function)
    layer.defvjp(lambda *args: (function(*args), args), bwd)
    return layer


# Slips in the sources


def output_layer(outputs, targets):
    return 0.5 * jnp.sum((outputs - targets) ** 2)


def as_slide_70(arguments, dloss):
    outputs, targets = arguments
    return dloss * (targets - outputs), dloss * (targets - outputs)


def as_slide_20(arguments, dloss):
    outputs, targets = arguments
    return dloss * (outputs - targets), dloss * (targets - outputs)


def test_L6_L12_the_sign_of_slide_70():
    """The output-layer derivative printed as (y - a) is rejected for its sign; slide 20's (a - y) passes."""
    at = (normal(5), normal(5))
    verdict = verify(with_rule(output_layer, as_slide_70), *at, **WIDE)
    assert (verdict.status, verdict.argument) == ("fail", "outputs")
    assert "has the wrong sign" in verdict.cause
    assert verdict.where.startswith("test_gradient_checks.py:")
    verify(with_rule(output_layer, as_slide_20), *at, **WIDE).assert_passed()


def linear(x, w):
    return x @ w


def as_transcribed(arguments, dy):
    x, _ = arguments
    return dy @ x.T, x.T @ dy


def as_derived(arguments, dy):
    x, w = arguments
    return dy @ w.T, x.T @ dy


def test_S9_the_transcription_where_its_shape_is_right():
    """dL/dx = (dL/dy) x^T with square matrices: nothing but the numbers is wrong. The argument and the line are named,
    and the operand that belongs there; dL/dw is found right, and so is (dL/dy) w^T.
    """
    verdict = verify(with_rule(linear, as_transcribed), normal(5, 5), normal(5, 5), **WIDE)
    assert (verdict.status, verdict.argument) == ("fail", "x")
    assert verdict.cause.startswith("the gradient of x is")
    line = as_transcribed.__code__.co_firstlineno + 2
    assert verdict.where == f"test_gradient_checks.py:{line}"
    assert {check.argument for check in verdict.checks if check.status == "fail"} == {"x"}
    mended = "to be replaced by `arguments[1]` wherever this gradient takes it makes the rule right"
    assert f"hint: changing `x` at test_gradient_checks.py:{line} {mended}" in verdict.notes
    verify(with_rule(linear, as_derived), normal(5, 5), normal(5, 5), **WIDE).assert_passed()


@pytest.mark.parametrize(
    "rows, inputs, outputs, words",
    [
        (3, 5, 5, "the cotangent has shape (3, 3), the argument (3, 5)"),
        (3, 5, 4, "contracting dimensions to have the same shape, got (4,) and (5,)"),
    ],
    ids=["a product of another shape", "no product"],
)
def test_S9_the_transcription_where_its_shape_is_wrong(rows, inputs, outputs, words):
    """With other shapes the printed product is not that of x, or there is none: named before any number is compared."""
    verdict = verify(with_rule(linear, as_transcribed), normal(rows, inputs), normal(inputs, outputs), **WIDE)
    assert verdict.status == "fail"
    assert words in verdict.cause


# Kinks and ties


def with_slope_at_zero(slope):
    """The rectifier with a slope of its author's choice at the kink."""
    slopes = lambda x: jnp.where(x > 0, 1, jnp.where(x == 0, slope, 0))
    return with_rule(lambda x: jnp.maximum(x, 0), lambda arguments, dy: (slopes(*arguments) * dy,))


def test_S22_relu_declares_its_slope_at_zero():
    """The page takes 0 there, which the verdict passes and names."""
    assert jax.grad(relu)(0.0) == 0
    verdict = verify(relu, np.array([0.0, 1.0, -1.0]), kink=True, **WIDE)
    verdict.assert_passed()
    assert any("kink" in note for note in verdict.notes)


@pytest.mark.parametrize("slope, right", [(0.5, True), (2.0, False)])
def test_S22_any_slope_from_0_to_1_is_a_subgradient_of_relu(slope, right):
    """Other conventions at 0 pass as long as they are subgradients, and fail otherwise."""
    assert verify(with_slope_at_zero(slope), np.array([0.0, 1.0, -1.0]), kink=True, **WIDE).passed == right


def shared(share):
    """The max over a vector, whose gradient ties share as told."""
    return with_rule(lambda z: jnp.max(z), lambda arguments, dy: (dy * share(arguments[0] == jnp.max(arguments[0])),))


TIE = np.array([2.0, 3.0, 3.0, 1.0])


def test_S22_the_winner_of_a_max_takes_all():
    """1 for the largest entry of z, 0 for the others: gate by gate, and as one argmax."""
    z = np.array([2.0, 5.0, 3.0, 1.0])
    by_gates = lambda z: maximum(maximum(z[0], z[1]), maximum(z[2], z[3]))
    for largest in (by_gates, shared(lambda wins: wins)):
        assert jax.jit(jax.grad(largest))(z).tolist() == [0, 1, 0, 0]


def unequal(wins):
    """Each winner by its place: the second gets twice what the first gets."""
    weights = jnp.where(wins, 1 + jnp.arange(wins.size).reshape(wins.shape), 0)
    return weights / weights.sum()


@pytest.mark.parametrize("share, right", [(unequal, True), (lambda wins: wins, False)], ids=["shares", "all to each"])
def test_S22_ties_share_what_there_is(share, right):
    """Any convex combination of the winners is a subgradient; 1 for each is more than there is."""
    assert verify(shared(share), TIE, kink=True, **WIDE).passed == right


@pytest.mark.parametrize("ties, right", [("first", True), ("both", False)])
def test_S2_S22_the_max_gate_and_its_policies(ties, right):
    """The notes' literal formula gives both inputs everything at a tie: no subgradient, so the page declares it."""
    tied = np.array([2.0]), np.array([2.0]), ties
    assert verify(maximum, *tied, kink=True, **WIDE).passed == right
    if not right:
        verify(maximum, *tied, by_design=True, expect=(np.ones(1), np.ones(1)), **WIDE).assert_passed()


def test_S22_max_pooling_routes_to_the_argmax():
    """The winner of each window gets its gradient; among equals the first, row by row, which the page declares."""
    x = np.array([[1.0, 2, 7, 7], [4, 3, 7, 0]], np.float32).reshape(2, 4, 1)
    gradient = jax.jit(jax.grad(lambda x: max_pool(x).sum()))(x)[..., 0]
    assert gradient.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]


# Gradient checks by the notes' rules


def relative_error(f, x, h=1e-5):
    """Centred differences, entry by entry, as the notes compare: |a - n| / max(|a|, |n|), the largest."""
    f = jax.jit(f)
    analytic = np.asarray(jax.jit(jax.grad(f))(x))
    steps = h * np.eye(x.size).reshape(x.size, *x.shape)
    x = np.asarray(x)
    steps = steps.astype(x.dtype)
    numeric = np.array([(float(f(x + s)) - float(f(x - s))) / (2 * h) for s in steps]).reshape(x.shape)
    larger = np.maximum(abs(analytic), abs(numeric))
    return float(np.max(np.where(larger > 0, abs(analytic - numeric) / np.where(larger > 0, larger, 1), 0)))


def network(depth, activation=tanh):
    """A loss of few data points after some layers, as a function of the input."""
    random = np.random.default_rng(0)
    weights = [random.normal(size=(4, 4)) * (0.9 if activation is tanh else 1.5) for _ in range(depth)]

    def loss(x):
        for w in weights:
            x = activation(affine(x, w, np.zeros(4)))
        return square_error(x, np.ones(x.shape)).sum()

    return loss


POINTS = np.random.default_rng(1).normal(size=(2, 4))


@pytest.mark.usefixtures("float64")
def test_S25_a_right_gradient_is_below_the_happy_threshold():
    """Smooth, float64, few points: 1e-7 or less. Deeper nets accumulate error, and are still happy here."""
    shallow, deep = (relative_error(network(depth), jnp.asarray(POINTS)) for depth in (1, 8))
    assert shallow < 1e-8
    assert shallow < deep < 1e-7


def test_S25_float32_is_not_for_gradient_checks():
    """The same right gradient in single precision: beyond 1e-2, the threshold of a wrong one. (The verdict has no such
    trouble: it judges formulas in float64.)
    """
    assert relative_error(network(1), jnp.asarray(POINTS, jnp.float32)) > 1e-2


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("error, low, high", [(0.05, 1e-2, 0.1), (1e-3, 1e-4, 1e-2)])
def test_S25_a_wrong_gradient_is_above_the_thresholds(error, low, high):
    """A slope that is 5 % off lands in the range of certain faults, 0.1 % in that of doubt, which the verdict fails."""
    x = np.array([0.3, -0.8, 1.2])
    off = with_rule(jax.nn.sigmoid, lambda arguments, dy: ((1 + error) * jax.vjp(sigmoid, *arguments)[1](dy)[0],))
    assert low < relative_error(lambda x: jnp.sum(off(x)), jnp.asarray(x)) < high
    if error < 1e-2:
        assert verify(off, x, **WIDE).status == "fail"


@pytest.mark.usefixtures("float64")
def test_S25_a_step_across_a_kink():
    """The notes' example: relu at -1e-6. A step of 1e-5 crosses the kink and contradicts a right gradient; tracking the
    winner of the max shows that; a step that stays on its side agrees, and so does the harness, which tracks branches.
    """
    x = jnp.array([-1e-6])
    f = lambda x: jnp.sum(multiply(3.0, relu(x)))
    winner = lambda x: (x > 0).tolist()
    assert relative_error(f, x, h=1e-5) == 1
    assert winner(x + 1e-5) != winner(x - 1e-5)
    assert winner(x + 1e-7) == winner(x - 1e-7)
    assert relative_error(f, x, h=1e-7) == 0
    verify(relu, np.array([-1e-6]), **WIDE).assert_passed()


@pytest.mark.usefixtures("float64")
def test_S25_few_datapoints_cross_few_kinks():
    """Of rectified inputs, more cross a kink within a step the more there are: with two of them none does, with 2000 some."""
    x = np.random.default_rng(2).normal(size=2000)
    h = 1e-3
    crossing = abs(x) < h
    assert crossing.any() and not crossing[:2].any()
    run = value_and_grad(lambda x: jnp.sum(relu(x)))
    (above, _), (below, _), (_, gradient) = run(x + h), run(x - h), run(x)
    assert abs((above - below) / (2 * h) - gradient.sum()) > 1e-2  # along the direction of ones
    few = x[:2]
    assert abs((run(few + h)[0] - run(few - h)[0]) / (2 * h) - run(few)[1].sum()) < 1e-12
