"""The threshold unit and the rule that trains it without a gradient. Lecture L2, rows S16 and S22, catalogue #9."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, away_from_zero
from backproplab.rule import defvjp


@jax.custom_vjp
def heaviside(x):
    """1 where x > 0 and 0 elsewhere (at 0 and NaN too), in the dtype of x. Its gradient is 0, by declaration."""
    return _step(x)


def _step(x):
    x = jnp.asarray(x)
    return (x > 0).astype(x.dtype)


def heaviside_fwd(x):
    """Keeps nothing: the gradient is 0 whatever x."""
    return _step(x), ()


def heaviside_bwd(residuals, dy):
    """The step is flat on both sides of 0, so its derivative is 0 there; at 0 it jumps and has none. Declared is 0
    everywhere, also at 0.

    That is correct and useless: a network of threshold units has a zero gradient, no direction in which to move its
    weights. The ways out are the perceptron rule below, which is no gradient of this function, and smooth units.
    """
    return (jnp.zeros_like(dy),)


defvjp(heaviside, heaviside_fwd, heaviside_bwd)


def perceptron_rule(w, b, x, d, learning_rate):
    """One step of the perceptron rule for the unit y = heaviside(w.x + b): returns the new (w, b).

    w (d_in,), b (), x (..., d_in), targets d (...) in {0, 1}. A unit that is right is left alone; one that is wrong has
    its weights moved along the input, towards it if the answer should have been 1, away from it if 0:

        w <- w + learning_rate sum (d - y) x        b <- b + learning_rate sum (d - y)

    summed over the leading axes of x. On separable data, one instance at a time, it stops after finitely many mistakes
    (Rosenblatt 1958, Novikoff 1962); on overlapping data it never does.
    """
    error = d - _step(x @ w + b)
    return w + learning_rate * jnp.tensordot(error, x, axes=jnp.ndim(error)), b + learning_rate * jnp.sum(error)


CASES = (
    Case(heaviside, (away_from_zero(4, 5),), by_design=True, residual_bytes=0, expect=(np.zeros((4, 5)),)),
    Case(heaviside, (np.array([0.0, -0.0]),), name="the jump", by_design=True, expect=(np.zeros(2),)),
)
