"""What the experiments share: training by hand-written rules or autodiff or both, and what they report."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backproplab.harness.strip import strip
from backproplab.training.agreement import Agreement, compare, last_place_moved, rows_reversed
from backproplab.training.loop import train

Gradients = Literal["hand", "autodiff", "both"]


class Fit(NamedTuple):
    """A trained network.

    params: what was learned, in float32.
    losses: by kind of gradient ("hand", "autodiff", and "rounding" for autodiff's twin), (epochs, steps per epoch) each.
    agreement: how hand and autodiff agree; None if only one of them ran.
    """

    name: str
    params: Any
    losses: dict[str, np.ndarray]
    agreement: Agreement | None


class Outcome(NamedTuple):
    """What an experiment found: its measures by name, and the fits behind them."""

    measures: dict[str, float]
    fits: tuple[Fit, ...]

    @property
    def at_rounding_level(self) -> bool:
        """Whether hand and autodiff agree in every fit in which they were compared."""
        return all(fit.agreement is None or fit.agreement.at_rounding_level for fit in self.fits)


def fit(
    name: str,
    loss: Callable[..., jax.Array],
    params: Any,
    data: Sequence[Any],
    optimizer: optax.GradientTransformation,
    *,
    gradients: Gradients,
    epochs: int,
    batch_size: int | None,
    seed: int,
) -> Fit:
    """Trains with a progress bar on standard error; the arguments are those of `train`.

    gradients: "hand" runs the rules in `loss`, "autodiff" what JAX derives from the stripped loss; "both" one after the
        other from one start, then autodiff's twin (see `agreement`), all in float64; hand's params are returned.
    """
    key, nudge = jax.random.split(jax.random.key(seed))
    loss_of = {"hand": loss, "autodiff": strip(loss), "rounding": rows_reversed(strip(loss))}
    both = gradients == "both"

    with jax.enable_x64(both), _progress_bar() as bar:

        def trained(kind, start):
            task = bar.add_task(f"{name}, {kind}", total=epochs, loss="")
            progress = lambda epoch, value: bar.update(task, completed=epoch, loss=f"{value:.4f}")
            return train(loss_of[kind], start, data, optimizer, epochs, batch_size, key, progress)

        if not both:
            params, losses = trained(gradients, params)
            return Fit(name, params, {gradients: losses}, None)
        params, data = _in_dtype((params, tuple(data)), np.float64)
        starts = {"hand": params, "autodiff": params, "rounding": last_place_moved(params, nudge)}
        runs = {kind: trained(kind, start) for kind, start in starts.items()}
    losses = {kind: losses for kind, (_, losses) in runs.items()}
    return Fit(name, _in_dtype(runs["hand"][0], np.float32), losses, compare(*losses.values()))


def descent(rate: float, steps: int | None = None, decay: float = 0.0) -> optax.GradientTransformation:
    """Gradient descent with Nesterov momentum 0.9.

    rate: the learning rate; with `steps`, the number of steps to come, it falls to 0 along a cosine.
    decay: weight decay, the slope of decay / 2 * |params|^2 added to the gradient.

    Adam is not used: it divides each gradient by its size, so that a rule which is wrong by a factor trains unnoticed.
    """
    schedule = rate if steps is None else optax.cosine_decay_schedule(rate, steps)
    return optax.chain(optax.add_decayed_weights(decay), optax.sgd(schedule, momentum=0.9, nesterov=True))


def _progress_bar():
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
    )
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


def _in_dtype(tree, dtype):
    """The pytree with its floating arrays in `dtype`."""
    return jax.tree.map(
        lambda array: np.asarray(array, dtype if np.issubdtype(array.dtype, np.floating) else None), tree
    )
