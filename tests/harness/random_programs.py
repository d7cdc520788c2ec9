"""A grammar of random programs, for the property that no rounding error exceeds its bound.

A program is a list of steps; each takes arrays made before it, all of shape (3, 4), and makes one more. With one shape and
a fixed set of operations every operation is compiled once per dtype and then dispatched eagerly, op by op: ten thousand
programs cost seconds instead of an hour of compilation. The same program with `wide` runs without its casts, in float64.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

SHAPE = (3, 4)
SCALES = (1.0, 1.0, 1e-3, 30.0, 1e-20, 1e15)


class Step(NamedTuple):
    """An operation's name, and which of the arrays made so far it takes (modulo their number)."""

    operation: str
    first: int
    second: int


def _window(x, start, reducer, strides=(1, 1)):
    return lax.reduce_window(x, np.asarray(start, x.dtype), reducer, (2, 2), strides, ((0, 1), (0, 1)))


def _rows(x):
    """Whole numbers in 0..2 that depend on x."""
    return jnp.clip(jnp.nan_to_num(jnp.sum(x > 0, -1)), 0, 2).astype(jnp.int32)


_COLUMNS = np.array([[0], [2], [0]], np.int32)
_NUMBERS = lax.ScatterDimensionNumbers((1,), (0,), (0,))


def _scatter(scatter):
    return lambda x, y: scatter(x, _COLUMNS, y, _NUMBERS)


def _positive_definite(x):
    a = jnp.clip(x[:, :3], -3, 3)
    return jnp.matmul(a, a.T, precision="highest") + 2 * jnp.eye(3, dtype=x.dtype)


def _with_matrix(f):
    """f of a symmetric positive definite 3 x 3 matrix made from x, and of y; in float32 at least, as LAPACK has it."""

    def run(x, y):
        wide = jnp.promote_types(x.dtype, np.float32)
        out = f(_positive_definite(x.astype(wide)), y.astype(wide))
        return jnp.broadcast_to(out[:, :1] + out[:, -1:], SHAPE).astype(x.dtype)

    return run


def _double(carry, x):
    return carry * 0.5 + x, jnp.tanh(carry) + x


def _left(state):
    return state[0] > 0


def _count_down(state):
    i, x = state
    return i - 1, x * 0.75 + 0.125


def _fraction_of_bits(x):
    """As random.uniform makes its numbers: whole numbers, shifted into the digits of a float."""
    bits = lax.iota(np.uint32, 12).reshape(SHAPE) * np.uint32(2654435761)
    unit = lax.bitcast_convert_type((bits >> 9) | np.uint32(0x3F800000), np.float32) - 1.0
    return unit.astype(x.dtype) * x


def _fourier(x, y):
    z = jnp.fft.fft(x.astype(jnp.promote_types(x.dtype, np.float32)))
    angle = y.astype(z.real.dtype)
    w = lax.complex(jnp.cos(angle), jnp.sin(angle))
    return jnp.real(jnp.fft.ifft(z * jnp.conj(w) + w)).astype(x.dtype)


