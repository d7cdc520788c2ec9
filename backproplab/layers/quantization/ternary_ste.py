"""Ternary values -1, 0, 1 with a straight-through gradient (Li, Zhang & Liu, 2016, arXiv 1605.04711). Catalogue #127."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, uniform
from backproplab.layers.quantization.round_ste import straight_through
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("threshold",))
def ternary_ste(x, threshold=0.5):
    """The sign of x where |x| > threshold, else 0, in the dtype of x; x (...) -> y (...). threshold is from 0 to 1."""
    return _ternary(x, threshold)


def _ternary(x, threshold):
    x = jnp.asarray(x)
    wide = widened(x)  # bfloat16 has no 0.3
    return jnp.where(wide > threshold, 1, jnp.where(wide < -threshold, -1, 0)).astype(x.dtype)


def ternary_ste_fwd(x, threshold):
    """Keeps one byte per entry: is it not saturated?"""
    return _ternary(x, threshold), jnp.abs(x) <= 1


def ternary_ste_bwd(threshold, passes, dy):
    """Two steps, flat between; declared is the slope of the line from (-1, -1) to (1, 1), ends included, as for
    `sign_ste`. The threshold has no part in it: entries that are 0 now must be able to leave."""
    return (jnp.where(passes, dy, 0),)


defvjp(ternary_ste, ternary_ste_fwd, ternary_ste_bwd)


def _declared(x, threshold=0.5):
    """The value with the gradient of x, cut where |x| > 1."""
    return straight_through(_ternary(x, threshold), jnp.where(jnp.abs(x) <= 1, x, 0))


def _kept(x, threshold=0.5):
    return x.size


CASES = (
    Case(ternary_ste, (uniform(-2.0, 2.0, 4, 5),), by_design=True, reference=_declared, residual_bytes=_kept),
    Case(ternary_ste, (uniform(-2.0, 2.0, 5), 0.3), name="threshold 0.3", by_design=True, reference=_declared),
    Case(
        ternary_ste,
        (np.array([-1.0, 1.0, 0.0, 0.5, -0.5, 1.5]),),
        name="on the ends: slope 1",
        by_design=True,
        expect=(np.array([1.0, 1, 1, 1, 1, 0]),),
    ),
)
