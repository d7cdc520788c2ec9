"""x times the sigmoid of straight lines, x relu6(x + 3) / 6 (Howard et al., 2019, arXiv 1905.02244). Catalogue #31."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, uniform
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def hard_swish(x):
    """x min(max(x + 3, 0), 6) / 6, elementwise; x (...) -> y (...)."""
    wide = widened(x)  # x + 3 would round in bfloat16
    # cut at -3, beyond which the other factor is 0, so that -inf gives 0
    return (jnp.maximum(wide, -3) * (jnp.minimum(jnp.maximum(wide + 3, 0), 6) / 6)).astype(floating_dtype(x))


def hard_swish_fwd(x):
    """Keeps x, which the caller holds anyway: inside, the slope depends on it."""
    return hard_swish(x), x


def hard_swish_bwd(x, dy):
    """y = 0 for x < -3, x (x + 3) / 6 inside, x for x > 3: slopes 0, (2 x + 3) / 6 and 1. At both kinks the slope of the
    outer side is taken: 0 at -3, where the inner one is -1/2, and 1 at 3, where it is 3/2.
    """
    x, dy = widened(x), widened(dy)
    return (jnp.where(x <= -3, 0, jnp.where(x >= 3, dy, dy * (2 * x + 3) / 6)),)


defvjp(hard_swish, hard_swish_fwd, hard_swish_bwd)

CASES = (
    Case(hard_swish, (uniform(-5.0, 5.0, 4, 5),), residual_bytes=lambda x: x.nbytes),
    Case(
        hard_swish,
        (np.array([-3.0, 3.0]),),
        name="at -3 and 3: the outer slopes",
        kink=True,
        expect=(np.array([0.0, 1.0]),),
    ),
    Case(
        hard_swish,
        (np.array([-4.0, 0.0, 1.5, 4.0]),),
        name="below, inside, above",
        expect=(np.array([0.0, 0.5, 1.0, 1.0]),),
    ),
)
