"""The gated linear unit, a sigmoid(b) of the two halves a, b of an array (Dauphin et al., 2017, arXiv 1612.08083).

Catalogue #40. The rule keeps the array alone; autodiff keeps half of it again. In the tails of the gate, where autodiff's
s (1 - s) is 0 in float32 from b = 17 on, the slope of the gate is right.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.activations.sigmoid import sigmoid, sigmoid_bwd
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis",))
def glu(x, axis=-1):
    """The first half of x along `axis`, times the sigmoid of the second; names and order of halves as in `jax.nn.glu`.

    x (..., 2 d) -> y (..., d), in the dtype of x. Raises ValueError if the axis has an odd length.
    """
    value, gate = _halves(x, axis)
    return (value * sigmoid(gate)).astype(floating_dtype(x))


def _halves(x, axis):
    """In float32 or wider."""
    if jnp.shape(x)[axis] % 2:
        raise ValueError(f"glu halves an axis, so it must be of even length: shape {jnp.shape(x)}, axis {axis}")
    return jnp.split(widened(x), 2, axis)


def glu_fwd(x, axis):
    """Keeps x, which the caller holds anyway."""
    return glu(x, axis), x


def glu_bwd(axis, x, dy):
    """y = a s(b), a product whose second factor has the slope s'(b) = s(b) s(-b):

        da = dy s(b)        db = dy a s'(b)

    laid side by side as the halves were. s'(b) is the rule of `sigmoid`, which is exact in both tails.
    """
    value, gate = _halves(x, axis)
    dy = widened(dy)
    return (jnp.concatenate([dy * sigmoid(gate), *sigmoid_bwd(gate, dy * value)], axis),)


defvjp(glu, glu_fwd, glu_bwd)


def _kept(x, axis=-1):
    return x.nbytes


CASES = (
    Case(glu, (normal(4, 6),), residual_bytes=_kept, order=2),
    Case(glu, (normal(2, 4, 3), 1), name="middle axis", residual_bytes=_kept),
    Case(glu, (normal(2),), name="one unit"),
    Case(
        glu,
        (np.array([[3.0, -2.0, 0.0, 0.0]]),),
        name="gate at zero: half open",
        expect=(np.array([[0.5, 0.5, 0.75, -0.5]]),),
    ),
    Case(glu, (np.array([[2.0, -1.0, 0.5, 0.25, 30.0, -30.0, 60.0, -60.0]]),), name="tails of the gate"),
)
