"""Rotary position embedding: pairs of features are turned by an angle that grows with the position. Catalogue #96.

Su et al., 2021 (arXiv 2104.09864). The scalar product of a query at position s with a key at position t then depends
on s - t alone. The map is linear and turns back by turning the other way, so the rule keeps no activation; nor does
autodiff, which keeps the sines and cosines of all angles.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, integers, normal, uniform
from backproplab.layers.gates.add import sum_to
from backproplab.precision import wide_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("base", "features", "interleaved"))
def rotary_embedding(x, positions, base=10_000.0, features=None, interleaved=False):
    """Turns the pair of features i by the angle position base^(-2 i / features).

    x (..., T, N, D), N heads, positions (..., T), integers or floating, with or without the axes in front
    -> (..., T, N, D), in the dtype of x. features: how many of the D are turned, the first ones; all if None.
    interleaved: the pairs are features 2i and 2i + 1, else i and i + features / 2, as in most checkpoints.

    Angles are float32 (or wider): at position 100,000 that of the first pair is off by up to 0.004.
    Raises ValueError for an odd number of features, or more than there are.
    """
    return _turned(x, *_sine_and_cosine(x, positions, base, features), interleaved)


def _frequencies(x, base, features):
    features = x.shape[-1] if features is None else features
    if features % 2 or not 0 <= features <= x.shape[-1]:
        raise ValueError(f"rotary_embedding turns an even number of the {x.shape[-1]} features, not {features}")
    return np.asarray(base, float) ** -(np.arange(0, features, 2) / max(features, 1))


def _sine_and_cosine(x, positions, base, features):
    """Of each position's angles, (..., T, 1, features / 2)."""
    wide = jnp.promote_types(wide_dtype(x), wide_dtype(positions))
    angles = jnp.asarray(positions, wide)[..., None, None] * jnp.asarray(_frequencies(x, base, features), wide)
    return jnp.sin(angles), jnp.cos(angles)


def _turned(x, sine, cosine, interleaved):
    a, b = _pairs(widened(x), sine.shape[-1], interleaved)
    turned = a * cosine - b * sine, a * sine + b * cosine
    if interleaved:
        turned = (jnp.stack(turned, -1).reshape(*a.shape[:-1], -1),)
    return jnp.concatenate([*(part.astype(x.dtype) for part in turned), x[..., 2 * sine.shape[-1] :]], -1)


def _pairs(x, count, interleaved):
    """The first and the second features of the pairs."""
    if interleaved:
        return x[..., 0 : 2 * count : 2], x[..., 1 : 2 * count : 2]
    return x[..., :count], x[..., count : 2 * count]


def rotary_embedding_fwd(x, positions, base, features, interleaved):
    """Keeps the positions; only if they are floating, and so have a gradient, x as well, which the caller holds."""
    positions = jnp.asarray(positions)
    floating = jnp.issubdtype(positions.dtype, jnp.floating)
    return rotary_embedding(x, positions, base, features, interleaved), (positions, x if floating else None)


def rotary_embedding_bwd(base, features, interleaved, residuals, dy):
    """One pair is y = R(t) x with the rotation R(t) = [[cos t, -sin t], [sin t, cos t]], so

        dx = R(t)^T dy = R(-t) dy

    For the angle: R'(t) = R(t) J, where J (a, b) = (-b, a) turns by a right angle. Then

        dt = dy.(R(t) J x) = (R(-t) dy).(J x) = dx_b x_a - dx_a x_b

    and as t = position frequency, dposition is the sum of frequency dt over the pairs and heads at that position.
    """
    positions, x = residuals
    sine, cosine = _sine_and_cosine(dy, positions, base, features)
    dx = _turned(widened(dy), -sine, cosine, interleaved)
    if x is None:
        return dx, None
    a, b = _pairs(widened(x), sine.shape[-1], interleaved)
    da, db = _pairs(dx, sine.shape[-1], interleaved)
    turns = jnp.sum((db * a - da * b) * _frequencies(x, base, features), (-2, -1))
    return dx, sum_to(positions.shape, turns)


defvjp(rotary_embedding, rotary_embedding_fwd, rotary_embedding_bwd)


def _kept(x, positions, *options):
    return positions.nbytes


CASES = (
    Case(rotary_embedding, (normal(2, 5, 3, 8), integers(0, 50, 5)), residual_bytes=_kept, order=2),
    Case(
        rotary_embedding,
        (normal(2, 5, 3, 8), integers(0, 50, 2, 5), 500.0, None, True),
        name="interleaved, positions of each sequence",
        residual_bytes=_kept,
    ),
    Case(rotary_embedding, (normal(4, 2, 7), integers(0, 9, 4), 10_000.0, 4), name="the first 4 of 7 features"),
    Case(rotary_embedding, (normal(4, 2, 3), integers(0, 9, 4), 10_000.0, 0), name="no features: the identity"),
    Case(rotary_embedding, (normal(4, 1, 6), full(0.0, 4)), name="position 0: the identity", argnums=(0,)),
    Case(rotary_embedding, (normal(2, 3, 2, 4), uniform(0.0, 9.0, 3)), name="floating positions", order=2),
    Case(
        rotary_embedding,
        (normal(3, 2, 6), uniform(0.0, 9.0, 3), 100.0, 4, True),
        name="floating positions, interleaved, partial",
    ),
)
