"""The least squares solution of a system of linear equations. Catalogue #119.

The derivative of `jnp.linalg.lstsq` goes through singular vectors and is NaN wherever two singular values are equal, among
others where the columns of a are orthonormal. This rule needs no vectors: the pseudo-inverse, and products with columns.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.gates.add import sum_to
from backproplab.layers.linear_algebra.pinv import pinv
from backproplab.layers.linear_algebra.solve_triangular import product, real
from backproplab.layers.linear_algebra.svd import stretched
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def lstsq(a, b):
    """The x that makes |a x - b| least and is itself the shortest of those; the first result of `jnp.linalg.lstsq`.

    a (..., m, n), b (m,) or (..., m, k), whose leading axes broadcast, real -> x (..., n) or (..., n, k). No rank is asked
    for: singular values of no more than 10 max(m, n) roundings of the largest count as 0, as in `pinv`. Where a small change
    of a raises its rank x jumps and has no derivative; the gradient is then for changes that keep the rank. Computed in
    float32 or wider. Raises ValueError if the shapes do not fit, TypeError for complex numbers.
    """
    matrix, columns = _wide(a, b)
    return _as_given(product(pinv(matrix), columns), a, b)


def _wide(a, b):
    """a and the columns of b, in one dtype, float32 or wider."""
    columns = b[:, None] if b.ndim == 1 else b
    if a.ndim < 2 or b.ndim < 1 or a.shape[-2] != columns.shape[-2]:
        raise ValueError(f"lstsq takes a (..., m, n) and b (m,) or (..., m, k), not {a.shape} and {b.shape}")
    dtype = jnp.result_type(real("lstsq", a), real("lstsq", b))
    return a.astype(dtype), columns.astype(dtype)


def _as_given(x, a, b):
    """x as a vector if b is one, in their dtype."""
    return (x[..., 0] if b.ndim == 1 else x).astype(jnp.result_type(a, b))


def lstsq_fwd(a, b):
    """Keeps a and b, which the caller holds anyway, and the pseudo-inverse of a. x is computed again, to all its digits."""
    matrix, columns = _wide(a, b)
    y = pinv(matrix)
    return _as_given(product(y, columns), a, b), (a, b, y)


def lstsq_bwd(residuals, dx):
    """x = y b with the pseudo-inverse y of a, which moves, as in `pinv`, by

        -y da y + y y^T da^T (1 - a y) + (1 - y a) da^T y^T y

    Applied to b these are columns: x = y b, what is left over, r = b - a x, and z = y^T x. Of the cotangent dx, l = y^T dx,
    w = y l, and q = dx - a^T l, what lies across the rows of a. So

        (cotangent of b) = l        (cotangent of a) = -l x^T + r w^T + z q^T

    With full rank q = 0 for a tall a and r = 0 for a wide one; for a square one l and x are those of `solve`. The w in front
    of r is why the condition of a counts twice where much is left over; a^T a itself is never formed.
    """
    a, b, y = residuals
    if b.ndim == 1:
        dx = dx[..., None]
    (matrix, columns), dx = _wide(a, b), widened(dx)
    x, l = product(y, columns), product(y.mT, dx)
    left, across = columns - product(matrix, x), dx - product(matrix.mT, l)
    da = product(left, product(y, l).mT) + product(product(y.mT, x), across.mT) - product(l, x.mT)
    return sum_to(a.shape, da), sum_to(b.shape, l[..., 0] if b.ndim == 1 else l)


defvjp(lstsq, lstsq_fwd, lstsq_bwd)


def _kept(a, b):
    """a, b, and the pseudo-inverse in float32 or wider."""
    return a.nbytes + b.nbytes + max(4, a.itemsize) * a.size


_fixed = {0: "fixed"}
_rank_one = np.outer([1.0, 2.0, 2.0], [3.0, -4.0])
CASES = (
    Case(lstsq, (stretched(4, 3), normal(4, 2)), residual_bytes=_kept, domain=_fixed, order=2),
    Case(
        lstsq, (stretched(2, 4), normal(2, 3)), name="wide: the shortest", residual_bytes=_kept, domain=_fixed, order=2
    ),
    Case(lstsq, (stretched(4, 2), normal(4)), name="a vector", residual_bytes=_kept, domain=_fixed),
    Case(lstsq, (stretched(2, 3, 2), normal(2, 3, 2)), name="batch", residual_bytes=_kept, domain=_fixed),
    Case(lstsq, (stretched(3, 2), normal(2, 3, 2)), name="one matrix for a batch", domain=_fixed),
    Case(lstsq, (stretched(2, 2, 3), normal(2)), name="one vector for many matrices", domain=_fixed),
    Case(lstsq, (_rank_one, normal(3, 4)), name="rank one of two", domain=_fixed),
    Case(
        lstsq,
        (np.array([[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]]), np.array([2.0, 4.0, 8.0])),
        name="orthogonal columns of equal length",
        expect=(np.array([[-0.5, -1.0], [-0.5, -1.0], [2.0, 2.0]]), np.array([0.5, 0.5, 0.0])),
        domain=_fixed,
    ),
)
