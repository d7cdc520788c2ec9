"""The Cholesky factor of a positive definite matrix. Catalogue #120.

Where JAX reads one triangle alone (`jax.scipy.linalg.cholesky`, `symmetrize_input=False`) its derivative gives the other one
a gradient too (jax#40421); this rule does not. Else autodiff is as good.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.linear_algebra.solve_triangular import product, square, triangle
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("upper", "symmetrize_input"))
def cholesky(a, upper=False, symmetrize_input=True):
    """The lower triangular L with L L^T = a and a positive diagonal, or the upper triangular L^T; as `jnp.linalg.cholesky`.

    a (..., n, n), real. symmetrize_input: (a + a^T) / 2 is factored. If not, only one triangle is read: that of the result,
    as numpy and scipy do (jnp reads the lower one, whatever `upper` says). NaN if the matrix is not positive definite.
    Computed in float32 or wider. Raises ValueError if a is not square, TypeError for complex numbers.
    """
    wide = square("cholesky", a)
    if symmetrize_input:
        whole = (wide + wide.mT) / 2
    else:
        whole = triangle(wide, not upper) + triangle(wide, not upper, diagonal=False).mT
    factor = jax.lax.linalg.cholesky(whole, symmetrize_input=True)  # what autodiff takes for symmetric must be
    return (factor.mT if upper else factor).astype(a.dtype)


def cholesky_fwd(a, upper, symmetrize_input):
    """Keeps the factor, the output."""
    factor = cholesky(a, upper, symmetrize_input)
    return factor, factor


def cholesky_bwd(upper, symmetrize_input, factor, dfactor):
    """From L L^T = a, dL L^T + L dL^T = da, and with the lower triangular T = L^{-1} dL

        T + T^T = L^{-1} da L^{-T},    so    dL = L Phi(L^{-1} da L^{-T})

    where Phi takes the lower triangle and half the diagonal. Its transpose is itself followed by symmetrising: with

        S = sym( L^{-T} Phi(L^T (cotangent of L)) L^{-1} )

    the loss moves by <S, da> for symmetric da. If both triangles are read, as (a + a^T) / 2, S is the gradient. If one is,
    its entry stands for two, and moves the loss by the sum of both: twice S off the diagonal, and 0 in the other triangle.
    """
    l, dl = (square("cholesky", m.mT if upper else m) for m in (factor, dfactor))
    inverse = partial(jax.lax.linalg.triangular_solve, l, lower=True)
    phi = jnp.tril(product(l.mT, dl)) * (1 - jnp.eye(l.shape[-1], dtype=l.dtype) / 2)
    s = inverse(inverse(phi, left_side=True, transpose_a=True), left_side=False)
    s = (s + s.mT) / 2
    if symmetrize_input:
        return (s,)
    return (triangle(s, not upper) + triangle(s, not upper, diagonal=False),)


defvjp(cholesky, cholesky_fwd, cholesky_bwd)


def positive_definite(*shape):
    """Symmetric matrices with eigenvalues from about 1/2 to about 5."""

    def sample(key, dtype):
        x = normal(*shape)(key, np.dtype(float))
        return (x @ np.swapaxes(x, -1, -2) / shape[-1] + np.eye(shape[-1]) / 2).astype(dtype)

    return sample


def _lopsided(*shape):
    """The same, with another upper triangle: whoever reads both is found out."""

    def sample(key, dtype):
        return (np.tril(positive_definite(*shape)(key, np.dtype(float))) + np.triu(np.ones(shape), 1)).astype(dtype)

    return sample


_fixed = {0: "fixed"}
_kept = lambda a, *options: a.nbytes
CASES = (
    Case(cholesky, (positive_definite(4, 4),), residual_bytes=_kept, domain=_fixed, order=2),
    Case(cholesky, (positive_definite(3, 3), True), name="upper", residual_bytes=_kept, domain=_fixed),
    Case(cholesky, (positive_definite(2, 3, 3),), name="batch", residual_bytes=_kept, domain=_fixed),
    Case(cholesky, (_lopsided(3, 3), False, False), name="the lower triangle alone", domain=_fixed, order=2),
    Case(
        cholesky,
        (lambda key, dtype: _lopsided(3, 3)(key, dtype).T, True, False),
        name="the upper triangle alone",
        domain=_fixed,
    ),
    Case(
        cholesky,
        (np.array([[4.0, 9.0], [2.0, 5.0]]), False, False),
        name="no gradient where nothing is read",
        expect=(np.array([[0.1875, 0.0], [0.25, 0.25]]),),
        domain=_fixed,
    ),
    Case(cholesky, (np.array([[4.0]]),), name="one by one: the root", expect=(np.array([[0.25]]),)),
)
