"""Other shapes: axes of one size change together, indices stay inside, intervals and order are kept."""

import numpy as np

from backproplab import Case
from backproplab.harness.shapes import axis_sizes, from_zero, resized, with_sizes

X, W = np.linspace(0.1, 0.9, 40).reshape(8, 5), np.ones((5, 6))


def test_equal_sizes_change_together():
    """The features of x and of w stay the same number; sizes stay different where they were."""
    for _, (x, w) in resized(Case(max, (X, W)), (X, W), 0):
        assert x.shape[-1] == w.shape[0]
    odd = dict(resized(Case(max, (X, W)), (X, W), 0))["with odd sizes"]
    assert len({*odd[0].shape, *odd[1].shape}) == 3


def test_what_is_alone_becomes_several():
    """A batch of one, which hides a mean over the batch; a sum of one."""
    found = dict(resized(Case(max, (X[:1], W)), (X[:1], W), 0))
    assert [x.shape for x in found["with every size of 1 made 3"]] == [(3, 5), (5, 6)]
    assert not any("size of 1" in words for words, _ in resized(Case(max, (X, W)), (X, W), 0))


def test_numbers_stay_in_their_interval():
    """Probabilities stay probabilities at any size; infinite entries make no NaN."""
    for _, (x, _) in resized(Case(max, (X, W)), (X, W), 0):
        assert X.min() <= x.min() and x.max() <= X.max()
    masked = np.where(X > 0.5, -np.inf, X)
    assert all(not np.isnan(x).any() for _, (x,) in resized(Case(max, (masked,)), (masked,), 0))


def test_indices_stay_inside_the_axis():
    """Labels of ten classes are labels of three when there are three."""
    labels = np.arange(10, dtype=np.int32)[::-1].copy()
    scores, few = with_sizes((np.ones((7, 10)), labels), (), {10: 3}, 0)
    assert scores.shape == (7, 3) and few.shape == (3,) and few.min() >= 0 and few.max() < 3


def test_lengths_stay_lengths():
    """Up to the size of an axis, and none is 0 where none was."""
    for lengths, least in (([6, 3, 1], 1), ([6, 0, 6], 0)):
        for new in (1, 4):
            _, found = with_sizes((np.ones((3, 6)), np.array(lengths)), (), {6: new, 3: 50}, 0)
            assert found.min() >= least and found.max() <= new


def test_offsets_end_where_the_axis_does():
    """Of ragged rows one after the other: they begin at 0 and leave none out, also where their number stays."""
    rows, offsets = np.ones((9, 2)), np.array([0, 3, 3, 9])
    for change in ({9: 17}, {9: 5, 4: 3, 2: 7}, {9: 1}):
        some, parts = with_sizes((rows, offsets), (), change, 0)
        assert parts[0] == 0 and parts[-1] == len(some) == change[9] and np.all(np.diff(parts) >= 0)


def test_weights_of_zero_and_one_stay_that():
    """A mask of floats: numbers between them would be of another kind."""
    mask = np.array([1.0, 0.0, 1.0, 1.0])
    for _, (changed, _) in resized(Case(lambda m, x: m * x, ()), (mask, np.linspace(0, 1, 4)), 0):
        assert set(np.ravel(changed)) <= {0.0, 1.0}


def test_what_is_sorted_stays_sorted():
    """Segment numbers promised to be in order."""
    (ids,) = with_sizes((np.array([0, 0, 1, 2, 2]),), (), {5: 11}, 0)
    assert ids.shape == (11,) and np.all(np.diff(ids) >= 0)


def test_what_is_made_several_is_not_all_the_same():
    """A first row in place of each is seen by rows that differ, in whole numbers too; a mask stays one, an interval is kept."""
    args = (np.array([0.7]), np.array([3]), np.ones(1), np.array([0.7]))
    case = Case(max, args, domain={3: (0.6, 1.0)})
    x, ids, mask, kept = dict(resized(case, args, 0))["with every size of 1 made 3"]
    assert len(set(x)) == 3 and len(set(ids)) > 1 and ids.min() >= 0 and ids.max() <= 3
    assert set(mask) == {1.0} and np.all((kept > 0.6) & (kept < 1.0))


def test_whole_numbers_from_zero():
    """Places begin at 0, lengths at 1, and numbers that are none of these are left alone."""
    drawn = from_zero(np.array([4, 2, 4, 3]), (4,), {5}, 0)
    assert drawn.min() >= 0 and drawn.max() <= 4 and drawn.dtype == int
    assert all(from_zero(np.array([4, 4]), (50,), {4}, seed).min() == 1 for seed in range(3))
    for given in (np.array([0, 2]), np.array([0, 0]), np.array([-1, 3]), np.array(3)):
        assert from_zero(given, given.shape, {5}, 0) is given


def test_one_length_is_no_longer_than_its_axis():
    """An end of four entries is an end of one when there is one; one that is shorter stays, and none becomes 0."""
    for length, change, found in ((4, {4: 1}, 1), (1, {4: 1}, 1), (2, {4: 3, 5: 7}, 2), (5, {4: 3}, 5)):
        assert with_sizes((np.ones(4), np.int32(length)), (), change, 0)[1] == found


def test_fixed_arguments_keep_their_shapes():
    """A positive definite matrix of another size would have to be made by its author; what is beside it may grow."""
    assert list(resized(Case(max, (np.eye(3),), domain={0: "fixed"}), (np.eye(3),), 0)) == []
    args = (np.eye(3), np.linspace(1, 2, 15).reshape(5, 3))
    found = list(resized(Case(max, args, domain={0: "fixed"}), args, 0))
    assert found and all(a.shape == (3, 3) and x.shape[-1] == 3 for _, (a, x) in found)


def test_a_batch_axis_is_put_in_front_of_the_first_argument():
    """Layers promise leading batch axes."""
    shapes = [x.shape for _, (x, _) in resized(Case(max, (X, W)), (X, W), 0)]
    assert (2, 8, 5) in shapes


def test_a_batch_axis_beside_no_axis_of_size_one():
    """Which would fit any other, and hide a rule that takes no further axis."""
    shapes = [x.shape for words, (x,) in resized(Case(max, (X[:1],)), (X[:1],), 0) if "batch" in words]
    assert len(shapes) == 1 and len(set(shapes[0])) == 3 and 1 not in shapes[0]


def test_sizes_are_those_above_one():
    """An axis of size 1 broadcasts: it stays."""
    assert axis_sizes((np.ones((1, 4)), {"w": np.ones(3)}, 2.0), ()) == [3, 4]


def test_labels_of_a_smaller_axis():
    """Also where their number stays; where they must stay themselves, so does the axis that holds them."""
    scores, labels = np.ones((4, 30)), np.array([28, 3, 0, 7], np.int32)
    (_, few) = with_sizes((scores, labels), (), {30: 5}, 0)
    assert few.tolist() == [3, 3, 0, 2]
    case = Case(max, (scores, labels), domain={1: "fixed"})
    found = {words: x.shape for words, (x, y) in resized(case, case.args, 0) if np.array_equal(y, labels)}
    assert found and all(shape[-1] > 28 for shape in found.values())
    lengths = Case(max, (scores, np.array([30, 2, 30, 1], np.int32)), domain={1: "fixed"})
    assert all(x.shape[-1] == 30 for _, (x, _) in resized(lengths, lengths.args, 0))
