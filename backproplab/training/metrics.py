"""Measures of what a network has learned, meant for rows that it was not trained on."""

import numpy as np
from numpy.typing import ArrayLike


def accuracy(predicted: ArrayLike, target: ArrayLike) -> float:
    """predicted and target (...), labels or truth values: the fraction of equal entries, 0 to 1."""
    predicted, target = _same_shape(predicted, target)
    return float(np.mean(predicted == target))


def exact_match(predicted: ArrayLike, target: ArrayLike) -> float:
    """predicted and target (rows, labels): the fraction of rows, 0 to 1, in which all labels are equal."""
    predicted, target = _same_shape(predicted, target)
    return float(np.mean(np.all(predicted == target, axis=-1)))


def r_squared(predicted: ArrayLike, target: ArrayLike) -> float:
    """predicted and target (...): the share of the target's variance that the prediction explains.

    1 is perfect, 0 no better than the target's mean, below 0 worse; NaN for a target that does not vary.
    """
    predicted, target = _same_shape(predicted, target)
    variation = np.sum(np.square(target - target.mean()))
    return float(1 - np.sum(np.square(target - predicted)) / variation) if variation > 0 else float("nan")


def _same_shape(predicted, target):
    """Both as arrays; ValueError rather than a silent (rows, rows) comparison of a column with a row."""
    predicted, target = np.asarray(predicted), np.asarray(target)
    if predicted.shape != target.shape:
        raise ValueError(f"predictions of shape {predicted.shape} do not fit targets of shape {target.shape}")
    return predicted, target
