"""The last few results of functions of arrays: several checks ask for the same."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

_LARGE = 2**25  # bytes of arrays, which a result has about as many of
_FEW = 2
_SHORT = 2**14  # bytes that are sooner copied than numpy is asked about them


class Remembered:
    """Results by what was asked and by the contents of the arrays it was asked for; of more than `most`, or than two where
    they are large, the oldest go.

    Arrays are compared, not hashed: as a rule they are the very same, and no check takes as long as hashing them. The last
    ones first, which are the cotangents: they tell one question from another.
    """

    def __init__(self, most: int):
        self.most = most
        self.results: list[tuple[Any, list, Any]] = []

    def get(self, asked: Any, arrays: Sequence, make: Callable[[], Any]) -> Any:
        """What `make` returns, or returned when the same was asked."""
        for other, known, result in self.results:
            if asked == other and len(known) == len(arrays) and all(map(_same, reversed(known), reversed(arrays))):
                return result
        most = (
            self.most if sum(x.nbytes for x in arrays if isinstance(x, np.ndarray)) < _LARGE else min(_FEW, self.most)
        )
        self.results = self.results[max(len(self.results) - most + 1, 0) :]  # before there is one more
        result = make()
        self.results = [*self.results, (asked, list(arrays), result)]
        return result


def _same(a: Any, b: Any) -> bool:
    """Whether two arrays of one type hold the same bits."""
    if a is b:
        return True
    if np.shape(a) != np.shape(b) or a.dtype != b.dtype:
        return False
    a, b = _data(a), _data(b)
    if a.nbytes <= _SHORT:
        return a.tobytes() == b.tobytes()
    one, other = (np.ascontiguousarray(x).reshape(-1).view(np.uint8) for x in (a, b))
    return np.array_equal(one, other)


def _data(x: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended) else x)
