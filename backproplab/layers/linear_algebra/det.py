"""The determinant. Catalogue #120.

Its gradient is the matrix of cofactors, which is finite for singular matrices too, where det a a^{-T} is 0 times infinity.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.linear_algebra.solve_triangular import product, square, well_conditioned
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def det(a):
    """a (..., n, n), real -> its determinant (...), in the dtype of a; as `jnp.linalg.det`.

    Computed in float32 or wider. Raises ValueError if a is not square, TypeError for complex numbers.
    """
    return _from_factors(square("det", a)).astype(a.dtype)


def _from_factors(a):
    """Of P a = L U: the product of U's diagonal, and -1 for each exchange of rows."""
    lu, pivots, _ = jax.lax.linalg.lu(a)
    exchanges = jnp.sum(pivots != jnp.arange(a.shape[-1]), -1)
    return jnp.prod(jnp.diagonal(lu, 0, -2, -1), -1) * jnp.where(exchanges % 2, -1, 1)


def det_fwd(a):
    """Keeps a, which the caller holds anyway."""
    return det(a), a


def det_bwd(a, dy):
    """det a is linear in each entry: d det a / da_ij is the cofactor C_ij, the determinant without row i and column j with
    its sign. C = det a a^{-T} where a has an inverse; C is polynomial in a and has no trouble where there is none. With the
    singular values, a = U S V^T, every factor is known:

        C = det(U) det(V) U diag(p) V^T        p_i = prod_{j != i} s_j

    p from products of what comes before and after i, never by division: one s = 0 leaves one p, two leave none.
    """
    u, s, vt = jnp.linalg.svd(square("det", a), full_matrices=False)
    one = jnp.ones_like(s[..., :1])
    before = jnp.cumprod(jnp.concatenate([one, s[..., :-1]], -1), -1)
    after = jnp.cumprod(jnp.concatenate([one, s[..., :0:-1]], -1), -1)[..., ::-1]
    orientation = jnp.linalg.slogdet(product(u, vt)).sign
    scale = (dy * orientation)[..., None, None] * (before * after)[..., None, :]
    return (product(u * scale, vt),)


defvjp(det, det_fwd, det_bwd)


def _by_cofactors(a):
    """The determinant of a 3 by 3 matrix as the polynomial it is."""
    a, dtype = widened(a), a.dtype
    total = sum(a[0, i] * (a[1, j] * a[2, k] - a[1, k] * a[2, j]) for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)))
    return jnp.asarray(total, dtype)


_fixed = {0: "fixed"}
_rank_two = np.array([[4.0, 2.0, 1.0], [2.0, 1.0, 3.0], [1.0, 0.5, 2.0]])
CASES = (
    Case(det, (well_conditioned(4, 4),), residual_bytes=lambda a: a.nbytes, domain=_fixed),
    Case(det, (normal(2, 3, 3),), name="batch", residual_bytes=lambda a: a.nbytes, domain=_fixed),
    Case(det, (normal(3, 3),), name="against the polynomial", reference=_by_cofactors, domain=_fixed),
    Case(
        det,
        (_rank_two,),
        name="singular: the cofactors",
        reference=_by_cofactors,
        domain=_fixed,
        dtypes=("float64", "float32"),  # they are differences: a rounding in bfloat16 moves them by their size
    ),
    Case(det, (full(0.0, 3, 3),), name="zero", reference=_by_cofactors, expect=(np.zeros((3, 3)),), domain=_fixed),
    Case(det, (full(-3.0, 1, 1),), name="one by one", expect=(np.array([[1.0]]),), domain=_fixed),
)
