"""What verification holds back it gives back, whatever happens."""

import gc

import pytest
from threadpoolctl import threadpool_info

from backproplab.harness.undisturbed import undisturbed


def blas_threads():
    """Of each library that multiplies matrices for numpy or scipy."""
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_while_it_lasts():
    """One thread, and a garbage collector that waits; also one in another. Afterwards all is as it was."""
    before = gc.get_threshold(), blas_threads()
    with pytest.raises(ZeroDivisionError), undisturbed():
        with undisturbed():
            assert blas_threads() and set(blas_threads()) == {1}
        assert set(blas_threads()) == {1}
        assert gc.get_threshold() >= (50_000, 20, 50)
        raise ZeroDivisionError
    assert (gc.get_threshold(), blas_threads()) == before


def test_no_collection_at_all():
    """Is left as the user has it."""
    before = gc.get_threshold()
    gc.set_threshold(0)
    try:
        with undisturbed():
            assert gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*before)
