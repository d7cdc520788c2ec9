"""Fan-out: one value used in several places. Going back, branches add. Lecture L13, catalogue #1."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("count",))
def fan_out(x, count):
    """x (...) -> a tuple of `count` copies of x. Raises ValueError for a count below 1."""
    return _copies(x, count)


def _copies(x, count):
    if count < 1:
        raise ValueError(f"fan_out makes at least 1 copy, not {count}")
    return (jnp.asarray(x),) * count


def fan_out_fwd(x, count):
    """Keeps nothing: copying is linear."""
    return _copies(x, count), ()


def fan_out_bwd(count, residuals, dys):
    """A small change of x changes every copy by as much, so the loss moves by the sum of what each branch reports:

        dx = sum_branches dy

    This is the `+=` of every back-propagation program. It is done in float32 or wider: in bfloat16 a running sum of
    ones stops at 256.
    """
    return (sum(widened(dy) for dy in dys),)


defvjp(fan_out, fan_out_fwd, fan_out_bwd)

CASES = (
    Case(fan_out, (normal(4, 5), 3), residual_bytes=0, order=2),
    Case(fan_out, (normal(4), 1), name="one copy", residual_bytes=0, expect=(np.ones(4),)),
    Case(fan_out, (normal(), 2), name="a scalar", expect=(np.array(2.0),)),
)
