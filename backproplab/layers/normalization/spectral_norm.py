"""Spectral normalisation: a matrix divided by its largest singular value (Miyato et al., 2018, arXiv 1802.05957).

Catalogue #51. The singular vectors are constants to the gradient; `singular_vectors` improves them between steps.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.normalization.l2_normalize import direction
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def spectral_norm(w, u, v):
    """w / sigma with sigma = u^T w v, the largest singular value where u and v are its singular vectors.

    w (d, m), u (d,), v (m,) -> y (d, m), in the dtype of w. u and v, of length 1, get no gradient: they stand for the
    singular vectors, at which sigma is stationary in both. Where sigma = 0, that is w = 0, y is NaN. Raises
    ValueError unless w has two axes.
    """
    u, v = jax.lax.stop_gradient((u, v))
    return (widened(w) / _largest_singular_value(w, u, v)).astype(w.dtype)


def _largest_singular_value(w, u, v):
    if jnp.ndim(w) != 2:
        raise ValueError(f"spectral_norm takes one matrix, not shape {jnp.shape(w)}; reshape a kernel, or use vmap")
    return widened(u) @ widened(w) @ widened(v)


def singular_vectors(w, u, steps=1):
    """`steps` rounds of power iteration from u (d,): the vectors u (d,) and v (m,) for `spectral_norm`, without gradient.

    Start with a random u and keep the last one from step to step of training: as w moves slowly, one round is enough.
    """
    w, u = jax.lax.stop_gradient((widened(w), widened(u)))
    for _ in range(steps):
        u = direction(w @ (u @ w), -1)
    return u, direction(u @ w, -1)


def spectral_norm_fwd(w, u, v):
    """Keeps its arguments, which the caller holds anyway: sigma is two products away."""
    return (widened(w) / _largest_singular_value(w, u, v)).astype(w.dtype), (w, u, v)


def spectral_norm_bwd(residuals, dy):
    """y_ij = w_ij / sigma, and d sigma / d w_kl = u_k v_l:

        dy_ij / dw_kl = delta_ik delta_jl / sigma - w_ij u_k v_l / sigma^2
        dw = (dy - (sum_ij dy_ij y_ij) u v^T) / sigma

    With the true singular vectors this is the true gradient of w / sigma(w), as long as sigma is not repeated: sigma is
    a maximum over u and v, so what they do when w moves is of second order. u and v get exact zeros.
    """
    w, u, v = residuals
    sigma = _largest_singular_value(w, u, v)
    dy = widened(dy)
    along = jnp.sum(dy * (widened(w) / sigma))
    return (dy - along * jnp.outer(u, v)) / sigma, jnp.zeros_like(u), jnp.zeros_like(v)


defvjp(spectral_norm, spectral_norm_fwd, spectral_norm_bwd)


def _kept(w, u, v):
    return w.nbytes + u.nbytes + v.nbytes


_u, _v = np.array([0.6, 0.0, 0.8]), np.array([0.0, 1.0])
_diagonal = 2.0 * np.outer(_u, _v) + 0.5 * np.outer([0.8, 0.0, -0.6], [1.0, 0.0])
CASES = (
    Case(spectral_norm, (normal(3, 2, mean=1.0), _u, _v), argnums=(0,), residual_bytes=_kept, order=2),
    Case(spectral_norm, (_diagonal, _u, _v), name="the true singular vectors", argnums=(0,)),
    Case(spectral_norm, (normal(1, 1, mean=2.0), np.ones(1), np.ones(1)), name="one number: dw is 0", argnums=(0,)),
    Case(spectral_norm, (-_diagonal, _u, _v), name="u and v of the other sign: sigma < 0", argnums=(0,)),
)
