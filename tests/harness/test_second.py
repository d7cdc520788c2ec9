"""A second derivative is judged where one is promised, by every argument and by the cotangent."""

import jax
import jax.numpy as jnp
import numpy as np
from by_hand import at, by_hand, square

from backproplab.harness.second import second_order_checks

X = np.array([0.5, -1.25, 2.0])


def failed(checks):
    return [check for check in checks if check.status == "fail"]


def test_second_derivative():
    """By the argument and by the cotangent, where it is promised."""
    cube = by_hand(lambda x: x**3, lambda x, dy: (3 * x[0] ** 2 * dy,))
    checks = list(second_order_checks(at(cube, X, order=2), 0))
    assert [(c.argument, c.status) for c in checks] == [("x", "pass"), ("the cotangent", "pass")]
    assert list(second_order_checks(at(cube, X), 0)) == []


def test_wrong_second_derivative():
    """The first is right; what stops, casts or refuses to be differentiated shows in the second."""
    stopped = square(lambda x, dy: 2 * jax.lax.stop_gradient(x) * dy)
    (check,) = failed(second_order_checks(at(stopped, X, order=2), 0))
    assert check.argument == "x" and "the rule stops a gradient at test_second.py:" in check.cause
    stopped = square(lambda x, dy: 2 * x * jax.lax.stop_gradient(dy))
    assert [c.argument for c in failed(second_order_checks(at(stopped, X, order=2), 0))] == ["the cotangent"]


def test_a_rule_that_the_backward_pass_calls():
    """Its value is right and its own derivative is not: it is named."""
    cosine = by_hand(jnp.cos, lambda x, dy: (dy * jnp.sin(x[0]),))  # the sign
    sine = by_hand(jnp.sin, lambda x, dy: (dy * cosine(x[0]),))
    (check,) = failed(second_order_checks(at(sine, X, order=2), 0))
    assert "; the rule of cos is wrong: the gradient of args[0] has the wrong sign" in check.cause


def test_no_second_derivative():
    """A backward pass that JAX cannot differentiate in reverse breaks the promise, and JAX's words say why."""
    loop = lambda x, dy: jax.lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, c[1] + x * dy), (0, 0 * x))[1]
    (check,) = second_order_checks(at(square(loop), X, order=2), 0)
    assert check.status == "fail"
    assert check.cause.startswith("promised, but ValueError: Reverse-mode differentiation does not work")


def test_without_a_bound():
    """Of eigenvectors none is known: nine digits that agree pass, and finite differences convict what is far from them."""
    a = np.array([[2.0, 0.3], [0.3, 1.0]])
    values = lambda a: jnp.linalg.eigh(a)[0]

    def rule(stop):
        def bwd(args, dy):
            v = stop(jnp.linalg.eigh(args[0])[1])
            return ((v * dy) @ v.T,)

        return by_hand(values, bwd)

    checks = list(second_order_checks(at(rule(lambda v: v), a, order=2), 0))
    assert {(c.status, c.estimated) for c in checks} == {("pass", True)}
    assert [c.argument for c in failed(second_order_checks(at(rule(jax.lax.stop_gradient), a, order=2), 0))] == ["a"]
