"""Do two training runs differ by rounding alone? Measured, since training amplifies whatever it is given.

A gradient is rounded at every step, and the steps that follow magnify the difference: of two right programs the loss
curves may part by far more than one rounding error. How far is measured in the same run. The *twin* of the autodiff run
computes the same thing in exact arithmetic, rounded otherwise: from initial parameters moved by one unit in the last
place, with the rows of every minibatch added up in reverse order. What parts the twins is rounding and nothing else, and
the hand-written rules may be apart from autodiff by that much, times a margin for two draws of one noise.

Made for float64. In float32 a relu or a maximum now and then lands on the other side of its kink in one run and not in
another, which moves the curve by 1e-4 at once, rounding or not; in float64 that takes a billion times as long, and a
gradient that is wrong by one part in 1e9 is seen.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MARGIN = 10.0


class Agreement(NamedTuple):
    """How far apart two loss curves are, and how far rounding alone takes them.

    difference: largest difference of the two curves.
    rounding: largest difference of the autodiff curve and its twin.
    ratio: largest difference up to a step over the largest that rounding had caused up to the same step: the worst step
        decides, so that a late, chaotic one does not excuse an early, quiet one.
    """

    difference: float
    rounding: float
    ratio: float

    @property
    def at_rounding_level(self) -> bool:
        """Whether rounding explains the difference; never for NaN."""
        return self.ratio <= MARGIN

    def __str__(self) -> str:
        verdict = "rounding level" if self.at_rounding_level else "MORE THAN ROUNDING"
        return (
            f"hand against autodiff in float64: loss curves at most {self.difference:.2g} apart; "
            f"rounding alone: {self.rounding:.2g}; at the worst step {self.ratio:.2g} times that: {verdict}"
        )


def compare(hand: np.ndarray, autodiff: np.ndarray, twin: np.ndarray) -> Agreement:
    """Compares three loss curves of one shape, as `train` returns them, step by step."""
    difference, rounding = _largest_so_far(hand - autodiff), _largest_so_far(twin - autodiff)
    last_place = np.spacing(np.max(np.abs(autodiff)))  # the losses themselves are rounded, twins or not
    ratio = np.max(difference / (rounding + last_place))
    return Agreement(float(difference[-1]), float(rounding[-1]), float(ratio))


def last_place_moved(params: Any, key: jax.Array) -> Any:
    """The parameters, each entry moved up or down by one unit in the last place (an exact 0 stays one in effect)."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(tree, [_moved(leaf, key) for leaf, key in zip(leaves, keys)])


def rows_reversed(loss):
    """The loss with the instances of the minibatch in reverse order: the same mean, added up in another order."""
    return lambda params, *minibatch: loss(params, *(array[::-1] for array in minibatch))


def _moved(leaf, key):
    return jnp.nextafter(
        leaf, jnp.where(jax.random.bernoulli(key, shape=leaf.shape), jnp.inf, -jnp.inf).astype(leaf.dtype)
    )


def _largest_so_far(difference):
    return np.maximum.accumulate(np.abs(difference).ravel())
