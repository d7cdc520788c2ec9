"""Units and networks of them: thresholds, the perceptron rule, logistic units, layers. Lecture L1-L4, L16, S16, S17."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiled import compiled, pulled

from backproplab.graph import trace
from backproplab.layers.activations import relu, sigmoid, tanh
from backproplab.layers.affine import affine
from backproplab.layers.gates import add, heaviside, multiply, perceptron_rule, sigmoid_neuron
from backproplab.layers.losses import softmax, square_error
from backproplab.networks import logistic_regression, mlp, perceptron, softmax_classifier
from backproplab.training import train
from backproplab.training.data import xor

pytestmark = pytest.mark.usefixtures("float64")
FULL = {"rtol": 1e-13, "atol": 1e-14}  # float64: some ten roundings of 1e-16, and room for cancellation
AND = (np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0.0, 0, 0, 1]))
KEY = jax.random.key(0)


def draw(*shapes, seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(size=shape) for shape in shapes]


def layers(*sizes):
    """Random parameters of a multi-layer perceptron, quicker than its `init` to compile."""
    shapes = itertools.pairwise(sizes)
    return [dict(zip("wb", draw((i, o), (o,), seed=number))) for number, (i, o) in enumerate(shapes)]


def test_L1_a_unit_is_a_weighted_sum_and_an_activation():
    """z = sum w_i x_i + b and y = f(z), gate by gate, is the unit's page: value and every gradient."""
    x, w, b = draw(3, 3, ())

    def gate_by_gate(x, w, b):
        z = b
        for i in range(3):
            z = add(z, multiply(w[i], x[i]))
        return sigmoid(z)

    value, gradients = jax.jit(jax.value_and_grad(gate_by_gate, argnums=(0, 1, 2)))(x, w, b)
    page_value, page_gradients = jax.jit(jax.value_and_grad(sigmoid_neuron, argnums=(0, 1, 2)))(x, w, b)
    np.testing.assert_allclose(page_value, value, **FULL)
    for got, right in zip(page_gradients, gradients, strict=True):
        np.testing.assert_allclose(got, right, **FULL)


@pytest.mark.parametrize("activation", [sigmoid, tanh, relu])
def test_L1_extended_notation(activation):
    """The bias is one more weight, on an input that is always 1: the same value, the same gradients in other places."""
    x, w, b, dy = draw((4, 3), (3, 2), (2,), (4, 2))
    extended_x, extended_w = np.concatenate([x, np.ones((4, 1))], 1), np.concatenate([w, b[None]])
    unit = lambda x, w, b: activation(affine(x, w, b))
    extended = lambda x, w: activation(affine(x, w, jnp.zeros(2)))
    value, dx, dw, db = pulled(unit)(dy, x, w, b)
    extended_value, extended_dx, extended_dw = pulled(extended)(dy, extended_x, extended_w)
    np.testing.assert_allclose(extended_value, value, **FULL)
    np.testing.assert_allclose(extended_dx[:, :-1], dx, **FULL)
    np.testing.assert_allclose(extended_dw[:-1], dw, **FULL)
    np.testing.assert_allclose(extended_dw[-1], db, **FULL)


answers = compiled(perceptron.apply)


def mistakes(params, x, target):
    return int(np.sum(answers(params, x) != target))


def test_L2_S16_a_threshold_unit_gives_no_direction():
    """The derivative is 0 everywhere, wrong answers or not: gradient descent would never move."""
    x, params = AND[0], {"w": np.ones(2), "b": np.asarray(0.25)}
    assert mistakes(params, *AND) == 3
    gradient = compiled(jax.grad(perceptron.loss))(params, x, AND[1])
    assert all(not leaf.any() for leaf in jax.tree.leaves(gradient))


def test_L2_S16_the_perceptron_rule_on_separable_data():
    """It stops, after at most (R / margin)^2 mistakes (Novikoff 1962), and then leaves the weights alone."""
    random = np.random.default_rng(1)
    x = random.normal(size=(60, 2))
    separator = np.array([0.8, -0.6, 0.2])  # w and b: one vector in the extended notation
    side = x @ separator[:2] + separator[2]
    x, side = x[abs(side) > 0.1], side[abs(side) > 0.1]
    target = (side > 0).astype(float)
    radius = np.sqrt(1 + np.max(np.sum(x**2, 1)))
    bound = (radius * np.linalg.norm(separator) / np.min(abs(side))) ** 2

    w, b, moved = jnp.zeros(2), jnp.zeros(()), 0
    step = jax.jit(perceptron_rule)
    for _ in range(30):
        before = moved
        for row, d in zip(x, target):
            new_w, new_b = step(w, b, row, d, 1.0)
            moved += int(new_b != b)
            w, b = new_w, new_b
        if moved == before:
            break
    assert 0 < moved <= bound
    params = {"w": w, "b": b}
    assert mistakes(params, x, target) == 0
    jax.tree.map(np.testing.assert_array_equal, perceptron.epoch(params, x, target), params)


def overlapping():
    """Two classes on a line, each with rows on either side of rows of the other: no threshold parts them."""
    random = np.random.default_rng(2)
    x = np.concatenate([random.normal(-1, 1, 40), random.normal(1, 1, 40)])
    target = np.repeat([0.0, 1.0], 40)
    zero, one = x[target == 0], x[target == 1]
    assert one.min() < zero.max() and zero.min() < one.max()
    return x[:, None], target


@pytest.mark.parametrize("data", [overlapping, lambda: tuple(np.float64(a) for a in xor())], ids=["overlapping", "xor"])
def test_L2_S16_the_perceptron_rule_on_inseparable_data(data):
    """It never comes to rest: after every one of a hundred epochs some answer is wrong, so the next one moves on."""
    x, target = data()
    params = perceptron.init(KEY, x.shape[1])
    for _ in range(100):
        params = perceptron.epoch(params, x, target)
        assert mistakes(params, x, target) > 0


