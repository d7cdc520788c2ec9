"""What of Python's, numpy's and JAX's own ways is held back while functions are verified."""

import functools
import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController

from backproplab.harness.constants import keep_constants_apart

_CALLBACKS = logging.getLogger("jax._src.callback")
_SELDOM = (50_000, 20, 50)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Garbage is collected seldom, numpy multiplies matrices in one thread, JAX keeps constants apart (`constants`) and does not
    print the trace of a callback that raises, of which the verdict tells. Around many verdicts as around one.

    What is traced are many small objects that live on: to look through all of them so often takes a tenth of the time; and
    as often as before, after each verdict, would mean a collection at once, which costs as much as a check. A second thread
    multiplies no faster what is interpreted here; where the other cores have work of their own, as under `pytest -n auto`,
    the two wait for each other ten times as long as they work.
    """
    keep_constants_apart()
    before, loud = gc.get_threshold(), _CALLBACKS.disabled
    _CALLBACKS.disabled = True
    gc.set_threshold(*(map(max, before, _SELDOM) if before[0] else before))
    try:
        with _libraries().limit(limits=1, user_api="blas"):
            yield
    finally:
        gc.set_threshold(*before)
        _CALLBACKS.disabled = loud


@functools.cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()
