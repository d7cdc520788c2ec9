"""The largest singular value of a matrix: the most by which it stretches a vector. Catalogue #121.

`jnp.linalg.norm(a, 2)`. Autodiff keeps all singular vectors; this rule keeps one pair of them.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case
from backproplab.layers.linear_algebra.solve_triangular import real
from backproplab.layers.linear_algebra.svd import stretched
from backproplab.rule import defvjp


@jax.custom_vjp
def spectral_norm_value(a):
    """a (..., m, n), real -> (...), in the dtype of a. Computed in float32 or wider. TypeError for complex numbers.

    An SVD each time: to normalise weights at every step of training, `normalization.spectral_norm` is the cheaper way.
    """
    return jnp.linalg.svd(real("spectral_norm_value", a), compute_uv=False)[..., 0].astype(a.dtype)


def spectral_norm_value_fwd(a):
    """Keeps the first pair of singular vectors."""
    u, s, vt = jnp.linalg.svd(real("spectral_norm_value", a), full_matrices=False)
    return s[..., 0].astype(a.dtype), (u[..., :, 0], vt[..., 0, :])


def spectral_norm_value_bwd(residuals, dy):
    """s = u^T a v with unit vectors, which are where they are the best: their own change is of second order. So the slope
    is u v^T. Where several singular values are the largest, each of their pairs gives an element of the subdifferential;
    declared is the pair that the SVD names first."""
    u, v = residuals
    return (dy[..., None, None] * u[..., :, None] * v[..., None, :],)


defvjp(spectral_norm_value, spectral_norm_value_fwd, spectral_norm_value_bwd)


def _kept(a):
    """One vector of each side."""
    m, n = a.shape[-2:]
    return max(4, a.itemsize) * (a.size // (m * n)) * (m + n)


_fixed = {0: "fixed"}
CASES = (
    Case(spectral_norm_value, (stretched(3, 4),), residual_bytes=_kept, domain=_fixed),
    Case(spectral_norm_value, (stretched(2, 3, 2),), name="tall, batch", residual_bytes=_kept, domain=_fixed),
    Case(
        spectral_norm_value,
        (np.diag([1.0, -3.0]),),
        name="one entry decides",
        expect=(np.diag([0.0, -1.0]),),
        domain=_fixed,
    ),
)
