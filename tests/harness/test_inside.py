"""The wrong rule inside a network is named: the layer, its argument, what is wrong with it, and the line."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import by_hand

from backproplab import Case, integers, normal, prng_key, verify
from backproplab.harness.autodiff import formula_checks
from backproplab.harness.inside import culprits, judged
from backproplab.harness.point import point
from backproplab.layers.activations import relu, tanh
from backproplab.layers.losses import softmax_cross_entropy_with_integer_labels
from backproplab.rule import defvjp


def found(fn, *args, dtype="float64", **fields):
    """The culprits inside a function at seed 0."""
    p = point(Case(fn, args, **fields), 0, dtype, jax.devices("cpu")[0], 0.0)
    return culprits(p, p.cotangents("random", 0), 0)


def line_with(mark):
    """`file:line` of the line of this file that ends in the comment `mark`."""
    lines = inspect.getsource(inspect.getmodule(line_with)).splitlines()
    (number,) = [i for i, line in enumerate(lines, 1) if line.endswith(f"# {mark}")]
    return f"test_inside.py:{number}"


def dense(register):
    """A layer whose rule `register` chooses."""

    @jax.custom_vjp
    def dense(x, w, b):
        return jnp.tanh(x @ w + b)  # slope

    def fwd(x, w, b):
        y = dense(x, w, b)
        return y, (x, w, y)

    register(dense, fwd)
    return dense


def right(layer, fwd):
    def bwd(residuals, dy):
        x, w, y = residuals
        dz = dy * (1 - y**2)
        return dz @ w.T, x.T @ dz, dz.sum(0)

    layer.defvjp(fwd, bwd)


def wrong_sign(layer, fwd):
    def bwd(residuals, dy):
        x, w, y = residuals
        dz = dy * (1 - y**2)
        dw = -(x.T @ dz)  # wrong sign
        return dz @ w.T, dw, dz.sum(0)

    layer.defvjp(fwd, bwd)


def mean_for_sum(layer, fwd):
    def bwd(residuals, dy):
        x, w, y = residuals
        dz = dy * (1 - y**2)
        db = dz.sum(0) / len(dz)  # mean for sum
        return dz @ w.T, x.T @ dz, db

    layer.defvjp(fwd, bwd)


def transposed(layer, fwd):
    def bwd(residuals, dy):
        x, w, y = residuals
        dz = dy * (1 - y**2)
        return dz @ w.T, dz.T @ x, dz.sum(0)  # transposed

    layer.defvjp(fwd, bwd)


def dropped_term(layer, fwd):
    def bwd(residuals, dy):
        x, w, y = residuals
        dz = dy * (1 - y**2)
        dx = dy @ w.T  # dropped term
        return dx, x.T @ dz, dz.sum(0)

    layer.defvjp(fwd, bwd)


GOOD, NEGATED = dense(right), dense(wrong_sign)
PARAMETERS = tuple((normal(4, 4, scale=0.5), normal(4, scale=0.5)) for _ in range(3))
INPUT = normal(5, 4)


def network(layers, wrapper=lambda layer: layer):
    """The loss of an MLP of three layers, each called through `wrapper`."""

    def loss(parameters, x):
        for layer, (w, b) in zip(layers, parameters):
            x = wrapper(layer)(x, w, b)
        return jnp.sum(x**2)

    return loss


BUGS = {
    wrong_sign: ("w", "has the wrong sign", "wrong sign"),
    mean_for_sum: ("b", "1/5 (the size of axis 0 of x): a mean where the sum is right", "mean for sum"),
    transposed: ("w", "is the transpose of the right one", "transposed"),
    dropped_term: ("x", f"takes the slope of `tanh` ({line_with('slope')}) to be 1", "dropped term"),
}


@pytest.mark.parametrize(("position", "bug"), zip((0, 1, 2, 1), BUGS))
def test_one_wrong_layer_of_three(position, bug):
    """The layer's argument, the cause and the line of the one wrong rule, and nothing of the other two."""
    layers = [GOOD] * 3
    layers[position] = dense(bug)
    culprit, *others = found(network(layers), PARAMETERS, INPUT)
    argument, cause, mark = BUGS[bug]
    assert not others
    assert (culprit.layer, culprit.argument, culprit.where) == ("dense", argument, line_with(mark))
    assert cause in culprit.cause
    assert culprit.error > culprit.bound


