"""Circuits of scalar gates, with the value and the gradient on every wire. Lecture L11 and L13, rows S1-S6, S21, S26."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled, pulled
from hypothesis import given, settings
from hypothesis import strategies as st

from backproplab.graph import trace
from backproplab.harness.differences import Sample, slope
from backproplab.layers.activations import sigmoid, tanh
from backproplab.layers.affine import affine
from backproplab.layers.gates import add, divide, exp, fan_out, maximum, minimum, multiply, reciprocal, scale_shift
from backproplab.layers.gates.staged import (
    PATTERNS,
    SIGMOID_CIRCUIT,
    STAGED_EXPRESSION,
    SUM_TIMES,
    Gate,
    backward,
    forward,
)

pytestmark = pytest.mark.usefixtures("float64")


def patterns(x, y, z, w):
    """2 (x y + max(z, w)), row S4."""
    return scale_shift(add(multiply(x, y), maximum(z, w)), 2.0, 0.0)


def gate_chain(w0, x0, w1, x1, w2):
    """sigmoid(w0 x0 + w1 x1 + w2) in the eight gates of the lecture's picture, row S5."""
    dot = add(add(multiply(w0, x0), multiply(w1, x1)), w2)
    return reciprocal(scale_shift(exp(scale_shift(dot, -1.0, 0.0)), 1.0, 1.0))


def staged_computation(x, y):
    """(x + s(y)) / (s(x) + (x + y)^2), row S6, gate by gate under the names of the lecture."""
    num = add(x, sigmoid(y))
    sigx = sigmoid(x)
    xpy = add(x, y)
    xpysqr = multiply(xpy, xpy)
    den = add(sigx, xpysqr)
    return multiply(num, reciprocal(den))


# a circuit, where the lecture evaluates it, and the same gates for the driver of the lab
CIRCUITS = {
    "S1": (multiply, (4.0, -3.0), (Gate("f", multiply, ("x", "y")),)),
    "S2 add": (add, (4.0, 2.0), (Gate("f", add, ("x", "y")),)),
    "S2 max": (maximum, (4.0, 2.0), (Gate("f", maximum, ("x", "y"), ("split",)),)),
    "S3": (lambda x, y, z: multiply(add(x, y), z), (-2.0, 5.0, -4.0), SUM_TIMES),
    "S4": (patterns, (3.0, -4.0, 2.0, -1.0), PATTERNS),
    "S5": (gate_chain, (2.0, -1.0, -3.0, -2.0, -3.0), SIGMOID_CIRCUIT),
    "S6": (staged_computation, (3.0, -4.0), STAGED_EXPRESSION),
}


def traced(row):
    expression, at, _ = CIRCUITS[row]
    return trace(expression, *at)


def gates(graph):
    """Value and gradient of every gate's output, in the order of the forward pass."""
    return [(float(node.value), float(node.gradient)) for node in graph.nodes if node.inputs]


def gradients(graph):
    """The gradients of the arguments, in their order."""
    return [float(node.gradient) for node in graph.nodes if node.operation == "argument"]


def test_S1_multiply_gate():
    """The inputs are switched: 4 times -3 has the gradients -3 and 4."""
    graph = traced("S1")
    assert gates(graph) == [(-12, 1)]
    assert gradients(graph) == [-3, 4]


def test_S2_add_and_max_gates():
    """Add distributes what comes back, max routes it to the larger input."""
    assert (gates(traced("S2 add")), gradients(traced("S2 add"))) == ([(6, 1)], [1, 1])
    assert (gates(traced("S2 max")), gradients(traced("S2 max"))) == ([(4, 1)], [1, 0])


@pytest.mark.parametrize("ties, right", [("both", [1, 1]), ("split", [0.5, 0.5]), ("first", [1, 0])])
def test_S2_a_tie_goes_by_the_policy_that_is_asked_for(ties, right):
    """The notes' 1[x >= y] and 1[y >= x] are both 1 at a tie, JAX has a half each; the page has either, and a third."""
    assert gradients(trace(lambda x, y: maximum(x, y, ties), 2.0, 2.0)) == right
    assert gradients(trace(lambda x, y: minimum(x, y, ties), 2.0, 2.0)) == right


