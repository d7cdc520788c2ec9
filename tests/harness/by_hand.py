"""What the harness's tests share: functions with rules of one's own, their points, and what to ask of them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from backproplab import Case
from backproplab.harness.point import Point, point

X = np.array([0.7, -1.25, 2.0])
WIDE = {"dtypes": ("float64",)}
ONLY_HERE = {"dtypes": ("float64",), "domain": {0: "fixed"}}  # no other points are legal


def by_hand(fn: Callable, bwd: Callable, fwd: Callable | None = None) -> Callable:
    """`fn` as a `custom_vjp`; `bwd(residuals, dy)` gets the arguments as residuals unless `fwd` says otherwise."""
    rule = jax.custom_vjp(fn)
    rule.defvjp(fwd or (lambda *args: (fn(*args), args)), bwd)
    return rule


def square(bwd: Callable, fwd: Callable | None = None) -> Callable:
    """x*x with the backward pass `bwd(x, dy)`, which returns the cotangent of x alone."""
    return by_hand(lambda x: x * x, lambda x, dy: (bwd(x, dy),), fwd or (lambda x: (x * x, x)))


def right(x, dy):
    """The backward pass of `square`."""
    return 2 * x * dy


def relu_with(slope):
    """A rectifier with that slope at 0."""
    return by_hand(lambda x: jnp.maximum(x, 0.0), lambda x, dy: (jnp.where(x[0] == 0, slope, x[0] > 0) * dy,))


def at(fn: Callable, *args, dtype: str = "float64", seed: int = 0, **fields) -> Point:
    """The point of a case on the CPU."""
    return point(Case(fn, args, **fields), seed, dtype, jax.devices("cpu")[0], 0.0)
