"""The exponential linear unit (Clevert, Unterthiner & Hochreiter, 2016, arXiv 1511.07289). Catalogue #26."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, away_from_zero, full, normal
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("alpha",))
def elu(x, alpha=1.0):
    """x where x > 0, else alpha (exp(x) - 1); x (...) -> y (...). Argument names as in `jax.nn.elu`."""
    wide = widened(x)
    return jnp.where(x > 0, wide, alpha * jnp.expm1(jnp.where(x > 0, 0, wide))).astype(floating_dtype(x))


def elu_fwd(x, alpha):
    """Keeps x, which the caller holds anyway. y + alpha would be exp(x) alpha with its digits cancelled for x << 0."""
    return elu(x, alpha), x


def elu_bwd(alpha, x, dy):
    """Slope 1 on the right. On the left d/dx alpha (exp(x) - 1) = alpha exp(x), with full relative accuracy however far
    out (through y it would be y + alpha, which is 0 in float32 from x = -17 on). At x = 0 both sides agree for alpha = 1;
    for another alpha it is a kink, and the left slope alpha is taken, as `jax.nn.elu` does.

    exp(x) is applied as its root twice: it underflows before dy alpha exp(x) does.
    """
    x, dy = widened(x), widened(dy)
    root = jnp.exp(jnp.minimum(x, 0) / 2)
    return (jnp.where(x > 0, dy, dy * alpha * root * root),)


defvjp(elu, elu_fwd, elu_bwd)


def _kept(x, alpha=1.0):
    return x.nbytes


CASES = (
    Case(elu, (away_from_zero(4, 5),), residual_bytes=_kept, order=2),
    Case(elu, (away_from_zero(3, 4), 0.5), name="alpha 1/2", residual_bytes=_kept),
    Case(elu, (normal(5, scale=3.0), 2.0), name="alpha 2"),
    Case(elu, (full(0.0, 3),), name="zero: slope 1", expect=(np.ones(3),)),
    Case(elu, (full(0.0, 3), 0.5), name="zero, alpha 1/2: the left slope", kink=True, expect=(np.full(3, 0.5),)),
    Case(elu, (np.array([-40.0, -80.0, 1000.0]),), name="tails"),
)
