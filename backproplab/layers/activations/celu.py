"""The continuously differentiable exponential linear unit (Barron, 2017, arXiv 1704.07483). Catalogue #26."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, away_from_zero, full
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("alpha",))
def celu(x, alpha=1.0):
    """x where x > 0, else alpha (exp(x / alpha) - 1); x (...) -> y (...). alpha > 0; names as in `jax.nn.celu`."""
    wide = widened(x)
    return jnp.where(x > 0, wide, alpha * jnp.expm1(jnp.where(x > 0, 0, wide) / alpha)).astype(floating_dtype(x))


def celu_fwd(x, alpha):
    """Keeps x, which the caller holds anyway."""
    return celu(x, alpha), x


def celu_bwd(alpha, x, dy):
    """The alpha in front and the one below x cancel: slope exp(x / alpha) on the left, 1 on the right, both 1 at x = 0.
    There is no kink, whatever alpha. The division rounds, which costs exp(x / alpha) a relative error of |x / alpha| units
    in the last place, unless alpha is a power of two."""
    return (widened(dy) * jnp.exp(jnp.minimum(widened(x), 0) / alpha),)


defvjp(celu, celu_fwd, celu_bwd)


def _kept(x, alpha=1.0):
    return x.nbytes


CASES = (
    Case(celu, (away_from_zero(4, 5),), residual_bytes=_kept),
    Case(celu, (away_from_zero(3, 4), 0.3), name="alpha 0.3", residual_bytes=_kept),
    Case(celu, (full(0.0, 3), 0.25), name="zero: slope 1", expect=(np.ones(3),)),
    Case(celu, (np.array([-40.0, -80.0, 1000.0]),), name="tails"),
)
