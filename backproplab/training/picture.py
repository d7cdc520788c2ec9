"""Pictures for slides: one style, drawn without a display."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from backproplab.training.extras import optional

BLUE, ORANGE, GREEN, GREY = "#2a6f97", "#e07a1f", "#3a8f5c", "#8a8f98"
STYLE = {
    "axes.edgecolor": "#4a4f57",
    "axes.labelcolor": "#2b2f36",
    "axes.prop_cycle": "cycler('color', ['#2a6f97', '#e07a1f', '#3a8f5c', '#8a8f98'])",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "figure.titlesize": 15,
    "figure.titleweight": "bold",
    "font.size": 11,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "savefig.dpi": 160,
}


@contextmanager
def panels(
    path: Path, title: str, columns: int = 1, rows: int = 1, size: tuple[float, float] = (4.6, 4.2)
) -> Iterator[Any]:
    """Gives an array (rows, columns) of axes to draw on, squeezed to (columns,) for one row, and saves them to `path`.

    size: of one panel, in inches.
    """
    matplotlib, figures = optional("matplotlib"), optional("matplotlib.figure")
    with matplotlib.rc_context(STYLE):
        figure = figures.Figure(figsize=(size[0] * columns, size[1] * rows + 0.4), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left")
        axes = figure.subplots(rows, columns, squeeze=False)
        yield axes[0] if rows == 1 else axes
        figure.savefig(path)


def learning_curve(axes: Any, fit: Any) -> None:
    """The loss of a `Fit` per epoch; where hand and autodiff were compared, their difference beside that of rounding.

    Where there are fewer than 20 epochs, each is cut into parts of equally many steps, for a curve of some 20 points.
    """
    losses = next(iter(fit.losses.values()))
    parts = max(1, min(losses.shape[1], 20 // len(losses)))
    epochs = np.arange(1, 1 + parts * len(losses)) / parts
    if fit.agreement is None:
        axes.plot(epochs, _over_parts(losses, np.mean, parts))
    else:
        axes.plot(epochs, _over_parts(losses, np.mean, parts), label="loss")
        for kind, label, color in (
            ("hand", "|hand − autodiff|", ORANGE),
            ("rounding", "|rounded otherwise − autodiff|", GREY),
        ):
            difference = _over_parts(np.abs(fit.losses[kind] - fit.losses["autodiff"]), np.max, parts)
            axes.plot(epochs, np.where(difference > 0, difference, np.nan), ".", markersize=4, color=color, label=label)
        axes.legend()
    axes.set(title="Training loss", xlabel="epoch", ylabel="mean loss", yscale="log")
    if fit.agreement is None:  # 0.6 rather than 6 x 10^-1, which a loss that falls by less than 100 would get
        formatter = optional("matplotlib.ticker").LogFormatter(minor_thresholds=(2, 0.5))
        axes.yaxis.set(major_formatter=formatter, minor_formatter=formatter)


def _over_parts(losses, measure, parts):
    """The mean or the maximum of (epochs, steps) over each part of each epoch, in their order."""
    return np.stack([measure(part, axis=1) for part in np.array_split(losses, parts, axis=1)], axis=1).ravel()


def landscape(axes: Any, function: Any, low: tuple[float, float], high: tuple[float, float]) -> None:
    """Colours the plane by `function`, (points, 2) -> (points,) from 0 (blue) to 1 (orange), and draws where it is 1/2."""
    colors = optional("matplotlib.colors").LinearSegmentedColormap.from_list("classes", [BLUE, "#ffffff", ORANGE])
    first, second = np.meshgrid(*(np.linspace(low[i], high[i], 200, dtype=np.float32) for i in range(2)))
    height = np.asarray(function(np.stack([first.ravel(), second.ravel()], axis=-1))).reshape(first.shape)
    axes.imshow(height, extent=(low[0], high[0], low[1], high[1]), origin="lower", aspect="auto", cmap=colors, alpha=0.55,
                vmin=0, vmax=1, interpolation="bilinear")  # fmt: skip
    axes.contour(first, second, height, levels=[0.5], colors="#2b2f36", linewidths=1.5)


def mistakes(axes: Any, images: Any, predicted: Any, target: Any, most: int = 25) -> None:
    """The images (rows, height, width) whose predicted class is not their target's, at most `most`, in a square grid."""
    wrong = np.flatnonzero(np.asarray(predicted) != np.asarray(target))
    shown = wrong[:most]
    side = max(1, int(np.ceil(np.sqrt(len(shown)))))
    for place, row in enumerate(shown):
        cell = axes.inset_axes((place % side / side, 1 - (place // side + 1) / side, 0.9 / side, 0.74 / side))
        cell.imshow(images[row], cmap="gray_r", interpolation="nearest")
        cell.set_title(f"{target[row]} taken for {predicted[row]}", loc="center", fontsize=min(10, 32 / side), pad=2)
        cell.axis("off")
    axes.axis("off")
    axes.set_title(
        f"{len(wrong)} mistakes in {len(target)}" + (f", the first {len(shown)}" if len(wrong) > most else "")
    )
