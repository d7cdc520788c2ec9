"""The networks: how they start, what their losses are, whose gradients they have, and what they refuse."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled, value_and_grad

from backproplab import networks, strip
from backproplab.layers.activations import sigmoid, tanh
from backproplab.networks import (
    convolutional_classifier,
    logistic_regression,
    mlp,
    multi_label,
    perceptron,
    softmax_classifier,
)

KEY = jax.random.key(7)
SIZES = (5, 6, 4, 3)
IMAGES = {"shape": (9, 8, 2), "channels": (3, 4), "classes": 5}
ROWS = 6
INITS = {
    convolutional_classifier: lambda key: convolutional_classifier.init(key, **IMAGES),
    logistic_regression: lambda key: logistic_regression.init(key, 5),
    mlp: lambda key: mlp.init(key, SIZES),
    multi_label: lambda key: multi_label.init(key, SIZES),
    perceptron: lambda key: perceptron.init(key, 5),
    softmax_classifier: lambda key: softmax_classifier.init(key, SIZES),
}
# the others take a second to compile in every test
NETWORKS = pytest.mark.parametrize(
    "network",
    [pytest.param(n, marks=[] if n in (mlp, perceptron) else [pytest.mark.slow]) for n in INITS],
    ids=lambda network: network.__name__.split(".")[-1],
)
FULL = {"rtol": 1e-12, "atol": 1e-13}  # float64: a few hundred roundings of 1e-16, and room for cancellation


def example(network):
    """Parameters, all of them random, and x and target of six instances, in float64."""
    random = np.random.default_rng(2)
    params = jax.tree.map(lambda leaf: np.asarray(leaf) + random.normal(0, 0.3, leaf.shape), INITS[network](KEY))
    x = random.normal(size=(ROWS, *(IMAGES["shape"] if network is convolutional_classifier else (5,))))
    targets = {
        convolutional_classifier: random.integers(0, 5, ROWS).astype(np.int32),
        mlp: random.normal(size=(ROWS, 3)),
        multi_label: random.integers(0, 2, (ROWS, 3)).astype(float),
        softmax_classifier: random.integers(0, 3, ROWS).astype(np.int32),
    }
    return params, x, targets.get(network, random.integers(0, 2, ROWS).astype(float))


def on_device(*trees):
    """The arrays as JAX's, so that they can be differentiated and mapped."""
    return jax.tree.map(jnp.asarray, trees)


# How they start


def test_sizes_decide_the_shapes():
    """Weights are (in, out), biases (out,), convolutions (height, width, in, out); every network has its own number of outputs."""
    started = {network: jax.eval_shape(init, KEY) for network, init in INITS.items()}
    for network in (mlp, multi_label, softmax_classifier):
        shapes = [(layer["w"].shape, layer["b"].shape) for layer in started[network]]
        assert shapes == [((5, 6), (6,)), ((6, 4), (4,)), ((4, 3), (3,))]
    for network in (logistic_regression, perceptron):
        assert jax.tree.map(lambda leaf: leaf.shape, started[network]) == {"w": (5,), "b": ()}
    images = jax.tree.map(lambda leaf: leaf.shape, started[convolutional_classifier])
    assert {name: layer["w"] for name, layer in images.items()} == {
        "conv1": (3, 3, 2, 3),
        "conv2": (3, 3, 3, 4),
        "output": (2 * 2 * 4, 5),  # 9 x 8 pooled to 4 x 4 and to 2 x 2
    }
    assert {name: layer["b"] for name, layer in images.items()} == {"conv1": (3,), "conv2": (4,), "output": (5,)}


@pytest.mark.slow
def test_weights_have_variance_two_over_fan_in():
    """Biases are 0; in each layer the mean square of the weights is 2 / fan-in, within five standard errors."""
    params = [*mlp.init(KEY, (300, 200, 100)), *convolutional_classifier.init(KEY, (28, 28, 3), (32, 64), 10).values()]
    for layer in params:
        w, fan_in = np.asarray(layer["w"]), np.prod(layer["w"].shape[:-1])
        # the mean of n squares of normal numbers has a relative standard error of sqrt(2 / n)
        assert abs(np.mean(w**2) * fan_in / 2 - 1) < 5 * np.sqrt(2 / w.size)
        assert not layer["b"].any()
    for network in (logistic_regression, perceptron):
        assert not any(leaf.any() for leaf in jax.tree.leaves(INITS[network](KEY)))


@NETWORKS
def test_the_key_decides_the_start(network):
    """The same key, the same parameters, jitted or not; another key, others (where the start is random); float32."""
    init = INITS[network]
    first, again, jitted, other = init(KEY), init(KEY), jax.jit(init)(KEY), init(jax.random.key(8))
    for one, two, three in zip(*map(jax.tree.leaves, (first, again, jitted)), strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(one, three, rtol=1e-6)  # the compiler may fold two multiplications into one
    random = network not in (logistic_regression, perceptron)
    assert random == any((a != b).any() for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True))


