"""A rule that goes through fewer digits than its dtype has is told where."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rules import with_rule

from backproplab import verify

X = np.random.default_rng(0).normal(size=(4, 5))
half = lambda x: x.astype(jnp.bfloat16).astype(x.dtype)


def squared(x):
    return x * x


@jax.custom_vjp
def kept_short(x):
    return x * x


kept_short.defvjp(lambda x: (x * x, half(x)), lambda kept, dy: (2 * kept * dy,))

ROUNDED = {
    "the cotangent": with_rule(squared, lambda x, dy: (2 * x * half(dy),)),
    "by reduce_precision": with_rule(squared, lambda x, dy: (2 * x * jax.lax.reduce_precision(dy, 8, 7),)),
    "what is kept": kept_short,
}


@pytest.mark.parametrize("what", ROUNDED)
def test_the_cast_is_named(what):
    """With its type and its line, in the rule or in what its forward pass keeps."""
    verdict = verify(ROUNDED[what], X)
    assert verdict.status == "fail" and verdict.argument == "x"
    assert "is rounded to bfloat16 (test_narrowed.py:" in verdict.cause


def test_what_the_function_rounds_is_no_fault():
    """A function that computes in bfloat16 has a rule that may, too."""
    function = lambda x: (x.astype(jnp.bfloat16) ** 2).astype(x.dtype)
    rule = with_rule(function, lambda x, dy: ((2 * x.astype(jnp.bfloat16) * dy.astype(jnp.bfloat16)).astype(x.dtype),))
    assert verify(rule, X).status != "fail"


def test_other_mistakes_keep_their_cause():
    """A wrong formula that also rounds is wrong as a formula."""
    verdict = verify(with_rule(squared, lambda x, dy: (-2 * x * half(dy),)), X)
    assert verdict.status == "fail" and "wrong sign" in verdict.cause
