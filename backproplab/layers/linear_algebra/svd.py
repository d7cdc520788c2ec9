"""The singular value decomposition. Catalogue #121.

Autodiff is NaN wherever two singular values are equal. This rule is right there for losses that do not depend on which of
the many bases was found, among them every function of the polar factor U V^T. Both keep the output.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case
from backproplab.layers.linear_algebra.solve_triangular import product, real
from backproplab.rule import defvjp


class SVDResult(NamedTuple):
    """a = U diag(S) Vh."""

    U: jax.Array
    S: jax.Array
    Vh: jax.Array


@partial(jax.custom_vjp, nondiff_argnames=("full_matrices",))
def svd(a, full_matrices=False):
    """a (..., m, n), real -> U (..., m, k), S (..., k), from large to small, Vh (..., k, n), with k = min(m, n).

    `jnp.linalg.svd(a, full_matrices=False)`: the vectors beyond k have no derivative, so to ask for them is a ValueError
    unless m = n. Signs are free, in pairs, and with equal singular values so are bases: a loss should not depend on them.
    Computed in float32 or wider. Raises TypeError for complex numbers.
    """
    if full_matrices and a.shape[-1] != a.shape[-2]:
        raise ValueError(f"svd: full_matrices adds vectors without a derivative to those of {a.shape}")
    return SVDResult(*(part.astype(a.dtype) for part in jnp.linalg.svd(real("svd", a), full_matrices=False)))


def svd_fwd(a, full_matrices):
    """Keeps the output."""
    result: Any = svd(a, full_matrices)
    return result, result


def svd_bwd(full_matrices, result, cotangents):
    """U and V can only turn within the spaces that they span, by antisymmetric J and K, or lean out of them:

        dU = U J + (1 - U U^T) da V S^{-1}        dV = V K + (1 - V V^T) da^T U S^{-1}

    Let P = U^T da V. Differentiating a = U S V^T gives P = J S + dS - S K: on the diagonal dS_i = P_ii, off it P_ij and P_ji
    are two equations for J_ij and K_ij, whose sum and difference come apart:

        J + K = (P_ij + P_ji) / (s_j - s_i)        J - K = (P_ij - P_ji) / (s_j + s_i)

    With the antisymmetric parts A of U^T (cotangent of U) and B of V^T (cotangent of V), the loss moves by <A, J> + <B, K>,
    half of <A + B, J + K> + <A - B, J - K>, and P_ij and P_ji have equal shares in each. So it is <C, P> with

        C_ij = (A + B)_ij / (s_j - s_i) + (A - B)_ij / (s_j + s_i)        C_ii = (cotangent of S)_i

    and (cotangent of a) = U C V^T + (1 - U U^T) (cotangent of U) S^{-1} V^T + U S^{-1} (cotangent of V)^T (1 - V V^T).

    Equal singular values: pairs of vectors may be turned into each other at will, u and v together. A loss that does not
    care has A + B = 0 there, its limit is 0, not 0 / 0, and the second term is all there is. One that does care has no
    derivative, and gets the infinity that it deserves; so do two values of 0, where u and v turn each for itself. Equal is
    what differs by no more than rounding, 0 what is no more than the rounding of A + B. As in `eigh` the limit is another
    one for U f(S) V^T with f' not 0, other than constant, in the group: (s_j - s_i) f' stands in A + B and is lost.
    """
    u, s, vt = (array.astype(jnp.promote_types(array.dtype, jnp.float32)) for array in result)
    du, ds, dvt = (array.astype(s.dtype) for array in cotangents)
    roundoff = 4 * max(u.shape[-2], vt.shape[-1]) * jnp.finfo(result.S.dtype).eps
    one = jnp.eye(s.shape[-1], dtype=s.dtype)
    largest = jnp.max(s, -1, keepdims=True, initial=0)[..., None]
    sizes = jnp.sqrt(jnp.sum(du * du, -2)) + jnp.sqrt(jnp.sum(dvt * dvt, -1))
    noise = roundoff * (sizes[..., None, :] + sizes[..., :, None])

    def share(turns, gaps):
        """turns / gaps, but 0 where both are."""
        free = (jnp.abs(gaps) <= roundoff * largest) & (jnp.abs(turns) <= noise) | (one > 0)
        return jnp.where(free, 0, turns / jnp.where(free, 1, gaps))

    of_u, of_v = product(u.mT, du), product(vt, dvt.mT)
    of_u, of_v = (of_u - of_u.mT) / 2, (of_v - of_v.mT) / 2
    row, column = s[..., None, :], s[..., :, None]
    inner = share(of_u + of_v, row - column) + share(of_u - of_v, row + column) + ds[..., None] * one
    da = product(u, inner, vt)
    if u.shape[-2] > s.shape[-1]:
        da = da + product((du - product(u, u.mT, du)) / row, vt)
    if vt.shape[-1] > s.shape[-1]:
        da = da + product(u, (dvt - product(dvt, vt.mT, vt)) / column)
    return (da,)


defvjp(svd, svd_fwd, svd_bwd)


def stretched(*shape):
    """Matrices with singular values near k, ..., 2, 1 in random bases."""

    def sample(key, dtype):
        random = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        u, s, vt = np.linalg.svd(random.normal(size=shape), full_matrices=False)
        s = np.arange(s.shape[-1], 0, -1) + random.uniform(-0.2, 0.2, s.shape)
        return (u * s[..., None, :] @ vt).astype(dtype)

    return sample


def _polar(a):
    """U V^T, the orthogonal matrix next to a: no sign or basis matters."""
    parts: Any = svd(a)
    return product(parts.U, parts.Vh)


def _polar_by_iteration(a):
    """The same by Newton's iteration, x -> (x + x^{-T}) / 2, without a singular value."""
    x = real("", a)
    for _ in range(7):
        x = (x + jnp.linalg.inv(x).T) / 2
    return x.astype(a.dtype)


def _sine_of_values(a):
    """U sin(S) V^T."""
    parts: Any = svd(a)
    return product(parts.U * jnp.sin(parts.S)[..., None, :], parts.Vh)


_fixed = {0: "fixed"}


def _kept(a, full_matrices=False):
    """The output."""
    m, n = a.shape[-2:]
    return a.itemsize * (a.size // (m * n)) * min(m, n) * (m + n + 1)


_turn = np.array([[1.0, -2.0, 2.0], [2.0, -1.0, -2.0], [2.0, 2.0, 1.0]])  # three times an orthogonal matrix
CASES = (
    # signs are free, and come out otherwise when the input is rounded: in other dtypes judge what does not depend on them
    Case(svd, (stretched(3, 3),), residual_bytes=_kept, domain=_fixed, dtypes=("float64",)),
    Case(svd, (stretched(4, 2),), name="tall", residual_bytes=_kept, domain=_fixed, dtypes=("float64",)),
    Case(svd, (stretched(2, 2, 4),), name="wide, batch", residual_bytes=_kept, domain=_fixed, dtypes=("float64",)),
    Case(_sine_of_values, (stretched(4, 3),), name="a function of the singular values", domain=_fixed),
    Case(_sine_of_values, (stretched(2, 2, 3),), name="wide", domain=_fixed),
    Case(
        _polar, (_turn,), name="equal singular values: the polar factor", reference=_polar_by_iteration, domain=_fixed
    ),
)
