"""What a network is trained to reduce, and how: losses, their means, gradient descent. Lecture L5-L10, L17,
rows S11-S15, S18, S24.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiled import compiled, value_and_grad

from backproplab.layers.gates import log
from backproplab.layers.losses import (
    binary_cross_entropy,
    kl_divergence,
    multiclass_hinge,
    sigmoid_binary_cross_entropy,
    softmax,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
    square_error,
    weston_watkins_hinge,
)
from backproplab.networks import logistic_regression, mlp, multi_label, perceptron, softmax_classifier
from backproplab.training import exact_match, train
from backproplab.training.data import SEGMENTS

pytestmark = pytest.mark.usefixtures("float64")
FULL = {"rtol": 1e-12, "atol": 1e-14}  # float64: some hundred roundings of 1e-16, and room for cancellation
TEN_PLACES = {"rtol": 0, "atol": 5e-11}  # as many as the rows of the lecture have
KEY = jax.random.key(0)


def layers(*sizes):
    """Random parameters of a multi-layer perceptron, quicker than its `init` to compile."""
    shapes = itertools.pairwise(sizes)
    return [dict(zip("wb", draw((i, o), (o,), seed=number))) for number, (i, o) in enumerate(shapes)]


def draw(*shapes, seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(size=shape) for shape in shapes]


X, OUTPUTS, W, B = draw((7, 4), (7, 3), (4,), ())
BITS, LABELS = (OUTPUTS > 0).astype(float), np.argmax(OUTPUTS, 1)
# per network: parameters, and inputs and targets of seven instances
NETWORKS = {
    logistic_regression: ({"w": W, "b": B}, X, BITS[:, 0]),
    perceptron: ({"w": W, "b": B}, X, BITS[:, 0]),
    mlp: (layers(4, 5, 3), X, OUTPUTS),
    multi_label: (layers(4, 5, 3), X, BITS),
    softmax_classifier: (layers(4, 5, 3), X, LABELS),
}
each_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__.split(".")[-1])


@functools.cache
def loss_and_gradient(network):
    """Compiled once, for a single instance and for a batch."""
    return jax.jit(jax.value_and_grad(network.loss))


@each_network
def test_L5_S24_the_training_error_is_the_mean_over_the_instances(network):
    """Loss = 1/T sum Div."""
    params, x, target = NETWORKS[network]
    loss = lambda rows: float(loss_and_gradient(network)(params, x[rows], target[rows])[0])
    assert loss(slice(None)) == pytest.approx(np.mean([loss(slice(i, i + 1)) for i in range(7)]), rel=1e-13)


@each_network
def test_L10_S24_the_batch_gradient_is_the_mean_of_the_instances_gradients(network):
    """Accumulated one instance after the other, as the lecture's program does it, and divided by their number."""
    params, x, target = NETWORKS[network]
    gradient = lambda rows: loss_and_gradient(network)(params, x[rows], target[rows])[1]
    accumulated = jax.tree.map(np.zeros_like, params)
    for i in range(7):
        accumulated = jax.tree.map(lambda total, one: total + np.asarray(one), accumulated, gradient(slice(i, i + 1)))
    whole = gradient(slice(None))
    jax.tree.map(lambda got, total: np.testing.assert_allclose(got, total / 7, **FULL), whole, accumulated)
    has_gradient = any(leaf.any() for leaf in jax.tree.leaves(accumulated))
    assert has_gradient == (network is not perceptron)  # whose derivative is 0


def test_L10_S24_a_step_of_gradient_descent():
    """w <- w - rate dE/dw, through optax, is what the training loop does in an epoch of one batch."""
    params, x, target = NETWORKS[mlp]
    stepped, losses = train(mlp.loss, params, (x, target), optax.sgd(0.1), 1, None, KEY)
    value, gradient = loss_and_gradient(mlp)(params, x, target)
    jax.tree.map(lambda new, w, dw: np.testing.assert_allclose(new, w - 0.1 * dw, **FULL), stepped, params, gradient)
    np.testing.assert_allclose(losses, [[value]], rtol=1e-13)


