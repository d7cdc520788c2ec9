"""The solution of a system whose matrix is given by its Cholesky factor. Catalogue #119.

Autodiff keeps what lies between the two triangular systems; this rule keeps the factor and the solution.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.gates.add import Shape, sum_to
from backproplab.layers.linear_algebra.solve_triangular import product, together, triangle, well_conditioned
from backproplab.rule import defvjp


def cho_solve(c_and_lower, b):
    """x with a x = b, given the factor of a and whether it is lower triangular; as `jax.scipy.linalg.cho_solve`."""
    factor, lower = c_and_lower
    return cholesky_solve(factor, b, lower)


@partial(jax.custom_vjp, nondiff_argnames=("lower",))
def cholesky_solve(factor, b, lower=False):
    """x with L L^T x = b for a lower triangular factor L, or U^T U x = b for an upper triangular U.

    factor (..., n, n), b (n,) or (..., n, k), whose leading axes broadcast, real -> x of the shape of b with these axes. The
    other triangle of the factor is not read. Computed in float32 or wider. Raises ValueError if the shapes do not fit,
    TypeError for complex numbers.
    """
    dtype = jnp.result_type(factor, b)
    matrix, columns = together("cholesky_solve", factor, b)
    x = _solve(matrix, columns, lower)
    return (x[..., 0] if b.ndim == 1 else x).astype(dtype)


def _solve(factor, b, lower):
    triangular = partial(jax.lax.linalg.triangular_solve, factor, left_side=True, lower=lower)
    return triangular(triangular(b, transpose_a=not lower), transpose_a=lower)


def cholesky_solve_fwd(factor, b, lower):
    """Keeps the factor, which the caller holds anyway, and x, the output."""
    x = cholesky_solve(factor, b, lower)
    return x, (factor, Shape(b.shape), x)


def cholesky_solve_bwd(lower, residuals, dx):
    """a = L L^T is symmetric, so l with a l = dx is the cotangent of b, and that of a is -l x^T as for any system. In a the
    factor stands twice: da = dL L^T + L dL^T, hence

        (cotangent of L) = -(l x^T + x l^T) L = -l (L^T x)^T - x (L^T l)^T

    and for a = U^T U its mirror image, (cotangent of U) = -(U l) x^T - (U x) l^T. Of either only the triangle that is read.
    """
    factor, b_shape, x = residuals
    if len(b_shape) == 1:
        x, dx = x[..., None], dx[..., None]
    matrix, x = together("cholesky_solve", factor, x)
    _, dx = together("cholesky_solve", factor, dx)
    l = _solve(matrix, dx.astype(matrix.dtype), lower)
    upper = triangle(matrix.mT if lower else matrix, False)
    dupper = -product(product(upper, l), x.mT) - product(product(upper, x), l.mT)
    dfactor = triangle(dupper.mT if lower else dupper, lower)
    return sum_to(factor.shape, dfactor), sum_to(b_shape, l[..., 0] if len(b_shape) == 1 else l)


defvjp(cholesky_solve, cholesky_solve_fwd, cholesky_solve_bwd)


def _kept(factor, b, lower=False):
    """The factor and x."""
    return factor.nbytes + b.nbytes


_fixed = {0: "fixed"}
CASES = (
    Case(cholesky_solve, (well_conditioned(4, 4), normal(4, 3)), residual_bytes=_kept, domain=_fixed, order=2),
    Case(
        cholesky_solve,
        (well_conditioned(3, 3), normal(3), True),
        name="lower, a vector",
        residual_bytes=_kept,
        domain=_fixed,
    ),
    Case(
        cholesky_solve, (well_conditioned(2, 3, 3), normal(3, 2), True), name="one right side for many", domain=_fixed
    ),
    Case(cholesky_solve, (well_conditioned(3, 3), normal(2, 3, 2)), name="many for one matrix", domain=_fixed),
    Case(
        cholesky_solve,
        (np.array([[2.0, 9.0], [1.0, 1.0]]), np.array([8.0, 4.0]), True),
        name="no gradient where nothing is read",
        expect=(np.array([[-1.0, 0.0], [-2.0, 0.0]]), np.array([0.0, 0.5])),
        domain=_fixed,
    ),
)
