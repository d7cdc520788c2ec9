"""The logarithm of the determinant of a positive definite matrix, as in the likelihood of a normal distribution. Catalogue #120.

It keeps the Cholesky factor, one matrix. A factor costs half of what `slogdet` costs.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case
from backproplab.layers.linear_algebra.cholesky import positive_definite
from backproplab.layers.linear_algebra.cholesky_solve import cholesky_solve
from backproplab.layers.linear_algebra.solve_triangular import square
from backproplab.rule import defvjp


@jax.custom_vjp
def logdet(a):
    """log det of a (..., n, n), symmetric positive definite, real -> (...), in the dtype of a.

    Of (a + a^T) / 2; NaN if that is not positive definite. Computed in float32 or wider. Raises ValueError if a is not
    square, TypeError for complex numbers.
    """
    return _from_factor(jnp.linalg.cholesky(square("logdet", a))).astype(a.dtype)


def _from_factor(factor):
    """det a = det L det L^T = (prod_i L_ii)^2."""
    return 2 * jnp.sum(jnp.log(jnp.diagonal(factor, 0, -2, -1)), -1)


def logdet_fwd(a):
    """Keeps the Cholesky factor."""
    factor = jnp.linalg.cholesky(square("logdet", a))
    return _from_factor(factor).astype(a.dtype), factor


def logdet_bwd(factor, dy):
    """d log det a / da = a^{-T}, here a^{-1}: two triangular systems with the factor that is there."""
    one = jnp.eye(factor.shape[-1], dtype=factor.dtype)
    inverse: Any = cholesky_solve(factor, one, True)
    return (dy[..., None, None] * (inverse + inverse.mT) / 2,)


defvjp(logdet, logdet_fwd, logdet_bwd)

_fixed = {0: "fixed"}
_kept = lambda a: max(4, a.itemsize) * a.size
CASES = (
    Case(logdet, (positive_definite(4, 4),), residual_bytes=_kept, domain=_fixed, order=2),
    Case(logdet, (positive_definite(2, 3, 3),), name="batch", residual_bytes=_kept, domain=_fixed),
    Case(
        logdet,
        (np.array([[2.0, 1.0], [1.0, 1.0]]),),
        name="exact",
        expect=(np.array([[1.0, -1.0], [-1.0, 2.0]]),),
        domain=_fixed,
    ),
)
