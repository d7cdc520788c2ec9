"""Scaling and shifting by constants, a x + c: two gates of the lecture's sigmoid circuit. Lecture L13, catalogue #4."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("scale", "shift"))
def scale_shift(x, scale=1.0, shift=0.0):
    """scale x + shift, elementwise, in the dtype of x. scale and shift are Python numbers."""
    return _evaluate(x, scale, shift)


def _evaluate(x, scale, shift):
    x = jnp.asarray(x)
    # in bfloat16 the constant 0.1 would be 0.1001
    return (scale * widened(x) + shift).astype(x.dtype)


def scale_shift_fwd(x, scale, shift):
    """Keeps nothing: the slope is a constant."""
    return _evaluate(x, scale, shift), ()


def scale_shift_bwd(scale, shift, residuals, dy):
    """y = scale x + shift: the local gradient is `scale`, and the shift is gone from it."""
    return (scale * widened(dy),)


defvjp(scale_shift, scale_shift_fwd, scale_shift_bwd)

CASES = (
    Case(scale_shift, (normal(4, 5), 0.1, -3.0), residual_bytes=0, order=2, expect=(np.full((4, 5), 0.1),)),
    Case(scale_shift, (normal(3),), name="the defaults change nothing", residual_bytes=0, expect=(np.ones(3),)),
    Case(scale_shift, (normal(3), 0.0, 1.0), name="scale 0: a constant", expect=(np.zeros(3),)),
    Case(scale_shift, (normal(3), -1, 0), name="integer constants", expect=(-np.ones(3),)),
)
