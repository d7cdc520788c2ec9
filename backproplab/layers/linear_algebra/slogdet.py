"""Sign and logarithm of a determinant. Catalogue #120.

It keeps a, which the caller holds anyway, and no factors: autodiff factors a again for its derivative, as this rule does.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full
from backproplab.layers.linear_algebra.inv import inv
from backproplab.layers.linear_algebra.solve_triangular import square, well_conditioned
from backproplab.rule import defvjp


class SlogdetResult(NamedTuple):
    """det a = sign exp(logabsdet)."""

    sign: jax.Array
    logabsdet: jax.Array


@jax.custom_vjp
def slogdet(a):
    """a (..., n, n), real -> sign (...), 1, 0 or -1, and logabsdet (...), log |det a|; as `jnp.linalg.slogdet`.

    -inf for a singular a, whose gradient is not finite. Computed in float32 or wider. Raises ValueError if a is not square,
    TypeError for complex numbers.
    """
    sign, logabsdet = jnp.linalg.slogdet(square("slogdet", a))
    return SlogdetResult(sign.astype(a.dtype), logabsdet.astype(a.dtype))


def slogdet_fwd(a):
    """Keeps a, which the caller holds anyway."""
    return slogdet(a), a


def slogdet_bwd(a, cotangents):
    """det a is linear in each entry a_ij: its slope is the cofactor, (adj a)_ji = det a (a^{-1})_ji. So

        d log|det a| / da = a^{-T}

    The sign is constant in pieces: its cotangent goes nowhere.
    """
    return (cotangents.logabsdet[..., None, None] * inv(square("slogdet", a)).mT,)


defvjp(slogdet, slogdet_fwd, slogdet_bwd)

_fixed = {0: "fixed"}
CASES = (
    Case(slogdet, (well_conditioned(4, 4),), residual_bytes=lambda a: a.nbytes, domain=_fixed, order=2),
    Case(slogdet, (well_conditioned(2, 3, 3),), name="batch", residual_bytes=lambda a: a.nbytes, domain=_fixed),
    Case(
        slogdet,
        (np.array([[0.0, 2.0], [4.0, 1.0]]),),
        name="a negative determinant",
        expect=(np.array([[-0.125, 0.5], [0.25, 0.0]]),),
        domain=_fixed,
    ),
    Case(slogdet, (full(-3.0, 1, 1),), name="one by one", expect=(np.array([[-1 / 3]]),), domain=_fixed),
)