def test_S3_sum_times():
    """(x + y) z at (-2, 5, -4): q = 3 with gradient -4, f = -12."""
    graph = traced("S3")
    assert gates(graph) == [(3, -4), (-12, 1)]
    assert gradients(graph) == [-4, -4, 3]


def test_S4_patterns():
    """2 (x y + max(z, w)): the four gates and the four inputs, each with the two numbers of the picture."""
    graph = traced("S4")
    assert gates(graph) == [(-12, 2), (2, 2), (-10, 2), (-20, 1)]
    assert gradients(graph) == [-8, 6, 2, 0]


def test_S5_sigmoid_neuron_gate_by_gate():
    """The picture's numbers, to the two places that it prints, and the ends to all that float64 has."""
    graph = traced("S5")
    values, backwards = zip(*gates(graph))
    assert np.round(values, 2).tolist() == [-2, 6, 4, 1, -1, 0.37, 1.37, 0.73]
    assert np.round(backwards[::-1], 2).tolist() == [1, -0.53, -0.53, -0.2, 0.2, 0.2, 0.2, 0.2]
    w0, x0, w1, x1, w2 = gradients(graph)
    assert np.round([x0, x1, w0, w1, w2], 2).tolist() == [0.39, -0.59, -0.2, -0.39, 0.2]
    # nine gates, each good to one or two units in the last place
    np.testing.assert_allclose([values[-1], w2], [0.7310585786300049, 0.19661193324148185], rtol=1e-14)
    np.testing.assert_allclose([x0, x1], [0.3932238665, -0.5898357997], rtol=0, atol=5e-11)  # ten places are given
    np.testing.assert_allclose([w0, w1, w2], [-0.1966119332, -0.3932238665, 0.1966119332], rtol=0, atol=5e-11)


def test_S5_the_sigmoid_is_one_gate_or_four():
    """Its local gradient (1 - s) s takes the place of four gates: the same numbers at every input."""
    whole = trace(lambda w0, x0, w1, x1, w2: sigmoid(w0 * x0 + w1 * x1 + w2), *CIRCUITS["S5"][1])
    np.testing.assert_allclose(gradients(whole), gradients(traced("S5")), rtol=1e-14)
    s = float(whole[whole.output].value)
    assert gradients(whole)[-1] == pytest.approx((1 - s) * s, rel=1e-14)


def test_S6_staged_computation():
    """Every stage of the lecture's program, and the two gradients that need `+=` at three forks."""
    graph = traced("S6")
    sigy, num, sigx, xpy, xpysqr, den, invden, f = (value for value, _ in gates(graph))
    got = [sigy, num, sigx, xpy, xpysqr, den, invden, f]
    right = [0.0179862100, 3.0179862100, 0.9525741268, -1, 1, 1.9525741268, 0.5121444488, 1.5456448841]
    np.testing.assert_allclose(got, right, rtol=0, atol=5e-11)  # ten places are given
    np.testing.assert_allclose(gradients(graph), [2.0595697956, 1.5922327515], rtol=0, atol=5e-11)
    forks = {name: sum(edge.source == name for edge in graph.edges) for name in ("x", "y", "v4")}
    assert (forks, graph["v4"].value) == ({"x": 3, "y": 2, "v4": 2}, xpy)


@pytest.mark.parametrize("row", CIRCUITS)
def test_L13_local_times_upstream_on_every_edge(row):
    """An edge carries the local slope, measured here, times the gradient upstream; where wires branch, edges add."""
    graph = traced(row)
    h = 1e-5  # the quotient below errs by about h^2 f''' and by 1e-16 / h: 1e-10 of the slopes here, which are up to 8
    for node in graph.nodes:
        reads = [edge for edge in graph.edges if edge.target == node.name]
        assert [edge.source for edge in reads] == list(node.inputs)
        at = [edge.value for edge in reads]
        for i, edge in enumerate(reads):
            above, below = (node.function(*at[:i], at[i] + step, *at[i + 1 :]) for step in (h, -h))
            np.testing.assert_allclose(edge.gradient, (above - below) / (2 * h) * node.gradient, rtol=1e-9, atol=1e-9)
        branches = [edge.gradient for edge in graph.edges if edge.source == node.name]
        np.testing.assert_allclose(node.gradient, sum(branches) if branches else 1, rtol=1e-15)


