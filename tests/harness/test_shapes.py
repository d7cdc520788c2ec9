"""Other shapes: axes of one size change together, indices stay inside, intervals and order are kept."""

import numpy as np

from backproplab import Case
from backproplab.harness.shapes import axis_sizes, resized, with_sizes

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


def test_fixed_arguments_have_no_other_shapes():
    """A positive definite matrix of another size would have to be made by its author."""
    assert list(resized(Case(max, (np.eye(3),), domain={0: "fixed"}), (np.eye(3),), 0)) == []


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