def test_L6_S18_square_error():
    """1/2 ||y - d||^2 has the gradient y - d, and none at y = d."""
    y, d = draw((5,), (5,))
    assert float(square_error(y, d)) == pytest.approx(float(np.sum((y - d) ** 2)) / 2, rel=1e-15)
    gradient = compiled(jax.grad(square_error))
    np.testing.assert_array_equal(gradient(y, d), y - d)
    assert not gradient(d, d).any()


def test_L6_regression():
    """An affine unit trained on the square error ends at the least squares solution, which is known otherwise."""
    x, noise = draw((40, 2), (40, 1))
    target = x @ np.array([[1.5], [-0.5]]) + 0.3 + 0.1 * noise
    params, _ = train(mlp.loss, layers(2, 1), (x, target), optax.sgd(0.5), 150, None, KEY)
    right = np.linalg.lstsq(np.concatenate([x, np.ones((40, 1))], 1), target, rcond=None)[0]
    # each step takes at least a third of the distance away: after 150 only rounding is left
    np.testing.assert_allclose(np.concatenate([params[0]["w"], params[0]["b"][None]]), right, rtol=1e-10)


binary_cross_entropy_at = jax.jit(jax.value_and_grad(binary_cross_entropy))


@pytest.mark.parametrize("y, d, slope", [(1.0, 1.0, -1), (0.0, 0.0, 1), (0.5, 0.5, 0), (0.9, 0.9, 0)])
def test_L7_S18_the_slope_of_binary_cross_entropy_where_output_and_target_agree(y, d, slope):
    """Its minimum, 0 for a class, is on the border, and the slope is not 0 there; inside it is."""
    value, gradient = binary_cross_entropy_at(y, d)
    assert float(gradient) == slope
    if d in (0, 1):
        assert value == 0


def test_L7_S18_binary_cross_entropy():
    """-d log y - (1-d) log(1-y); behind a sigmoid its gradient at the logit is y - d, which is 0 at y = d."""
    (z,) = draw((6,))
    d = np.array([0.0, 1, 0, 1, 0.25, 0.5])
    y = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(jax.jit(binary_cross_entropy)(y, d), -d * np.log(y) - (1 - d) * np.log(1 - y), **FULL)
    np.testing.assert_allclose(
        jax.jit(jax.grad(lambda y: binary_cross_entropy(y, d).sum()))(y), (y - d) / (y * (1 - y)), **FULL
    )
    np.testing.assert_allclose(jax.jit(jax.grad(lambda z: sigmoid_binary_cross_entropy(z, d).sum()))(z), y - d, **FULL)


def test_L8_S18_multiclass_divergence():
    """-log y_c has the slope -1/y_c at the class and 0 elsewhere: at y = d it is -1, although the minimum 0 is reached."""
    y, d = np.array([0.3, 0.2, 0.5]), np.array([0.0, 1.0, 0.0])
    divergence = value_and_grad(lambda y: kl_divergence(log(y), d))
    value, gradient = divergence(y)
    assert float(value) == pytest.approx(-np.log(0.2), rel=1e-15)
    np.testing.assert_allclose(gradient, [0, -5, 0], rtol=1e-15)
    value, gradient = divergence(d)
    assert (float(value), gradient.tolist()) == (0, [0, -1, 0])


def test_L9_S19_many_binary_outputs():
    """N sigmoid outputs: the gradient at each logit is s - d, and none knows of the others."""
    z, d = draw((4, 3))[0], np.random.default_rng(1).integers(0, 2, (4, 3)).astype(float)
    network = [{"w": np.eye(3), "b": np.zeros(3)}]  # logits as they come in
    gradient = jax.jit(jax.grad(lambda z: 4 * multi_label.loss(network, z, d)))(z)
    np.testing.assert_allclose(gradient, 1 / (1 + np.exp(-z)) - d, **FULL)