def test_right_network_has_no_culprit():
    """Rounding never accuses a right rule, in either width."""
    for dtype in ("float64", "float32"):
        assert found(network([GOOD] * 3), PARAMETERS, INPUT, dtype=dtype) == []


def test_failing_checks_of_a_network_name_what_is_wrong_inside():
    """The verdict on a network says which layer, which argument and which line; what passes is left as it is."""
    case = Case(network([GOOD, dense(mean_for_sum), GOOD]), (PARAMETERS, INPUT))
    p = point(case, 0, "float64", jax.devices("cpu")[0], 0.0)
    checks = list(formula_checks(p, 0, []))
    for before, after in zip(checks, judged(p, 0, []), strict=True):
        assert before.where is None
        if before.argument == "parameters[1][1]":
            assert (after.status, after.where) == ("fail", line_with("mean for sum"))
            assert "the rule of dense called at test_inside.py:" in after.cause
            assert "the gradient of b is 0.2 times the right one" in after.cause
            assert after.cause.endswith(before.cause)
        else:
            assert (before.status, after) == ("pass", before)


def test_kinks_that_meet():
    """Slopes chosen at several kinks need not add up to a slope between the two sides: no rule is wrong for that."""
    f = lambda x: (
        relu(x) - relu(3 * x) + relu(-x)
    )  # the slopes of its sides are -1 and -2; the rules make 0, autodiff -1.5
    verdict = verify(f, np.array([0.0, 1.0]), dtypes=("float64",), name="kink")
    assert verdict.passed, str(verdict)
    assert any("several kinks meet" in note for note in verdict.notes)
    doubled = by_hand(lambda x: jnp.maximum(x, 0.0), lambda x, dy: (2 * (x[0] > 0) * dy,))
    f = lambda x: relu(x) - relu(3 * x) + doubled(-x)
    assert verify(f, np.array([0.0, -1.0]), dtypes=("float64",), name="kink").status == "fail"


def test_wrong_function_keeps_its_own_checks():
    """A custom_vjp that is verified itself is no layer inside."""
    p = point(Case(NEGATED, (INPUT, *PARAMETERS[0])), 0, "float64", jax.devices("cpu")[0], 0.0)
    checks = list(formula_checks(p, 0, []))
    assert [check.argument for check in checks if check.status == "fail"] == ["w"]
    assert judged(p, 0, []) == checks


def test_function_by_hand_around_a_wrong_layer():
    """A custom_vjp that is verified itself is cleared if a layer that it runs is what is wrong."""

    @jax.custom_vjp
    def outer(x, w, b):
        return 2 * NEGATED(x, w, b)

    outer.defvjp(lambda *args: (outer(*args), args), lambda args, dy: jax.vjp(lambda *a: 2 * NEGATED(*a), *args)[1](dy))
    p = point(Case(outer, (INPUT, *PARAMETERS[0])), 0, "float64", jax.devices("cpu")[0], 0.0)
    (check,) = [c for c in judged(p, 0, []) if c.status == "fail"]
    assert (check.argument, check.where) == ("w", line_with("wrong sign"))
    assert check.cause.startswith("the rule of dense")


def test_error_at_the_first_layers_input_is_found_where_the_gradient_reaches_it():
    """The cotangent of an argument that nothing differentiable feeds is not judged: rules may leave it out."""
    layers = [dense(dropped_term), GOOD, GOOD]
    assert [c.argument for c in found(network(layers), PARAMETERS, INPUT)] == ["x"]
    assert found(network(layers), PARAMETERS, INPUT, argnums=(0,)) == []


WRAPPERS = {
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
    "vmap over examples": lambda layer: (
        lambda x, w, b: jax.vmap(layer, (0, None, None))(jnp.stack([x, 2 * x]), w, b).sum(0)
    ),
    "vmap over layers": lambda layer: (
        lambda x, w, b: jax.vmap(layer, (None, 0, 0))(x, jnp.stack([w, 3 * w]), jnp.stack([b, b])).sum(0)
    ),
    "cond": lambda layer: lambda x, w, b: jax.lax.cond(x[0, 0] < 99, layer, lambda x, w, b: x, x, w, b),
    "scan": lambda layer: lambda x, w, b: jax.lax.scan(lambda x, _: (layer(x, w, b), None), x, length=3)[0],
    "jit of checkpoint of scan of vmap": lambda layer: jax.jit(
        jax.checkpoint(
            lambda x, w, b: jax.lax.scan(
                lambda x, _: (jax.vmap(layer, (0, None, None))(x[None], w, b)[0], None), x, length=2
            )[0]
        )
    ),
}


