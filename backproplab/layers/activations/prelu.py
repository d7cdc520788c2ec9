"""The parametric rectified linear unit: the slope on the left is learned (He, Zhang, Ren & Sun, 2015). Catalogue #21."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, away_from_zero, full, normal
from backproplab.layers.gates.add import sum_to
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def prelu(x, alpha):
    """x where x >= 0, else alpha x, in the dtype of x; alpha of a shape that broadcasts to that of x: (), (features,)."""
    wide = widened(x)
    return jnp.where(x >= 0, wide, alpha * wide).astype(floating_dtype(x))


def prelu_fwd(x, alpha):
    """Keeps x and alpha, which the caller holds anyway. y would not do: where alpha < 0 its sign is no longer that of x."""
    return prelu(x, alpha), (x, jnp.asarray(alpha))


def prelu_bwd(residuals, dy):
    """y = alpha x on the left alone, so dalpha collects dy x from there, over everything that shares one alpha:

    dx = dy where x >= 0, else alpha dy        dalpha = sum over x < 0 of dy x

    At the kink x = 0 the slope is 1, as in `leaky_relu`.
    """
    x, alpha = residuals
    dy = widened(dy)
    return jnp.where(x >= 0, dy, alpha * dy), sum_to(alpha.shape, jnp.where(x >= 0, 0, dy * x))


defvjp(prelu, prelu_fwd, prelu_bwd)


def _kept(x, alpha):
    return x.nbytes + alpha.nbytes


CASES = (
    Case(prelu, (away_from_zero(4, 5), normal()), name="one slope for all", residual_bytes=_kept),
    Case(prelu, (away_from_zero(2, 3, 4), normal(4)), name="a slope per feature", residual_bytes=_kept),
    Case(prelu, (away_from_zero(2, 3, 4), normal(3, 1)), name="a slope per row", residual_bytes=_kept),
    Case(prelu, (away_from_zero(5), np.asarray(-0.5)), name="negative slope"),
    Case(prelu, (full(0.0, 3), np.asarray(0.25)), name="zero: slope 1", expect=(np.ones(3), np.zeros(()))),
    # a running sum in bfloat16 would stop at 256
    Case(
        prelu,
        (full(-1.0, 1000), np.asarray(0.5)),
        name="a thousand entries",
        expect=(np.full(1000, 0.5), np.asarray(-1000.0)),
    ),
)
