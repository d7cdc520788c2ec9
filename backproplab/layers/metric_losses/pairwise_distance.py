"""Distances between vectors, row by row and every row to every other. Catalogue #74.

The rule of `cdist` keeps x, y and the distances, where autodiff keeps arrays of all differences, n times m times d. It
computes differences and not |x|^2 + |y|^2 - 2 x y, which has no digits left for vectors that are close and far from 0.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.gates.add import sum_to
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("p",))
def pairwise_distance(x, y, p=2.0):
    """(sum_i |x_i - y_i|^p)^(1/p) of each row of x and y.

    x (..., d), y (..., d) of shapes that broadcast -> distance (...), in the dtype of x. p is a Python number, at least 1:
    2 the Euclidean distance, 1 the sum of absolute differences. Raises ValueError for another p.
    """
    return _length(_difference(x, y), p).astype(x.dtype)


def _difference(x, y):
    """In float32 or wider."""
    return widened(x) - widened(y)


def _length(difference, p):
    """The p-norm along the last axis: the largest entry times the norm of the ratios to it, so that no power overflows or
    vanishes. 0, with no slope, for the difference of identical vectors."""
    if not 1 <= p < float("inf"):
        raise ValueError(f"a distance wants p from 1 on, finite, not {p}")
    size = jnp.abs(difference)
    largest = jax.lax.stop_gradient(jnp.max(size, -1, initial=0.0))
    same = largest == 0
    largest = jnp.where(same, 1, largest)
    ratios = size / largest[..., None]
    total = jnp.sum(ratios if p == 1 else ratios * ratios if p == 2 else jnp.where(ratios == 0, 0, ratios**p), -1)
    total = jnp.where(same, 1, total)
    return jnp.where(same, 0, largest * (total if p == 1 else jnp.sqrt(total) if p == 2 else total ** (1 / p)))


def _slope(difference, length, p):
    """d length / d difference (..., d), 0 where the length is: sign(r) (|r| / length)^(p - 1)."""
    ratio = difference / jnp.where(length == 0, 1, length)[..., None]
    if p == 2:
        return ratio
    sign, size = jnp.sign(ratio), jnp.abs(ratio)
    return sign if p == 1 else jnp.where(size == 0, 0, sign * jnp.where(size == 0, 1, size) ** (p - 1))


def pairwise_distance_fwd(x, y, p):
    """Keeps the difference; of shapes that broadcast the arguments, since it may be much larger."""
    r = _difference(x, y)
    return _length(r, p).astype(x.dtype), (r,) if x.shape == y.shape else (x, y)


def pairwise_distance_bwd(p, residuals, ddistance):
    """With the difference r = x - y and D^p = sum_i |r_i|^p, p D^(p-1) dD = sum_i p |r_i|^(p-1) sign(r_i) dr_i, so

        dD / dx_i = sign(r_i) (|r_i| / D)^(p-1) = -dD / dy_i        for p = 2 the unit vector r / D

    Kink at identical vectors, the tip of a cone: every vector of dual norm up to 1 is a subgradient, and 0 is taken. For
    p = 1 each r_i = 0 is a kink too, and there the entry is 0.
    """
    alike = len(residuals) == 1
    r = residuals[0] if alike else _difference(*residuals)
    dr = ddistance[..., None].astype(r.dtype) * _slope(r, _length(r, p), p)
    return (dr, -dr) if alike else tuple(sum_to(a.shape, d) for a, d in zip(residuals, (dr, -dr)))


defvjp(pairwise_distance, pairwise_distance_fwd, pairwise_distance_bwd)


@partial(jax.custom_vjp, nondiff_argnames=("p",))
def cdist(x, y, p=2.0):
    """The distance of every row of x to every row of y.

    x (..., n, d), y (..., m, d), leading axes of shapes that broadcast -> distances (..., n, m), in the dtype of x. p as
    for `pairwise_distance`.
    """
    return _length(_differences(x, y), p).astype(x.dtype)


def _differences(x, y):
    """(..., n, m, d). Only what is added up over an axis is made of them, so XLA need not write them out."""
    return widened(x)[..., :, None, :] - widened(y)[..., None, :, :]


def cdist_fwd(x, y, p):
    """Keeps its arguments, which the caller holds anyway, and the distances in float32 or wider."""
    distances = _length(_differences(x, y), p)
    return distances.astype(x.dtype), (x, y, distances)


def cdist_bwd(p, residuals, ddistances):
    """Each distance is that of `pairwise_distance`, with the slope s_nm in x_n and -s_nm in y_m:

        dx_n = sum_m s_nm dD_nm        dy_m = -sum_n s_nm dD_nm

    A row's distance to itself, in `cdist(x, x)`, is 0 with gradient 0.
    """
    x, y, distances = residuals
    r = _differences(x, y)
    dr = ddistances[..., None].astype(r.dtype) * _slope(r, distances, p)
    return sum_to(x.shape, jnp.sum(dr, -2)), sum_to(y.shape, -jnp.sum(dr, -3))


defvjp(cdist, cdist_fwd, cdist_bwd)


def _kept(x, y, p=2.0):
    """The difference, in float32 or wider, or the arguments."""
    return x.size * max(4, x.dtype.itemsize) if x.shape == y.shape else x.nbytes + y.nbytes


def _kept_by_cdist(x, y, p=2.0):
    """The arguments and the distances, in float32 or wider."""
    return x.nbytes + y.nbytes + x[..., 0].size * y.shape[-2] * max(4, x.dtype.itemsize)


_half = 0.5**0.5
CASES = (
    Case(pairwise_distance, (normal(4, 5), normal(4, 5)), residual_bytes=_kept, order=2),
    Case(pairwise_distance, (normal(2, 3, 4), normal(4), 3.0), name="p = 3, one point for all", residual_bytes=_kept),
    Case(pairwise_distance, (normal(4, 5), normal(4, 5), 1.0), name="p = 1"),
    Case(
        pairwise_distance,
        (np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [0.0, 0.0]])),
        name="identical: 0",
        kink=True,
        expect=(np.array([[0.0, 0.0], [0.6, 0.8]]), np.array([[0.0, 0.0], [-0.6, -0.8]])),
    ),
    Case(
        pairwise_distance,
        (np.array([[3e25, -4e25], [3e-25, 4e-25]]), full(0.0, 2, 2)),
        name="squares would overflow and vanish",
        argnums=(0,),
        expect=(np.array([[0.6, -0.8], [0.6, 0.8]]),),
    ),
    Case(cdist, (normal(4, 3), normal(5, 3)), residual_bytes=_kept_by_cdist, order=2),
    Case(cdist, (normal(2, 3, 4), normal(5, 4), 1.5), name="p = 3/2, one set for all"),
    Case(
        cdist,
        (np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[1.0, 1.0], [0.0, 0.0]])),
        name="identical rows: 0",
        kink=True,
        expect=(np.array([[-_half, -_half], [_half, _half]]), np.array([[_half, _half], [-_half, -_half]])),
    ),
    Case(
        cdist,
        (normal(3, 4, mean=300.0), normal(2, 4, mean=300.0)),
        name="close, and far from 0",
        dtypes=("float64", "float32"),
    ),
)
