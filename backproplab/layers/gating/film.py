"""Feature-wise linear modulation: a condition scales and shifts each feature (Perez et al., 2018, arXiv 1709.07871).

Catalogue #44. Autodiff keeps the same two arrays; in bfloat16 this rule adds up the gradients of scale and shift in float32.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.gates.add import Shape, sum_to
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def film(x, scale, shift):
    """scale x + shift, in the dtype of x; x (...) -> y (...).

    scale and shift are of shapes that broadcast to that of x: (batch, 1, 1, c) for images (batch, height, width, c). They
    are functions of the condition, most often of one linear map each; where that is to begin as the identity
    (adaptive layer norm), hand over 1 + scale.
    """
    return (widened(scale) * widened(x) + widened(shift)).astype(floating_dtype(x))


def film_fwd(x, scale, shift):
    """Keeps x and the scale, which the caller holds anyway."""
    return film(x, scale, shift), (x, jnp.asarray(scale), Shape(jnp.shape(shift)))


def film_bwd(residuals, dy):
    """A product and a sum: dx = dy scale, and over everything that shares one scale or one shift

        dscale = sum dy x        dshift = sum dy

    A scale that begins at 0 stops dx there but not dscale: it learns.
    """
    x, scale, shift_shape = residuals
    dy = widened(dy)
    return dy * scale, sum_to(scale.shape, dy * x), sum_to(shift_shape, dy)


defvjp(film, film_fwd, film_bwd)


def _kept(x, scale, shift):
    return x.nbytes + scale.nbytes


CASES = (
    Case(film, (normal(4, 5), normal(4, 5), normal(4, 5)), residual_bytes=_kept, order=2),
    Case(film, (normal(2, 3, 4, 5), normal(2, 1, 1, 5), normal(5)), name="images", residual_bytes=_kept),
    Case(
        film,
        (np.array([1.0, -2.0, 3.0]), np.asarray(0.0), np.asarray(0.5)),
        name="scale zero: it learns",
        expect=(np.zeros(3), np.asarray(2.0), np.asarray(3.0)),
    ),
    # in bfloat16 a running sum of ones stops at 256
    Case(
        film,
        (full(1.0, 1000), np.asarray(2.0), np.asarray(0.0)),
        name="a thousand entries",
        expect=(np.full(1000, 2.0), np.asarray(1000.0), np.asarray(1000.0)),
    ),
)
