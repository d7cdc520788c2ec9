"""The concatenated rectifier: both halves of x, side by side (Shang et al., 2016, arXiv 1603.05201). Catalogue #35.

The rule keeps one byte per entry; autodiff keeps two arrays of the size of x.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, away_from_zero, full
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis",))
def crelu(x, axis=-1):
    """max(x, 0) and max(-x, 0), concatenated along `axis`, which doubles; x (..., d) -> y (..., 2 d). NaN stays NaN."""
    return jnp.concatenate([jnp.maximum(x, 0), jnp.maximum(-x, 0)], axis)


def crelu_fwd(x, axis):
    """Keeps one byte per entry: its sign, 1, -1, or 0 where neither half is on."""
    return crelu(x, axis), (x > 0).astype(jnp.int8) - (x < 0).astype(jnp.int8)


def crelu_bwd(axis, sign, dy):
    """y = (x, 0) for x > 0, slopes (1, 0); y = (0, -x) for x < 0, slopes (0, -1). So of the two cotangents the one that
    belongs to the sign of x comes through, by selection. At x = 0 both halves take slope 0, as `relu` does.
    """
    of_positive, of_negative = jnp.split(dy, 2, axis)
    return (jnp.where(sign > 0, of_positive, jnp.where(sign < 0, -of_negative, 0)),)


defvjp(crelu, crelu_fwd, crelu_bwd)


def _kept(x, axis=-1):
    return x.size


CASES = (
    Case(crelu, (away_from_zero(4, 5),), residual_bytes=_kept),
    Case(crelu, (away_from_zero(2, 3, 4), 1), name="middle axis", residual_bytes=_kept),
    Case(crelu, (full(0.0, 3),), name="zero: slope 0", kink=True, expect=(np.zeros(3),)),
    Case(
        crelu,
        (np.array([2.0, -3.0, 1e30, -1e30]),),
        name="both signs",
        expect=(np.array([1.0, -1, 1, -1]),),
    ),
)