def test_L9_a_network_with_many_binary_outputs_learns():
    """Seven segments of a display, lit or not, for each of ten digits: all seventy answers right."""
    x = np.eye(10)
    params, losses = train(
        multi_label.loss,
        layers(10, 12, 7),
        (x, SEGMENTS.astype(float)),
        optax.sgd(1.0),
        150,
        None,
        KEY,
    )
    assert exact_match(compiled(multi_label.apply)(params, x) > 0.5, SEGMENTS == 1) == 1
    assert losses[-1, 0] < losses[0, 0] / 10


def test_S11_multiclass_support_vector_machine():
    """Scores 13, -7, 11 with the first class right and a margin of 10: loss 8, gradient (-1, 0, 1)."""
    scores = jnp.array([13.0, -7.0, 11.0])
    for loss in (weston_watkins_hinge, multiclass_hinge):  # the same where one rival is too close
        value, gradient = jax.jit(jax.value_and_grad(lambda scores: loss(scores, 0, 10.0)))(scores)
        assert (float(value), gradient.tolist()) == (8, [-1, 0, 1])


def test_S12_hinge_and_cross_entropy_side_by_side():
    """The figure's scores: hinge loss 1.58, cross-entropy 1.04, and the gradient p - e of the latter."""
    scores = jnp.array([-2.85, 0.86, 0.28])
    assert float(compiled(weston_watkins_hinge)(scores, 2)) == pytest.approx(1.58, abs=1e-14)
    value, gradient = jax.jit(jax.value_and_grad(softmax_cross_entropy_with_integer_labels))(scores, 2)
    assert np.round(compiled(softmax)(scores), 4).tolist() == [0.0154, 0.6312, 0.3534]
    assert round(float(value), 4) == 1.0402
    np.testing.assert_allclose(gradient, [0.0154, 0.6312, -0.6466], rtol=0, atol=5e-5)  # four places are printed


def test_S13_stable_softmax():
    """Logits 123, 456, 789: exponentials alone overflow; the page gives what there is to give in either precision."""
    logits = np.array([123.0, 456.0, 789.0])
    np.testing.assert_allclose(jax.jit(softmax)(logits), [5.75e-290, 2.40e-145, 1], rtol=2e-3)  # three digits given
    assert jax.jit(softmax)(np.float32(logits)).tolist() == [0, 0, 1]
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isnan(np.exp(logits) / np.exp(logits).sum()).any()


def test_L8_S14_softmax_and_its_jacobian():
    """y at z = (1, 2, 3), the Jacobian diag(y) - y y^T, whose rows sum to 0, and the cross-entropy of label 2."""
    z = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(compiled(softmax)(z), [0.0900305732, 0.2447284711, 0.6652409558], **TEN_PLACES)
    right = np.array([
        [0.0819250691, -0.0220330445, -0.0598920245],
        [-0.0220330445, 0.1848364465, -0.1628034020],
        [-0.0598920245, -0.1628034020, 0.2226954265],
    ])  # fmt: skip
    jacobian = compiled(jax.jacobian(softmax))(z)
    np.testing.assert_allclose(jacobian, right, **TEN_PLACES)
    np.testing.assert_allclose(jacobian.sum(1), 0, rtol=0, atol=3 * 2.0**-53 * jacobian.max())
    for loss, label in ((softmax_cross_entropy_with_integer_labels, 2), (softmax_cross_entropy, np.eye(3)[2])):
        value, gradient = value_and_grad(loss)(z, label)
        assert float(value) == pytest.approx(0.4076059644, abs=5e-11)
        np.testing.assert_allclose(gradient, [0.0900305732, 0.2447284711, -0.3347590442], **TEN_PLACES)


