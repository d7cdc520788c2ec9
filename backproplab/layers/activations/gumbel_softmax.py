"""Gumbel-softmax, a sample from categories that has a gradient (Jang, Gu & Poole, 2017; Maddison, Mnih & Teh, 2017).
Catalogue #39.

Autodiff keeps noise, probabilities and more; this rule keeps the logits and the key, and draws the same noise again.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal, prng_key, uniform
from backproplab.layers.gates.add import sum_to
from backproplab.layers.losses.softmax import softmax, softmax_bwd
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("hard",))
def gumbel_softmax(logits, key, temperature=1.0, hard=False):
    """softmax((logits + G) / temperature) along the last axis, G standard Gumbel noise.

    logits (..., d), key a JAX PRNG key, temperature > 0 of a shape that broadcasts to that of the logits -> y (..., d), in
    their dtype. The largest entry is that of a sample from softmax(logits). hard: y is that sample, one-hot, with the
    gradient of the soft one (straight-through). The same key draws the same noise, whatever the dtype. A category at -inf
    is never drawn.
    """
    scores = _scores(logits, key, temperature)[0]
    y = jax.nn.one_hot(jnp.argmax(scores, -1), scores.shape[-1]) if hard else softmax(scores)
    return y.astype(logits.dtype)


def _scores(logits, key, temperature):
    """(logits + G - largest) / temperature and its numerator, 0 where a category is at -inf. Numerators are 0 or negative,
    so that a small temperature overflows to -inf, which has probability 0."""
    wide = widened(logits)
    noisy = wide + _gumbel(key, logits.shape, wide.dtype)
    below = noisy - jax.lax.stop_gradient(jnp.max(noisy, -1, keepdims=True))
    never = below == -jnp.inf
    below = jnp.where(never, 0, below)
    return jnp.where(never, -jnp.inf, below / widened(temperature)), below


def _gumbel(key, shape, dtype):
    """-log(-log u) for u uniform on (k + 1/2) / 2^23, k = 0 .. 2^23 - 1: never 0 or 1, and exact in float32."""
    k = jax.random.bits(key, shape, "uint32") >> 9
    return -jnp.log(-jnp.log((k.astype(dtype) + 0.5) / 2**23))


def gumbel_softmax_fwd(logits, key, temperature, hard):
    """Keeps its arguments, which the caller holds anyway."""
    return gumbel_softmax(logits, key, temperature, hard), (logits, key, jnp.asarray(temperature))


def gumbel_softmax_bwd(hard, residuals, dy):
    """y = softmax(s) with s = (logits + G) / t. With ds the rule of softmax,

        dlogits = ds / t        dt = sum ds ds/dt = -sum ds (logits + G) / t^2

    G is a constant once drawn. ds sums to 0 along a row, so its largest score may be subtracted in the second line as in
    the first. `hard` changes nothing: the gradient is that of the soft sample. Entries of probability 0 get an exact 0.
    """
    logits, key, temperature = residuals
    scores, below = _scores(logits, key, temperature)
    (ds,) = softmax_bwd(softmax(scores), dy)
    dlogits = ds / widened(temperature)
    return dlogits, None, sum_to(temperature.shape, -dlogits * below / widened(temperature))


defvjp(gumbel_softmax, gumbel_softmax_fwd, gumbel_softmax_bwd)


def _kept(logits, key, temperature=1.0, hard=False):
    """The key is eight bytes."""
    return logits.nbytes + 8 + np.asarray(temperature, logits.dtype).nbytes


def _straight_through(logits, key, temperature, hard):
    """The value of the hard sample with the gradient of the soft one."""
    soft = softmax(_scores(logits, key, temperature)[0])
    return (soft + jax.lax.stop_gradient(gumbel_softmax(logits, key, temperature, hard) - soft)).astype(logits.dtype)


CASES = (
    Case(gumbel_softmax, (normal(4, 5), prng_key(), uniform(0.5, 2.0)), residual_bytes=_kept, order=2),
    Case(gumbel_softmax, (normal(2, 3, 4), prng_key(), uniform(0.5, 2.0, 3, 1)), name="a temperature per row"),
    Case(
        gumbel_softmax,
        (normal(4, 5), prng_key(), uniform(0.5, 2.0), True),
        name="hard",
        by_design=True,
        reference=_straight_through,
        residual_bytes=_kept,
    ),
    Case(gumbel_softmax, (np.array([[0.0, -np.inf, 1.0]]), prng_key(), np.asarray(0.5)), name="a category at -inf"),
    Case(gumbel_softmax, (np.array([[0.0, 9.0, -9.0]]), prng_key(), np.asarray(0.25)), name="tails"),
)