@pytest.mark.parametrize("transform", WRAPPERS)
def test_inside_transformations(transform):
    """A wrong layer between right ones, each under the transformation, is named with its line."""
    loss = network([GOOD, NEGATED, GOOD], WRAPPERS[transform])
    (culprit,) = found(loss, PARAMETERS, INPUT)
    assert (culprit.layer, culprit.argument, culprit.where) == ("dense", "w", line_with("wrong sign"))
    assert "has the wrong sign" in culprit.cause


def test_scan_over_layers():
    """One rule for all layers of a scan, wrong only in the first, which is met last on the way back."""

    @jax.custom_vjp
    def gate(x, scale):
        return x * scale

    def bwd(residuals, dy):
        x, scale = residuals
        return dy * scale, jnp.where(x.sum() > 2, 2.0, 1.0) * jnp.vdot(x, dy)  # twice in one step

    gate.defvjp(lambda x, scale: (x * scale, (x, scale)), bwd)

    def loss(x, scales):
        return jax.lax.scan(lambda x, scale: (gate(x, scale), None), x, scales)[0].sum()

    (culprit,) = found(loss, np.ones(3), np.asarray([0.5, 0.5, 0.9, 1.5, 0.1]))
    assert (culprit.layer, culprit.argument, culprit.where) == ("gate", "scale", line_with("twice in one step"))
    assert "2 times the right one" in culprit.cause


def test_branch_not_taken_is_not_blamed():
    """Of a cond only the branch that ran can have made the gradient wrong."""

    def loss(x, w, b):
        return jnp.sum(jax.lax.cond(x[0, 0] < 99, GOOD, NEGATED, x, w, b) ** 2)

    assert found(loss, INPUT, *PARAMETERS[0]) == []


def test_two_wrong_layers_are_both_named():
    """Neither hides the other, although both change the gradient of the first layer."""
    first, last = found(network([dense(mean_for_sum), GOOD, dense(transposed)]), PARAMETERS, INPUT)
    assert (first.argument, first.where) == ("w", line_with("transposed"))
    assert (last.argument, last.where) == ("b", line_with("mean for sum"))


def test_errors_that_cancel_are_seen():
    """Two layers that both negate the cotangent of their input: the first layer's gradient is right all the same."""

    @jax.custom_vjp
    def minus(x):
        return jnp.sin(x)

    minus.defvjp(lambda x: (jnp.sin(x), x), lambda x, dy: (-jnp.cos(x) * dy,))
    assert [c.layer for c in found(lambda x: jnp.sum(minus(minus(x))), INPUT)] == ["minus"]


def test_one_rule_called_twice_is_one_culprit():
    """A shared wrong layer is named once, with both calls."""

    def loss(x, w, b):
        h = NEGATED(x, w, b)  # first call
        return jnp.sum(NEGATED(h, w, b) ** 2)  # second call

    (culprit,) = found(loss, INPUT, *PARAMETERS[0])
    assert set(culprit.calls) == {line_with("first call"), line_with("second call")}
    assert all(call in str(culprit) for call in culprit.calls)


def block(backward):
    """A rule around a wrong one: `backward` makes its gradient."""

    @jax.custom_vjp
    def block(x, w, b):
        return x + NEGATED(x, w, b)

    block.defvjp(lambda x, w, b: (block(x, w, b), (x, w, b)), backward)
    return lambda x, w, b: jnp.sum(block(x, w, b) ** 2)


def test_right_rule_that_runs_a_wrong_one():
    """The inner rule is blamed for what the outer one makes of it."""

    def backward(residuals, dy):
        return jax.vjp(lambda x, w, b: x + NEGATED(x, w, b), *residuals)[1](dy)

    (culprit,) = found(block(backward), INPUT, *PARAMETERS[0])
    assert (culprit.layer, culprit.argument, culprit.where) == ("dense", "w", line_with("wrong sign"))


