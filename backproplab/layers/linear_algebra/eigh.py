"""Eigenvalues and eigenvectors of a symmetric matrix. Catalogue #121.

Autodiff is NaN wherever two eigenvalues are equal, and noise where they differ by rounding alone. This rule is finite and
right there for losses that do not depend on which of the many bases was found: of the eigenvalues, or of the projection
on a whole group. Both keep the eigenvalues and eigenvectors, the output.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case
from backproplab.layers.linear_algebra.solve_triangular import product, square, triangle
from backproplab.rule import defvjp


class EighResult(NamedTuple):
    """a = V diag(w) V^T."""

    eigenvalues: jax.Array
    eigenvectors: jax.Array


@partial(jax.custom_vjp, nondiff_argnames=("UPLO", "symmetrize_input"))
def eigh(a, UPLO="L", symmetrize_input=True):
    """a (..., n, n), real -> eigenvalues (..., n), from small to large, and eigenvectors (..., n, n), one a column.

    As `jnp.linalg.eigh`. symmetrize_input: of (a + a^T) / 2; if not, of the triangle named by UPLO, "L" or "U", alone.
    The sign of a vector is free, and with equal eigenvalues so is the basis: a loss should not depend on them.
    Computed in float32 or wider. Raises ValueError if a is not square, TypeError for complex numbers.
    """
    wide = square("eigh", a)
    if symmetrize_input:
        whole = (wide + wide.mT) / 2
    else:
        whole = triangle(wide, UPLO == "L") + triangle(wide, UPLO == "L", diagonal=False).mT
    w, v = jnp.linalg.eigh(whole, symmetrize_input=True)  # what autodiff takes for symmetric must be
    return EighResult(w.astype(a.dtype), v.astype(a.dtype))


def eigh_fwd(a, UPLO, symmetrize_input):
    """Keeps the output."""
    result: Any = eigh(a, UPLO, symmetrize_input)
    return result, result


def eigh_bwd(UPLO, symmetrize_input, result, cotangents):
    """With V^T V = 1 the eigenvectors can only turn: dV = V K, K antisymmetric. Differentiating a V = V diag(w),

        V^T da V = diag(dw) + K_ij (w_j - w_i),    so    dw_i = (V^T da V)_ii    K_ij = (V^T da V)_ij / (w_j - w_i)

    With B = V^T (cotangent of V), of which only the antisymmetric part A = (B - B^T) / 2 meets K, the loss moves by
    <S, da>,

        S = V ( diag(cotangent of w) + A_ij / (w_j - w_i) ) V^T

    Equal eigenvalues, w_i = w_j: the vectors i and j may be turned into each other at will. A loss that does not care has
    A_ij = 0, and its limit is 0, not 0 / 0. One that does care has no derivative, and gets the infinity that it deserves.
    Equal is what differs by no more than the rounding of the eigenvalues; 0 what is no more than the rounding of B.
    The limit is another one for V f(w) V^T with f' not constant 0 in the group: (w_j - w_i) f' stands in A_ij, and is lost
    in the difference. Differentiate such functions of a matrix through a series or a solver.

    If both triangles are read S is the gradient; if one is, each entry off the diagonal stands for two.
    """
    w, v = (array.astype(jnp.promote_types(array.dtype, jnp.float32)) for array in result)
    dw, dv = (array.astype(w.dtype) for array in cotangents)
    b = product(v.mT, dv)
    turns = (b - b.mT) / 2
    gaps = w[..., None, :] - w[..., :, None]
    roundoff = 4 * w.shape[-1] * jnp.finfo(result.eigenvectors.dtype).eps
    largest = jnp.max(jnp.abs(w), -1, keepdims=True, initial=0)[..., None]
    sizes = jnp.sqrt(jnp.sum(dv * dv, -2))
    free = (jnp.abs(gaps) <= roundoff * largest) & (
        jnp.abs(turns) <= roundoff * (sizes[..., None, :] + sizes[..., :, None])
    )
    free = free | jnp.eye(w.shape[-1], dtype=bool)
    inner = jnp.where(free, 0, turns / jnp.where(free, 1, gaps)) + dw[..., None] * jnp.eye(w.shape[-1], dtype=w.dtype)
    s = product(v, inner, v.mT)
    s = (s + s.mT) / 2
    if symmetrize_input:
        return (s,)
    return (triangle(s, UPLO == "L") + triangle(s, UPLO == "L", diagonal=False),)


defvjp(eigh, eigh_fwd, eigh_bwd)


def spread_out(*shape):
    """Symmetric matrices with eigenvalues near 1, 2, 3, ... in random bases."""

    def sample(key, dtype):
        random = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        q, _ = np.linalg.qr(random.normal(size=shape))
        w = np.arange(1, shape[-1] + 1) + random.uniform(-0.2, 0.2, shape[:-1])
        return (q * w[..., None, :] @ np.swapaxes(q, -1, -2)).astype(dtype)

    return sample


def _sine(a):
    """sin(a) as a function of a matrix: no sign or basis of the vectors matters."""
    result: Any = eigh(a)
    w, v = result
    return product(v * jnp.sin(w)[..., None, :], v.mT)


def _of_one_triangle(a, triangle):
    """The eigenvalues, and the projection on the vector of the largest."""
    result: Any = eigh(a, triangle, False)
    w, v = result
    return w, product(v[..., -1:], v[..., -1:].mT)


def _plane(a):
    """Of a matrix with eigenvalues near 1, 1, 3: the sum of their squares and the projection on the plane of the first two."""
    result: Any = eigh(a)
    w, v = result
    return jnp.sum(w * w), product(v[:, :2], v[:, :2].mT)


def _plane_without_vectors(a):
    """The same: half of 1 - sign(a - 2), whose derivative one step of Newton's iteration has where the sign is x itself."""
    wide = square("", a)
    x = (wide + wide.T) / 2 - 2 * jnp.eye(3, dtype=wide.dtype)
    projection = (jnp.eye(3, dtype=wide.dtype) - (x + jnp.linalg.inv(x)) / 2) / 2
    return jnp.sum(((wide + wide.T) / 2) ** 2).astype(a.dtype), projection.astype(a.dtype)


_fixed = {0: "fixed"}
_kept = lambda a, *options: a.nbytes + a.nbytes // a.shape[-1]
_degenerate = np.eye(3) + 2 * np.outer([1.0, 2.0, 2.0], [1.0, 2.0, 2.0]) / 9
CASES = (
    # signs are free, and come out otherwise when the input is rounded: in other dtypes judge what does not depend on them
    Case(eigh, (spread_out(4, 4),), residual_bytes=_kept, domain=_fixed, dtypes=("float64",)),
    Case(eigh, (spread_out(2, 3, 3),), name="batch", residual_bytes=_kept, domain=_fixed, dtypes=("float64",)),
    Case(_sine, (spread_out(4, 4),), name="a function of a matrix", domain=_fixed),
    Case(partial(_of_one_triangle, triangle="L"), (spread_out(3, 3),), name="the lower triangle alone", domain=_fixed),
    Case(partial(_of_one_triangle, triangle="U"), (spread_out(3, 3),), name="the upper triangle alone", domain=_fixed),
    Case(
        _plane,
        (_degenerate,),
        name="equal eigenvalues: their plane",
        reference=_plane_without_vectors,
        domain=_fixed,
        dtypes=("float64", "float32"),  # in bfloat16 the matrix is another one, with eigenvalues 1 and 1.004
    ),
)