def test_layers_start_different():
    """No two layers of one shape share their weights: the key is split, not used twice."""
    first, second, third = (layer["w"] for layer in mlp.init(KEY, (4, 4, 4, 4)))
    assert (first != second).all() and (second != third).all() and (first != third).all()


# What they compute


def naive_logits(params, x, activation):
    """The multi-layer perceptron, neuron by neuron as in the lecture: z_j = sum_i w_ij y_i + b_j."""
    for number, layer in enumerate(params, start=1):
        w, b = layer["w"], layer["b"]
        z = np.array([[sum(w[i, j] * row[i] for i in range(len(row))) + b[j] for j in range(len(b))] for row in x])
        x = activation(z) if number < len(params) else z
    return x


def naive_convolution(x, w, b):
    """Same-size 3 x 3 correlation, a rectifier, and the maximum of each 2 x 2 block, by loops."""
    rows, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    z = np.empty((rows, height, width, len(b)))
    for n, i, j, m in np.ndindex(*z.shape):
        z[n, i, j, m] = np.sum(padded[n, i : i + 3, j : j + 3] * w[..., m]) + b[m]
    y = np.maximum(z, 0)[:, : height // 2 * 2, : width // 2 * 2]
    return y.reshape(rows, height // 2, 2, width // 2, 2, len(b)).max((2, 4))


def naive_softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def naive_sigmoid(z):
    return 1 / (1 + np.exp(-z))


def naive(network, params, x, target):
    """Output and loss in plain numpy, from the textbook formulas."""
    rectifier = lambda z: np.maximum(z, 0)
    if network is mlp:
        y = naive_logits(params, x, np.tanh)
        return y, np.mean([0.5 * np.sum((y_n - d_n) ** 2) for y_n, d_n in zip(y, target)])
    if network in (softmax_classifier, convolutional_classifier):
        if network is convolutional_classifier:
            for name in ("conv1", "conv2"):
                x = naive_convolution(x, params[name]["w"], params[name]["b"])
            params, x = [params["output"]], x.reshape(ROWS, -1)
        y = naive_softmax(naive_logits(params, x, rectifier))
        return y, np.mean([-np.log(y_n[c]) for y_n, c in zip(y, target)])
    if network is perceptron:
        y = (x @ params["w"] + params["b"] > 0).astype(float)
        return y, np.mean(y != target)
    y = naive_sigmoid(naive_logits(params, x, rectifier) if network is multi_label else x @ params["w"] + params["b"])
    entropies = -target * np.log(y) - (1 - target) * np.log(1 - y)
    return y, np.mean(entropies.sum(-1) if network is multi_label else entropies)


@NETWORKS
def test_outputs_and_losses_are_the_textbook_ones(network):
    """apply and loss against loops in numpy; the loss is a mean over the instances, and a sum over outputs."""
    params, x, target = example(network)
    y, loss = naive(network, params, x, target)
    with jax.enable_x64(True):
        got = compiled(lambda params, x, target: (network.apply(params, x), network.loss(params, x, target)))
        for one, right in zip(got(params, x, target), (y, loss), strict=True):
            np.testing.assert_allclose(one, right, **FULL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "naive_one"), [(tanh, np.tanh), (sigmoid, naive_sigmoid), (lambda x: x, lambda x: x)]
)
def test_any_activation_and_depth(activation, naive_one):
    """The hidden layers have the activation that is asked for, a function of the user's own too; the output has none."""
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        for sizes in ((3, 2), (3, 4, 2), (3, 4, 1, 5, 4, 2)):
            params, x = mlp.init(KEY, sizes), random.normal(size=(4, 3))
            expected = naive_logits(jax.tree.map(np.asarray, params), x, naive_one)
            np.testing.assert_allclose(mlp.apply(params, jnp.asarray(x), activation), expected, **FULL)


def test_logistic_regression_on_and():
    """Lecture S17: from zero weights the loss on AND is log 2 and the gradient (0, 0, 1/4)."""
    x, target = np.float32([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.float32([0.0, 0, 0, 1])
    loss, gradient = value_and_grad(logistic_regression.loss)(logistic_regression.init(KEY, 2), x, target)
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)  # one rounding in float32
    np.testing.assert_array_equal(gradient["w"], [0, 0])
    assert gradient["b"] == 0.25


@pytest.mark.parametrize("network", [logistic_regression, multi_label])
def test_a_hopeless_instance_still_has_a_gradient(network):
    """At a logit of -40 for class 1 the loss is 40 and its slope in b is -1, in float32: the sigmoid is never rounded to 0."""
    one = {"w": np.zeros(2, np.float32), "b": np.float32(-40)}
    params = one if network is logistic_regression else [{name: leaf[..., None] for name, leaf in one.items()}]
    target = np.ones(3 if network is logistic_regression else (3, 1), np.float32)
    loss, gradient = value_and_grad(network.loss)(params, np.ones((3, 2), np.float32), target)
    assert loss == 40
    assert jax.tree.leaves(gradient)[0] == -1


def test_one_unit_is_a_multi_label_network():
    """Logistic regression is the network of one layer and one label; two classes are one logit, the difference of two."""
    with jax.enable_x64(True):
        params, x, target = example(logistic_regression)
        one = [{name: leaf[..., None] for name, leaf in params.items()}]
        two = [{name: np.stack([0 * leaf, leaf], -1) for name, leaf in params.items()}]
        loss = compiled(logistic_regression.loss)(params, x, target)
        np.testing.assert_allclose(compiled(multi_label.loss)(one, x, target[:, None]), loss, **FULL)
        np.testing.assert_allclose(compiled(softmax_classifier.loss)(two, x, target.astype(int)), loss, **FULL)


# Whose gradients they have


@NETWORKS
def test_gradients_are_those_of_autodiff(network):
    """Every parameter and the input, whole arrays, against autodiff of the network with its rules taken out, in float64."""
    with jax.enable_x64(True):
        params, x, target = example(network)
        ways = network.loss, strip(network.loss)
        got, expected = compiled(lambda *args: [jax.grad(loss, (0, 1))(*args) for loss in ways])(params, x, target)
        for one, right in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, right, **FULL)
            assert right.any() == (network is not perceptron)  # something was compared


@NETWORKS
def test_no_autodiff_where_a_rule_should_be(network):
    """Products, maxima and transcendental functions are all inside pages: outside them only shapes and means are left."""
    jaxpr = jax.make_jaxpr(network.loss)(*on_device(*example(network))).jaxpr
    outside = {equation.primitive.name for equation in jaxpr.eqns}
    assert any(name.startswith("custom_vjp_call") for name in outside)
    assert not outside & {"dot_general", "conv_general_dilated", "max", "exp", "log", "logistic", "tanh", "log1p", "gt"}


# How they are used


@NETWORKS
def test_jit_and_vmap(network):
    """jit changes nothing, and vmap over single instances is the batch: outputs, mean loss and mean gradients."""
    with jax.enable_x64(True):
        params, x, target = on_device(*example(network))
        batch = network.apply(params, x)
        np.testing.assert_allclose(jax.jit(network.apply)(params, x), batch, **FULL)
        np.testing.assert_allclose(jax.jit(jax.vmap(network.apply, (None, 0)))(params, x), batch, **FULL)
        loss, gradient = jax.jit(jax.value_and_grad(network.loss))(params, x, target)
        losses, gradients = jax.jit(jax.vmap(jax.value_and_grad(network.loss), (None, 0, 0)))(params, x, target)
        np.testing.assert_allclose(losses.mean(), loss, **FULL)
        for each, mean in zip(jax.tree.leaves(gradients), jax.tree.leaves(gradient), strict=True):
            np.testing.assert_allclose(each.mean(0), mean, **FULL)


@NETWORKS
def test_two_batch_axes_are_one(network):
    """Leading axes are instances, however many: (2, 3, ...) is (6, ...)."""
    with jax.enable_x64(True):
        params, x, target = example(network)
        run = compiled(lambda params, x, target: (network.apply(params, x), network.loss(params, x, target)))
        y, loss = run(params, x, target)
        folded = run(params, x.reshape(2, 3, *x.shape[1:]), target.reshape(2, 3, *target.shape[1:]))
        np.testing.assert_allclose(folded[0], y.reshape(2, 3, *y.shape[1:]), **FULL)
        np.testing.assert_allclose(folded[1], loss, **FULL)


@pytest.mark.slow
@NETWORKS
def test_many_networks_at_once(network):
    """vmap over the parameters trains an ensemble: each member gets its own output."""
    _, x, _ = example(network)
    x = jnp.asarray(x, jnp.float32)
    members, apply = jax.vmap(INITS[network])(jax.random.split(KEY, 3)), jax.jit(network.apply)
    for member, y in enumerate(jax.jit(jax.vmap(network.apply, (0, None)))(members, x)):
        alone = apply(jax.tree.map(lambda leaf, member=member: leaf[member], members), x)
        np.testing.assert_allclose(y, alone, rtol=1e-5, atol=1e-6)  # sums of tens of terms in float32, another order


@NETWORKS
def test_descent_inside_scan(network):
    """Steps of gradient descent compiled as one scan: the loss falls, but for the perceptron, whose gradient is 0."""
    params, x, target = example(network)
    params, x = jax.tree.map(jnp.float32, (params, x))
    target = jnp.asarray(target, jnp.int32 if target.dtype == np.int32 else jnp.float32)

    @jax.jit
    def train(params):
        def step(params, _):
            loss, gradient = jax.value_and_grad(network.loss)(params, x, target)
            # short steps: with 0.05 the convolutional network, right or not, overshoots once
            return jax.tree.map(lambda p, g: p - 0.01 * g, params, gradient), loss

        return jax.lax.scan(step, params, length=30)[1]

    losses = np.asarray(train(params))
    assert np.all(losses == losses[0]) if network is perceptron else np.all(np.diff(losses) < 0)


@NETWORKS
def test_bfloat16_stays_bfloat16(network):
    """Parameters and input in bfloat16 give output, loss and gradients in bfloat16."""
    params, x, target = example(network)
    params, x = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), (params, x))
    target = jnp.asarray(target, jnp.int32 if target.dtype == np.int32 else jnp.bfloat16)
    results = jax.eval_shape(
        lambda *a: (network.apply(*a), jax.value_and_grad(network.loss, (0, 1))(*a, target)), params, x
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(results)} == {jnp.dtype(jnp.bfloat16)}


