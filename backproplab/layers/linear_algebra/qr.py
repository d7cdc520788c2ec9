"""The factors of a matrix, one orthogonal and one upper triangular. Catalogue #121.

JAX's own derivative keeps the same two arrays, but multiplies at the precision that the device has by default, which on
TPU and GPU may be less than that of float32. Otherwise it is as good.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.linear_algebra.solve_triangular import product, real, triangle
from backproplab.layers.linear_algebra.svd import stretched
from backproplab.precision import widened
from backproplab.rule import defvjp


class QRResult(NamedTuple):
    """a = Q R."""

    Q: jax.Array
    R: jax.Array


@jax.custom_vjp
def qr(a):
    """a (..., m, n), real -> Q (..., m, k), of orthonormal columns, and R (..., k, n), upper triangular, k = min(m, n).

    `jnp.linalg.qr(a)`, that is mode "reduced". The signs are LAPACK's: the diagonal of R may be negative. They change where
    an entry on the diagonal goes through 0 in the course of the elimination, and at a column that is 0 below it, as in a
    triangular a; the gradient is for signs that stay, and a loss should not depend on them. Of a wide a the first m columns
    fix Q. If the first k columns are not independent the factors have no derivative: a 0 on the diagonal of R gives
    infinities or NaN, and a mere rounding there a gradient as large as one over it. Computed in float32 or wider. Raises
    ValueError if a is not a matrix, TypeError for complex numbers.
    """
    if a.ndim < 2:
        raise ValueError(f"qr takes matrices (..., m, n), not {a.shape}")
    return QRResult(*(part.astype(a.dtype) for part in jnp.linalg.qr(real("qr", a))))


def qr_fwd(a):
    """Keeps the output."""
    result: Any = qr(a)
    return result, result


def qr_bwd(result, cotangents):
    """Let a be tall or square, and C = Q^T da R^{-1}. Q can turn, by an antisymmetric J, and lean out of its space:

        dQ = Q J + (1 - Q Q^T) da R^{-1}        dR = (C - J) R

    dR is upper triangular, so J has below its diagonal what C has there, and above it the negative mirror image. With
    B = Q^T (cotangent of Q) and H = (cotangent of R) R^T the loss moves by <B, J> + <H, C - J>, and with the rest of dQ

        (cotangent of a) = (Q S + (1 - Q Q^T) (cotangent of Q)) R^{-T}

        S_ij = H_ij on and above the diagonal        S_ij = (B + H^T)_ij - B_ji below it

    A wide a = [a1 a2] is Q [R1 R2]: a1 = Q R1 fixes Q, and R2 = Q^T a2 moves by Q^T da2 - J R2. So a2 has the cotangent
    Q (cotangent of R2), and R2 (cotangent of R2)^T joins B. Below the diagonal R has no entries and so no cotangent.
    """
    q, r = map(widened, result)
    dq, dr = map(widened, cotangents)
    k = q.shape[-1]
    (r1, r2), (dr1, dr2) = (jnp.split(array, [k], -1) for array in (r, dr))
    b = product(q.mT, dq)
    turns = b + product(r2, dr2.mT)
    h = product(dr1, r1.mT)
    s = triangle(h, False) + triangle(turns - turns.mT + h.mT, True, diagonal=False)
    da1 = product(q, s)
    if q.shape[-2] > k:
        da1 = da1 + dq - product(q, b)
    da1 = jax.lax.linalg.triangular_solve(r1, da1, left_side=False, lower=False, transpose_a=True)
    return (jnp.concatenate([da1, product(q, dr2)], -1),)


defvjp(qr, qr_fwd, qr_bwd)


def _kept(a):
    """The output."""
    m, n = a.shape[-2:]
    return a.itemsize * (a.size // (m * n)) * min(m, n) * (m + n)


def leading(*shape):
    """Wide matrices whose first columns are well conditioned."""
    m, n = shape[-2:]

    def sample(key, dtype):
        square = stretched(*shape[:-1], m)(key, dtype)
        return np.concatenate([square, normal(*shape[:-1], n - m)(key, dtype)], -1)

    return sample


def _squares(a):
    """Q diag(1, 2, ...) Q^T and R^T R: no sign matters."""
    result: Any = qr(a)
    q, r = result
    return product(q * jnp.arange(1, q.shape[-1] + 1, dtype=q.dtype), q.mT), product(r.mT, r)


_fixed = {0: "fixed"}
CASES = (
    Case(qr, (stretched(3, 3),), residual_bytes=_kept, domain=_fixed, order=2),
    Case(qr, (stretched(4, 2),), name="tall", residual_bytes=_kept, domain=_fixed, order=2),
    Case(qr, (leading(2, 4),), name="wide", residual_bytes=_kept, domain=_fixed, order=2),
    Case(qr, (stretched(2, 3, 2),), name="tall, batch", residual_bytes=_kept, domain=_fixed),
    Case(qr, (leading(2, 2, 3),), name="wide, batch", residual_bytes=_kept, domain=_fixed),
    Case(_squares, (stretched(4, 3),), name="whatever the signs", domain=_fixed),
    Case(
        qr,
        (np.array([[3.0], [4.0]]),),
        name="a vector: its direction and its length, negative",
        expect=(np.array([[-0.632], [-0.776]]),),
        domain=_fixed,
    ),
)
