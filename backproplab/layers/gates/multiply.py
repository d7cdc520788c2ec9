"""The multiply gate: each input gets the upstream gradient times the other. Lecture L13, catalogue #2."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.gates.add import sum_to
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def multiply(x, y):
    """x y, elementwise. x and y are of any shapes that broadcast against each other."""
    return jnp.multiply(x, y)


def multiply_fwd(x, y):
    """Keeps x and y, which the caller holds anyway: each is the other's local gradient."""
    x, y = jnp.asarray(x), jnp.asarray(y)
    return x * y, (x, y)


def multiply_bwd(residuals, dz):
    """z = x y is linear in each argument alone: dz/dx = y and dz/dy = x. Both are summed over repeated axes.

    So the gradient of one input grows with the other: inputs a thousand times larger make the gradients of the weights
    they meet a thousand times larger. The product is formed in float32 or wider before it is summed. The gradients are
    finite where z overflows; an infinite factor and a cotangent of 0 give NaN, as 0 times infinity does everywhere.
    """
    x, y = residuals
    dz = widened(dz)
    return sum_to(x.shape, dz * y), sum_to(y.shape, dz * x)


defvjp(multiply, multiply_fwd, multiply_bwd)


def _kept(x, y):
    return x.nbytes + y.nbytes


CASES = (
    Case(multiply, (normal(4, 5), normal(4, 5)), residual_bytes=_kept, order=2),
    Case(multiply, (normal(3, 1, 5), normal(4, 1)), name="both repeated", residual_bytes=_kept, order=2),
    Case(multiply, (normal(2, 3), normal()), name="a scalar factor", residual_bytes=_kept),
    Case(multiply, (full(0.0, 3), normal(3)), name="a factor of zero"),
    Case(multiply, (full(1e-25, 3), full(3e-25, 3)), name="the product underflows in float32, the gradients do not"),
    # rounding each product to bfloat16 before the sum, or summing in it, would show here
    Case(multiply, (full(1.0, 512), full(1.25, 1)), name="512 repeats", expect=(np.full(512, 1.25), np.array([512.0]))),
)
