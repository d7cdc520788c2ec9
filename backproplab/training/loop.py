"""The training loop: one compiled `lax.scan` per epoch. Lecture L5, L10."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

Progress = Callable[[int, float], None]


def train(
    loss: Callable[..., jax.Array],
    params: Any,
    data: Sequence[Any],
    optimizer: optax.GradientTransformation,
    epochs: int,
    batch_size: int | None,
    key: jax.Array,
    progress: Progress | None = None,
) -> tuple[Any, np.ndarray]:
    """Minimises `loss(params, *minibatch)`, the mean over the instances of a minibatch, and says how it went.

    params: pytree of floating arrays, the start; left as it is.
    data: arrays with one row per instance, (rows, ...) each: most often x and target.
    batch_size: rows per step, None for all of them. Every epoch visits the rows in a new order; where batch_size does
        not divide their number, the rows left over wait for another epoch.
    key: decides the orders and nothing else: the same key, the same run.
    progress: called after each epoch with its number, from 1 on, and the mean of its losses.

    Returns the trained params and the losses, (epochs, steps per epoch), each taken just before its step.
    Raises ValueError if there is no epoch to run or a minibatch is larger than the data.
    """
    rows = len(data[0])
    size = rows if batch_size is None else batch_size
    if epochs < 1 or not 1 <= size <= rows:
        raise ValueError(f"cannot train for {epochs} epochs in minibatches of {size} out of {rows} rows")
    run_epoch = _epoch(loss, optimizer, rows, size)
    data = tuple(jnp.asarray(array) for array in data)
    state = optimizer.init(params)
    curve = []
    for number, epoch_key in enumerate(jax.random.split(key, epochs), start=1):
        params, state, losses = run_epoch(params, state, data, epoch_key)
        curve.append(losses)
        if progress is not None:
            progress(number, float(losses.mean()))
    return params, np.stack(curve)


def _epoch(loss, optimizer, rows, size):
    """The compiled epoch: (params, optimizer state, data, key) -> (params, optimizer state, losses)."""

    @jax.jit
    def run(params, state, data, key):
        def step(carry, chosen):
            params, state = carry
            value, gradient = jax.value_and_grad(loss)(params, *(array[chosen] for array in data))
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), value

        order = jax.random.permutation(key, rows)
        minibatches = order[: rows - rows % size].reshape(-1, size)
        (params, state), losses = jax.lax.scan(step, (params, state), minibatches)
        return params, state, losses

    return run
