"""The gates: what broadcasting adds up, who gets the gradient at ties, poles and corners, and the staged driver."""

import itertools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from compiled import compiled, grad, pull, pulled, value_and_grad

from backproplab.layers import gates
from backproplab.layers.gates.heaviside import perceptron_rule
from backproplab.layers.gates.maximum import maximum
from backproplab.layers.gates.minimum import minimum
from backproplab.layers.gates.power import power, static_power
from backproplab.layers.gates.staged import (
    PATTERNS,
    SIGMOID_CIRCUIT,
    STAGED_EXPRESSION,
    SUM_TIMES,
    Gate,
    backward,
    forward,
    staged,
)

BINARY = {
    gates.add: jnp.add,
    gates.multiply: jnp.multiply,
    gates.divide: jnp.divide,
    gates.maximum: jnp.maximum,
    gates.minimum: jnp.minimum,
    gates.power: jnp.power,
}
SHAPES = [((), (3,)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((2, 1, 3), (4, 1)), ((0, 3), (1, 3))]


@pytest.mark.parametrize("gate", BINARY, ids=lambda gate: gate.__name__)
def test_gradients_are_summed_over_repeated_axes(gate):
    """A gradient has its argument's shape, and what broadcasting repeated is added up."""
    random = np.random.default_rng(0)
    points = []
    for shapes in SHAPES:
        x, y = (random.uniform(0.5, 2, shape) for shape in shapes)
        points.append((random.normal(size=np.broadcast_shapes(*shapes)), x, y))
    with jax.enable_x64(True):
        all_of = lambda f: compiled(lambda points: [pull(f)(*point) for point in points])(points)
        for ours, theirs in zip(all_of(gate), all_of(BINARY[gate]), strict=True):
            np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-15)  # XLA may divide by a scalar in two steps
            for got, right in zip(ours[1:], theirs[1:], strict=True):
                assert got.shape == right.shape
                np.testing.assert_allclose(got, right, rtol=1e-13, atol=1e-14)  # a dozen roundings in float64


def test_mixed_dtypes_keep_their_own():
    """Each argument's gradient has that argument's dtype, whatever the output's."""
    x, y = np.ones((2, 3), jnp.bfloat16), np.ones(3, np.float32)
    of_all = compiled(lambda x, y: [pull(gate)(1.0, x, y) for gate in BINARY])(x, y)
    for gate, (value, dx, dy) in zip(BINARY, of_all, strict=True):
        assert (value.dtype, dx.dtype, dy.dtype) == (jnp.float32, jnp.bfloat16, jnp.float32), gate


def test_python_scalars_are_arguments():
    """A Python number, also an integer one, may be one of the two arguments."""
    numbers = (2, 2.0)
    expected = compiled(lambda: [[jax.grad(plain)(3.0, number) for number in numbers] for plain in BINARY.values()])()
    for gate, of_gate in zip(BINARY, expected, strict=True):
        assert [jax.grad(gate)(3.0, number) for number in numbers] == of_gate, gate


@pytest.mark.parametrize("count", [1, 2, 300])
def test_branches_add(count):
    """Fan-out adds one gradient per branch, exactly also where bfloat16 would stop counting."""
    _, pull = jax.vjp(lambda x: gates.fan_out(x, count), jnp.bfloat16(1.0))
    assert pull((jnp.bfloat16(1.0),) * count)[0] == count
    with pytest.raises(ValueError, match="at least 1"):
        gates.fan_out(1.0, 0)


