"""Programs in 120 digits: right in the tails, in loops of indices, and honest about what they do not know."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from backproplab.harness import precise as module
from backproplab.harness.precise import NotPrecise, precise

X = np.array([0.3, 0.9, 2.5])


def run(f, *args, nudge=None):
    with jax.enable_x64(True):
        jaxpr = jax.make_jaxpr(f)(*args)
    return precise(jaxpr, args, nudge)


UNARY = [jnp.exp, jnp.exp2, jnp.log, jnp.log1p, jnp.expm1, jnp.tanh, jax.nn.sigmoid, jax.lax.erf, jax.lax.erfc, jnp.sin, jnp.cos,
         jnp.tan, jnp.sqrt, jax.lax.rsqrt, jnp.cbrt, jnp.arctan, jnp.sinh, jnp.cosh, jnp.arcsinh, jnp.floor, jnp.ceil, jnp.sign,
         jnp.abs, jnp.square, lambda x: x**3, lambda x: x**-2, lambda x: x**1.5, jax.nn.softplus, jax.nn.relu, jnp.negative]  # fmt: skip


@pytest.mark.parametrize("f", UNARY, ids=lambda f: getattr(f, "__name__", "f"))
def test_functions(f):
    """Rounded to float64 they are what JAX computes, to a few of its last digits."""
    with jax.enable_x64(True):
        right = np.asarray(f(jnp.asarray(X)))
    np.testing.assert_allclose(np.asarray(run(f, X)[0], float), right, rtol=1e-14)


ARRAYS = {
    "softmax": lambda a: jax.nn.softmax(a, -1),
    "logsumexp": lambda a: jax.nn.logsumexp(a, 0),
    "product": lambda a: a @ a.T,
    "cumulated": lambda a: jnp.cumsum(a, 1) + jnp.cumprod(a, 0),
    "gather": lambda a: a[jnp.array([1, 0, 1])],
    "scatter-add": lambda a: jnp.zeros((3, 3)).at[jnp.array([2, 2])].add(a),
    "slices": lambda a: jnp.concatenate([a[:, 1:], a[:, :1]], 1) + jax.lax.rev(a, (0,)),
    "where": lambda a: jnp.where(a > 0, a, jnp.exp(a)),
    "extremes": lambda a: a.max(0) - a.min(0) + jnp.clip(a, -0.5, 0.5),
    "gradient": jax.grad(lambda a: jnp.sum(jnp.tanh(a) @ a.T)),
    "jit": jax.jit(lambda a: jnp.sin(a) / a),
    "scan": lambda a: jax.lax.scan(lambda c, row: (c * row + 1, jnp.exp(c)), a[0], a, reverse=True)[1],
    "gradient of a scan": jax.grad(lambda a: jax.lax.scan(lambda c, row: (c * row + 1, None), a[0], a)[0].sum()),
    "scan over nothing": lambda a: jax.lax.scan(lambda c, row: (c * row, None), a[0], a[:0])[0],
    "branch": lambda a: jax.lax.cond(a.sum() > 0, jnp.sin, jnp.cos, a),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name):
    """Products, sums, indices, choices and inner programs."""
    a = np.random.default_rng(0).normal(size=(2, 3))
    with jax.enable_x64(True):
        right = np.asarray(ARRAYS[name](jnp.asarray(a)))
    found = np.asarray(run(ARRAYS[name], a)[0], float)
    assert found.shape == right.shape
    np.testing.assert_allclose(found, right, rtol=1e-13, atol=1e-15)


def test_tails():
    """1 - tanh(x)^2 at 30 is 3.5e-26, of which float64 has no digit left."""
    (found,) = run(lambda x: 1 - jnp.tanh(x) ** 2, np.array([30.0]))
    with mpmath.workdps(60):
        assert abs(found[0] / mpmath.sech(30) ** 2 - 1) < mpmath.mpf(10) ** -50


def test_edges():
    """Poles and what is undefined are infinite and NaN, as in floating point, and never an exception."""
    found = run(lambda x: (1 / x, jnp.log(x), jnp.sqrt(x - 1), x / x, x**0.0), np.array([0.0]))
    assert [float(f[0]) for f in found[:2]] == [np.inf, -np.inf]
    assert np.isnan(float(found[2][0]))
    assert np.isnan(float(found[3][0]))
    assert float(found[4][0]) == 1


def test_integers_stay():
    """They come out as numpy's."""
    index, value = run(lambda x: (jnp.argmax(x), x[jnp.argmax(x)]), X)
    assert int(index) == 2
    assert float(value) == 2.5


def test_nudged_constants():
    """A constant that float64 had to round is moved by half of its last place; one that it holds exactly is not."""
    generator = np.random.default_rng(0)
    found = [run(lambda x: x * 0.1, X, nudge=generator)[0][0] for _ in range(8)]
    with mpmath.workdps(60):
        moved = {float(f / (mpmath.mpf(0.1) * mpmath.mpf(X[0])) - 1) for f in found}
    assert moved == {2.0**-53, -(2.0**-53)}
    (exact,) = run(lambda x: x * 0.5, X, nudge=generator)
    assert [float(e) for e in exact] == list(X / 2)


def test_what_it_does_not_know(monkeypatch):
    """A primitive without a rule, and a program too large to be done by hand, are refused."""
    with pytest.raises(NotPrecise, match="lgamma"):
        run(jax.lax.lgamma, X)
    monkeypatch.setattr(module, "_MOST_ENTRIES", 2)
    with pytest.raises(NotPrecise, match="3 numbers"):
        run(jnp.sin, X)
