"""The arithmetic that a program runs in, and a number beside the bound on its error."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Bounded(NamedTuple):
    """A value and the bound on its error, an array of its shape; None means exact. Of a complex number, on its modulus."""

    value: Any
    error: Any


class Machine(NamedTuple):
    """The arithmetic a program runs in, per dtype: the unit roundoff, the most that a number too small to be normal is
    off by, and the largest number.

    matmul: unit roundoff to which the float32 operands of products are rounded first (TF32, bfloat16 passes); 0 for none.
    These fields are numbers or traced scalars, so one compiled analysis serves every machine. xp: the array library that
    the analysis itself computes with, numpy or jax.numpy.
    """

    roundoff: dict[str, Any]
    smallest: dict[str, Any]
    largest: dict[str, Any]
    matmul: Any
    xp: Any = np

    @property
    def float64(self) -> tuple:
        """All that a program of nothing but float64 can notice of it."""
        return self.roundoff["float64"], self.smallest["float64"], self.largest["float64"]


FLOATS: tuple[str, ...] = ("float64", "float32", "float16", "bfloat16")


def storage_roundoff(dtype: Any) -> float:
    """Unit roundoff of a floating dtype: half the distance from 1 to the next number. Types of 8 bits and fewer too."""
    return float(jnp.finfo(dtype).eps) / 2


def _smallest(dtype: str) -> float:
    """XLA flushes to 0 what is below the smallest normal number, but never in float16, whose normal numbers end early."""
    f = jnp.finfo(dtype)
    return float(f.smallest_subnormal if dtype == "float16" else f.tiny)


def executed(matmul: float = 0.0) -> Machine:
    """The machine as it is: each dtype with its own roundoff and range."""
    return Machine(
        {d: storage_roundoff(d) for d in FLOATS},
        {d: _smallest(d) for d in FLOATS},
        {d: float(jnp.finfo(d).max) for d in FLOATS},
        matmul,
    )


def lifted() -> Machine:
    """float64 for every dtype: what remains is a statement about the formula."""
    f = jnp.finfo(jnp.float64)
    one = lambda value: dict.fromkeys(FLOATS, float(value))
    return Machine(one(f.eps / 2), one(f.tiny), one(f.max), 0.0)


def _is(x: Any, kind: Any, scalar: type | tuple) -> bool:
    dtype = getattr(x, "dtype", None)
    return isinstance(x, scalar) if dtype is None else _subtype(dtype, kind)


_subtype = functools.cache(jax.dtypes.issubdtype)  # asked for every operand of every equation


name_of_dtype = functools.cache(str)  # likewise; numpy makes the name anew each time


def is_float(x: Any) -> bool:
    """Whether an array, scalar or abstract value is real floating point."""
    return _is(x, np.floating, float)


def is_complex(x: Any) -> bool:
    return _is(x, np.complexfloating, complex)


def is_inexact(x: Any) -> bool:
    """Real or complex floating point."""
    return _is(x, np.inexact, (float, complex))


def widest(x: Any) -> type:
    """The dtype of the analysis for a floating operand."""
    return np.complex128 if is_complex(x) else np.float64


def dtype_of(eqn: Any) -> str:
    """The floating type that an equation computes in; of complex numbers, that of their parts."""
    name = name_of_dtype(eqn.outvars[0].aval.dtype)
    name = {"complex64": "float32", "complex128": "float64"}.get(name, name)
    return name if name in FLOATS else "float64"


def accumulator(dtype: str) -> str:
    """16-bit sums and products are accumulated in float32 on every backend of XLA."""
    return "float32" if dtype in ("float16", "bfloat16") else dtype
