"""Rounding with the gradient of the identity: the straight-through estimator (Bengio, Leonard & Courville, 2013, arXiv
1308.3432). Catalogue #127."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.rule import defvjp


@jax.custom_vjp
def round_ste(x):
    """x rounded to the nearest whole number, halves to the even one; x (...) -> y (...). Its gradient is dy, by declaration."""
    return jnp.round(x)


def round_ste_fwd(x):
    """Keeps nothing."""
    return jnp.round(x), ()


def round_ste_bwd(residuals, dy):
    """Rounding is a staircase, flat between its jumps: its derivative is 0 and would stop all learning behind it. Declared
    is the slope of the line that the stairs follow, 1, everywhere."""
    return (dy,)


defvjp(round_ste, round_ste_fwd, round_ste_bwd)


def straight_through(value, slope_of):
    """`value` exactly, with the gradient of `slope_of`: what straight-through rules declare, written for autodiff."""
    return jax.lax.stop_gradient(value) + (slope_of - jax.lax.stop_gradient(slope_of))


def _declared(x):
    return straight_through(jnp.round(x), x)


CASES = (
    Case(round_ste, (normal(4, 5, scale=3.0),), by_design=True, reference=_declared, residual_bytes=0),
    Case(
        round_ste,
        (np.array([0.5, 1.5, -0.5, 2.0, 1e30]),),
        name="halves and whole numbers",
        by_design=True,
        expect=(np.ones(5),),
    ),
)