@pytest.mark.parametrize("row", CIRCUITS)
def test_L13_gates_with_forward_and_backward(row):
    """The lecture's gate objects, visited in order and in reverse, find the gradients that the traced graph shows."""
    _, at, circuit = CIRCUITS[row]
    names = {"S4": "xyzw", "S5": ("w0", "x0", "w1", "x1", "w2")}.get(row, "xyz")

    def by_the_driver(arguments):
        wires, caches = forward(arguments, circuit)
        return wires, backward(wires, caches, circuit)

    wires, back = compiled(by_the_driver)(dict(zip(names, at)))
    graph = traced(row)
    np.testing.assert_allclose(wires[circuit[-1].output], graph[graph.output].value, rtol=1e-14)
    np.testing.assert_allclose([back[name] for name, _ in zip(names, at)], gradients(graph), rtol=1e-13)


def test_L13_branches_add():
    """A copy gate adds what its branches bring back, as the graph does where a wire forks by itself."""

    def copied(x):
        a, b = fan_out(x, 2)
        return multiply(exp(a), b)

    assert gradients(trace(copied, 1.0)) == gradients(trace(lambda x: multiply(exp(x), x), 1.0))
    assert gradients(trace(copied, 1.0)) == [pytest.approx(2 * np.e, rel=1e-15)]


def test_L11_scalar_chain_rule():
    """dy/dx of a chain is the product of the slopes of its links, and it is what finite differences measure."""
    chain = lambda x: tanh(exp(sigmoid(x)))
    links = [(sigmoid, 0.3), (exp, float(sigmoid(0.3))), (tanh, float(exp(sigmoid(0.3))))]
    product = np.prod([float(jax.grad(link)(at)) for link, at in links])
    assert float(jax.grad(chain)(0.3)) == pytest.approx(product, rel=1e-15)
    assert_measured(chain, 0.3, product)


def test_L11_distributed_chain_rule():
    """In y = f(z1(x), z2(x), z3(x)) the influence of x runs along three paths, and they add: dy/dx = sum dy/dzi dzi/dx."""
    inner = (sigmoid, exp, tanh)
    outer = lambda z1, z2, z3: divide(multiply(z1, z2), add(z2, z3))
    whole = lambda x: outer(*(z(x) for z in inner))
    along = jax.grad(outer, argnums=(0, 1, 2))(*(z(0.7) for z in inner))
    paths = [float(dy * jax.grad(z)(0.7)) for dy, z in zip(along, inner)]
    assert min(map(abs, paths)) > 0.05  # none could be left out unnoticed
    assert float(jax.grad(whole)(0.7)) == pytest.approx(sum(paths), rel=1e-14)
    assert sorted(float(edge.gradient) for edge in trace(whole, 0.7).edges if edge.source == "x") == pytest.approx(
        sorted(paths), rel=1e-14
    )
    assert_measured(whole, 0.7, sum(paths))


def assert_measured(f, x, derivative):
    """The numerical oracle, which knows nothing of rules, finds the derivative within its own error bar."""
    roundoff = 2.0**-50  # a few roundings per evaluation
    measured = slope(lambda t: Sample(float(f(x + t)), roundoff * abs(float(f(x))), 0.0))
    assert abs(measured.value - derivative) <= measured.bar < 1e-9


