"""Maxout: a unit that is the largest of several (Goodfellow et al., 2013, arXiv 1302.4389). Catalogue #35.

Autodiff keeps x, four bytes per piece; this rule one byte per unit.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, distinct, full
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("pieces",))
def maxout(x, pieces=2):
    """The largest of each `pieces` neighbouring entries; x (..., units * pieces) -> y (..., units). NaN where one is.

    Raises ValueError if the last axis is not a multiple of `pieces`.
    """
    return jnp.max(_units(x, pieces), -1)


def _units(x, pieces):
    """(..., units, pieces)"""
    if pieces < 1 or x.shape[-1] % pieces:
        raise ValueError(f"maxout: the last axis must be a multiple of {pieces} pieces, not {x.shape[-1]}")
    return x.reshape(*x.shape[:-1], x.shape[-1] // pieces, pieces)


def maxout_fwd(x, pieces):
    """Keeps, per unit, which of its pieces won: one byte (four if there are more than 256)."""
    winner = jnp.argmax(_units(x, pieces), -1).astype(jnp.uint8 if pieces <= 256 else jnp.int32)
    return maxout(x, pieces), winner


def maxout_bwd(pieces, winner, dy):
    """y is the winning piece and nothing else: its gradient goes there whole. Among equal pieces the first takes it all,
    as in `max_pool`: one element of the subdifferential (autodiff shares it equally, which is another)."""
    routed = jnp.where(winner[..., None] == jnp.arange(pieces), dy[..., None], 0)
    return (routed.reshape(*dy.shape[:-1], dy.shape[-1] * pieces),)


defvjp(maxout, maxout_fwd, maxout_bwd)


def _kept(x, pieces=2):
    return x.size // pieces


CASES = (
    Case(maxout, (distinct(4, 6),), residual_bytes=_kept),
    Case(maxout, (distinct(2, 3, 12), 4), name="four pieces", residual_bytes=_kept),
    Case(maxout, (distinct(5), 1), name="one piece: the identity", expect=(np.ones(5),)),
    Case(maxout, (full(2.0, 6), 3), name="ties: the first", kink=True, expect=(np.array([1.0, 0, 0, 1, 0, 0]),)),
    Case(
        maxout,
        (np.array([1.0, 2.0, -1e30, -2e30, -1.0, -1.0]),),
        name="second, first, tie",
        kink=True,
        expect=(np.array([0.0, 1, 1, 0, 1, 0]),),
    ),
)