@pytest.mark.parametrize("gate", [maximum, minimum], ids=lambda gate: gate.__name__)
def test_tie_policies(gate):
    """At a tie, 0 against -0 included, the declared policy decides; the default is JAX's; NaN wins nothing."""
    shares = {"split": (0.5, 0.5), "first": (1.0, 0.0), "both": (1.0, 1.0)}
    for ties, expected in shares.items():
        for x, y in ((2.0, 2.0), (0.0, -0.0), (-0.0, 0.0), (np.inf, np.inf)):
            assert jax.grad(gate, (0, 1))(x, y, ties) == expected
        assert jax.grad(gate, (0, 1))(1.0, 2.0, ties) == ((0.0, 1.0) if gate is maximum else (1.0, 0.0))
        for x, y in ((np.nan, 1.0), (1.0, np.nan)):
            value, gradients = jax.value_and_grad(gate, (0, 1))(x, y, ties)
            assert jnp.isnan(value)
            assert gradients == (0.0, 0.0)
    plain = {maximum: jnp.maximum, minimum: jnp.minimum}[gate]
    assert jax.grad(gate, (0, 1))(2.0, 2.0) == jax.grad(plain, (0, 1))(2.0, 2.0)
    with pytest.raises(ValueError, match="ties must be"):
        gate(1.0, 2.0, "last")


def test_tie_shares_are_what_is_kept():
    """Routing needs one byte per entry, an eighth of the two float32 arrays it compares."""
    x = jnp.arange(64.0)
    _, pull = jax.vjp(maximum, x, x[::-1])
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(pull)) <= x.size


def test_power_at_its_corners():
    """Exact 0 for exponent 0, a finite slope for negative bases and whole exponents, infinite slopes left infinite."""
    for zero in (0, 0.0):
        assert jax.grad(static_power)(0.0, zero) == 0
        assert jax.grad(power)(0.0, zero) == 0
    assert jax.grad(power, (0, 1))(0.0, 0.0) == (0, 0)
    assert jax.grad(power, (0, 1))(0.0, 2.0) == (0, 0)
    assert jax.grad(power, (0, 1))(0.0, 1.0) == (1, 0)
    assert jax.grad(power)(0.0, 0.5) == np.inf
    assert jax.grad(power)(-2.0, 3) == jax.grad(power)(-2.0, 3.0) == jax.grad(static_power)(-2.0, 3) == 12
    assert jnp.isnan(jax.grad(power, 1)(-2.0, 3.0))
    np.testing.assert_array_equal(jax.grad(lambda x: power(x, jnp.array([3, 0, 1])).sum())(-2.0), 13)
    assert jnp.isnan(jax.grad(jnp.power)(0.0, 0.0))  # why the page has a corner: remove it when JAX has none


def test_a_static_exponent_is_not_rounded_to_bfloat16():
    """x^2.3 in bfloat16 has the exponent 2.3, not 2.297."""
    x = jnp.bfloat16(64.0)
    # one rounding to bfloat16, 2^-9 of the value, against 64^0.003 = 1.013
    np.testing.assert_allclose(np.float64(static_power(x, 2.3)), 64**2.3, rtol=2**-8)
    np.testing.assert_allclose(np.float64(jax.grad(static_power)(x, 2.3)), 2.3 * 64**1.3, rtol=2**-8)