def test_S16_xor_by_hand():
    """Two threshold units and a third: [x1 + x2 > 1/2], [-x1 - x2 > -3/2], [h1 + h2 > 3/2] answer 0, 1, 1, 0."""
    x, target = xor()
    units = compiled(lambda *args: heaviside(affine(*args)))
    h = units(x, np.array([[1.0, -1], [1, -1]]), np.array([-0.5, 1.5]))
    y = units(h, np.ones((2, 1)), np.array([-1.5]))[:, 0]
    assert h.tolist() == [[0, 1], [1, 1], [1, 1], [1, 0]]
    assert y.tolist() == [0, 1, 1, 0] == target.tolist()


def test_S17_logistic_regression_on_and():
    """From zero weights: the loss is log 2 and the gradient (0, 0, 1/4)."""
    params = logistic_regression.init(KEY, 2)
    loss, gradient = jax.jit(jax.value_and_grad(logistic_regression.loss))(params, *map(jnp.asarray, AND))
    assert float(loss) == pytest.approx(0.6931471806, abs=5e-11)
    assert (gradient["w"].tolist(), float(gradient["b"])) == ([0, 0], 0.25)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_L3_the_logistic_unit_computes_the_probability_of_class_1(dimensions):
    """Overlapping normal classes: the unit's output is the local frequency of class 1, and its decision the best there is.

    For classes N(-m, 1) and N(m, 1) the frequency near x is exactly sigmoid(2 m.x).
    """
    rows, bins = 1000, 16
    random = np.random.default_rng(dimensions)
    mean = np.array([1.0, 0.5])[:dimensions]
    target = (np.arange(rows) % 2).astype(float)
    x = random.normal(size=(rows, dimensions)) + np.where(target[:, None] == 1, mean, -mean)
    params, losses = train(
        logistic_regression.loss, logistic_regression.init(KEY, dimensions), (x, target), optax.sgd(2.0), 100, None, KEY
    )
    gradient = compiled(jax.grad(logistic_regression.loss))(params, x, target)
    assert max(float(np.max(np.abs(leaf))) for leaf in jax.tree.leaves(gradient)) < 1e-6  # trained to the end
    assert (np.diff(losses.ravel()) < 1e-15).all()

    y = compiled(logistic_regression.apply)(params, x)
    columns = [np.argsort(np.argsort(column)) * (bins if dimensions == 1 else 4) // rows for column in x.T]
    cell = columns[0] if dimensions == 1 else 4 * columns[0] + columns[1]
    for inside in (cell == c for c in range(bins)):
        error = np.sqrt(np.sum(y[inside] * (1 - y[inside])) / inside.sum() ** 2)  # of a mean of independent answers
        assert abs(target[inside].mean() - y[inside].mean()) < 4 * error  # of 16 normal numbers, one in a thousand runs
    right = 1 / (1 + np.exp(-2 * x @ mean))
    assert np.mean(abs(y - right)) < 2 / np.sqrt(rows)  # what so many answers determine a probability to
    decided, best = np.mean((y > 0.5) == target), np.mean((right > 0.5) == target)
    assert decided > best - 2 / np.sqrt(rows)


ACTIVATIONS = {sigmoid: lambda z: 1 / (1 + np.exp(-z)), tanh: np.tanh, relu: lambda z: np.maximum(z, 0)}


@pytest.mark.parametrize(
    "sizes, activation", [((3, 2), relu), ((3, 4, 2), sigmoid), ((3, 4, 4, 2), tanh), ((3, 5, 4, 3, 2), relu)]
)
def test_L4_L16_a_network_is_a_function_of_input_and_weights(sizes, activation):
    """a^[L] = W^[L] f(W^[L-1] ... f(W^[1] x)): any depth and activation, no state, the output layer without activation."""
    params = layers(*sizes)
    params[-1]["b"] -= 3
    (x,) = draw((6, 3))
    a = np.asarray(x)
    for number, layer in enumerate(params, start=1):
        z = a @ np.asarray(layer["w"]) + np.asarray(layer["b"])
        a = ACTIVATIONS[activation](z) if number < len(params) else z
    apply = jax.jit(partial(mlp.apply, activation=activation))
    np.testing.assert_allclose(apply(params, x), a, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(apply(params, x), apply(params, x))
    assert (a < 0).any()  # which neither a rectifier nor a sigmoid could give


def test_L4_no_loops():
    """In the graph of a network every wire leads from an input, through units, on to the output, and never back."""
    params = layers(3, 4, 2)
    graph = trace(lambda params, x: square_error(mlp.apply(params, x), np.zeros(2)), params, jnp.ones(3))
    place = {node.name: i for i, node in enumerate(graph.nodes)}
    assert all(place[edge.source] < place[edge.target] for edge in graph.edges)
    assert [node.operation for node in graph.nodes if node.function] == ["affine", "tanh", "affine", "square_error"]


def test_L16_an_output_layer_with_a_vector_activation():
    """The classifier is a composition of pages: the softmax of an affine map of a rectified affine map."""
    (x,) = draw((5, 4))
    first, second = params = layers(4, 6, 3)
    hidden = lambda x: relu(affine(x, first["w"], first["b"]))
    composed = lambda x: softmax(affine(hidden(x), second["w"], second["b"]))
    got, right = compiled(lambda x: (softmax_classifier.apply(params, x), composed(x)))(x)
    np.testing.assert_allclose(got, right, **FULL)
