"""The solution of a system of linear equations. Catalogue #119.

The factors of the forward pass serve the backward pass too. JAX's own derivative does the same and is as good.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.gates.add import Shape, sum_to
from backproplab.layers.linear_algebra.solve_triangular import product, together, well_conditioned
from backproplab.rule import defvjp


@jax.custom_vjp
def solve(a, b):
    """x with a x = b; as `jnp.linalg.solve`.

    a (..., n, n), b (n,) or (..., n, k), whose leading axes broadcast, real -> x of the shape of b with these axes. A singular
    a gives infinities or NaN. Computed in float32 or wider. Raises ValueError if the shapes do not fit, TypeError for
    complex numbers.
    """
    dtype = jnp.result_type(a, b)
    x = jnp.linalg.solve(*together("solve", a, b))
    return (x[..., 0] if b.ndim == 1 else x).astype(dtype)


def _with_factors(lu, permutation, b, transposed):
    """Solves P a = L U, that is L U x = P b, or the transposed, U^T L^T P x = b."""
    triangular = jax.lax.linalg.triangular_solve
    lower = {"left_side": True, "lower": True, "unit_diagonal": True, "transpose_a": transposed}
    upper = {"left_side": True, "lower": False, "transpose_a": transposed}
    if transposed:
        y = triangular(lu, triangular(lu, b, **upper), **lower)
        return jnp.take_along_axis(y, jnp.argsort(permutation, -1)[..., None], -2)
    y = jnp.take_along_axis(b, permutation[..., None], -2)
    return triangular(lu, triangular(lu, y, **lower), **upper)


def solve_fwd(a, b):
    """Keeps the factors L and U, in one array of the size of a, the order of the rows, and x, the output."""
    matrix, columns = together("solve", a, b)
    lu, _, permutation = jax.lax.linalg.lu(matrix)
    x = _with_factors(lu, permutation, columns, False)
    x = (x[..., 0] if b.ndim == 1 else x).astype(jnp.result_type(a, b))
    return x, (lu, permutation, Shape(a.shape), Shape(b.shape), x)


def solve_bwd(residuals, dx):
    """From a x = b, da x + a dx = db: x moves by a^{-1} (db - da x). Let l solve the transposed system a^T l = dx; then

    (cotangent of b) = l        (cotangent of a) = -l x^T
    """
    lu, permutation, a_shape, b_shape, x = residuals
    if len(b_shape) == 1:
        x, dx = x[..., None], dx[..., None]
    l = _with_factors(lu, permutation, dx.astype(lu.dtype), True)
    da = -product(l, x.astype(lu.dtype).mT)
    return sum_to(a_shape, da), sum_to(b_shape, l[..., 0] if len(b_shape) == 1 else l)


defvjp(solve, solve_fwd, solve_bwd)


def _kept(a, b):
    """L and U in float32 or wider, the order of the rows, and x."""
    return max(4, a.itemsize) * a.size + 4 * (a.size // a.shape[-1]) + b.nbytes


_fixed = {0: "fixed"}
CASES = (
    Case(solve, (well_conditioned(4, 4), normal(4, 3)), residual_bytes=_kept, domain=_fixed, order=2),
    Case(solve, (well_conditioned(3, 3), normal(3)), name="a vector", residual_bytes=_kept, domain=_fixed),
    Case(solve, (well_conditioned(2, 3, 3), normal(2, 3, 2)), name="batch", residual_bytes=_kept, domain=_fixed),
    Case(solve, (well_conditioned(3, 3), normal(2, 3, 2)), name="one matrix for a batch", domain=_fixed),
    Case(
        solve,
        (np.array([[0.0, 2.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, -1.0]]), normal(3)),
        name="rows exchanged, not a swap",
        domain=_fixed,
    ),
    Case(
        solve,
        (np.array([[0.0, 2.0], [4.0, 0.0]]), np.array([2.0, 4.0])),
        name="exact",
        expect=(np.array([[-0.5, -0.5], [-0.25, -0.25]]), np.array([0.5, 0.25])),
    ),
)