# What they refuse


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0), (0, 2), (3, -1, 2)])
@pytest.mark.parametrize("network", [mlp, multi_label, softmax_classifier])
def test_sizes_that_make_no_network(network, sizes):
    """Fewer than an input and an output, or a layer without units: a ValueError that shows them."""
    with pytest.raises(ValueError, match=r"each 1 or more, not \("):
        network.init(KEY, sizes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (3, 8, 1)}, "at least 4 x 4 pixels, not 3 x 8"),
        ({"shape": (8, 8, 0)}, "channels and classes must be 1 or more, not 0"),
        ({"channels": (4, 0)}, "channels and classes must be 1 or more"),
        ({"classes": 0}, "channels and classes must be 1 or more"),
    ],
)
def test_images_that_are_too_small(options, message):
    """Nothing would be left after two poolings; no channels, nothing to learn."""
    with pytest.raises(ValueError, match=message):
        convolutional_classifier.init(KEY, **options)


@NETWORKS
@pytest.mark.parametrize("wrong", ["one more feature", "no axis at all"])
def test_input_of_the_wrong_width(network, wrong):
    """x of another width than the parameters: one ValueError that names x and both shapes, from apply and loss."""
    params, x, target = on_device(*example(network))
    x = jnp.ones((*x.shape[:-1], x.shape[-1] + 1)) if wrong == "one more feature" else jnp.ones(())
    for call in (lambda: network.apply(params, x), lambda: network.loss(params, x, target if x.ndim else jnp.ones(()))):
        with pytest.raises(ValueError, match=r"^x must (have shape|be) \(.*, not \(") as error:
            call()
        assert "\n" not in str(error.value)


