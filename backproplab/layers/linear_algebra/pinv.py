"""The pseudo-inverse of Moore and Penrose, of a matrix of any shape and rank. Catalogue #120.

The formula is Golub and Pereyra's (1973), as in JAX, whose own derivative is as good without `rtol`. With it JAX uses the
same formula, which is off wherever what `rtol` cuts away is more than rounding; this rule is right there too.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case
from backproplab.layers.linear_algebra.solve_triangular import product, real
from backproplab.layers.linear_algebra.svd import stretched
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("rtol",))
def pinv(a, rtol=None):
    """The pseudo-inverse (..., n, m) of a (..., m, n), real; as `jnp.linalg.pinv`.

    rtol, a number: singular values of no more than rtol times the largest count as 0; by default 10 max(m, n) roundings.
    Where a small change of a lifts another one over this bound the result jumps and has no derivative; the gradient is then
    for changes that do not. With rtol a second derivative is NaN at equal singular values. NaN if a is not finite. Computed
    in float32 or wider. Raises ValueError if a is not a matrix, TypeError for complex numbers.
    """
    return _pinv(a, rtol).astype(a.dtype)


def _pinv(a, rtol):
    """In float32 or wider."""
    matrix = _finite(a)
    return jnp.linalg.pinv(matrix) if rtol is None else _inverted(_parts(matrix), rtol)


def _finite(a):
    """a in float32 or wider. NaN throughout a matrix with an infinity: at some of these LAPACK's iteration never ends."""
    if a.ndim < 2:
        raise ValueError(f"pinv takes matrices (..., m, n), not {a.shape}")
    return jnp.where(jnp.all(jnp.isfinite(a), (-1, -2), keepdims=True), real("pinv", a), jnp.nan)


def _parts(matrix):
    return tuple(jnp.linalg.svd(matrix, full_matrices=False))


def _inverted(parts, rtol):
    u, s, vt = parts
    return product(vt.mT * _inverse(s, rtol)[..., None, :], u.mT)


def _inverse(s, rtol):
    """1 / s for singular values that count, 0 for the others."""
    counts = s > rtol * jnp.max(s, -1, keepdims=True, initial=0)
    return jnp.where(counts, 1 / jnp.where(counts, s, 1), 0)


def pinv_fwd(a, rtol):
    """Keeps a, which the caller holds anyway, and the output; with rtol, the singular vectors and values."""
    if rtol is None:
        y = _pinv(a, None)
        return y.astype(a.dtype), (a, y)
    parts = _parts(_finite(a))
    return _inverted(parts, rtol).astype(a.dtype), parts


def pinv_bwd(rtol, residuals, dy):
    """While the rank stays, y = a^+ moves by

        -y da y + y y^T da^T (1 - a y) + (1 - y a) da^T y^T y

    as the inverse would, and with the spaces that a maps from and to. Transposed, with H = y (cotangent of y)^T,

        (cotangent of a) = -y^T H^T + ((cotangent of y)^T - a H) y y^T + y^T H (1 - y a)

    For a wide a the same of a^T is cheaper, since the pseudo-inverse of a^T is y^T.

    With rtol, y = V f(S) U^T with f(s) = 1 / s or 0, and what f cuts off, s_j, does not vanish. The turns of U and V, as in
    `svd`, change C = U^T da V into D with

        D_ij + D_ji = (C_ij + C_ji) (f_i - f_j) / (s_i - s_j)        D_ij - D_ji = (C_ij - C_ji) (f_i + f_j) / (s_i + s_j)

    where y^T moves by U D V^T. If both count that is D_ij = -C_ji f_i f_j; if neither does, 0; if one does,

        D_ij = (C_ij (f_i s_i - f_j s_j) + C_ji (f_i s_j - f_j s_i)) / (s_i^2 - s_j^2)

    Outside of the spaces of U and V, where s_j = 0, the factor is f_i^2. All of this is its own transpose.
    """
    dy = widened(dy)
    if rtol is not None:
        return (_of_spectrum(residuals, rtol, dy.mT),)
    a, y = map(widened, residuals)
    if a.shape[-2] < a.shape[-1]:
        return (_of_tall(a.mT, y.mT, dy.mT).mT,)
    return (_of_tall(a, y, dy),)


def _of_tall(a, y, dy):
    h = product(y, dy.mT)
    inside = h - h.mT - product(h, y, a)
    return product(y.mT, inside) + product(dy.mT - product(a, h), product(y, y.mT))


def _of_spectrum(parts, rtol, dyt):
    u, s, vt = parts
    f = _inverse(s, rtol)
    fi, fj, si, sj = f[..., :, None], f[..., None, :], s[..., :, None], s[..., None, :]
    one = (fi > 0) != (fj > 0)
    gap = jnp.where(one, si * si - sj * sj, 1)
    c = product(u.mT, dyt, vt.mT)
    d = jnp.where(one, c * (fi * si - fj * sj) + c.mT * (fi * sj - fj * si), -c.mT * fi * fj) / gap
    across = product((product(dyt, vt.mT) - product(u, c)) * fj**2, vt)
    down = product(u, fi**2 * (product(u.mT, dyt) - product(c, vt)))
    return product(u, d, vt) + across + down


defvjp(pinv, pinv_fwd, pinv_bwd)


def _kept(a, rtol=None):
    """a, and the output in float32 or wider."""
    return a.nbytes + max(4, a.itemsize) * a.size


_fixed = {0: "fixed"}
_u, _v, _ones = np.array([1.0, 2.0, 2.0]), np.array([3.0, 0.0, -4.0]), np.ones(3)
_of_rank_one = (15 * np.outer(_u, _v) - 9 * np.outer(_ones, _v) + 125 * np.outer(_u, _ones)) / 225**2
CASES = (
    Case(pinv, (stretched(4, 3),), residual_bytes=_kept, domain=_fixed, order=2),
    Case(pinv, (stretched(2, 4),), name="wide", residual_bytes=_kept, domain=_fixed, order=2),
    Case(pinv, (stretched(2, 3, 3),), name="batch, square", residual_bytes=_kept, domain=_fixed),
    Case(pinv, (np.outer(_u, _v),), name="rank one of three", expect=(_of_rank_one,), domain=_fixed),
    Case(pinv, (np.zeros((2, 3)),), name="rank zero", expect=(np.zeros((2, 3)),), domain=_fixed),
    Case(pinv, (stretched(4, 3), 0.5), name="what is cut off is no rounding", domain=_fixed),
    Case(pinv, (stretched(2, 3, 4), 0.5), name="the same, wide, batch", domain=_fixed),
    Case(
        pinv,
        (np.array([[3.0], [4.0]]),),
        name="a vector: v / |v|^2",
        expect=(np.array([[(25 - 42) / 625, (25 - 56) / 625]]).T,),
        domain=_fixed,
    ),
)
