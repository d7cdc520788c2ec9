"""The affine map x w + b: every dense layer, and the weighted sums of every unit. Lecture L1, L12, L14, catalogue #11.

Autodiff keeps the same two arrays and does the same two matrix products: for speed this rule is on a par with it. What
it adds is accuracy for inputs in bfloat16: sums over the batch are kept in float32 until the end.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import wide_dtype
from backproplab.rule import defvjp


@jax.custom_vjp
def affine(x, w, b):
    """x (..., d), w (d, m), b (m,) -> y (..., m) = x w + b, in the dtype of x; accumulated in float32 or wider.

    With the extended notation of the lecture, where x has a constant 1 for its last entry, b is the last row of w.
    """
    return (jnp.matmul(x, w, preferred_element_type=wide_dtype(x)) + b).astype(x.dtype)


def affine_fwd(x, w, b):
    """Keeps x and w, which the caller holds anyway. b leaves no trace in the gradients."""
    return (jnp.matmul(x, w, preferred_element_type=wide_dtype(x)) + b).astype(x.dtype), (x, w)


def affine_bwd(residuals, dy):
    """y_nj = sum_i x_ni w_ij + b_j, with n running over the rows: all leading axes of x together.

    x_ni is used in row n alone, by every output j:    dx_ni = sum_j dy_nj w_ij,    that is dy w^T
    w_ij is used by output j in every row n:           dw_ij = sum_n x_ni dy_nj,    that is x^T dy
    b_j is added in every row:                         db_j  = sum_n dy_nj

    The shapes leave no other choice: dx must have that of x, and with d, m and the number of rows all different, dy w^T
    is the only product of dy and w that has it. No Jacobian is formed; it would have (rows m)(rows d) entries.
    """
    x, w = residuals
    rows = tuple(range(x.ndim - 1))
    wide = wide_dtype(x)
    dx = jnp.matmul(dy, w.T, preferred_element_type=wide)
    dw = jnp.tensordot(x, dy, axes=(rows, rows), preferred_element_type=wide)
    return dx, dw, jnp.sum(dy, rows, dtype=wide)


defvjp(affine, affine_fwd, affine_bwd)


def _kept(x, w, b):
    return x.nbytes + w.nbytes


CASES = (
    Case(affine, (normal(8, 5), normal(5, 6), normal(6)), residual_bytes=_kept, order=2),
    Case(affine, (normal(5), normal(5, 6), normal(6)), name="no batch axis", residual_bytes=_kept),
    Case(affine, (normal(2, 3, 5), normal(5, 4), normal(4)), name="two batch axes", residual_bytes=_kept),
    Case(affine, (normal(1, 2), normal(2, 3), normal(3)), name="one row", residual_bytes=_kept),
    Case(affine, (normal(3, 1), normal(1, 1), normal(1)), name="one input, one output", residual_bytes=_kept),
    Case(
        affine,
        (normal(0, 3), normal(3, 2), normal(2)),
        name="no rows",
        expect=(np.zeros((0, 3)), np.zeros((3, 2)), np.zeros(2)),
    ),
    Case(affine, (normal(4, 3, scale=1e3), normal(3, 2), normal(2)), name="inputs a thousand times larger"),
    # a running sum in bfloat16 would stop at 256
    Case(
        affine,
        (full(1.0, 1000, 2), full(0.5, 2, 3), full(0.0, 3)),
        name="a thousand rows",
        expect=(np.full((1000, 2), 1.5), np.full((2, 3), 1000.0), np.full(3, 1000.0)),
    ),
    Case(affine, (normal(33, 65), normal(65, 17), normal(17)), name="odd sizes", residual_bytes=_kept),
)
