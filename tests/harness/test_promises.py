"""Linearity, exact values and bytes kept: what each says of right and of wrong rules."""

import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import at, by_hand, square

from backproplab.harness.promises import (
    expectation_checks,
    linearity_checks,
    residual_bytes,
    residual_checks,
)

X = np.array([0.5, -1.25, 2.0])
right = lambda x, dy: 2 * x * dy
product = by_hand(lambda x, y: x * y, lambda args, dy: (args[1] * dy, args[0] * dy))


def failed(checks):
    return [check for check in checks if check.status == "fail"]


# --- linearity ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_linear(dtype):
    """Doubling a cotangent doubles a right rule's gradient, exactly or to rounding."""
    assert [c.status for c in linearity_checks(at(square(right), X, dtype=dtype), 0)] == ["pass"]


@pytest.mark.parametrize(
    ("bwd", "cause"),
    [
        (lambda x, dy: 2 * x, "the incoming cotangent is ignored: the gradient of x is 4 for a cotangent of zeros"),
        (lambda x, dy: 2 * x * (dy + 1), "the rule is not linear in the cotangent: the gradient of x is 4 for"),
        (lambda x, dy: 2 * x * dy**3, "doubling it does not double the gradient of x"),
        (lambda x, dy: 2 * x * jnp.sign(dy), "doubling it does not double the gradient of x"),
        (lambda x, dy: 2 * x * dy / jnp.linalg.norm(dy), "the gradient of x is nan for a cotangent of zeros"),
    ],
    ids=["ignored", "affine", "cubed", "sign alone", "normalised"],
)
def test_not_linear(bwd, cause):
    """Ways to get the cotangent wrong that a cotangent of ones does not show."""
    checks = failed(linearity_checks(at(square(bwd), X), 0))
    assert any(cause in check.cause for check in checks), checks
    assert {check.argument for check in checks} == {"x"}


def test_the_argument_is_named():
    """Of two arguments only the one whose gradient is not linear."""
    rule = by_hand(lambda x, y: x * y, lambda args, dy: (args[1] * dy, args[0] + dy))
    assert {check.argument for check in failed(linearity_checks(at(rule, X, X), 0))} == {"y"}


def test_linear_where_the_gradient_is_infinite():
    """Where the rule itself is not finite the formula check decides, not this one."""
    root = by_hand(jnp.sqrt, lambda x, dy: (dy / (2 * jnp.sqrt(x[0])),))
    assert failed(linearity_checks(at(root, np.array([0.0, 1.0])), 0)) == []


# --- what a case writes out -----------------------------------------------------------------------------------------------


def test_expected():
    """Numbers, broadcast to the argument, each held to rounding."""
    checks = list(expectation_checks(at(product, X, X, expect=(X, X))))
    assert [(c.argument, c.status) for c in checks] == [("x", "pass"), ("y", "pass")]
    assert list(expectation_checks(at(product, X, X))) == []
    (check,) = expectation_checks(at(lambda x: 3.0 * x, X, expect=(3.0,)))
    assert check.status == "pass"


def test_not_expected():
    """One unit in the fifteenth digit is too much, and entry and numbers are told."""
    checks = list(expectation_checks(at(product, X, X, expect=(X, X * (1 + 1e-14)))))
    assert [(c.argument, c.status) for c in checks] == [("x", "pass"), ("y", "fail")]
    (check,) = failed(expectation_checks(at(product, X, X, expect=(X, np.array([0.5, -1.25, 3.0])))))
    assert check.cause == "the gradient of y at [2] is 2; the case expects 3"
    (check,) = failed(expectation_checks(at(square(lambda x, dy: dy * jnp.nan), X, expect=(2 * X,))))
    assert "is nan; the case expects" in check.cause


def test_expected_where_no_bound_is_known():
    """Which side of a comparison the point is on is in doubt: the number that was computed is still another one."""
    rule = by_hand(lambda x: jnp.where(x / 3 >= 1, x, 0.0), lambda args, dy: (jnp.where(args[0] / 3 >= 1, dy, 0),))
    (right,) = expectation_checks(at(rule, np.full(2, 3.0), expect=(np.ones(2),)))
    (wrong,) = expectation_checks(at(rule, np.full(2, 3.0), expect=(np.full(2, 7.0),)))
    assert (right.status, wrong.status) == ("pass", "fail")


def test_as_many_as_arguments():
    """A case that expects another number of gradients is wrong, whatever they are."""
    (check,) = expectation_checks(at(product, X, X, expect=(X,)))
    assert check.cause == "the case expects 1 gradients, the function has 2"


# --- bytes ----------------------------------------------------------------------------------------------------------------


def keeps(residuals):
    return by_hand(lambda x: jnp.tanh(x), lambda r, dy: (dy,), lambda x: (jnp.tanh(x), residuals(x)))


@pytest.mark.parametrize(
    ("residuals", "bytes_kept"),
    [
        (lambda x: None, 0),
        (lambda x: x, 24),
        (lambda x: (x, x), 24),
        (lambda x: (x, jnp.tanh(x)), 48),
        (lambda x: x > 0, 3),
        (lambda x: {"a": x[:1], "b": x.astype(jnp.float32)}, 20),
        (lambda x: np.zeros(100), 0),
    ],
    ids=["nothing", "x", "x twice", "two arrays", "a mask", "a tree", "a constant"],
)
def test_bytes_kept(residuals, bytes_kept):
    """Distinct arrays count, once; constants of the program do not."""
    assert residual_bytes(at(keeps(residuals), X))[0] == bytes_kept


def test_bytes_beside_autodiff():
    """Autodiff of sin keeps cos(x)."""
    nothing = by_hand(lambda x: jnp.sin(x), lambda r, dy: (dy,), lambda x: (jnp.sin(x), None))
    assert residual_bytes(at(nothing, X)) == (0, 24)
    assert residual_bytes(at(nothing, X, dtype="float32")) == (0, 12)


def test_bytes_allowed():
    """A number or a function of the arguments; one byte too many fails; no limit, no check."""
    rule = keeps(lambda x: x)
    assert [c.status for c in residual_checks(at(rule, X, residual_bytes=24))] == ["pass"]
    assert [c.status for c in residual_checks(at(rule, X, residual_bytes=lambda x: x.nbytes))] == ["pass"]
    (check,) = residual_checks(at(rule, X, residual_bytes=23))
    assert check.cause == "the forward pass keeps 24 bytes, the case allows 23"
    assert (check.status, check.error, check.bound) == ("fail", 24.0, 23.0)
    assert list(residual_checks(at(rule, X))) == []
