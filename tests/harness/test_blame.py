"""The line of the rule that made a gradient."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import by_hand

from backproplab import defvjp
from backproplab.harness.blame import line_of_gradient

X = np.array([0.5, -1.25, 2.0], np.float32)


def product(p, y):
    return p["a"] * y + p["b"]


def product_fwd(p, y):
    return product(p, y), (p, y)


def product_bwd(residuals, dy):
    p, y = residuals
    da = dy * y  # the line of p['a']
    db = dy + 0  # the line of p['b']
    dyy = jnp.multiply(
        dy,  # the first line of a call is told
        p["a"],
    )
    return {"a": da, "b": db}, dyy


def line(fn, text):
    """`file:line` of the first line of `fn` that holds `text`."""
    lines, first = inspect.getsourcelines(fn)
    return f"test_blame.py:{first + next(i for i, source in enumerate(lines) if text in source)}"


@pytest.mark.parametrize("register", [lambda f, *rule: f.defvjp(*rule), defvjp], ids=["jax", "backproplab"])
@pytest.mark.parametrize(
    ("label", "text"), [("p", "da = "), ("y", "dyy = jnp.multiply")], ids=["first leaf", "several lines"]
)
def test_line_of_each_argument(register, label, text):
    """However the rule was registered: a cast that registration adds is not the author's line."""
    layer = jax.custom_vjp(product)
    register(layer, product_fwd, product_bwd)
    args = {"a": X, "b": X}, X
    assert line_of_gradient(layer, args, label) == line(product_bwd, text)


def test_behind_a_cast():
    """A gradient that registration must cast is blamed on the line before the cast."""
    layer = jax.custom_vjp(lambda x, y: x * y)

    def bwd(residuals, dy):
        x, y = residuals
        wide = dy.astype(jnp.float32) * y
        return wide, dy * x

    defvjp(layer, lambda x, y: (x * y, (x, y)), bwd)
    low = X.astype(jnp.bfloat16)
    assert line_of_gradient(layer, (low, low), "x") == line(bwd, "wide = ")


def test_a_gradient_that_no_line_makes():
    """The cotangent itself, a residual, a constant or None: the backward function's first line."""

    def bwd(residuals, dy):
        return dy, residuals[0], None

    layer = by_hand(lambda x, y, z: x * y * z, bwd)
    for label in ("x", "y", "z"):
        assert line_of_gradient(layer, (X, X, X), label) == line(bwd, "def bwd")


def test_static_arguments():
    """The rule gets them first; labels skip them."""

    @partial(jax.custom_vjp, nondiff_argnums=(0,))
    def power(exponent, x):
        return x**exponent

    def bwd(exponent, x, dy):
        slope = exponent * x ** (exponent - 1)
        return (slope * dy,)

    power.defvjp(lambda exponent, x: (x**exponent, x), bwd)
    assert line_of_gradient(power, (3, X), "x") == line(bwd, "return (slope")


def test_no_rule():
    """A plain function, or one whose rules sit deeper, has no line to blame."""
    assert line_of_gradient(jnp.tanh, (X,), "x") is None
    assert line_of_gradient(lambda x: by_hand(jnp.sin, lambda r, dy: (dy,))(x), (X,), "x") is None


def test_a_rule_that_cannot_be_traced():
    """It has failed a check that quotes it; here it must not raise again."""

    def bwd(residuals, dy):
        raise RuntimeError("never")

    assert line_of_gradient(by_hand(lambda x: x * 1, bwd), (X,), "x") == line(bwd, "def bwd")
