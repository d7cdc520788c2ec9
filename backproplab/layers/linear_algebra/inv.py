"""The inverse of a matrix. Catalogue #120.

It keeps the inverse, the output; autodiff keeps the factors and the order of the rows beside it. To solve a system take
`solve`, which is more accurate.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case
from backproplab.layers.linear_algebra.solve_triangular import product, square, well_conditioned
from backproplab.rule import defvjp


@jax.custom_vjp
def inv(a):
    """The inverse of a (..., n, n), real; as `jnp.linalg.inv`. Infinities or NaN for a singular a.

    Computed in float32 or wider. Raises ValueError if a is not square, TypeError for complex numbers.
    """
    return jnp.linalg.inv(square("inv", a)).astype(a.dtype)


def inv_fwd(a):
    """Keeps the inverse, the output."""
    y = inv(a)
    return y, y


def inv_bwd(y, dy):
    """From a y = 1, da y + a dy = 0: y moves by -y da y. Transposed, the cotangent of a is -y^T (cotangent of y) y^T."""
    wide, dy = square("inv", y), square("inv", dy)
    return (-product(wide.mT, dy, wide.mT),)


defvjp(inv, inv_fwd, inv_bwd)

_fixed = {0: "fixed"}
CASES = (
    Case(inv, (well_conditioned(4, 4),), residual_bytes=lambda a: a.nbytes, domain=_fixed, order=2),
    Case(inv, (well_conditioned(2, 3, 3),), name="batch", residual_bytes=lambda a: a.nbytes, domain=_fixed),
    Case(
        inv,
        (np.array([[0.0, 2.0], [4.0, 0.0]]),),
        name="exact",
        expect=(-np.array([[0.125, 0.25], [0.0625, 0.125]]),),
        domain=_fixed,
    ),
    Case(inv, (np.array([[4.0]]),), name="one by one: the reciprocal", expect=(np.array([[-0.0625]]),), domain=_fixed),
)
