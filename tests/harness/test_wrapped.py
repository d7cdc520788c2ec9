"""A whole number that is kept in too short a type is told, with what becomes of it."""

import jax
import jax.numpy as jnp
import numpy as np
from rules import with_rule

from backproplab import Case, verify

X = np.random.default_rng(0).normal(size=200).astype(np.float32)


def largest(x):
    return jnp.max(x)


def at_largest(kept):
    """The rule of a maximum that keeps where it was as `kept`."""
    rule = jax.custom_vjp(largest)
    rule.defvjp(
        lambda x: (largest(x), (jnp.argmax(x).astype(kept), x)),
        lambda res, dy: (jnp.zeros_like(res[1]).at[res[0].astype(int)].set(dy),),
    )
    return rule


def test_the_number_is_named():
    """With the type it does not fit in, and the line that puts it there."""
    x = np.where(np.arange(200) == 150, 5.0, X)
    verdict = verify(at_largest(jnp.int8), x)
    assert verdict.status == "fail" and verdict.argument == "x"
    assert "goes by a whole number that 150 becomes -106 in int8 (test_wrapped.py:21)" in verdict.cause
    assert verify(Case(at_largest(jnp.uint8), (x,), name="of this size")).status == "pass"


def test_other_mistakes_keep_their_cause():
    """A cast that changes nothing here is none, and one that the function makes itself is meant."""
    x = np.where(np.arange(200) == 20, 5.0, X)
    rule = at_largest(jnp.int8)
    rule.defvjp(rule.fwd, lambda res, dy: (-jnp.zeros_like(res[1]).at[res[0].astype(int)].set(dy),))
    assert "has the wrong sign" in verify(rule, x).cause
    hashed = lambda x: x * ((jnp.arange(200) * 3).astype(jnp.int8) > 0)
    wrong = verify(with_rule(hashed, lambda x, dy: (-dy * ((jnp.arange(200) * 3).astype(jnp.int8) > 0),)), X)
    assert "has the wrong sign" in wrong.cause
