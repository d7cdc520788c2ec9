"""Dropout (Srivastava et al., 2014): units are left out at random while training.

Autodiff keeps a mask; this rule keeps the key and draws the same mask again.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal, prng_key
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("rate",))
def dropout(x, key, rate=0.5):
    """Each entry of x is 0 with probability `rate`, else divided by 1 - rate, so that its mean stays what it was.

    x (...), key a JAX PRNG key, rate from 0 (the identity) to 1 (all zeros) -> y (...). The same key drops the same
    entries, whatever the dtype. Raises ValueError for another rate.
    """
    return _dropped(x, key, rate)


def _dropped(x, key, rate):
    if not 0 <= rate <= 1:
        raise ValueError(f"dropout: rate must be from 0 to 1, not {rate!r}")
    if rate in (0, 1):
        return x if rate == 0 else jnp.zeros_like(x)
    # 32 random bits as a number: below the threshold with probability `rate`
    dropped = jax.random.bits(key, x.shape, "uint32") < np.uint32(rate * 2**32)
    wide = widened(x)  # in bfloat16 the 0.9 of rate 0.1 would be 0.8984
    return jnp.where(dropped, 0, wide / (1 - rate)).astype(x.dtype)


def dropout_fwd(x, key, rate):
    """Keeps the key, eight bytes, and not the mask: drawing it again costs time, keeping it a byte per entry."""
    return _dropped(x, key, rate), key


def dropout_bwd(rate, key, dy):
    """With the mask drawn, y is x times a constant per entry, 0 or 1 / (1 - rate): dy goes through the very same map.
    Dropped entries get an exact 0, by selection, also where dy is infinite."""
    return _dropped(dy, key, rate), None


defvjp(dropout, dropout_fwd, dropout_bwd)


def _kept(x, key, rate=0.5):
    return 8


CASES = (
    Case(dropout, (normal(4, 5), prng_key()), residual_bytes=_kept, order=2),
    Case(dropout, (normal(2, 3, 7), prng_key(), 0.1), name="rate 0.1", residual_bytes=_kept),
    Case(dropout, (normal(5), prng_key(), 0.0), name="rate 0: the identity", expect=(np.ones(5),)),
    Case(dropout, (normal(5), prng_key(), 1.0), name="rate 1: nothing", expect=(np.zeros(5),)),
    Case(dropout, (full(0.0, 6), prng_key()), name="zeros"),
)