def test_S14_softmax_of_two_classes_is_the_sigmoid():
    """Only the difference of the two logits counts: value and cross-entropy are those of the logistic unit."""
    (z,) = draw((8,))
    two = np.stack([np.zeros(8), z], -1)
    np.testing.assert_allclose(jax.jit(softmax)(two)[:, 1], jax.nn.sigmoid(z), **FULL)
    labels = np.arange(8) % 2
    of_two = jax.jit(softmax_cross_entropy_with_integer_labels)(two, labels)
    np.testing.assert_allclose(of_two, jax.jit(sigmoid_binary_cross_entropy)(z, labels), **FULL)


@pytest.mark.parametrize("hidden", [(), (6,)], ids=["linear", "two layers"])
def test_L8_S15_the_case_study(hidden):
    """cs231n's softmax classifier and two-layer network: its program in numpy, weight decay included, against the pages."""
    rate = 1e-2
    params = layers(4, *hidden, 3)
    x, labels = draw((7, 4))[0], np.random.default_rng(4).integers(0, 3, 7)

    decay = lambda params: 0.5 * rate * sum(jnp.sum(layer["w"] ** 2) for layer in params)
    loss = lambda params: softmax_classifier.loss(params, x, labels) + decay(params)
    value, gradient = jax.jit(jax.value_and_grad(loss))(params)

    w, b = ([np.asarray(layer[name]) for layer in params] for name in "wb")
    h = np.maximum(0, x @ w[0] + b[0]) if hidden else x
    scores = h @ w[-1] + b[-1]
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    assert float(value) == pytest.approx(-np.log(p[range(7), labels]).mean() + float(decay(params)), rel=1e-13)
    dscores = p.copy()
    dscores[range(7), labels] -= 1
    dscores /= 7
    right = [{"w": h.T @ dscores + rate * w[-1], "b": dscores.sum(0)}]
    if hidden:
        dhidden = dscores @ w[-1].T
        dhidden[h <= 0] = 0
        right = [{"w": x.T @ dhidden + rate * w[0], "b": dhidden.sum(0)}, *right]
    jax.tree.map(lambda got, formula: np.testing.assert_allclose(got, formula, **FULL), gradient, right)


def test_L17_convergence_depends_on_the_step():
    """On a bowl of curvatures 1 and 100, plain descent needs a rate below 2/100 to converge; momentum gets further."""
    x = np.diag([1.0, 10.0]) * np.sqrt(2)  # two instances: the mean of their squares has those curvatures
    target = x @ np.array([[1.0], [-1.0]])
    loss = lambda w, x, target: jnp.mean(square_error(x @ w, target))
    end = lambda optimizer: float(train(loss, jnp.zeros((2, 1)), (x, target), optimizer, 100, None, KEY)[1][-1, 0])
    slow, too_fast, momentum = end(optax.sgd(0.019)), end(optax.sgd(0.021)), end(optax.sgd(0.019, momentum=0.8))
    assert slow < 0.5 * (1 - 0.019) ** 190  # the flat direction shrinks by 1 - rate per step
    assert too_fast > 50 * 1.1**180  # the steep one grows by 1 - 2.1 = -1.1
    assert momentum < slow / 1e3


def test_L17_generalisation_is_judged_on_rows_kept_apart():
    """Enough units learn ten noisy points by heart; on new points of the same kind they are then worse than a line."""
    random = np.random.default_rng(5)
    x = np.linspace(-1, 1, 10)[:, None]
    new_x = random.uniform(-1, 1, (200, 1))
    truth = lambda x: 0.5 * x + random.normal(0, 0.4, x.shape)
    target, new_target = truth(x), truth(new_x)
    line = np.polynomial.Polynomial.fit(x[:, 0], target[:, 0], 1)
    params = [{"w": 3 * layer["w"], "b": 2 * layer["b"]} for layer in layers(1, 60, 1)]
    params, curve = train(mlp.loss, params, (x, target), optax.adam(0.03), 400, None, KEY)
    assert curve[-1, 0] < np.mean((line(x) - target) ** 2 / 2) / 20
    assert compiled(mlp.loss)(params, new_x, new_target) > 1.2 * np.mean((line(new_x) - new_target) ** 2 / 2)
