"""A linear map of low rank, x a b: the adapter of LoRA (Hu et al., 2021, arXiv 2106.09685). Catalogue #17.

Autodiff keeps x a beside the arguments and is as fast; the rule adds that sums over the batch are kept in float32. The
matrix a b, which is as large as the map that it adapts, is never formed.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import wide_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("scale",))
def low_rank_linear(x, a, b, scale=1.0):
    """scale x a b. Added to the output of a map that is not trained, it adapts that map.

    x (..., d), a (d, r), b (r, m) -> y (..., m), in the dtype of x; accumulated in float32 or wider. scale is alpha / r in
    the words of the paper. With b = 0 at the start y is 0 and only b learns at first.
    """
    return (scale * _product(_product(x, a), b)).astype(x.dtype)


def _product(x, w):
    return jnp.matmul(x, w, preferred_element_type=wide_dtype(x))


def low_rank_linear_fwd(x, a, b, scale):
    """Keeps its arguments, which the caller holds anyway: x a is r numbers per row, but one more product away only."""
    return low_rank_linear(x, a, b, scale), (x, a, b)


def low_rank_linear_bwd(scale, residuals, dy):
    """In two stages, h = x a and y = scale h b, each an affine map without a bias:

        dh = scale dy b^T        db = scale h^T dy        dx = dh a^T        da = x^T dh

    with rows summed over in da and db. The cost is r (d + m) per row, where the product a b would cost d m.
    """
    x, a, b = residuals
    rows = tuple(range(x.ndim - 1))
    dy = scale * widened(dy)
    dh = _product(dy, b.T)
    db = jnp.tensordot(_product(x, a), dy, axes=(rows, rows))
    return _product(dh, a.T), jnp.tensordot(widened(x), dh, axes=(rows, rows)), db


defvjp(low_rank_linear, low_rank_linear_fwd, low_rank_linear_bwd)


def _kept(x, a, b, scale=1.0):
    return x.nbytes + a.nbytes + b.nbytes


CASES = (
    Case(low_rank_linear, (normal(5, 4), normal(4, 2), normal(2, 3)), residual_bytes=_kept, order=2),
    Case(low_rank_linear, (normal(2, 3, 4), normal(4, 2), normal(2, 5), 0.5), name="two batch axes, scaled"),
    Case(low_rank_linear, (normal(4), normal(4, 2), normal(2, 3), 2.0), name="no batch axis", residual_bytes=_kept),
    Case(low_rank_linear, (normal(3, 4), normal(4, 1), normal(1, 2)), name="rank 1"),
    Case(low_rank_linear, (normal(3, 4), normal(4, 2), full(0.0, 2, 3)), name="b = 0: only db is not 0"),
    # in bfloat16 a running sum would stop at 512
    Case(
        low_rank_linear,
        (full(2.0, 1024, 1), full(0.5, 1, 1), np.array([[1.0, 2.0]])),
        name="many rows",
        expect=(np.full((1024, 1), 1.5), np.full((1, 1), 6144.0), np.full((1, 2), 1024.0)),
    ),
)
