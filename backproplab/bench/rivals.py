"""What a rule is compared with."""

import importlib
from collections.abc import Callable

import jax
import numpy as np

from backproplab.case import Case, function_name
from backproplab.harness.strip import strip
from backproplab.harness.view import View

# Where a function may already live under the name that ours has, the nearest counterpart first.
_LIBRARIES = ("jax.nn", "optax.losses", "optax", "jax.lax", "jax.numpy", "jax.numpy.linalg", "jax.scipy.linalg",
              "jax.scipy.special", "jax.ops")  # fmt: skip
_SAME = 1e-5  # relative: the same function, computed in another way; gelu's form with tanh is 1e-4 off


def rivals(case: Case, seen: View) -> dict[str, Callable]:
    """Other ways to the same value, differentiated by JAX, each as a function `(diff, rest) -> outputs`.

    plain: the function without its rule, or the case's reference. checkpoint: the same, keeping nothing but its
    arguments. library: what jax or optax has under that name, if it yields the same value at the case's arguments
    and JAX can differentiate it.
    """
    plain = strip(seen.call(case.reference or case.fn))
    library = _library(case, seen)
    return {"plain": plain, "checkpoint": jax.checkpoint(plain)} | ({"library": library} if library else {})


def _library(case: Case, seen: View) -> Callable | None:
    name = function_name(case.fn)
    ours = seen.call(case.fn)(seen.diff, seen.rest)
    for place in _LIBRARIES:
        theirs = getattr(importlib.import_module(place), name, None)
        if callable(theirs) and _same(ours, call := seen.call(theirs), seen):
            return call
    return None


def _same(ours: list, call: Callable, seen: View) -> bool:
    try:
        theirs = call(seen.diff, seen.rest)
        jax.eval_shape(lambda diff: jax.vjp(lambda d: call(d, seen.rest), diff)[0], seen.diff)
    except Exception:  # takes other arguments, or has no derivative
        return False
    return len(ours) == len(theirs) and all(
        a.shape == b.shape and np.allclose(a, b, rtol=_SAME, atol=_SAME, equal_nan=True) for a, b in zip(ours, theirs)
    )
