"""Activations cut at a learned level and quantised (Choi et al., 2018, arXiv 1805.06085). Catalogue #127.

The rule keeps one byte per entry.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, uniform
from backproplab.layers.gates.add import Shape, sum_to
from backproplab.layers.quantization.round_ste import straight_through
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("bits",))
def pact(x, alpha, bits=4):
    """x cut to 0 .. alpha and rounded to the nearest of 2^bits levels there; x (...) -> y (...), in the dtype of x.

    alpha > 0, of a shape that broadcasts to that of x, is learned.
    """
    return _quantised(_cut(x, alpha), alpha, bits).astype(floating_dtype(x))


def _cut(x, alpha):
    """In float32 or wider. Written by selection, not as a minimum of a maximum, so that each entry has one side."""
    wide, alpha = widened(x), widened(alpha)
    return jnp.where(wide < 0, 0, jnp.where(wide < alpha, wide, alpha))


def _quantised(cut, alpha, bits):
    steps = 2**bits - 1
    return jnp.round(cut / widened(alpha) * steps) / steps * widened(alpha)


def pact_fwd(x, alpha, bits):
    """Keeps one byte per entry: below 0, inside, or at alpha and above."""
    wide = widened(x)
    side = jnp.where(wide < 0, 0, jnp.where(wide < widened(alpha), 1, 2)).astype(jnp.uint8)
    return pact(x, alpha, bits), (side, Shape(jnp.shape(alpha)))


def pact_bwd(bits, residuals, dy):
    """The rounding is declared to have slope 1, in x and in alpha: what is left is the cut,

        x < 0:  y = 0        0 <= x < alpha:  y = x, dy/dx = 1        x >= alpha:  y = alpha, dy/dalpha = 1

    On the bounds as in the paper: at x = 0 the slope is 1, at x = alpha it is alpha's. dalpha is summed over everything
    that shares one.
    """
    side, alpha_shape = residuals
    return jnp.where(side == 1, dy, 0), sum_to(alpha_shape, jnp.where(side == 2, dy, 0))


defvjp(pact, pact_fwd, pact_bwd)


def _declared(x, alpha, bits=4):
    """The same with a rounding of slope 1, for autodiff."""
    cut = _cut(x, alpha)
    return straight_through(_quantised(cut, alpha, bits), cut).astype(floating_dtype(x))


def _kept(x, alpha, bits=4):
    return x.size


_declares = {"by_design": True, "reference": _declared, "domain": {1: (0.0, np.inf)}}
CASES = (
    Case(pact, (uniform(-1.0, 3.0, 4, 5), np.asarray(1.7)), residual_bytes=_kept, **_declares),
    Case(
        pact,
        (uniform(-1.0, 3.0, 2, 3, 4), uniform(1.0, 2.0, 4), 2),
        name="an alpha per channel, two bits",
        residual_bytes=_kept,
        **_declares,
    ),
    Case(
        pact,
        (np.array([-1.0, 0.0, 0.5, 2.0, 3.0]), np.asarray(2.0)),
        name="on the bounds",
        by_design=True,
        expect=(np.array([0.0, 1, 1, 0, 0]), np.asarray(2.0)),
    ),
)
