"""f(x, w) = ||w x||^2, the lecture's example of a vector circuit. Lecture L15, row S8, catalogue #18."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import wide_dtype
from backproplab.rule import defvjp


@jax.custom_vjp
def squared_norm_of_linear(x, w):
    """The squared length of w x: x (..., d), w (m, d) -> y (...), in the dtype of x."""
    return jnp.sum(jnp.square(_linear(x, w)), -1).astype(x.dtype)


def _linear(x, w):
    """q = w x for each row of x, in float32 or wider."""
    return jnp.matmul(x, w.T, preferred_element_type=wide_dtype(x))


def squared_norm_of_linear_fwd(x, w):
    """Keeps q = w x, and x and w, which the caller holds anyway."""
    q = _linear(x, w)
    return jnp.sum(jnp.square(q), -1).astype(x.dtype), (x, w, q)


def squared_norm_of_linear_bwd(residuals, dy):
    """In two stages. y = sum_k q_k^2, so dy/dq_k = 2 q_k. And q_k = sum_i w_ki x_i, so dq_k/dx_i = w_ki, while w_ki is
    in q_k alone, with the factor x_i. With g = 2 q dy, the gradient at q:

        dx_i = sum_k w_ki g_k, that is w^T g        dw_ki = g_k x_i, that is g x^T, summed over rows
    """
    x, w, q = residuals
    g = 2 * q * dy.astype(q.dtype)[..., None]
    rows = tuple(range(x.ndim - 1))
    return g @ w.astype(q.dtype), jnp.tensordot(g, x.astype(q.dtype), axes=(rows, rows))


defvjp(squared_norm_of_linear, squared_norm_of_linear_fwd, squared_norm_of_linear_bwd)


def _kept(x, w):
    """x and w, and one number in float32 or wider per row of x and row of w."""
    return x.nbytes + w.nbytes + max(4, x.dtype.itemsize) * (x.size // x.shape[-1]) * w.shape[0]


CASES = (
    Case(squared_norm_of_linear, (normal(5), normal(3, 5)), residual_bytes=_kept, order=2),
    Case(squared_norm_of_linear, (normal(4, 5), normal(3, 5)), name="a batch axis", residual_bytes=_kept, order=2),
    Case(squared_norm_of_linear, (normal(2, 3, 5), normal(4, 5)), name="two batch axes", residual_bytes=_kept),
    Case(squared_norm_of_linear, (normal(3, 1), normal(1, 1)), name="one by one", residual_bytes=_kept),
    Case(squared_norm_of_linear, (full(0.0, 5), normal(3, 5)), name="zero", expect=(np.zeros(5), np.zeros((3, 5)))),
)
