"""The squared rectifier (So et al., 2021, arXiv 2109.08668). Catalogue #33.

The rule keeps x where autodiff keeps two arrays. Measured on a TPU autodiff is as good or better: there the compiler makes
a mask of one of them and drops the other.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def relu_squared(x):
    """max(x, 0)^2, elementwise; x (...) -> y (...)."""
    return jnp.square(jnp.maximum(widened(x), 0)).astype(floating_dtype(x))


def relu_squared_fwd(x):
    """Keeps x, which the caller holds anyway. y would do too, but its root has lost the small and the large x."""
    return relu_squared(x), x


def relu_squared_bwd(x, dy):
    """y = x^2 on the right, slope 2 x; 0 on the left. Both are 0 at x = 0, where only the second derivative jumps.
    Selected, not multiplied: an infinite cotangent of a unit that is off gives 0.
    """
    x = widened(x)
    return (jnp.where(x > 0, widened(dy) * (2 * x), 0),)


defvjp(relu_squared, relu_squared_fwd, relu_squared_bwd)

CASES = (
    Case(relu_squared, (normal(4, 5),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(relu_squared, (full(0.0, 3),), name="zero: slope 0", expect=(np.zeros(3),)),
    Case(
        relu_squared,
        (np.array([-2.0, 0.5, 3.0, 1e10]),),
        name="off and on",
        expect=(np.array([0.0, 1.0, 6.0, 2e10]),),
        dtypes=("float64", "float32"),  # bfloat16 has no 2e10
    ),
)