def test_images_of_another_size():
    """The output layer has been made for one number of places; an image with more of them is refused."""
    params = convolutional_classifier.init(KEY, **IMAGES)
    with pytest.raises(
        ValueError, match=r"\(\.\.\., height, width, 2\) with 4 blocks of 4 x 4 pixels, not \(1, 12, 8, 2\)"
    ):
        convolutional_classifier.apply(params, jnp.ones((1, 12, 8, 2)))


@NETWORKS
def test_targets_that_would_broadcast(network):
    """A column of targets against a row of outputs would silently be every pair of instances: refused, with both shapes."""
    params, x, target = on_device(*example(network))
    target = np.asarray(target)
    for other in map(jnp.asarray, (target[..., None], target[:1], target[None])):
        with pytest.raises(ValueError, match=r"^target must have shape \(6.*, not \("):
            network.loss(params, x, other)
    if network is perceptron:
        with pytest.raises(ValueError, match=r"^target must have shape \(6,\), not \(6, 1\)"):
            perceptron.epoch(params, x, jnp.asarray(target[:, None]))


def test_an_empty_minibatch_has_outputs():
    """No images, no probabilities, and no error."""
    apply = compiled(lambda x: convolutional_classifier.apply(INITS[convolutional_classifier](KEY), x))
    assert apply(np.ones((0, 9, 8, 2), np.float32)).shape == (0, 5)


def test_every_network_is_listed():
    """The room's CASES are those of all its modules, and every function of a network has a case of its own."""
    modules = [module for name, module in vars(networks).items() if inspect.ismodule(module) and name[0] != "@"]
    assert set(INITS) <= set(modules)
    listed = [case for network in modules for case in network.CASES]
    assert {case.id for case in listed} == {case.id for case in networks.CASES} and len(listed) == len(networks.CASES)
    named = {case.id.split("[")[0] for case in listed}
    assert named >= {f"{network.__name__.split('.')[-1]}.{name}" for network in modules for name in ("apply", "loss")}
