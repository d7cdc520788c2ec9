"""Whether two arrays differ by more than rounding can explain."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Difference:
    """One leaf of a gradient beside its oracle's, both in float64, and the bound on what rounding did to them.

    floor: what would be a large entry here if the gradient vanishes, in its units. Of a bound that is one number for all
    entries (`everywhere`) no entry is looked at, nor twice at those of the others: long arrays take their time.
    """

    got: np.ndarray
    exact: np.ndarray
    bound: np.ndarray
    floor: float = 0.0

    def with_bound(self, bound: np.ndarray) -> "Difference":
        """The same beside another bound."""
        other = replace(self, bound=bound)
        other.__dict__.update(
            {name: value for name, value in self.__dict__.items() if name in ("error", "scale", "furthest", "peak")}
        )
        return other

    @cached_property
    def error(self) -> np.ndarray:
        """|got - exact|; equal infinities do not differ; nan where either is nan or only one is infinite."""
        with np.errstate(invalid="ignore"):
            apart = np.asarray(self.got - self.exact)
            apart = np.abs(apart, out=None if np.iscomplexobj(apart) else apart)
            return apart if np.isfinite(_top(apart)) else np.where(self.got == self.exact, 0.0, apart)

    @cached_property
    def furthest(self) -> float:
        """The largest error; not a number or infinite where one is."""
        return _top(self.error)

    @property
    def finite(self) -> bool:
        """Whether all numbers are, or are equal infinities: then there is nothing else to look for."""
        return bool(np.isfinite(self.furthest))

    @property
    def _uniform(self) -> float | None:
        """The bound, if it is one for all entries."""
        return float(self.bound.flat[0]) if self.bound.size and not any(self.bound.strides) else None

    @cached_property
    def any_wrong(self) -> bool:
        if self.finite and self._uniform is not None:
            return self.furthest > self._uniform
        return bool(self.wrong.any())

    @cached_property
    def wrong(self) -> np.ndarray:
        """Entries that rounding cannot explain. One that is nan or infinite where the oracle is finite is always wrong."""
        beyond = self.error > self.bound
        return beyond if self.finite else beyond | (~np.isfinite(self.got) & np.isfinite(self.exact))

    @cached_property
    def undefined(self) -> np.ndarray:
        """Entries about which the oracle says nothing."""
        return np.isnan(self.exact) | (np.isinf(self.exact) & (self.got != self.exact))

    @cached_property
    def any_undefined(self) -> bool:
        return not self.finite and bool(self.undefined.any())

    @cached_property
    def scale(self) -> float:
        """The largest entry of the oracle, but no less than the floor."""
        return max(self.peak, self.floor)

    @cached_property
    def peak(self) -> float:
        """The largest entry of the oracle that is finite."""
        return largest([self.exact])

    @cached_property
    def resolves(self) -> float:
        """The largest bound in units of the largest entry: a relative error below it could go unseen."""
        widest = self._uniform if self._uniform is not None else _top(self.bound)
        return 0.0 if widest == 0 else widest / self.scale if self.scale > 0 else float("inf")

    @cached_property
    def worst(self) -> tuple[int, ...]:
        """The index of the entry that is furthest beyond its bound."""
        if self.finite and self._uniform is not None:
            return tuple(int(i) for i in np.unravel_index(np.argmax(self.error), self.error.shape))
        with np.errstate(all="ignore"):
            ratio = self.error / np.maximum(self.bound, np.finfo(float).tiny)
            if not self.finite:
                ratio = np.where(
                    ~np.isfinite(self.got) & np.isfinite(self.exact), np.inf, np.nan_to_num(ratio, nan=0.0)
                )
        return tuple(int(i) for i in np.unravel_index(np.argmax(ratio), ratio.shape)) if ratio.size else ()


AS_GOOD = 8.0  # how many times the rounding error of autodiff a rule may have, and how many units of the largest entry
SAME = 1e-6  # relative distance below which one array is taken for the other


def same(a: np.ndarray, b: np.ndarray, tolerance: float = SAME) -> bool:
    """Whether `a` is `b`, which is not zero everywhere, up to a relative distance of the two as vectors."""
    norm = float(np.linalg.norm(b))
    return norm > 0 and float(np.linalg.norm(a - b)) <= tolerance * norm


def everywhere(bound: float, like: np.ndarray) -> np.ndarray:
    """One bound for all entries."""
    return np.broadcast_to(bound, np.shape(like))


def in_double(x: Any) -> np.ndarray:
    """The same numbers in double precision: float64, or complex128."""
    x = np.asarray(x)
    return x.astype(np.complex128 if np.issubdtype(x.dtype, np.complexfloating) else np.float64, copy=False)


def largest(arrays: Iterable[Any]) -> float:
    """The largest finite absolute value, 0 if there is none."""
    return max(map(_largest, map(np.asarray, arrays)), default=0.0)


def _largest(x: np.ndarray) -> float:
    if x.dtype.kind in "fiu":
        ends = float(np.max(x, initial=0)), -float(np.min(x, initial=0))
        if np.isfinite(ends).all():
            return max(ends)
    return float(np.max(np.where(np.isfinite(x), np.abs(x), 0.0), initial=0.0))


def _top(sizes: np.ndarray) -> float:
    """The largest of these, none of them negative."""
    return float(np.max(sizes, initial=0.0))