ONE = {
    "neg": lambda x: -x, "abs": abs, "square": lax.square, "cube": lambda x: lax.integer_pow(x, 3),
    "inverse square": lambda x: lax.integer_pow(x, -2), "half": lambda x: x * np.asarray(0.5, x.dtype),
    "third": lambda x: x * np.asarray(0.3, x.dtype), "plus": lambda x: x + np.asarray(0.7, x.dtype),
    "exp": lax.exp, "exp2": lax.exp2, "log": lax.log, "log1p": lax.log1p, "expm1": lax.expm1, "tanh": lax.tanh,
    "logistic": lax.logistic, "sqrt": lax.sqrt, "rsqrt": lax.rsqrt, "cbrt": lax.cbrt, "sin": lax.sin, "cos": lax.cos, "tan": lax.tan,
    "atan": lax.atan, "asinh": lax.asinh, "sinh": lax.sinh, "cosh": lax.cosh, "erf": lax.erf, "erfc": lax.erfc, "erf_inv": lax.erf_inv,
    "lgamma": lax.lgamma, "digamma": lax.digamma, "floor": lax.floor, "round": lax.round, "sign": lax.sign,
    "clamp": lambda x: lax.clamp(np.asarray(-1, x.dtype), x, np.asarray(1, x.dtype)), "relu": lambda x: lax.max(x, np.asarray(0, x.dtype)),
    "row sum": lambda x: jnp.broadcast_to(lax.reduce_sum(x, (1,))[:, None], SHAPE),
    "column product": lambda x: jnp.broadcast_to(lax.reduce_prod(x, (0,)), SHAPE),
    "row maximum": lambda x: jnp.broadcast_to(lax.reduce_max(x, (1,))[:, None], SHAPE),
    "argmax": lambda x: jnp.broadcast_to(lax.argmax(x, 1, np.int32)[:, None], SHAPE).astype(x.dtype) * x,
    "cumsum": lambda x: lax.cumsum(x, 1), "cumprod": lambda x: lax.cumprod(x, 1, reverse=True), "cummax": lambda x: lax.cummax(x, 1),
    "cummin": lambda x: lax.cummin(x, 0, reverse=True), "cumlogsumexp": lambda x: lax.cumlogsumexp(x, 1),
    "sort": lambda x: lax.sort(x, dimension=1), "argsort": lambda x: lax.sort((x, lax.broadcasted_iota(np.int32, SHAPE, 1)), dimension=1, num_keys=1)[1].astype(x.dtype),
    "top 4": lambda x: lax.top_k(x, 4)[0], "top indices": lambda x: lax.top_k(x, 4)[1].astype(x.dtype),
    "transposed": lambda x: x.T.reshape(SHAPE), "reversed": lambda x: lax.rev(x, (1,)), "pad": lambda x: lax.pad(x, np.asarray(0.5, x.dtype), ((-1, 1, 0), (1, -1, 0))),
    "window sum": lambda x: _window(x, 0, lax.add), "window maximum": lambda x: _window(x, -np.inf, lax.max),
    "gather": lambda x: x[_rows(x)], "dynamic slice": lambda x: jnp.broadcast_to(lax.dynamic_slice(x, (_rows(x)[0], np.int32(1)), (1, 4)), SHAPE),
    "scan": lambda x: lax.scan(_double, x[0], x)[1], "while": lambda x: lax.while_loop(_left, _count_down, (3, x))[1],
    "bits": _fraction_of_bits,
}  # fmt: skip
TWO = {
    "add": lax.add, "sub": lax.sub, "mul": lax.mul, "div": lax.div, "rem": lax.rem, "max": lax.max, "min": lax.min, "atan2": lax.atan2,
    "pow": lambda x, y: lax.pow(abs(x), y), "where": lambda x, y: lax.select(x > y, x, y * y),
    "matmul": lambda x, y: jnp.matmul(x, y.T) @ x, "wide matmul": lambda x, y: (jnp.dot(x, y.T, preferred_element_type=jnp.promote_types(x.dtype, np.float32)) @ x).astype(x.dtype),
    "convolution": lambda x, y: lax.conv_general_dilated(x[None, None], y[None, None, :2, :2], (1, 1), ((0, 1), (0, 1)))[0, 0],
    "scatter": lambda x, y: lax.scatter(x, np.array([[0], [2]], np.int32), y[:2], _NUMBERS, unique_indices=True),
    "scatter add": _scatter(lax.scatter_add), "scatter multiply": _scatter(lax.scatter_mul), "scatter minimum": _scatter(lax.scatter_min),
    "scatter maximum": _scatter(lax.scatter_max), "update slice": lambda x, y: lax.dynamic_update_slice(x, y[:1, :2], (_rows(x)[0], np.int32(1))),
    "pool backward": lambda x, y: jax.vjp(lambda a: _window(a, -np.inf, lax.max), x)[1](y)[0],
    "cond": lambda x, y: lax.cond(x[0, 0] > y[0, 0], lax.add, lax.mul, x, y), "fourier": _fourier,
    "ragged": lambda x, y: lax.ragged_dot(x, jnp.stack([y.T @ x, x.T @ y]), np.array([1, 2], np.int32)),
    "cholesky": _with_matrix(lambda a, y: lax.linalg.cholesky(a)), "triangular solve": _with_matrix(lambda a, y: lax.linalg.triangular_solve(a, y, left_side=True, lower=True)),
    "lu": _with_matrix(lambda a, y: lax.linalg.lu(a)[0]), "solve": _with_matrix(jnp.linalg.solve),
    "eigenvalues": _with_matrix(lambda a, y: jnp.linalg.eigh(a)[0][None]), "singular values": _with_matrix(lambda a, y: jnp.linalg.svd(a)[1][None]),
}  # fmt: skip
CASTS = {"to bfloat16": jnp.bfloat16, "to float16": jnp.float16, "to float8": jnp.float8_e4m3fn, "few digits": None}
OPERATIONS = (*ONE, *TWO, *CASTS)


def run(program: list[Step], inputs: list, wide: bool = False):
    """The last array that the program makes."""
    made = list(inputs)
    for name, first, second in program:
        x, y = made[first % len(made)], made[second % len(made)]
        if name in CASTS:
            made.append(x if wide else _cast(x, CASTS[name]))
        else:
            made.append(ONE[name](x) if name in ONE else TWO[name](x, y))
    return made[-1]


def _cast(x, dtype):
    return lax.reduce_precision(x, 5, 3) if dtype is None else x.astype(dtype).astype(x.dtype)


def random_inputs(seed: int, dtype, scale: float) -> list[np.ndarray]:
    """Two arrays, with some exact zeros and ties."""
    generator = np.random.default_rng(seed)
    draw = [generator.normal(size=SHAPE) * scale for _ in range(2)]
    draw[1] = np.where(generator.random(SHAPE) < 0.15, 0.0, np.where(generator.random(SHAPE) < 0.15, 1.0, draw[1]))
    with np.errstate(over="ignore"):
        return [x.astype(dtype) for x in draw]
