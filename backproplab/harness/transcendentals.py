"""`python -m backproplab.harness.transcendentals`: how many roundings XLA's functions cost on the present backend.

Each function is run at points dense and log-spaced over its domain and compared with mpmath. Printed per function and
dtype is the worst error beside what `error_rules.units` allows at that argument, both in units of the roundoff times the
size that is counted with there. The table must allow `SAFETY` times what is found: exit code 1 if it does not.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import mpmath
import numpy as np
from jax import lax
from jax import numpy as jnp

from backproplab.harness.error_rules import storage_roundoff
from backproplab.harness.error_rules.units import SAFETY, floor, units

_DIGITS = 60
_POINTS = 1500
_FEW = 3
_DTYPES = ("float64", "float32", "bfloat16", "float16")


class _Function(NamedTuple):
    """A function in mpmath, the open interval where it is real, and points around which to look more closely."""

    exact: Callable
    low: float = -np.inf
    high: float = np.inf
    near: tuple[float, ...] = (0.0, 1.0, -1.0)


_m = mpmath


def _log_gamma(x):
    return _m.inf if x <= 0 and x == _m.floor(x) else _m.log(abs(_m.gamma(x)))


def _digamma(x):
    return _m.nan if x <= 0 and x == _m.floor(x) else _m.digamma(x)


_FUNCTIONS: dict[str, _Function] = {
    "exp": _Function(_m.exp), "exp2": _Function(lambda x: _m.mpf(2) ** x), "log": _Function(_m.log, 0.0), "log2": _Function(lambda x: _m.log(x) / _m.log(2), 0.0),
    "log1p": _Function(_m.log1p, -1.0, np.inf, (0.0, -0.29, -0.375, 0.41)), "expm1": _Function(_m.expm1), "tanh": _Function(_m.tanh),
    "logistic": _Function(lambda x: 1 / (1 + _m.exp(-x))), "sqrt": _Function(_m.sqrt, 0.0), "rsqrt": _Function(lambda x: 1 / _m.sqrt(x), 0.0),
    "cbrt": _Function(lambda x: _m.sign(x) * _m.cbrt(abs(x))), "erf": _Function(_m.erf), "erfc": _Function(_m.erfc),
    "erf_inv": _Function(lambda x: _m.erfinv(x), -1.0, 1.0), "sin": _Function(_m.sin, -1e4, 1e4, (0.0, np.pi, 2 * np.pi, 50 * np.pi)), "cos": _Function(_m.cos, -1e4, 1e4, (np.pi / 2, 20.5 * np.pi)),
    "tan": _Function(_m.tan, -1e4, 1e4, (0.0, np.pi / 2, np.pi)), "atan": _Function(_m.atan), "asin": _Function(_m.asin, -1.0, 1.0), "acos": _Function(_m.acos, -1.0, 1.0),
    "asinh": _Function(_m.asinh), "acosh": _Function(_m.acosh, 1.0), "atanh": _Function(_m.atanh, -1.0, 1.0),
    "sinh": _Function(_m.sinh), "cosh": _Function(_m.cosh), "lgamma": _Function(_log_gamma, -100.0, 1e6, (1.0, 2.0, -1.0, -2.457)),
    "digamma": _Function(_digamma, -100.0, 1e6, (1.4616, -0.504, -3.0)),
    "bessel_i0e": _Function(lambda x: _m.besseli(0, x) * _m.exp(-abs(x)), -500.0, 500.0), "bessel_i1e": _Function(lambda x: _m.besseli(1, x) * _m.exp(-abs(x)), -500.0, 500.0),
}  # fmt: skip


def points(f: _Function, dtype: Any, count: int) -> np.ndarray:
    """Dense between -20 and 20, log-spaced over the range of the dtype, and close around the points named."""
    info, generator = jnp.finfo(dtype), np.random.default_rng(0)
    top = min(float(info.max) / 4, 1e30)
    spread = np.exp(
        generator.uniform(np.log(float(info.tiny) * 4 if float(info.tiny) > 1e-300 else 1e-300), np.log(top), count)
    )
    close = np.concatenate(
        [a + np.exp(generator.uniform(np.log(1e-16), np.log(0.3), count // 8)) * s for a in f.near for s in (-1, 1)]
    )
    ends = [
        e + s * np.exp(generator.uniform(np.log(1e-16), 0.0, count // 8))
        for e, s in ((f.low, 1), (f.high, -1))
        if np.isfinite(e)
    ]
    usual = np.exp(generator.uniform(np.log(1e-6), np.log(1e3), count // 2))
    x = np.concatenate(
        [
            usual,
            -usual,
            generator.uniform(-20, 20, count),
            generator.uniform(-1, 1, count // 2),
            spread,
            -spread,
            close,
            *ends,
        ]
    )
    x = x.astype(dtype)
    wide = x.astype(np.float64)
    return x[(wide > f.low) & (wide < f.high) & np.isfinite(wide) & ((wide == 0) | (np.abs(wide) >= float(info.tiny)))]


class Worst(NamedTuple):
    """The roundings found where they are the largest share of those allowed, and where that is."""

    found: float
    allowed: float
    at: float

    @property
    def share(self) -> float:
        return self.found / self.allowed


def worst(name: str, dtype: Any, count: int = _POINTS) -> Worst:
    """The evaluation that comes closest to what the table allows."""
    f, info, roundoff = _FUNCTIONS[name], jnp.finfo(dtype), storage_roundoff(dtype)
    tiny, most = float(info.tiny), float(info.max) / 2
    with jax.enable_x64(True), mpmath.workdps(_DIGITS), np.errstate(all="ignore"):
        x = points(f, dtype, count)
        x = x[: len(x) - len(x) % _FEW]
        run = jax.jit(getattr(lax, name, None) or getattr(jnp, name))  # jax 0.10 has no lax.log2
        # XLA has other code for what does not fill a vector: the same points a few at a time
        few = np.concatenate([run(part) for part in x.reshape(-1, _FEW)])
        got = np.stack([run(x), few], 1).astype(np.float64)
        wide = x.astype(np.float64)
        floors = np.broadcast_to(floor(name, wide, np), wide.shape)
        allowed = np.broadcast_to(units(name, wide, np), wide.shape)
        closest = Worst(0.0, 1.0, float("nan"))
        for values, v, low, limit in zip(got, wide, floors, allowed):
            exact = f.exact(_m.mpf(v))
            size = abs(exact) + low
            if not tiny <= abs(exact) < most and not (low and abs(exact) < most):
                continue  # overflows, or may be flushed to 0
            error = max(abs(_m.mpf(float(value)) - exact) for value in values)
            here = Worst(float(error / (size * roundoff)), float(limit), float(v))
            closest = max(closest, here, key=lambda w: w.share)
        return closest


def table(
    names: Iterable[str] = tuple(_FUNCTIONS), dtypes: Iterable[str] = _DTYPES
) -> Iterator[tuple[str, dict[str, Worst]]]:
    """Per function the worst per dtype."""
    for name in names:
        yield name, {d: worst(name, jnp.dtype(d)) for d in dtypes}


def main() -> int:
    print(f"roundings on {jax.default_backend()}: found / allowed (at); {SAFETY} times what is found must be allowed")
    enough = True
    for name, found in table():
        allowed = all(SAFETY * w.share <= 1 for w in found.values())
        enough &= allowed
        columns = "  ".join(f"{d} {w.found:.3g} / {w.allowed:.3g} ({w.at:.6g})" for d, w in found.items())
        print(f"{name:10} {columns}{'' if allowed else '  TOO SMALL'}", flush=True)
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
