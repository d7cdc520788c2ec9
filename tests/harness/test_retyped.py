"""Two programs that are one formula in types of different widths, and those that look like it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import by_hand

from backproplab import verify
from backproplab.harness.retyped import retyped

X = np.array([0.5, -1.25, 2.0])


def traced(fn, dtype):
    with jax.enable_x64(dtype == "float64"):
        return jax.make_jaxpr(fn)(X.astype(jnp.dtype(dtype)))


SAME = {
    "constants, calls and a loop": lambda x: jax.lax.fori_loop(0, 3, lambda _, y: jax.nn.softplus(y) * 0.1, x),
    "a sum that bfloat16 carries in float32": lambda x: x - jnp.sum(x),
    "infinity and NaN": lambda x: jnp.where(x > jnp.inf, jnp.nan, x),
    "a rule that is not asked": by_hand(jnp.sin, lambda x, dy: (dy,)),
    "an array of constants": lambda x: x * np.array([0.1, 0.2, 0.3]),
}
OTHER = {
    "a constant of the type": lambda x: x + jnp.finfo(x.dtype).eps,
    "a branch by the type": lambda x: jnp.sin(x) if x.dtype == jnp.float64 else jnp.cos(x),
    "operands by the type": lambda x: x - 2 * x if x.dtype == jnp.float64 else 2 * x - x,
    "whole numbers in between": lambda x: x if x.dtype == jnp.float64 else x.astype(jnp.int32).astype(x.dtype),
    "an array by the type": lambda x: x * np.array([0.1, 0.2, 0.3 if x.dtype == jnp.float64 else 0.4]),
    "where it ends": lambda x: (x, 2 * x)[x.dtype == jnp.float64],
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", [*SAME, *OTHER])
def test_retyped(name, dtype):
    """The widths of the types do not count, conversions from one to another included; everything else does."""
    fn = (SAME | OTHER)[name]
    assert retyped(traced(fn, dtype), traced(fn, "float64"), dtype) == (name in SAME)


def test_a_rule_of_its_own_in_few_digits():
    """One that is the same formula is compared once; one that is not is seen."""
    in_one = lambda factor: by_hand(jnp.sin, lambda args, dy: (dy * jnp.cos(args[0]) * factor(args[0].dtype),))
    right, wrong = in_one(lambda dtype: 1.0), in_one(lambda dtype: 1.0 if dtype == jnp.float64 else 1.01)
    verdict = verify(right, X)
    assert verdict.passed and "autodiff float32" not in {check.name for check in verdict.checks}
    verdict = verify(wrong, X)
    assert verdict.status == "fail" and "autodiff float32" in {c.name for c in verdict.checks if c.status == "fail"}


def test_a_declared_gradient_of_its_own_in_few_digits():
    """A reference that says what the gradient is may say another thing in float32, where the rule is the same formula."""
    declared = by_hand(lambda x: jnp.round(x), lambda args, dy: (dy if args[0].dtype == jnp.float64 else 2 * dy,))
    straight = by_hand(lambda x: jnp.round(x), lambda args, dy: (dy,))
    verdict = verify(straight, X, reference=declared, by_design=True)
    assert {c.name for c in verdict.checks if c.status == "fail"} == {"autodiff float32"}, str(verdict)
