"""Average-pooling to a given size, and the mean over all places (global average-pooling). Catalogue #115."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.gates.add import Shape
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("output_size",))
def adaptive_average_pool(x, output_size=(1, 1)):
    """x (..., *space, c) -> y (..., *output_size, c), in the dtype of x; of ones, the default: the mean over an image.

    Along each axis of n places, cell i of m is the mean of the places from floor(i n / m) up to, but not including,
    ceil((i + 1) n / m): cells share a place where m does not divide n, as in torch.nn.AdaptiveAvgPool2d. Summed in float32 or
    wider. Raises ValueError for x with too few axes.
    """
    space = _space(x.shape, output_size)
    y = widened(x)
    for axis, (n, m) in enumerate(zip(space, output_size), start=-len(space) - 1):
        y = _along(axis, _weights(n, m), y)
    return y.astype(x.dtype)


def _space(shape, output_size):
    rank = len(output_size)
    if len(shape) < rank + 1 or 0 in shape[-rank - 1 : -1]:
        raise ValueError(f"adaptive_average_pool to {output_size} takes x (..., *space, c), not {shape}")
    return shape[-rank - 1 : -1]


def _weights(n, m):
    """(m, n): the share that each of n places has in each of m means."""
    place, cell = np.arange(n), np.arange(m)[:, None]
    inside = (place >= cell * n // m) & (place < -(-(cell + 1) * n // m))
    return inside / inside.sum(1, keepdims=True)


def _along(axis, matrix, x):
    """The matrix product along one axis of x."""
    weights = jnp.asarray(matrix, x.dtype)
    return jnp.moveaxis(jnp.tensordot(weights, x, (1, x.ndim + axis), precision="highest"), 0, axis)


def adaptive_average_pool_fwd(x, output_size):
    """Keeps nothing: the mean is linear."""
    return adaptive_average_pool(x, output_size), Shape(x.shape)


def adaptive_average_pool_bwd(output_size, shape, dy):
    """Along one axis y = M x with the weights M, so dx = M^T dy; along several, one after the other, in any order. In words:
    each mean hands its cotangent, divided by the number of its places, to each of them; shared places add up."""
    dx = widened(dy)
    for axis, (n, m) in enumerate(zip(_space(shape, output_size), output_size), start=-len(output_size) - 1):
        dx = _along(axis, _weights(n, m).T, dx)
    return (dx,)


defvjp(adaptive_average_pool, adaptive_average_pool_fwd, adaptive_average_pool_bwd)

CASES = (
    Case(adaptive_average_pool, (normal(2, 5, 7, 3), (2, 3)), residual_bytes=0, order=2),
    Case(adaptive_average_pool, (normal(2, 4, 3, 2),), name="the mean of an image", residual_bytes=0),
    Case(adaptive_average_pool, (normal(2, 7, 3), (4,)), name="one axis"),
    Case(adaptive_average_pool, (normal(2, 2, 3, 4, 1), (3, 2, 2)), name="three axes, one of them stretched"),
    Case(adaptive_average_pool, (full(2.0, 4, 2, 1),), name="no batch axis", expect=(np.full((4, 2, 1), 0.125),)),
    Case(
        adaptive_average_pool,
        (normal(5, 1), (2,)),
        name="a shared place",
        expect=(np.array([[1.0], [1.0], [2.0], [1.0], [1.0]]) / 3,),
    ),
)
