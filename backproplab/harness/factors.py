"""What a wrong gradient is beside the right one in terms of the arrays at hand: a factor left out or too many, a term too many."""

from collections.abc import Iterator, Mapping

import numpy as np

from backproplab.harness.compare import same

# Of an array f, what rules multiply by: itself, and the slopes of squares, sigmoids and tanh.
_FACTORS = {"{}": lambda f: f, "1 - {}": lambda f: 1 - f, "{}^2": lambda f: f * f, "1 - {}^2": lambda f: 1 - f * f}


def factors(got: np.ndarray, right: np.ndarray, arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Sentences on a factor that hold of `got`, entry by entry.

    arrays: by name; they need not have the gradient's shape, if its axes begin or end with theirs.
    """
    forms = {} if same(got, right) else _FACTORS  # any factor near 1 would explain a small difference
    for name, array in _with_ends(arrays):
        for f in _spread_over(np.asarray(array, np.float64), right.shape):
            for form, function in forms.items():
                words, factor = form.format(name), function(f)
                for sign, minus in ((1, ""), (-1, "minus ")):
                    if same(sign * got * factor, right):
                        yield f"is {minus}the right one without its factor {words}"
                    elif same(sign * got, right * factor):
                        yield f"is {minus}the right one times {words}: a factor too many"


def terms(got: np.ndarray, right: np.ndarray, arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Sentences on a term."""
    for name, array in arrays.items():
        for f in _spread_over(np.asarray(array, np.float64), right.shape):
            if f.shape == right.shape and (count := _multiple(got - right, f)):
                yield f"is off by {count:.6g} times {name}: a term that does not belong there"


def _with_ends(arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Each array, and then what stands first or last along its first two axes: of a recurrence, the ends count by themselves."""
    yield from arrays.items()
    for name, array in arrays.items():
        for axis, before in ((0, ""), (1, ":, ")):
            if np.ndim(array) > axis and array.shape[axis] > 1:
                for end in (0, -1):
                    yield f"{name}[{before}{end}]", np.take(array, end, axis)


def _spread_over(f: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """`f` along the last axes of `shape`, and along its first, where it fits."""
    if f.ndim <= len(shape) and f.shape == shape[len(shape) - f.ndim :]:
        yield f
    if 0 < f.ndim < len(shape) and f.shape == shape[: f.ndim]:
        yield f.reshape(*f.shape, *[1] * (len(shape) - f.ndim))


def _multiple(difference: np.ndarray, f: np.ndarray) -> float | None:
    """The number c for which `difference` is c f."""
    norm = float(np.vdot(f, f))
    c = float(np.real(np.vdot(f, difference))) / norm if norm else 0.0
    return c if c and f.size > 1 and same(c * f, difference) else None
