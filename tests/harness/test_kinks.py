"""Which slope at a kink is right: any between the two sides, entry by entry, and none beyond."""

import numpy as np
import pytest

from backproplab.harness.kinks import judge_kink

AT = [np.array([0.0, 1.0])]


def relu_slopes(v, offset):
    """The directional derivative of relu, entry by entry, along `v` at AT + offset."""
    return [np.where(AT[0] + offset[0] > 0, v[0], 0.0)]


def stacked(slopes):
    """The slopes at many offsets in many directions, from those at one in one."""
    return lambda vs, offsets: [np.stack([np.ravel(x) for x in found]) for found in zip(*map(slopes, vs, offsets))]


def judged(slopes, rows, at=AT):
    """The judgement on the rule whose Jacobian is `rows`."""
    return judge_kink(
        stacked(slopes), lambda places: [np.array([rows[entry] for _, entry in places], float)], at, seed=0
    )


@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0])
def test_between_the_sides(slope):
    """0, 1 and all between are subgradients of relu at 0, and the words say which was chosen."""
    kink = judged(relu_slopes, [[slope, 0], [0, 1]])
    assert kink.admissible
    assert kink.rows.tolist() == [0]
    assert f"1 output entry lies on a kink; the rule's slope there lies {slope:.0%} of the way" in kink.words


@pytest.mark.parametrize("slope", [-0.1, 1.1, 2.0, np.nan])
def test_beyond_the_sides(slope):
    """What lies beyond is wrong, NaN too, and the words hold the numbers."""
    kink = judged(relu_slopes, [[slope, 0], [0, 1]])
    assert not kink.admissible
    assert "at a kink of output entry 0 the slope" in kink.words


def test_a_small_jump_beside_a_large_slope():
    """An entry whose slopes are a billionth of another's is on a kink all the same."""
    small = lambda v, offset: [np.stack([1e-9 * np.where(AT[0][0] + offset[0][0] > 0, v[0][0], 0.0), v[0][1]])]
    assert judged(small, [[0.5e-9, 0], [0, 1]]).admissible
    assert not judged(small, [[1.5e-9, 0], [0, 1]]).admissible


def test_a_gradient_that_leaks():
    """The kinked entry must not depend on other inputs: along those nothing is left open."""
    assert not judged(relu_slopes, [[0.5, 0.01], [0, 1]]).admissible


def test_no_kink():
    """A smooth function has none, however wrong the rule; nor has one whose slope only bends."""
    smooth = lambda v, offset: [2 * (AT[0] + offset[0]) * v[0]]
    assert judged(smooth, [[9, 9], [9, 9]]) is None
    bends = lambda v, offset: [np.abs(AT[0] + offset[0]) * v[0]]
    assert judged(bends, [[9, 9], [9, 9]]) is None


@pytest.mark.parametrize(
    ("row", "admissible"),
    [([1, 0], True), ([0, 1], True), ([0.5, 0.5], True), ([1, 1], False), ([0, 0], False), ([1.5, -0.5], False)],
)
def test_a_tie(row, admissible):
    """The maximum of two equal numbers: all to one, or shared, but neither given twice nor to nobody."""
    at = [np.array([2.0, 2.0])]

    def slopes(v, offset):
        return [v[0][np.argmax(at[0] + offset[0])][None]]

    assert judged(slopes, [row], at).admissible is admissible


def test_a_seldom_order():
    """x cut to between two lower and two upper bounds, all equal: x may take all, though one order in thirty shows it."""
    at = [np.zeros(5)]

    def slopes(v, offset):
        x, a, b, c, d = offset[0]
        value = min(max(x, a, b), c, d)
        return [v[0][np.argmax(offset[0] == value)][None]]

    assert judged(slopes, [[1, 0, 0, 0, 0]], at).admissible
    assert not judged(slopes, [[1, 1, 0, 0, 0]], at).admissible


def test_entries_of_several_outputs():
    """Flat indices run over all outputs in turn; the rule is asked for an entry of the output it belongs to."""
    asked = []

    def slopes(v, offset):
        return [v[0], np.where(AT[0] + offset[0] > 0, v[0], 0.0)]

    def row_gradients(places):
        asked.extend(places)
        return [np.array([[0.5, 0.0]])]

    kink = judge_kink(stacked(slopes), row_gradients, AT, seed=0)
    assert kink.admissible
    assert kink.rows.tolist() == [2]
    assert asked == [(1, 0)]


def test_many_kinks():
    """All are found, some are judged."""
    at = [np.zeros(200)]
    asked = []

    def row_gradients(places):
        asked.extend(entry for _, entry in places)
        return [np.eye(200)[asked]]

    kink = judge_kink(stacked(lambda v, offset: [np.where(offset[0] > 0, v[0], 0.0)]), row_gradients, at, seed=0)
    assert kink.admissible
    assert len(kink.rows) == 200
    assert 32 <= len(asked) <= 128


@pytest.mark.parametrize(("slope", "admissible"), [(1.0, True), (0.0, False), (0.5, False)])
def test_a_seam(slope, admissible):
    """Where both sides have the slope 1 and the formula at the point itself has 0, only 1 is right."""
    seam = lambda v, offset: [np.where(AT[0] + offset[0] == 0, 0.0, v[0])]
    kink = judged(seam, [[slope, 0], [0, 1]])
    assert kink.rows.tolist() == [0]
    assert kink.admissible is admissible


@pytest.mark.parametrize(("slope", "admissible"), [(1.0, True), (0.9999, False), (0.0, False)])
def test_a_seam_beside_a_large_entry(slope, admissible):
    """sign(x) log1p(|x|), of which autodiff has the slope 0 at 0: a step in the size of the other entry bends far from there."""
    at = [np.array([0.0, 1e6])]

    def slopes(v, offset):
        x = at[0] + offset[0]
        return [np.where(x == 0, 0.0, v[0] / (1 + np.abs(x)))]

    kink = judged(slopes, [[slope, 0], [0, 1 / (1 + 1e6)]], at)
    assert kink.rows.tolist() == [0] and kink.admissible is admissible


def test_entries_of_all_sizes():
    """|x| at 0, beside entries of 1e18 and of 1e-15: a kink at 0 alone, though the slopes of the large one are far larger."""
    at = [np.array([0.0, 1e-15, 1e18])]

    def slopes(v, offset):
        return [np.sign(at[0] + offset[0]) * v[0]]

    assert judged(slopes, [[0.5, 0, 0], [0, 1, 0], [0, 0, 1]], at).rows.tolist() == [0]
    assert not judged(slopes, [[1.5, 0, 0], [0, 1, 0], [0, 0, 1]], at).admissible


@pytest.mark.parametrize(
    ("row", "admissible"),
    [([1, 0, 0], True), ([0, 1, 0], True), ([1 / 3, 1 / 3, 1 / 3], True), ([1, 1, -1], False), ([0, 0, 0], False)],
)
def test_a_function_that_is_not_convex(row, admissible):
    """The middle of three equal numbers: any of them may be it, though on a line through the point some never are."""
    at = [np.zeros(3)]

    def slopes(v, offset):
        return [v[0][np.argsort(offset[0], kind="stable")[1]][None]]

    assert judged(slopes, [row], at).admissible is admissible
