"""The computational graph with value and gradient on every edge, against circuits worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import value_and_grad

from backproplab.graph import trace
from backproplab.layers.activations import relu


@jax.custom_vjp
def double(x):
    return 2 * x


double.defvjp(lambda x: (2 * x, None), lambda _, dy: (7 * dy,))  # wrong on purpose: whose rule runs shows


def rows(graph):
    """Name, operation, inputs, value and gradient of every node."""
    number = lambda x: None if x is None else float(x)
    return [(n.name, n.operation, n.inputs, number(n.value), number(n.gradient)) for n in graph.nodes]


def test_sum_times_factor():
    """f = (x + y) z at (-2, 5, -4): f = -12, and the gradients are z, z and x + y."""
    assert rows(trace(lambda x, y, z: (x + y) * z, -2.0, 5.0, -4.0)) == [
        ("x", "argument", (), -2.0, -4.0),
        ("y", "argument", (), 5.0, -4.0),
        ("z", "argument", (), -4.0, 3.0),
        ("v1", "add", ("x", "y"), 3.0, -4.0),
        ("v2", "mul", ("v1", "z"), -12.0, 1.0),
    ]


def test_gradients_add_where_a_wire_forks():
    """f = x y + x: y comes back through one edge, 1 through the other; x x has two edges as well."""
    graph = trace(lambda x, y: x * y + x, 3.0, 4.0)
    through = {(e.source, e.target): float(e.gradient) for e in graph.edges}
    assert through == {("x", "v1"): 4.0, ("y", "v1"): 3.0, ("v1", "v2"): 1.0, ("x", "v2"): 1.0}
    assert float(graph["x"].gradient) == 5.0 and graph.output == "v2"
    squared = trace(lambda x: x * x, 3.0)
    assert [float(e.gradient) for e in squared.edges] == [3.0, 3.0] and float(squared["x"].gradient) == 6.0


def test_a_layer_is_one_gate_with_its_own_rule():
    """What runs backward through a hand-written layer is its rule, right or wrong."""
    graph = trace(lambda x: double(x) + 1, 3.0)
    assert graph["v1"].operation == "double"
    assert (float(graph["v1"].value), float(graph["x"].gradient)) == (6.0, 7.0)
    assert [n.operation for n in trace(lambda x: relu(x) * jax.nn.relu(x), 2.0).nodes] == ["argument", "relu", "relu", "mul"]  # fmt: skip


def test_agrees_with_grad():
    """The gradient of every argument, a pytree of arrays, is what jax.grad returns."""

    def loss(params, x):
        hidden = jnp.tanh(x @ params["w"] + params["b"][0])
        return jnp.sum(jnp.where(hidden > 0, hidden, jnp.exp(hidden)) ** 2)

    draw = np.random.default_rng(0)
    params, x = {"w": draw.normal(size=(3, 2)), "b": [draw.normal(size=2)]}, draw.normal(size=(4, 3))
    graph = trace(loss, params, x)
    value, (by_params, by_x) = value_and_grad(loss, (0, 1))(params, x)
    # float32, in another order of operations: a few units in the last place of numbers near 1
    for name, right in {"params['w']": by_params["w"], "params['b'][0]": by_params["b"][0], "x": by_x}.items():
        np.testing.assert_allclose(graph[name].gradient, right, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(graph[graph.output].value, value, rtol=1e-6)


def test_jitted_functions_are_opened():
    """jit is no gate, at any depth; constants are nodes, with gradients of their own."""
    offset = jnp.float32(2.0) * jnp.ones(2)
    inner = jax.jit(lambda x: x + offset)
    graph = trace(jax.jit(lambda x: jnp.sum(inner(x) * x)), jnp.array([1.0, 2.0]))
    operations = [node.operation for node in graph.nodes]
    assert "jit" not in operations and "pjit" not in operations
    assert {"add", "mul", "reduce_sum"} <= set(operations)
    np.testing.assert_array_equal(graph["x"].gradient, [4.0, 6.0])


def test_integers_have_no_gradient():
    """An index is a node with a value and no gradient, and so is the edge from it."""
    graph = trace(lambda x, i: x[i] * 3, jnp.array([1.0, 2.0]), 1)
    assert graph["i"].gradient is None
    assert all(edge.gradient is None for edge in graph.edges if edge.source == "i")
    np.testing.assert_array_equal(graph["x"].gradient, [0.0, 3.0])


def test_value_that_ignores_its_arguments():
    """A constant is a graph too; an argument that is the value has the gradient 1."""
    graph = trace(lambda x: 3.0, 2.0)
    assert graph.output == "output" and float(graph["x"].gradient) == 0.0
    assert float(trace(lambda x: x, 2.0)["x"].gradient) == 1.0


def test_arguments_called_like_wires():
    """Wires are not called what an argument is called already."""
    graph = trace(lambda v1: v1 * v1 + 1.0, 2.0)
    assert [node.name for node in graph.nodes] == ["v1", "v2", "v3"] and float(graph["v1"].gradient) == 4.0


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda x: (x, x), "returns 2 arrays"),
        (lambda x: None, "returns 0 arrays"),
        (lambda x: x * jnp.ones(3), r"returns shape \(3,\)"),
        (lambda x: (x > 0).astype(int), "returns int32, which has no gradient"),
    ],
)
def test_functions_without_one_floating_number(function, words):
    """A graph is of one floating number; the message says what to trace instead."""
    with pytest.raises(ValueError, match=words):
        trace(function, 2.0)


def test_text():
    """A line per wire; a line more per branch of a wire that forks; small arrays in full, large ones by type."""
    shown = str(trace(lambda x, big: x * x + x**3 + big[0], 2.0, jnp.arange(20.0))).splitlines()
    assert shown[0].split() == ["wire", "gate", "value", "gradient"]
    assert shown[1].split() == ["x", "argument", "2", "16"]
    assert [line.split() for line in shown[2:5]] == [["to", "v1", "2", "2"], ["to", "v1", "2", "2"], ["to", "v2", "2", "12"]]  # fmt: skip
    assert shown[5].split() == ["big", "argument", "float32[20]", "float32[20]"]
    assert any("integer_pow[y=3](x)" in line for line in shown)
    assert str(trace(lambda x: jnp.sum(x), jnp.array([1.5, -2.0]))).splitlines()[1].endswith("[1.5 -2]     [1 1]")
