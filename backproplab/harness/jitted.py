"""Programs compiled in a hurry: most of them run a few times on a few numbers."""

import functools
from collections.abc import Callable
from typing import Any

import jax

# Most of the time to compile for the CPU is spent on making them fast.
_QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_parallel_codegen_split_count": 1}
_OLD_EMITTERS = {"xla_cpu_use_fusion_emitters": False}  # five times faster to compile; jax 0.12 has only the new ones
LONG = 1_000_000  # entries in a program's equations; above, optimizing it pays


def jitted(fn: Callable, entries: int, device: Any, often: bool = False) -> Callable:
    """`fn`, a program with so many entries in its arrays, compiled for `device`: on the CPU in a hurry, if that pays.

    often: it is to run so often that it does not.
    """
    hurry = device.platform == "cpu" and entries < LONG and not often
    return jax.jit(fn, compiler_options=quick_options() if hurry else None)


@functools.cache
def quick_options() -> dict:
    """Compiler options of the CPU that take the least time, as far as the installed JAX knows them."""
    try:
        jax.jit(lambda: 0.0, compiler_options=_QUICK | _OLD_EMITTERS).lower().compile()
    except Exception:  # an unknown option is an error of the compiler's own kind
        return _QUICK
    return _QUICK | _OLD_EMITTERS
