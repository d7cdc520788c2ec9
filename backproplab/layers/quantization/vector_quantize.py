"""Vector quantisation: each vector becomes the nearest of a learned codebook (van den Oord et al., 2017, arXiv 1711.00937).
Catalogue #127."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.quantization.round_ste import straight_through
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("commitment",))
def vector_quantize(x, codebook, commitment=0.25):
    """The nearest code of each vector, and what its distance costs.

    x (..., d), codebook (k, d) -> y (..., d) and loss (...), in the dtype of x. loss = (1 + commitment) |x - y|^2; no mean
    is taken. By declaration y passes its gradient to x as if it were x, and the loss moves the code towards x at full
    weight and x towards its code at the weight `commitment`. `nearest_code` gives the indices.
    """
    codes = codebook[nearest_code(x, codebook)]
    loss = (1 + commitment) * jnp.sum(jnp.square(widened(x) - widened(codes)), -1)
    return codes.astype(x.dtype), loss.astype(x.dtype)


def nearest_code(x, codebook):
    """The index of the nearest code to each vector, the first of those equally near; x (..., d), codebook (k, d) -> (...).

    |x - e|^2 = |x|^2 - 2 x.e + |e|^2, of which the first term is the same for all codes.
    """
    x, codebook = widened(x), widened(codebook)
    products = jnp.einsum("...d,kd->...k", x, codebook, precision=jax.lax.Precision.HIGHEST)
    return jnp.argmin(jnp.sum(codebook * codebook, -1) - 2 * products, -1).astype(jnp.int32)


def vector_quantize_fwd(x, codebook, commitment):
    """Keeps its arguments, which the caller holds anyway, and one index per vector."""
    return vector_quantize(x, codebook, commitment), (x, codebook, nearest_code(x, codebook))


def vector_quantize_bwd(commitment, residuals, cotangents):
    """Whichever code is nearest stays so in a neighbourhood: y is a constant of x, and its derivative 0. Declared instead,
    with e the code of x:

        dx = dy + 2 commitment dloss (x - e)        de = sum over all x of that code of 2 dloss (e - x)

    The first term copies the gradient of y, of which the codebook gets none; the codes learn from the loss alone. A code
    that nothing is nearest to gets an exact 0. Adds up in float32 or wider.
    """
    x, codebook, ids = residuals
    dy, dloss = (widened(cotangent) for cotangent in cotangents)
    apart = 2 * dloss[..., None] * (widened(x) - widened(codebook[ids]))
    return dy + commitment * apart, jnp.zeros(codebook.shape, apart.dtype).at[ids].add(-apart)


defvjp(vector_quantize, vector_quantize_fwd, vector_quantize_bwd)


def _declared(x, codebook, commitment=0.25):
    """The same with the gradients stopped where the rule stops them, for autodiff."""
    stop = jax.lax.stop_gradient
    codes = widened(codebook[nearest_code(x, codebook)])
    wide = widened(x)
    to_code, to_x = (jnp.sum(jnp.square(a - b), -1) for a, b in ((wide, stop(codes)), (stop(wide), codes)))
    return straight_through(codes, wide).astype(x.dtype), (to_x + commitment * to_code).astype(x.dtype)


def _kept(x, codebook, commitment=0.25):
    """Indices are of four bytes."""
    return x.nbytes + codebook.nbytes + 4 * (x.size // x.shape[-1])


_declares = {"by_design": True, "reference": _declared, "residual_bytes": _kept}
CASES = (
    Case(vector_quantize, (normal(6, 3), normal(4, 3)), **_declares),
    Case(vector_quantize, (normal(2, 3, 4), normal(5, 4), 1.0), name="two batch axes, commitment 1", **_declares),
    Case(vector_quantize, (normal(3), normal(4, 3)), name="one vector", **_declares),
    Case(
        vector_quantize,
        (np.array([[1.0, 0.0], [2.0, 1.0], [9.0, 9.0]]), np.array([[1.0, 1.0], [-5.0, 0.0], [8.0, 9.0]])),
        name="a code for two vectors, for none, for one",
        by_design=True,
        expect=(np.array([[1.0, 0.5], [1.5, 1.0], [1.5, 1.0]]), np.array([[-2.0, 2.0], [0.0, 0.0], [-2.0, 0.0]])),
    ),
)
