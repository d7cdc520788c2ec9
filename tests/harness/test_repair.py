"""The single change that would make a rule right: found, worded with its line, and confirmed at other points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rules import EPS, affine, cross_entropy, gelu, norm, normalised, softmax, tempered, with_rule

from backproplab import verify

_RANDOM = np.random.default_rng(0)
X, W, B = (_RANDOM.normal(size=shape) for shape in ((4, 5), (5, 5), (5,)))
TARGETS = _RANDOM.dirichlet(np.ones(5), 4)


def mean(a):
    return a.mean(-1, keepdims=True)


def norm_dx(x, scale, dy):
    x_hat, r = normalised(x)
    return r * (dy * scale - mean(dy * scale) - x_hat * mean(dy * scale * x_hat))


def other_eps(x, scale, bias, dy):
    centred = x - mean(x)
    r = jax.lax.rsqrt(mean(centred * centred) + 1e-3)
    g = dy * scale
    return r * (g - mean(g) - centred * r * mean(g * centred * r)), (dy * normalised(x)[0]).sum(0), dy.sum(0)


def no_scale(x, scale, bias, dy):
    x_hat, r = normalised(x)
    return r * (dy - mean(dy) - x_hat * mean(dy * x_hat)), (dy * x_hat).sum(0), dy.sum(0)


def gelu_sign(x, dy):
    return (dy * (jax.scipy.stats.norm.cdf(x) - x * jnp.exp(-x * x / 2) / np.sqrt(2 * np.pi)),)


# what is wrong: the layer, its rule, its arguments, and words of the hint
WRONG = {
    "sign of dx": (affine, lambda x, w, b, dy: (-(dy @ w.T), x.T @ dy, dy.sum(0)), (X, W, B), "to have the opposite sign"),
    "square dx = dy w": (affine, lambda x, w, b, dy: (dy @ w, x.T @ dy, dy.sum(0)), (X, W, B), "transpose"),
    "mean for sum": (affine, lambda x, w, b, dy: (dy @ w.T, x.T @ dy / 4, dy.sum(0)), (X, W, B), "div"),
    "eps": (norm, other_eps, (X, B, B), f"use {EPS:g} in place of 0.001"),
    "scale left out": (norm, no_scale, (X, B, B), "`dy`"),
    "dscale without x_hat": (norm, lambda x, s, b, dy: (norm_dx(x, s, dy), dy.sum(0), dy.sum(0)), (X, B, B), None),
    "softmax without y": (softmax, lambda x, dy: (dy - (dy * softmax(x)).sum(-1, keepdims=True),), (X,), "multiplied"),
    "gelu's second sign": (gelu, gelu_sign, (X,), "to have the opposite sign"),
    "label forgotten": (cross_entropy, lambda z, t, dy: (dy * softmax(z) / 4, -dy * jnp.log(softmax(z)) / 4), (X, TARGETS), None),
    "temperature forgotten": (tempered, lambda x, t, dy: (dy * (1 - jnp.tanh(x / t) ** 2), (-dy * (1 - jnp.tanh(x / t) ** 2) * x / t**2).sum()),
                              (X, np.array(1.7)), "t"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_the_change_is_named(name):
    """What it says is what was done to the rule, at a line of this file; where no single change helps it says nothing."""
    layer, backward, arguments, words = WRONG[name]
    verdict = verify(with_rule(layer, backward), *arguments, dtypes=("float64",))
    assert verdict.status == "fail"
    hints = [note for note in verdict.notes if note.startswith("hint: ")]
    if words is None:
        assert not any("makes the rule right" in hint for hint in hints)
    else:
        assert hints and words in hints[0] and "test_repair.py:" in hints[0]


def one_name(x, dy):
    g = jnp.cos(x)
    first = g
    g = g * jnp.exp(jnp.sin(x))
    return (dy * first + 0 * g,)


def test_two_values_of_one_name():
    """They are told apart where a rule gives one name to one after the other."""
    verdict = verify(with_rule(lambda x: jnp.exp(jnp.sin(x)), one_name), X, dtypes=("float64",))
    assert any("to use another value of `g` makes the rule right" in note for note in verdict.notes)
