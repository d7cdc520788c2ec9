"""Learned step size quantisation (Esser et al., 2020, arXiv 1902.08153). Catalogue #127."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal, uniform
from backproplab.layers.gates.add import sum_to
from backproplab.layers.quantization.round_ste import straight_through
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("quant_min", "quant_max"))
def lsq(x, scale, quant_min=-128, quant_max=127):
    """scale round(x / scale cut to quant_min .. quant_max); x (...) -> y (...), in the dtype of x.

    scale > 0, the step, of a shape that broadcasts to that of x: () for one per tensor, (channels,) for one per channel.
    quant_max > 0. The gradient of the scale is divided by sqrt(N quant_max) for the N entries of x that share one, so that
    steps learn at the pace of weights. N counts batch axes too.
    """
    v = widened(x) / widened(scale)
    return (jnp.round(jnp.clip(v, quant_min, quant_max)) * widened(scale)).astype(floating_dtype(x))


def lsq_fwd(x, scale, quant_min, quant_max):
    """Keeps x and the scale, which the caller holds anyway."""
    return lsq(x, scale, quant_min, quant_max), (x, jnp.asarray(scale))


def lsq_bwd(quant_min, quant_max, residuals, dy):
    """With v = x / s and the rounding declared to have slope 1:

        inside, quant_min <= v <= quant_max:  y = round(v) s,  dy/dx = 1,  dy/ds = round(v) - s x / s^2 = round(v) - v
        outside:                              y = bound s,     dy/dx = 0,  dy/ds = bound

    and ds, summed over everything that shares one step, is divided by sqrt(N quant_max): by design, no derivative. On the
    bounds the paper counts v as outside; here it is inside, so that a weight that sits on the last step can leave it.
    """
    x, scale = residuals
    v = widened(x) / widened(scale)
    cut = jnp.clip(v, quant_min, quant_max)
    inside = (v >= quant_min) & (v <= quant_max)
    ds = sum_to(scale.shape, dy * jnp.where(inside, jnp.round(v) - v, cut))
    return jnp.where(inside, dy, 0), ds * _pace(x, scale, quant_max)


def _pace(x, scale, quant_max):
    """1 / sqrt(N quant_max)"""
    return 1 / math.sqrt(max(x.size // max(scale.size, 1), 1) * quant_max)


defvjp(lsq, lsq_fwd, lsq_bwd)


def _declared(x, scale, quant_min=-128, quant_max=127):
    """The same with a rounding of slope 1 and the scale at its pace, for autodiff."""
    wide = widened(scale)
    slow = straight_through(wide, wide * _pace(x, scale, quant_max))
    v = widened(x) / slow
    cut = jnp.where(v < quant_min, quant_min, jnp.where(v > quant_max, quant_max, v))
    return (straight_through(jnp.round(jnp.clip(v, quant_min, quant_max)), cut) * slow).astype(floating_dtype(x))


def _kept(x, scale, *bounds):
    return x.nbytes + scale.nbytes


_declares = {"by_design": True, "reference": _declared, "domain": {1: (0.0, np.inf)}}
CASES = (
    Case(lsq, (normal(4, 5), np.asarray(0.17), -8, 7), residual_bytes=_kept, **_declares),
    Case(lsq, (normal(2, 3, 4), uniform(0.1, 0.3, 4), -8, 7), name="per channel", residual_bytes=_kept, **_declares),
    Case(
        lsq,
        (np.array([-2.0, 1.5, -2.25, 1.75, 0.125]), np.asarray(0.5), -4, 3),
        name="on the bounds: inside",
        by_design=True,
        expect=(np.array([1.0, 1, 0, 0, 1]), np.asarray((-4 + 3 - 0.25) / math.sqrt(15))),
    ),
)