def test_wrong_rule_that_runs_a_wrong_one():
    """Both are blamed, each for its own mistake."""

    def backward(residuals, dy):
        dx, dw, db = jax.vjp(lambda x, w, b: x + NEGATED(x, w, b), *residuals)[1](dy)
        return dx, dw, 3 * db  # three times

    outer, inner = found(block(backward), INPUT, *PARAMETERS[0])
    assert (outer.layer, outer.argument, outer.where) == ("block", "b", line_with("three times"))
    assert (inner.layer, inner.argument) == ("dense", "w")


def test_wrong_rule_in_a_backward_pass_only():
    """A wrong rule that the forward pass never calls is its caller's fault, at the line that calls it."""

    @jax.custom_vjp
    def layer(x, w, b):
        return jnp.tanh(x @ w + b)

    def backward(residuals, dy):
        return jax.vjp(NEGATED, *residuals)[1](dy)  # calls the wrong rule

    layer.defvjp(lambda x, w, b: (layer(x, w, b), (x, w, b)), backward)
    (culprit,) = found(lambda x, w, b: jnp.sum(layer(x, w, b) ** 2), INPUT, *PARAMETERS[0])
    assert (culprit.layer, culprit.argument) == ("layer", "w")
    assert culprit.where == line_with("calls the wrong rule")


def test_forward_pass_that_returns_another_value():
    """A wrong fwd has no argument to blame; the line is that of fwd."""

    @jax.custom_vjp
    def double(x):
        return 2 * x

    def fwd(x):  # another value
        return 3 * x, None

    double.defvjp(fwd, lambda _, dy: (2 * dy,))
    (culprit,) = found(lambda x: jnp.sum(double(x) ** 2), INPUT)
    assert (culprit.layer, culprit.argument, culprit.where) == ("double", None, line_with("another value"))


def test_pytrees_static_arguments_keys_and_registration():
    """Leaves are named by their path; options, random keys and the helper of `defvjp` do not get in the way."""

    @partial(jax.custom_vjp, nondiff_argnums=(0,))
    def dropped(rate, key, p, x):
        return jnp.where(jax.random.bernoulli(key, rate, x.shape), x, 0) @ p["layers"][0]["w"]

    def fwd(rate, key, p, x):
        return dropped(rate, key, p, x), (key, p, x)

    def bwd(rate, residuals, dy):
        key, p, x = residuals
        w = p["layers"][0]["w"]
        kept = jax.random.bernoulli(key, rate, x.shape)
        dw = x.T @ dy  # the mask is missing
        return None, {"layers": [{"w": dw}]}, jnp.where(kept, dy @ w.T, 0)

    defvjp(dropped, fwd, bwd)

    def loss(key, p, x):
        return jnp.sum(tanh(dropped(0.7, key, p, x)))

    (culprit,) = found(loss, prng_key(), {"layers": [{"w": normal(4, 3)}]}, INPUT)
    assert (culprit.layer, culprit.argument) == ("dropped", "p['layers'][0]['w']")
    assert culprit.where == line_with("the mask is missing")


def test_kinks_and_labels_are_not_blamed():
    """A slope that is free to choose, and a rule that leaves integer labels without cotangent, beside a wrong layer."""

    def loss(x, w, b, labels):
        h = relu(relu(x))  # exact zeros
        return jnp.mean(softmax_cross_entropy_with_integer_labels(NEGATED(h, w, b), labels))

    (culprit,) = found(loss, INPUT, *PARAMETERS[0], integers(0, 4, 5))
    assert (culprit.layer, culprit.argument) == ("dense", "w")


def test_mixed_precision_layer_in_a_float64_network():
    """A layer that the network hands 16 bits is judged in the types it has there."""

    def loss(x, w, b):
        return jnp.sum(NEGATED(*(jnp.astype(a, jnp.bfloat16) for a in (x, w, b))).astype(x.dtype) ** 2)

    (culprit,) = found(loss, INPUT, *PARAMETERS[0])
    assert (culprit.argument, "has the wrong sign" in culprit.cause) == ("w", True)


def test_gradients_by_design_are_left_alone():
    """Where autodiff is not what is meant it cannot accuse."""

    @jax.custom_vjp
    def through(x):
        return jnp.round(x)

    through.defvjp(lambda x: (jnp.round(x), None), lambda _, dy: (dy,))
    assert found(lambda x: jnp.sum(through(x)), INPUT, by_design=True, reference=jnp.sum) is None
