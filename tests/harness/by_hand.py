"""What the harness's tests share: a function with a rule of one's own, and its point."""

from collections.abc import Callable

import jax

from backproplab import Case
from backproplab.harness.point import Point, point


def by_hand(fn: Callable, bwd: Callable, fwd: Callable | None = None) -> Callable:
    """`fn` as a `custom_vjp`; `bwd(residuals, dy)` gets the arguments as residuals unless `fwd` says otherwise."""
    rule = jax.custom_vjp(fn)
    rule.defvjp(fwd or (lambda *args: (fn(*args), args)), bwd)
    return rule


def square(bwd: Callable, fwd: Callable | None = None) -> Callable:
    """x*x with the backward pass `bwd(x, dy)`, which returns the cotangent of x alone."""
    return by_hand(lambda x: x * x, lambda x, dy: (bwd(x, dy),), fwd or (lambda x: (x * x, x)))


def at(fn: Callable, *args, dtype: str = "float64", seed: int = 0, **fields) -> Point:
    """The point of a case on the CPU."""
    return point(Case(fn, args, **fields), seed, dtype, jax.devices("cpu")[0], 0.0)