def test_L11_small_perturbations():
    """dy = (dy/dx) dx for small dx: what is left shrinks with the square, so halving dx leaves a quarter of it."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=4))
    direction = jnp.asarray(np.random.default_rng(1).normal(size=4))
    f = jax.jit(lambda x: jnp.sum(multiply(sigmoid(x), exp(x))))
    predicted = jnp.vdot(jax.grad(f)(x), direction)
    left = [float(f(x + t * direction) - f(x) - t * predicted) for t in (2.0**-8, 2.0**-9, 2.0**-10)]
    # the third-order term makes the ratio 4 (1 + O(2^-8))
    np.testing.assert_allclose([left[0] / left[1], left[1] / left[2]], 4, rtol=2.0**-6)


def test_S21_multiplicative_network():
    """o_i = y_j y_l: each factor gets the other times what comes back, added up over the products that it is in."""
    pairs = np.array([[0, 1], [1, 2], [2, 2], [0, 3]])
    y, do = (jnp.asarray(np.random.default_rng(seed).normal(size=4)) for seed in (2, 3))
    products = jax.jit(lambda y: multiply(y[pairs[:, 0]], y[pairs[:, 1]]))
    right = np.zeros(4)
    for (j, l), upstream in zip(pairs, do):
        right[j] += y[l] * upstream
        right[l] += y[j] * upstream
    _, pull = jax.vjp(products, y)
    np.testing.assert_allclose(pull(do)[0], right, rtol=1e-14)
    # a special case of a vector activation: its Jacobian is full where an entry of y is in several products
    np.testing.assert_allclose(do @ jax.jit(jax.jacobian(products))(y), right, rtol=1e-14)


def test_S21_the_gate_of_an_lstm():
    """o = s(a) tanh(b): each activation's slope meets the value of the other."""
    a, b, do = (np.random.default_rng(seed).normal(size=4) for seed in (4, 5, 6))
    da, db = jax.jit(lambda a, b: jax.vjp(lambda a, b: multiply(sigmoid(a), tanh(b)), a, b)[1](do))(a, b)
    s, t = 1 / (1 + np.exp(-a)), np.tanh(b)
    np.testing.assert_allclose(da, do * t * s * (1 - s), rtol=1e-13)
    np.testing.assert_allclose(db, do * s * (1 - t**2), rtol=1e-13)


@jax.jit
def multiply_back(w, x, upstream):
    return jax.vjp(multiply, w, x)[1](upstream)


moderate = st.floats(2.0**-20, 2.0**20) | st.floats(-(2.0**20), -(2.0**-20))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(x=moderate, w=moderate, upstream=moderate)
def test_S26_an_input_a_thousand_times_larger(x, w, upstream):
    """A multiply gate's weight gets a gradient a thousand times larger, its input the one it had."""
    with jax.enable_x64(True):
        (dw, dx), (dw_large, dx_large) = (multiply_back(w, scaled, upstream) for scaled in (x, 1000 * x))
    assert float(dx_large) == float(dx)
    assert float(dw_large) == pytest.approx(1000 * float(dw), rel=3 * 2.0**-53)  # three products are rounded


def test_S26_preprocessing_scales_the_weight_gradients_of_a_layer():
    """The same in an affine layer: dw grows with the scale of its inputs, dx and db do not."""
    random = np.random.default_rng(4)
    x, w, b, dy = (random.normal(size=shape) for shape in ((5, 3), (3, 2), (2,), (5, 2)))
    run = pulled(affine)
    (_, dx, dw, db), (_, dx_large, dw_large, db_large) = (run(dy, s * x, w, b) for s in (1.0, 1000.0))
    np.testing.assert_array_equal(dx_large, dx)
    np.testing.assert_array_equal(db_large, db)
    np.testing.assert_allclose(dw_large, 1000 * dw, rtol=1e-13)


@pytest.mark.parametrize("depth", [1, 10, 40])
def test_S26_gradients_vanish_through_sigmoids_and_grow_through_large_weights(depth):
    """Each sigmoid takes at least three quarters of the gradient away; each weight multiplies what is left by itself."""

    def chain(x, weight):
        for _ in range(depth):
            x = sigmoid(multiply(weight, x))
        return x

    assert 0 < float(jax.grad(chain)(0.5, 1.0)) <= 0.25**depth
    linear = lambda x: jax.lax.fori_loop(0, depth, lambda _, x: multiply(3.0, x), x)
    assert float(jax.grad(linear)(0.5)) == 3.0**depth
