"""Pictures: saved where and as they were asked for, with what they promise on them."""

import numpy as np
import pytest

from backproplab.training.agreement import Agreement
from backproplab.training.experiment import Fit
from backproplab.training.picture import BLUE, GREY, ORANGE, landscape, learning_curve, mistakes, panels

pytest.importorskip("matplotlib")


def fit(**losses):
    """A fit with these losses, compared if there are three."""
    return Fit("unit", None, losses, Agreement(1e-16, 1e-16, 1.0) if len(losses) == 3 else None)


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_a_picture_is_saved_in_the_format_of_its_name(tmp_path, ending, start):
    """The endings that the command line offers all work, and no display is needed."""
    path = tmp_path / f"picture.{ending}"
    with panels(path, "Title", columns=2, rows=2) as axes:
        assert axes.shape == (2, 2)
        axes[1, 0].plot([1, 2], [3, 4])
    assert path.read_bytes().startswith(start)


def test_the_style_stays_inside(tmp_path):
    """Drawing a picture leaves the user's own matplotlib settings as they were."""
    import matplotlib

    before = dict(matplotlib.rcParams)
    with panels(tmp_path / "picture.png", "Title") as (axes,):
        axes.plot([1, 2])
    assert dict(matplotlib.rcParams) == before


def test_a_picture_that_fails_is_not_saved(tmp_path):
    """An error while drawing comes through, and leaves no half picture behind."""
    path = tmp_path / "picture.png"
    with pytest.raises(KeyError, match="drawing"), panels(path, "Title"):
        raise KeyError("drawing")
    assert not path.exists()


def test_a_learning_curve_shows_the_mean_loss_of_each_epoch(tmp_path):
    """One curve where one kind of gradients ran: epochs from 1 on, against the mean over the steps of each."""
    losses = np.geomspace(4, 0.1, 60).reshape(20, 3)
    with panels(tmp_path / "picture.png", "Title") as (axes,):
        learning_curve(axes, fit(autodiff=losses))
        (line,) = axes.lines
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 21))
    np.testing.assert_array_equal(line.get_ydata(), losses.mean(axis=1))
    assert axes.get_yscale() == "log"


def test_a_learning_curve_of_few_epochs_is_cut_finer(tmp_path):
    """Two epochs of 50 steps are 20 points of 5 steps; one epoch of one step is a point."""
    losses = np.geomspace(4, 0.1, 100).reshape(2, 50)
    for shown, count in ((losses, 20), (losses[:1, :1], 1)):
        with panels(tmp_path / "picture.png", "Title") as (axes,):
            learning_curve(axes, fit(hand=shown))
            (line,) = axes.lines
        np.testing.assert_allclose(line.get_xdata(), np.arange(1, count + 1) * len(shown) / count)
        np.testing.assert_allclose(line.get_ydata(), shown.reshape(count, -1).mean(axis=1))


def test_a_learning_curve_of_both_shows_their_difference_beside_that_of_rounding(tmp_path):
    """The largest difference of each epoch, in its own colour; where there is none, no point."""
    autodiff = np.tile([[4.0, 2.0], [1.0, 0.5]], (10, 1))
    hand, twin = (autodiff + np.tile(moved, (10, 1)) for moved in ([[1e-3, -2e-3], [0, 0]], [[0, 1e-4], [3e-4, 0]]))
    with panels(tmp_path / "picture.png", "Title") as (axes,):
        learning_curve(axes, fit(hand=hand, autodiff=autodiff, rounding=twin))
        loss, ours, rounding = axes.lines
    assert (ours.get_color(), rounding.get_color()) == (ORANGE, GREY)
    np.testing.assert_array_equal(loss.get_ydata(), hand.mean(axis=1))
    np.testing.assert_allclose(
        ours.get_ydata(), [2e-3, np.nan] * 10, rtol=1e-12
    )  # a difference of numbers 1000 times as large
    np.testing.assert_allclose(rounding.get_ydata(), [1e-4, 3e-4] * 10, rtol=1e-11)


def test_a_landscape_is_blue_at_0_and_orange_at_1(tmp_path):
    """The plane has the colours of the two classes, first coordinate to the right, and the line where the output is 1/2."""
    from matplotlib.colors import to_rgb

    with panels(tmp_path / "picture.png", "Title") as (axes,):
        landscape(axes, lambda x: x[:, 0], (0.0, 5.0), (1.0, 9.0))
        (image,) = axes.images
        height, colors = np.asarray(image.get_array()), image.get_cmap()
        (line,) = (path for path in axes.collections[0].get_paths() if len(path.vertices))
    assert image.get_extent() == [0, 1, 5, 9]
    assert np.all(height[:, 0] == 0) and np.all(height[:, -1] == 1)
    np.testing.assert_allclose(colors(0.0)[:3], to_rgb(BLUE))
    np.testing.assert_allclose(colors(1.0)[:3], to_rgb(ORANGE))
    # interpolated between grid points in float32
    np.testing.assert_allclose(line.vertices[:, 0], 0.5, rtol=0, atol=np.finfo(np.float32).eps)


@pytest.mark.parametrize(("wrong", "shown"), [(0, 0), (1, 1), (7, 7), (30, 25)])
def test_mistakes_are_shown_with_both_names(tmp_path, wrong, shown):
    """Each wrong image, at most 25, with its class and what it was taken for; the title counts them all."""
    target = np.zeros(40, int)
    predicted = np.where(np.arange(40) < wrong, 3, 0)
    with panels(tmp_path / "picture.png", "Title") as (axes,):
        mistakes(axes, np.zeros((40, 8, 8)), predicted, target)
    assert [cell.get_title() for cell in axes.child_axes] == ["0 taken for 3"] * shown
    assert axes.get_title(loc="left") == f"{wrong} mistakes in 40" + (", the first 25" if wrong > 25 else "")
