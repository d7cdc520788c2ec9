"""The bilinear map x^T w y: one weight for each pair of entries. Catalogue #13.

Autodiff keeps a product of x and w beside its arguments; the rule its arguments alone.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import wide_dtype
from backproplab.rule import defvjp


@jax.custom_vjp
def bilinear(x1, x2, w, b):
    """z_m = sum_ij x1_i w_ijm x2_j + b_m.

    x1 (..., d), x2 (..., e), w (d, e, m), b (m,) -> z (..., m), in the dtype of x1; accumulated in float32 or wider. x1 and
    x2 have the same leading axes.
    """
    return (_contract("ni,nj,ijm->nm", _rows(x1), _rows(x2), w).reshape(*x1.shape[:-1], -1) + b).astype(x1.dtype)


def _rows(x):
    """All leading axes as one."""
    return x.reshape(-1, x.shape[-1]) if x.size else x.reshape(int(np.prod(x.shape[:-1])), x.shape[-1])


def _contract(subscripts, *operands):
    return jnp.einsum(subscripts, *operands, preferred_element_type=wide_dtype(operands[0]))


def bilinear_fwd(x1, x2, w, b):
    """Keeps x1, x2 and w, which the caller holds anyway. b leaves no trace in the gradients."""
    return bilinear(x1, x2, w, b), (x1, x2, w)


def bilinear_bwd(residuals, dz):
    """z is linear in each of x1, x2 and w while the others stay. Struck out one at a time, with n running over the rows:

    dx1_ni = sum_jm w_ijm x2_nj dz_nm        dx2_nj = sum_im x1_ni w_ijm dz_nm
    dw_ijm = sum_n x1_ni x2_nj dz_nm         db_m = sum_n dz_nm
    """
    x1, x2, w = residuals
    rows1, rows2 = _rows(x1), _rows(x2)
    dz = _rows(dz.astype(wide_dtype(dz)))
    dx1 = _contract("nm,ijm,nj->ni", dz, w, rows2)
    dx2 = _contract("nm,ijm,ni->nj", dz, w, rows1)
    dw = _contract("ni,nj,nm->ijm", rows1, rows2, dz)
    return dx1.reshape(x1.shape), dx2.reshape(x2.shape), dw, jnp.sum(dz, 0)


defvjp(bilinear, bilinear_fwd, bilinear_bwd)


def _kept(x1, x2, w, b):
    return x1.nbytes + x2.nbytes + w.nbytes


CASES = (
    Case(bilinear, (normal(6, 3), normal(6, 4), normal(3, 4, 5), normal(5)), residual_bytes=_kept, order=2),
    Case(bilinear, (normal(3), normal(4), normal(3, 4, 2), normal(2)), name="no batch axis", residual_bytes=_kept),
    Case(bilinear, (normal(2, 3, 2), normal(2, 3, 4), normal(2, 4, 3), normal(3)), name="two batch axes"),
    Case(bilinear, (normal(1, 1), normal(1, 1), normal(1, 1, 1), normal(1)), name="one by one"),
    # in bfloat16 a running sum of ones stops at 256
    Case(
        bilinear,
        (full(1.0, 1000, 1), full(1.0, 1000, 1), full(0.5, 1, 1, 2), full(0.0, 2)),
        name="a thousand rows",
        expect=(np.ones((1000, 1)), np.ones((1000, 1)), np.full((1, 1, 2), 1000.0), np.full(2, 1000.0)),
    ),
)
