"""The sum of the singular values, the convex stand-in for the rank. Catalogue #121.

`jnp.linalg.norm(a, "nuc")`. Autodiff keeps the singular vectors and values; this rule keeps one matrix of the shape of a.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full
from backproplab.layers.linear_algebra.solve_triangular import product, real
from backproplab.layers.linear_algebra.svd import stretched
from backproplab.rule import defvjp


@jax.custom_vjp
def nuclear_norm(a):
    """a (..., m, n), real -> (...), in the dtype of a. Computed in float32 or wider. TypeError for complex numbers."""
    return jnp.sum(jnp.linalg.svd(real("nuclear_norm", a), compute_uv=False), -1).astype(a.dtype)


def nuclear_norm_fwd(a):
    """Keeps U V^T, without the pairs of vectors whose singular value is 0 but for rounding."""
    wide = real("nuclear_norm", a)
    u, s, vt = jnp.linalg.svd(wide, full_matrices=False)
    roundoff = max(a.shape[-2:]) * jnp.finfo(s.dtype).eps
    there = s > roundoff * jnp.max(s, -1, keepdims=True, initial=0)
    return jnp.sum(s, -1).astype(a.dtype), product(jnp.where(there[..., None, :], u, 0), vt)


def nuclear_norm_bwd(polar, dy):
    """Each singular value s_i = u_i^T a v_i has the slope u_i v_i^T (the vectors' own change cancels: they are of unit
    length), so the sum has U V^T. With equal singular values the sum over their group does not depend on the basis.

    At a singular value of 0 the norm has a kink, like |x| at 0: its part of U V^T may be any matrix of that space with
    singular values up to 1. Declared is 0, the least, and for a = 0 the gradient 0.
    """
    return (dy[..., None, None] * polar,)


defvjp(nuclear_norm, nuclear_norm_fwd, nuclear_norm_bwd)

_fixed = {0: "fixed"}
_kept = lambda a: max(4, a.itemsize) * a.size
CASES = (
    Case(nuclear_norm, (stretched(3, 4),), residual_bytes=_kept, domain=_fixed),
    Case(nuclear_norm, (stretched(2, 3, 2),), name="tall, batch", residual_bytes=_kept, domain=_fixed),
    Case(nuclear_norm, (np.diag([3.0, -3.0]),), name="equal values", expect=(np.diag([1.0, -1.0]),), domain=_fixed),
    Case(
        nuclear_norm, (full(0.0, 2, 3),), name="zero: gradient 0", kink=True, expect=(np.zeros((2, 3)),), domain=_fixed
    ),
)
