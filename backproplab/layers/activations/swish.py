"""Swish: x sigmoid(beta x) with a learned beta (Ramachandran, Zoph & Le, 2017, arXiv 1710.05941). Catalogue #27."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.gates.add import sum_to
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def swish(x, beta=1.0):
    """x / (1 + exp(-beta x)) in the dtype of x; beta of a shape that broadcasts to that of x, such as () or (features,)."""
    wide = _finite(x)
    return (wide * jax.nn.sigmoid(beta * wide)).astype(floating_dtype(x))


def _finite(x):
    """x in float32 or wider, its infinities replaced by the largest numbers, whose product with 0 is 0 and not NaN."""
    x = widened(x)
    return jnp.clip(x, jnp.finfo(x.dtype).min, jnp.finfo(x.dtype).max)


def swish_fwd(x, beta):
    """Keeps x and beta, which the caller holds anyway."""
    return swish(x, beta), (x, jnp.asarray(beta))


def swish_bwd(residuals, dy):
    """With z = beta x, s = s(z) and s'(z) = s(z) s(-z):

    dx    = dy (s + x beta s s(-z)) = dy s (1 + z s(-z))
    dbeta = sum of dy x^2 s s(-z), over everything that shares one beta

    dx is dy times the slope of `silu` at z, evaluated as there with e = exp(-|z|), and s s(-z) = e / (1 + e)^2. Where
    beta is no power of two, beta x rounds, which costs the tail a relative error of |z| units in the last place.
    """
    x, beta = residuals
    x = _finite(x)
    z = jnp.clip(beta.astype(x.dtype) * x, -1e4, 1e4)  # the slope is 0 or 1 there
    right = z > 0
    root = jnp.exp(jnp.where(right, -z, z) / 2)
    e = root * root
    slope = jnp.where(right, 1 + e + z * e, root * (1 + e + z) * root) / jnp.square(1 + e)
    return dy * slope, sum_to(beta.shape, dy * jnp.square(x * root / (1 + e)))


defvjp(swish, swish_fwd, swish_bwd)


def _kept(x, beta):
    return x.nbytes + beta.nbytes


CASES = (
    Case(swish, (normal(4, 5), normal()), name="one beta", residual_bytes=_kept, order=2),
    Case(swish, (normal(2, 3, 4), normal(4)), name="a beta per feature", residual_bytes=_kept),
    Case(swish, (normal(5), np.asarray(0.0)), name="beta 0: half the identity"),
    Case(swish, (full(0.0, 3), np.asarray(1.5)), name="zero: slope 1/2", expect=(np.full(3, 0.5), np.zeros(()))),
    Case(swish, (np.array([-30.0, 30.0, -60.0]), np.asarray(1.0)), name="tails"),
)
