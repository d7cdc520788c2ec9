"""The solution of a tridiagonal system, in time and memory that grow with n, not n^2. Catalogue #119.

JAX's own derivative solves the same transposed system, keeps the same arrays and is as good.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.linear_algebra.solve_triangular import real
from backproplab.precision import wide_dtype
from backproplab.rule import defvjp


@jax.custom_vjp
def tridiagonal_solve(dl, d, du, b):
    """x with a x = b, for a with three diagonals; as `jax.lax.linalg.tridiagonal_solve`.

    dl, d, du (..., n), b (..., n, k) with the same leading axes, real -> x of the shape of b. Row i of a has dl[i] to the
    left of the diagonal, d[i] on it and du[i] to the right; dl[0] and du[n - 1] lie outside and may hold anything. A
    singular a gives infinities or NaN. Computed in float32 or wider. Raises ValueError if the shapes do not fit, TypeError
    for complex numbers.
    """
    shapes = [array.shape for array in (dl, d, du, b)]
    if b.ndim < 2 or shapes[:3] != [b.shape[:-1]] * 3:
        raise ValueError(f"tridiagonal_solve takes diagonals dl, d, du (..., n) and b (..., n, k), not {shapes}")
    return _solve(*(real("tridiagonal_solve", array) for array in (dl, d, du, b))).astype(jnp.result_type(dl, d, du, b))


def _solve(dl, d, du, b):
    """What lies outside is made 0, since some solvers take it for that."""
    dtype = jnp.result_type(dl, d, du, b)
    dl, d, du, b = (jnp.asarray(array, dtype) for array in (dl, d, du, b))
    return jax.lax.linalg.tridiagonal_solve(dl.at[..., :1].set(0), d, du.at[..., -1:].set(0), b)


def tridiagonal_solve_fwd(dl, d, du, b):
    """Keeps the diagonals, which the caller holds anyway, and x, the output."""
    x = tridiagonal_solve(dl, d, du, b)
    return x, (dl, d, du, x)


def tridiagonal_solve_bwd(residuals, dx):
    """From a x = b, da x + a dx = db: x moves by a^{-1} (db - da x). Let l solve the transposed system a^T l = dx; then

        (cotangent of b) = l        (cotangent of a) = -l x^T

    of which three diagonals are wanted: -l_i . x_{i-1}, -l_i . x_i and -l_i . x_{i+1}, dot products of rows. Transposed, a
    has on the left what stood on the right, one row further down: a_{i,i-1} = du_{i-1} and a_{i,i+1} = dl_{i+1}.
    """
    dl, d, du, x = (array.astype(wide_dtype(array)) for array in residuals)
    l = _solve(jnp.roll(du, 1, -1), d, jnp.roll(dl, -1, -1), dx.astype(x.dtype))
    of_row = lambda x: -jnp.sum(l * x, -1)
    outside = jnp.zeros_like(l[..., :1, :])
    below = jnp.concatenate([x[..., 1:, :], outside], -2)
    above = jnp.concatenate([outside, x[..., :-1, :]], -2)
    return of_row(above), of_row(x), of_row(below), l


defvjp(tridiagonal_solve, tridiagonal_solve_fwd, tridiagonal_solve_bwd)


def _kept(dl, d, du, b):
    """The diagonals and x."""
    return dl.nbytes + d.nbytes + du.nbytes + b.nbytes


_fixed = {0: "fixed", 1: "fixed", 2: "fixed"}
CASES = (
    Case(
        tridiagonal_solve,
        (normal(5), normal(5, scale=0.5, mean=4.0), normal(5), normal(5, 3)),
        residual_bytes=_kept,
        domain=_fixed,
    ),
    Case(
        tridiagonal_solve,
        (normal(2, 4), normal(2, 4, scale=0.5, mean=-4.0), normal(2, 4), normal(2, 4, 2)),
        name="batch, negative",
        residual_bytes=_kept,
        domain=_fixed,
    ),
    Case(
        tridiagonal_solve,
        (
            np.array([7.0, 2.0, 0.0]),
            np.array([0.0, 0.0, 1.0]),
            np.array([4.0, 0.0, 7.0]),
            np.array([[4.0], [2.0], [3.0]]),
        ),
        name="zeros on the diagonal, anything outside",
        expect=(
            np.array([0.0, -0.5, -1.0]),
            np.array([-0.25, -0.5, -3.0]),
            np.array([-0.25, -1.5, 0.0]),
            np.array([[0.25], [0.5], [1.0]]),
        ),
        domain=_fixed,
    ),
    Case(
        tridiagonal_solve,
        (np.array([5.0]), np.array([4.0]), np.array([5.0]), np.array([[2.0, 6.0]])),
        name="one by one: a quotient",
        expect=(np.zeros(1), np.array([-0.5]), np.zeros(1), np.array([[0.25, 0.25]])),
        domain=_fixed,
    ),
)
