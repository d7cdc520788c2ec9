"""Whether two arrays differ by more than rounding can explain."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Difference:
    """One leaf of a gradient beside its oracle's, both in float64, and the bound on what rounding did to them.

    floor: what would be a large entry here if the gradient vanishes, in its units.
    """

    got: np.ndarray
    exact: np.ndarray
    bound: np.ndarray
    floor: float = 0.0

    def with_bound(self, bound: np.ndarray) -> "Difference":
        """The same beside another bound."""
        return replace(self, bound=bound)

    @cached_property
    def error(self) -> np.ndarray:
        """|got - exact|; equal infinities do not differ; nan where either is nan or only one is infinite."""
        with np.errstate(invalid="ignore"):
            return np.where(self.got == self.exact, 0.0, np.abs(self.got - self.exact))

    @cached_property
    def wrong(self) -> np.ndarray:
        """Entries that rounding cannot explain. One that is nan or infinite where the oracle is finite is always wrong."""
        broken = ~np.isfinite(self.got) & np.isfinite(self.exact)
        return broken | (self.error > self.bound)

    @cached_property
    def undefined(self) -> np.ndarray:
        """Entries about which the oracle says nothing."""
        return np.isnan(self.exact) | (np.isinf(self.exact) & (self.got != self.exact))

    @cached_property
    def scale(self) -> float:
        """The largest entry of the oracle, but no less than the floor."""
        return max(largest([self.exact]), self.floor)

    @cached_property
    def resolves(self) -> float:
        """The largest bound in units of the largest entry: a relative error below it could go unseen."""
        widest = float(np.max(self.bound, initial=0.0))
        return 0.0 if widest == 0 else widest / self.scale if self.scale > 0 else float("inf")

    @cached_property
    def worst(self) -> tuple[int, ...]:
        """The index of the entry that is furthest beyond its bound."""
        broken = ~np.isfinite(self.got) & np.isfinite(self.exact)
        with np.errstate(all="ignore"):
            ratio = np.where(
                self.error == 0, 0.0, self.error / np.where(self.bound == 0, np.finfo(float).tiny, self.bound)
            )
        ratio = np.where(broken, np.inf, np.nan_to_num(ratio, nan=0.0, posinf=np.finfo(float).max))
        return tuple(int(i) for i in np.unravel_index(np.argmax(ratio), ratio.shape)) if ratio.size else ()


SAME = 1e-6  # relative distance below which one array is taken for the other


def same(a: np.ndarray, b: np.ndarray, tolerance: float = SAME) -> bool:
    """Whether `a` is `b`, which is not zero everywhere, up to a relative distance of the two as vectors."""
    norm = float(np.linalg.norm(b))
    return norm > 0 and float(np.linalg.norm(a - b)) <= tolerance * norm


def in_double(x: Any) -> np.ndarray:
    """The same numbers in double precision: float64, or complex128."""
    x = np.asarray(x)
    return x.astype(np.complex128 if np.issubdtype(x.dtype, np.complexfloating) else np.float64)


def largest(arrays: Iterable[Any]) -> float:
    """The largest finite absolute value, 0 if there is none."""
    finite = (np.where(np.isfinite(x), np.abs(x), 0.0) for x in map(np.asarray, arrays))
    return max((float(np.max(x, initial=0.0)) for x in finite), default=0.0)
