"""Operands the other way round and results shared along one more axis: named, with the line, where a rule has them so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import at, by_hand

from backproplab.harness.counterfactual import other_function
from backproplab.harness.rearranged import operand, shared_axes

RANDOM = np.random.default_rng(0)
X, KERNEL = RANDOM.normal(size=(2, 7, 3)), RANDOM.normal(size=(3, 3, 3))
convolved = lambda x, w: jax.lax.conv_general_dilated(x, w, (2,), "SAME", dimension_numbers=("NHC", "HIO", "NHC"))


def grouped(x, w, change=lambda size: size):
    """Each row by its own sum of squares."""
    h = x * w
    return h / (1 + change(jnp.sum(h * h, 1, keepdims=True)))


def shared_slope(size):
    """The slope of the mean over the rows in place of each row's own."""
    return size.mean(0) + jax.lax.stop_gradient(size - size.mean(0))


OTHERS = {
    "`sin` is transposed before `dot_general`": (  # beside a matrix that does not move
        lambda x, w: KERNEL[0] @ jnp.sin(x[:3]) * w[0, 0],
        lambda x, w: KERNEL[0] @ jnp.sin(x[:3]).T * w[0, 0],
    ),
    "`w` is flipped along its spatial axes before `conv": (convolved, lambda x, w: convolved(x, w[::-1])),
    "`w` is taken with its channels in and out exchanged": (
        convolved,
        lambda x, w: convolved(x, jnp.swapaxes(w, 1, 2)),
    ),
    "is averaged over axis 0 of its result as well, as far as the slope goes": (
        lambda x, w: grouped(x, w),
        lambda x, w: grouped(x, w, shared_slope),
    ),
}


@pytest.mark.parametrize("words", OTHERS)
def test_named(words):
    """A backward pass that does so, beside a right forward pass."""
    f, other = OTHERS[words]
    rule = by_hand(f, lambda args, dy: jax.vjp(other, *args)[1](dy))
    told = other_function(at(rule, *((X, KERNEL) if f is convolved else X)), 0, 0, {})
    assert told and words in told, told


def test_where_there_is_no_other_way_round():
    """A kernel of one place and unequal channels, and a sum that leaves one number."""
    convolution, total = (
        jax.make_jaxpr(f)(X).eqns[-1] for f in (lambda x: convolved(x, KERNEL[:1, :, :2]), lambda x: jnp.sum(x))
    )
    assert operand(convolution, 1) == {} and shared_axes(total) == []
