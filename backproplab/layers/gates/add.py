"""The add gate: it distributes the upstream gradient to its inputs. Lecture L13, catalogue #1.

Broadcasting is the half of this page that matters: what the forward pass repeats, the backward pass adds up. `sum_to`
does it for every gate of two arguments.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import wide_dtype
from backproplab.rule import defvjp


@jax.custom_vjp
def add(x, y):
    """x + y, elementwise. x and y are of any shapes that broadcast against each other."""
    return jnp.add(x, y)


@jax.tree_util.register_static
class Shape(tuple):
    """The shape of an array as static data: it travels with the residuals and takes no bytes of them."""


def sum_to(shape, dz):
    """The transpose of broadcasting an array of `shape` to the shape of dz: dz summed over the axes it was repeated on.

    If z repeats one entry of x in several places, that entry has as many ways to the loss, and along each it has the
    gradient of that place; so they add. Repeated are the axes that broadcasting put in front, and those where `shape`
    has a 1. Adds up in float32 or wider.
    """
    added = dz.ndim - len(shape)
    stretched = tuple(axis for axis in range(added, dz.ndim) if shape[axis - added] == 1 and dz.shape[axis] != 1)
    axes = (*range(added), *stretched)
    return jnp.sum(dz, axes, dtype=wide_dtype(dz)).reshape(shape)


def add_fwd(x, y):
    """Keeps two shapes and no array: the gate is linear, so its local gradients do not depend on where it is."""
    return jnp.add(x, y), (Shape(jnp.shape(x)), Shape(jnp.shape(y)))


def add_bwd(residuals, dz):
    """z = x + y, so both local gradients are 1, and each input gets dz, summed over the axes it was repeated on."""
    x_shape, y_shape = residuals
    return sum_to(x_shape, dz), sum_to(y_shape, dz)


defvjp(add, add_fwd, add_bwd)

CASES = (
    Case(add, (normal(4, 5), normal(4, 5)), residual_bytes=0, order=2),
    Case(add, (normal(3, 4), normal(4)), name="an axis in front", residual_bytes=0),
    Case(add, (normal(3, 1, 5), normal(4, 1)), name="both repeated", residual_bytes=0),
    Case(
        add, (normal(2, 3), normal()), name="a scalar: its gradient is the sum", expect=(np.ones((2, 3)), np.array(6.0))
    ),
    # in bfloat16 a running sum of ones stops at 256
    Case(add, (normal(1024), full(0.5, 1)), name="1024 repeats", expect=(np.ones(1024), np.array([1024.0]))),
    Case(add, (normal(1, 3), normal(0, 3)), name="repeated no times", expect=(np.zeros((1, 3)), np.zeros((0, 3)))),
)