@pytest.mark.parametrize(
    ("gate", "pole"),
    [(gates.log, 0.0), (gates.sqrt, 0.0), (gates.rsqrt, 0.0), (gates.reciprocal, 0.0), (gates.exp, 1000.0)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_branch_not_chosen_does_not_poison(gate, pole):
    """`where` around a pole gives the gradient of the branch that was chosen, where autodiff has NaN."""
    guarded = lambda gate: lambda x: jnp.where(x == pole, 3 * x, gate(x))
    chosen, plain = compiled(lambda x: (jax.grad(guarded(gate))(x), jax.grad(gate)(x)))(pole)
    assert chosen == 3
    assert np.isinf(plain)


def test_division_by_zero_not_chosen_does_not_poison():
    """As above for both arguments of divide."""
    guarded = lambda x, y: jnp.where(y == 0, 3 * x, gates.divide(x, y))
    assert grad(guarded, (0, 1))(2.0, 0.0) == (3, 0)


@pytest.mark.parametrize(("gate", "third"), [(gates.sqrt, -0.25), (gates.log, -1.0), (gates.exp, np.e)])
def test_second_derivative_where_the_cotangent_is_zero(gate, third):
    """The guard at the pole asks for the pole as well: a zero cotangent elsewhere keeps its second derivative."""
    loss = lambda x: (gate(x) - jax.lax.stop_gradient(gate(x))) ** 2
    twice = lambda f: lambda x: jax.value_and_grad(jax.grad(f))(x)
    (of_loss, second), (slope, found) = compiled(lambda x: (twice(loss)(x), twice(gate)(x)))(1.0)
    assert of_loss == 0
    assert second == 2 * slope**2
    np.testing.assert_allclose(found, third, rtol=1e-6)  # float32


def test_divide_does_not_overflow_between():
    """dy = -x / y^2 is representable, y^2 is not: the rule gets it right where autodiff overflows."""
    x, y = np.float32(1e-20), np.float32(1e-25)
    np.testing.assert_allclose(grad(gates.divide, 1)(x, y), -1e30, rtol=1e-6)  # float32
    assert not np.isfinite(grad(jnp.divide, 1)(x, y))


def test_multiply_overflows_in_the_value_alone():
    """The product may overflow, its gradients do not."""
    value, gradients = value_and_grad(gates.multiply, (0, 1))(np.float32(1e30), np.float32(2e30))
    assert np.isinf(value)
    assert gradients == (np.float32(2e30), np.float32(1e30))


def test_sums_of_products_are_rounded_once():
    """A scalar times a bfloat16 array: products and their sum stay in float32 until the gradient is complete."""
    y = np.random.default_rng(0).normal(size=4096).astype(jnp.bfloat16)
    got = np.float64(pulled(gates.multiply)(y, jnp.bfloat16(1.0), y)[1])
    np.testing.assert_allclose(got, np.sum(np.float64(y) ** 2), rtol=2**-8)  # one rounding to bfloat16


_of_the_bias = grad(gates.sigmoid_neuron, 2)


@pytest.mark.parametrize("z", [-80.0, -30.0, -17.0, 0.0, 5.0, 17.0, 30.0, 80.0])
def test_sigmoid_neuron_in_the_tails(z):
    """The slope keeps its relative accuracy where y has rounded to 1 and autodiff says 0."""
    gradient = _of_the_bias(np.zeros(1, np.float32), np.zeros(1, np.float32), np.float32(z))
    with mpmath.workdps(50):
        e = mpmath.exp(-mpmath.mpf(z))
        expected = float(e / (1 + e) ** 2)
    assert abs(float(gradient) - expected) < 1e-6 * expected


def test_heaviside_has_no_direction_to_offer():
    """Value 1[x > 0], gradient 0 everywhere: declared, also at the jump."""
    y, dx = pulled(gates.heaviside)(1.0, np.array([-1.0, -0.0, 0.0, 1e-30, 2.0], np.float32))
    np.testing.assert_array_equal(y, [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(dx, np.zeros(5))


_rule = compiled(perceptron_rule)


def _mistakes(d):
    """Mistakes on the four binary inputs after 20 rounds of the rule, one instance at a time."""
    x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], np.float32)
    w, b = np.zeros(2, np.float32), np.zeros((), np.float32)
    for i in list(range(4)) * 20:
        w, b = _rule(w, b, x[i], d[i], 0.5)
    return int(np.sum(compiled(gates.heaviside)(x @ w + b) != d))


def test_perceptron_rule():
    """It learns what a line separates, AND, and not what none does, XOR; a batch step is the sum of its instances'."""
    assert _mistakes(np.float32([0.0, 0.0, 0.0, 1.0])) == 0
    assert _mistakes(np.float32([0.0, 1.0, 1.0, 0.0])) > 0
    x, d = np.float32([[1.0, 2.0], [3.0, -1.0]]), np.float32([0.0, 1.0])
    w, b = np.float32([0.5, -0.25]), np.float32(0.125)
    batch = _rule(w, b, x, d, 0.5)
    single = [_rule(w, b, row, target, 0.5) for row, target in zip(x, d)]
    np.testing.assert_array_equal(batch[0] - w, sum(new - w for new, _ in single))
    np.testing.assert_array_equal(batch[1] - b, sum(new - b for _, new in single))


def _plain_sigmoid(z):
    return 1 / (1 + jnp.exp(-z))


CIRCUITS = {
    "sum times": (SUM_TIMES, lambda x, y, z: (x + y) * z),
    "patterns": (PATTERNS, lambda x, y, z, w: 2 * (x * y + jnp.maximum(z, w))),
    "sigmoid": (SIGMOID_CIRCUIT, lambda w0, x0, w1, x1, w2: _plain_sigmoid(w0 * x0 + w1 * x1 + w2)),
    "forks": (STAGED_EXPRESSION, lambda x, y: (x + _plain_sigmoid(y)) / (_plain_sigmoid(x) + (x + y) ** 2)),
}


@pytest.mark.parametrize("name", CIRCUITS)
def test_staged_agrees_with_autodiff(name):
    """The driver's gradients are those that jax.grad finds for the same expression."""
    circuit, expression = CIRCUITS[name]
    names = expression.__code__.co_varnames
    with jax.enable_x64(True):
        values = dict(zip(names, np.random.default_rng(1).normal(size=len(names))))
        value, expected = value_and_grad(lambda values: expression(**values))(values)

        def by_the_driver(values):
            wires, caches = forward(values, circuit)
            return wires, backward(wires, caches, circuit)

        wires, gradients = compiled(by_the_driver)(values)
        through_jax = grad(lambda values: staged(values, circuit))(values)
        np.testing.assert_allclose(wires[circuit[-1].output], value, rtol=1e-14)  # a few roundings
        for wire in names:  # and here a few more
            np.testing.assert_allclose(gradients[wire], expected[wire], rtol=1e-12)
            np.testing.assert_allclose(through_jax[wire], expected[wire], rtol=1e-12)


def test_gradient_on_an_inner_wire():
    """Each wire's gradient is that of the rest of the circuit as a function of that wire."""
    wires, caches = forward({"x": 3.0, "y": -4.0, "z": 2.0, "w": -1.0}, PATTERNS)
    gradients = backward(wires, caches, PATTERNS)
    assert [float(gradients[wire]) for wire in ("f", "sum", "xy", "max")] == [1, 2, 2, 2]


def test_upstream_scales_every_wire():
    """An upstream gradient other than 1 multiplies every gradient: the backward pass is linear."""
    wires, caches = forward({"x": -2.0, "y": 5.0, "z": -4.0}, SUM_TIMES)
    once, thrice = (backward(wires, caches, SUM_TIMES, upstream) for upstream in (1.0, 3.0))
    assert {wire: 3 * gradient for wire, gradient in once.items()} == thrice


def test_any_order_of_the_gates_will_do():
    """The driver sorts: only which gate is last matters, since it delivers the result."""
    values = {"x": 3.0, "y": -4.0, "z": 2.0, "w": -1.0}
    expected = jax.grad(staged)(values, PATTERNS)
    for order in itertools.permutations(PATTERNS[:-1]):
        assert jax.grad(staged)(values, (*order, PATTERNS[-1])) == expected


def test_scale_of_the_input_is_scale_of_the_weight_gradient():
    """A multiply gate whose input is a thousand times larger gives its weight a gradient a thousand times larger."""
    circuit = (Gate("wx", gates.multiply, ("w", "x")),)
    gradient = lambda x: jax.grad(lambda values: staged(values, circuit))({"w": 0.5, "x": x})["w"]
    assert gradient(3000.0) == 1000 * gradient(3.0)


def test_broken_circuits_are_refused():
    """A wire that nothing drives, one that two gates drive, and a loop are named."""
    with pytest.raises(ValueError, match="'y'"):
        staged({"x": 1.0}, (Gate("z", gates.add, ("x", "y")),))
    with pytest.raises(ValueError, match="two gates"):
        forward({"x": 1.0}, (Gate("z", gates.exp, ("x",)), Gate("z", gates.log, ("x",))))
    with pytest.raises(ValueError, match="cycle"):
        forward({"x": 1.0}, (Gate("y", gates.add, ("x", "z")), Gate("z", gates.exp, ("y",))))
