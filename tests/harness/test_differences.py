"""The numerical oracle is honest: the true slope lies within the bar, and the bar is narrow enough to be of use."""

import math

import numpy as np
import pytest

from backproplab.harness.differences import Sample, across_branches, slope

UNIT = 2.0**-53


def along(f, branch=lambda t: 0.0, unit=UNIT):
    """`f` as a line whose rounding error is a few units in the last place of its value."""
    return lambda t: Sample(float(f(t)), 4 * unit * abs(float(f(t))) + 4 * unit, branch(t))


SMOOTH = {
    "sine": (np.sin, 1.0),
    "line": (lambda t: 3 * t - 7, 3.0),
    "cubic": (lambda t: (1 + t) ** 3, 3.0),
    "degree 8": (lambda t: (1 + t) ** 8, 8.0),
    "exp(20 t)": (lambda t: np.exp(20 * t), 20.0),
    "sin(50 t)": (lambda t: np.sin(50 * t), 50.0),
    "Runge": (lambda t: 1 / (1 + 25 * (t + 0.2) ** 2), -2.5),
    "large offset": (lambda t: 1e8 + np.sin(t), 1.0),
    "small": (lambda t: 1e-12 * np.exp(t), 1e-12),
    "constant": (lambda t: 5.0, 0.0),
    "stationary": (lambda t: np.cos(t), 0.0),
    "its second derivative jumps": (lambda t: np.sin(t) + 3 * t * abs(t), 1.0),
    "its third derivative jumps": (lambda t: np.sin(t) + t * t * abs(t), 1.0),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_the_bar_covers_the_error(name):
    """The derivative is known; the estimate is within its bar of it."""
    f, right = SMOOTH[name]
    found = slope(along(f))
    assert abs(found.value - right) <= found.bar


@pytest.mark.parametrize("name", ["sine", "line", "cubic", "degree 8", "exp(20 t)", "sin(50 t)", "Runge"])
def test_the_bar_is_narrow(name):
    """Eight digits, which no single step width gives to all of these functions."""
    f, right = SMOOTH[name]
    assert slope(along(f)).bar <= 1e-8 * abs(right)


def test_the_bar_grows_with_the_rounding():
    """A function of fewer digits has a wider bar."""
    narrow, wide = slope(along(np.exp)), slope(along(np.exp, unit=2.0**-24))
    assert wide.bar > 1e3 * narrow.bar
    assert abs(wide.value - 1) <= wide.bar


def test_steps_keep_to_their_branch():
    """|t - 1/1000| has slope -1 at 0; every step that crosses the kink would say something else."""
    f = lambda t: abs(t - 1e-3)
    found = slope(along(f, branch=lambda t: float(t > 1e-3)))
    assert abs(found.value + 1) <= found.bar <= 1e-9


def test_steps_across_branches():
    """A bisection goes another way at every point; that its slopes settle is what is left to ask."""
    f = along(np.exp, branch=lambda t: t)
    assert slope(f) is None
    found = across_branches(f)
    assert abs(found.value - 1) <= found.bar <= 1e-9
    for count in (10, 1e3, 1e6, 1e9):  # stairs, which from afar are a slope
        assert across_branches(along(lambda t, count=count: float(np.floor(count * t)) / count)) is None


def test_a_kink_has_no_slope():
    """The two sides disagree: None, not their mean."""
    assert slope(along(abs, branch=np.sign)) is None


def test_a_seam_has_the_slope_of_both_sides():
    """sin(t) and t - t^3/6 meet smoothly at 0, on two branches with a third at the point itself."""
    f = lambda t: math.sin(t) if t < 0 else t - t**3 / 6
    found = slope(along(f, branch=np.sign))
    assert abs(found.value - 1) <= found.bar <= 1e-8


def test_a_branch_at_every_point():
    """A function that never stays on one branch cannot be judged."""
    assert slope(along(np.sin, branch=lambda t: t)) is None


def test_values_that_are_not_finite():
    """The ladder steps down until all of a stencil lies where the function is defined; nowhere defined, no slope."""
    with np.errstate(invalid="ignore"):
        found = slope(along(lambda t: np.sqrt(1e-3 - t)))
    assert abs(found.value + 0.5 / math.sqrt(1e-3)) <= found.bar
    assert slope(along(lambda t: math.nan)) is None


def test_no_sample_beyond_the_largest_step():
    """Up to half of it on either side, as far as the caller's domain reaches."""
    seen = []

    def line(t):
        seen.append(t)
        return along(np.sin)(t)

    slope(line, largest=0.1)
    assert max(map(abs, seen)) <= 0.05


def test_each_point_is_evaluated_once():
    """Steps share points, and a function may be dear."""
    seen = []

    def line(t):
        seen.append(t)
        return along(np.sin)(t)

    slope(line)
    assert len(seen) == len(set(seen))


def test_stairs_that_an_iteration_leaves_open():
    """A bisection of 40 steps ends on stairs of 1e-11: they widen the bar as rounding does, and hide no slope."""
    found = across_branches(along(lambda t: float(np.floor(1e11 * np.exp(t))) / 1e11, branch=lambda t: t))
    assert 1e-9 < found.bar < 1e-5 and abs(found.value - 1) <= found.bar
