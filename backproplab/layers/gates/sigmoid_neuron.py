"""The logistic unit, sigmoid(w.x + b), as one gate: the sigmoid gate of the lecture. L3 and L13, catalogue #8."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import wide_dtype
from backproplab.rule import defvjp


@jax.custom_vjp
def sigmoid_neuron(x, w, b):
    """One unit: x (..., d), w (d,), b () -> y (...) in the dtype of x: the probability of class 1 given x."""
    return jax.nn.sigmoid(_weighted_sum(x, w, b)).astype(x.dtype)


def _weighted_sum(x, w, b):
    """z = w.x + b, in float32 or wider."""
    return jnp.matmul(x, w, preferred_element_type=wide_dtype(x)) + b


def sigmoid_neuron_fwd(x, w, b):
    """Keeps x and w, which the caller holds anyway, and z, one number per row. Not y, which rounds to 1 for z > 17 in
    float32 and has then forgotten its slope."""
    z = _weighted_sum(x, w, b)
    return jax.nn.sigmoid(z).astype(x.dtype), (x, w, z)


def sigmoid_neuron_bwd(residuals, dy):
    """y = s(z) with s(z) = 1 / (1 + exp(-z)), so s'(z) = exp(-z) / (1 + exp(-z))^2 = s(z) s(-z). It is even in z, and
    with e = exp(-|z|), which is at most 1, it is e / (1 + e)^2: full relative accuracy in both tails. Then

        delta = dy s'(z)       the gradient at the weighted sum
        dw = sum_rows delta x        db = sum_rows delta        dx = delta w
    """
    x, w, z = residuals
    e = jnp.exp(-jnp.abs(z))
    delta = dy.astype(z.dtype) * e / jnp.square(1 + e)
    return delta[..., None] * w, jnp.tensordot(delta, x.astype(z.dtype), axes=delta.ndim), jnp.sum(delta)


defvjp(sigmoid_neuron, sigmoid_neuron_fwd, sigmoid_neuron_bwd)


def _kept(x, w, b):
    """x and w, and one number in float32 or wider per row."""
    return x.nbytes + w.nbytes + max(4, x.dtype.itemsize) * (x.size // x.shape[-1])


CASES = (
    Case(sigmoid_neuron, (normal(6, 4), normal(4), normal()), residual_bytes=_kept, order=2),
    Case(sigmoid_neuron, (normal(4), normal(4), normal()), name="one row", residual_bytes=_kept),
    Case(sigmoid_neuron, (normal(2, 3, 5), normal(5), normal()), name="two batch axes", residual_bytes=_kept),
    Case(sigmoid_neuron, (normal(5, 1), normal(1), normal()), name="one input", residual_bytes=_kept),
    Case(
        sigmoid_neuron,
        (full(1.0, 1, 2), full(0.0, 2), np.array(0.0)),
        name="zero weights: slope 1/4",
        expect=(np.zeros((1, 2)), np.full(2, 0.25), np.array(0.25)),
    ),
    Case(sigmoid_neuron, (np.array([[30.0], [-30.0], [-80.0]]), np.array([1.0]), np.array(0.0)), name="tails"),
)
