"""Numpy arrays that a function holds, asked for in 64 bits and in 32."""

import functools

import jax
import numpy as np


@functools.cache
def keep_constants_apart() -> None:
    """Mends JAX for this process, where it needs it: a numpy array must not have the width of another mode.

    Without jax_enable_x64, JAX takes an array of 64 bits for one of 32. As long as something holds what it has taken the array
    for, it hands out the same in the other mode, too (0.10 to 0.12), and refuses what no longer fits: a table of weights or of
    indices in float64 or int64, which is what numpy makes, would fail every right rule, for a verdict asks in both modes.
    """
    try:
        from jax._src import dtypes, literals

        table = np.zeros(2)
        with jax.enable_x64(True):
            taken = dtypes.canonicalize_value(table)
        with jax.enable_x64(False):
            mixed_up = taken.dtype == dtypes.canonicalize_value(table).dtype
        if mixed_up:
            as_typed = lambda x: literals.TypedNdArray(np.asarray(x, dtypes.canonicalize_dtype(x.dtype)))
            dtypes.register_canonicalize_value_handler(np.ndarray, as_typed)
    except (ImportError, AttributeError):  # another JAX, with other ways inside
        return
