"""The orthogonal matrix that reflections multiply up to. Catalogue #121.

JAX has no derivative of `jax.lax.linalg.householder_product`. This rule never undoes a reflection, so one that has no inverse
(tau |v|^2 = 1) is allowed as well. It keeps its arguments.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.linear_algebra.solve_triangular import adjoint, product, triangle
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def householder_product(a, taus):
    """The first n columns of H_1 H_2 ... H_k, with H_i = 1 - taus_i v_i v_i^H and v_i = (0, ..., 0, 1, a[i+1:, i]).

    a (..., m, n), m >= n, taus (..., k), k <= n, with the same leading axes, real or complex -> Q (..., m, n), in their
    dtype; as `jax.lax.linalg.householder_product`. Of a what is below the diagonal in the first k columns is read, so it may
    be what `geqrf` of LAPACK leaves. For taus_i = 2 / |v_i|^2 the columns of Q are orthonormal; any other number is allowed
    too, 0 for no reflection. Computed in float32 or wider. Raises ValueError if the shapes do not fit.
    """
    v, t = _parts(a, taus)
    q = jnp.eye(*a.shape[-2:], dtype=v.dtype) - product(v * t, _carried(v, t, a.shape[-1]))
    return q.astype(jnp.result_type(a, taus))


def _parts(a, taus):
    """V (..., m, k), whose columns are the v_i, and the numbers taus as a row (..., 1, k)."""
    m, n, k = *a.shape[-2:], taus.shape[-1]
    if a.shape[:-2] != taus.shape[:-1] or not k <= n <= m:
        raise ValueError(
            f"householder_product takes a (..., m, n) and taus (..., k), k <= n <= m, not {a.shape} and {taus.shape}"
        )
    if jnp.iscomplexobj(a) != jnp.iscomplexobj(taus):
        raise TypeError(f"householder_product takes real or complex numbers, not {a.dtype} and {taus.dtype}")
    below = triangle(widened(a), True, diagonal=False)[..., :k]
    return below + jnp.eye(m, k, dtype=below.dtype), widened(taus)[..., None, :]


def _carried(v, t, n):
    """R (..., k, n): row i is v_i^H H_{i+1} ... H_k E."""
    return _solve(_later(v) * t, adjoint(v[..., :n, :]))


def _later(v):
    """S: v_i^H v_j above the diagonal, 0 elsewhere."""
    return triangle(product(adjoint(v), v), False, diagonal=False)


def _solve(upper, b, turned=False):
    """x with (1 + upper) x = b, or with the adjoint of that matrix."""
    return jax.lax.linalg.triangular_solve(
        upper, b, left_side=True, lower=False, transpose_a=turned, conjugate_a=turned, unit_diagonal=True
    )


def householder_product_fwd(a, taus):
    """Keeps its arguments, which the caller holds anyway: what else is needed are products of their size."""
    return householder_product(a, taus), (a, taus)


def householder_product_bwd(residuals, dq):
    """With E, the first n columns of the identity, Q = H_1 ... H_k E. Let r_i = v_i^H H_{i+1} ... H_k E, a row. Multiplied
    out from the right, each reflection takes t_i v_i r_i away, and v_i^H meets what those after i took:

        Q = E - V D R        R = V^H E - S D R        D = diag(taus), S_ij = v_i^H v_j for j > i, else 0

    a triangular system of k rows with ones on its diagonal, solvable whatever the taus. Now R moves by

        (1 + S D) dR = dV^H E - dS D R - S dD R

    Let G be the cotangent of Q and Y, whose rows y_i = v_i^H H_{i-1}^H ... H_1^H G are the same from the other side, solve
    (1 + D S)^H Y = V^H G. Then dR has the cotangent -D^H Y, and what is left of D's is -Y R^H:

        (cotangent of taus_i) = -y_i r_i^H
        (cotangent of V) = -G R^H D^H - E Y^H D + V (M + M^H)        M = D^H Y R^H D^H above its diagonal, 0 elsewhere

    The entries of V below its diagonal are those of a; nothing else of a is read or has a gradient.

    For complex numbers these are gradients in the sense of Re <G, dQ>, with <X, Y> the sum of conj(X) Y. JAX's cotangents are
    their conjugates.
    """
    a, taus = residuals
    n, k = a.shape[-1], taus.shape[-1]
    v, t = _parts(a, taus)
    g, t_conjugate = jnp.conj(dq.astype(v.dtype)), jnp.conj(t)
    r = _carried(v, t, n)
    y = _solve(_later(v) * t.mT, product(adjoint(v), g), turned=True)
    m = triangle(t_conjugate.mT * product(y, adjoint(r)) * t_conjugate, False, diagonal=False)
    dv = product(v, m + adjoint(m)) - product(g, adjoint(r)) * t_conjugate
    dv = dv.at[..., :n, :].add(-adjoint(y) * t)
    da = jnp.zeros_like(g).at[..., :k].set(triangle(dv, True, diagonal=False))
    return jnp.conj(da), -jnp.sum(jnp.conj(y) * r, -1)


defvjp(householder_product, householder_product_fwd, householder_product_bwd)


def _kept(a, taus):
    """The arguments."""
    return a.nbytes + taus.nbytes


def _by_reflections(a, taus):
    """The same, one reflection after the other."""
    dtype = a.dtype
    a, taus = widened(a), widened(taus)
    q = jnp.eye(*a.shape, dtype=a.dtype)
    for i in reversed(range(taus.size)):
        v = jnp.concatenate([jnp.zeros(i, a.dtype), jnp.ones(1, a.dtype), a[i + 1 :, i]])
        q = q - taus[i] * jnp.outer(v, product(jnp.conj(v), q))
    return q.astype(dtype)


def _in_parts(ar, ai, tr, ti, by):
    """Of complex numbers: all parts are real, so that differences and planted bugs, which are of real numbers, apply."""
    q = by(jax.lax.complex(widened(ar), widened(ai)), jax.lax.complex(widened(tr), widened(ti)))
    return q.real.astype(ar.dtype), q.imag.astype(ar.dtype)


_half = np.array([[9.0, 9.0], [1.0, 9.0]])
CASES = (
    Case(householder_product, (normal(4, 3), normal(3)), residual_bytes=_kept, order=2),
    Case(householder_product, (normal(5, 4), normal(2)), name="fewer reflections than columns", residual_bytes=_kept),
    Case(householder_product, (normal(2, 3, 3), normal(2, 3)), name="square, batch", residual_bytes=_kept),
    Case(householder_product, (normal(4, 3), normal(3)), name="one after the other", reference=_by_reflections),
    # 1 - v v^T / 2 with v = (1, 1): the sum of its entries is 2 - tau (1 + a)^2
    Case(
        householder_product,
        (_half, np.array([0.5])),
        name="no inverse",
        expect=(np.array([[0.0, 0.0], [-2.0, 0.0]]), np.array([-4.0])),
    ),
    Case(
        householder_product,
        (_half, np.array([0.0, 0.0])),
        name="no reflections",
        expect=(np.zeros((2, 2)), np.array([-4.0, -1.0])),
    ),
    Case(
        partial(_in_parts, by=householder_product),
        (normal(3, 2), normal(3, 2), normal(2), normal(2)),
        name="complex",
        reference=partial(_in_parts, by=_by_reflections),
        dtypes=("float64", "float32"),  # complex numbers of 16 bits there are none
    ),
)
