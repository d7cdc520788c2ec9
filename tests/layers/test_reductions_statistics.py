"""Variance, deviation, length, extremes and median: as jax.numpy has them but for NaN at constants, zeros and overflow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled, grad, pull, pulled

from backproplab.layers import reductions
from backproplab.layers.reductions import max as largest
from backproplab.layers.reductions import median, norm, std, var

_INF = np.inf


def _gradient(fn, x):
    return grad(lambda x: fn(x).sum())(x)


@pytest.mark.parametrize(
    "axis, keepdims",
    [
        ((0, -1), False),
        pytest.param(None, False, marks=pytest.mark.slow),
        pytest.param(1, True, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", ["var", "std", "max", "min", "median", "norm"])
def test_values_and_arguments_are_those_of_jax_numpy(name, axis, keepdims):
    """Switching the import is enough: one axis, several and all, kept or not, by keyword or in place."""
    theirs = jnp.linalg.norm if name == "norm" else getattr(jnp, name)
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=(3, 4, 5))
        fns = getattr(reductions, name), theirs
        got, want = compiled(lambda x: [fn(x, axis=axis, keepdims=keepdims) for fn in fns])(x)
        assert got.shape == want.shape and got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-14)  # sums of 60 numbers in another order


def test_correction_is_that_of_jax_numpy():
    """One degree of freedom less, a fraction of one, and NaN where none is left."""
    with jax.enable_x64(True):
        x = np.random.default_rng(1).normal(size=(3, 4))
        of = lambda x, *fns: [fn(x, axis=1, correction=correction) for correction in (1.5, 4) for fn in fns]
        pairs = zip(*compiled(lambda x: (of(x, var, std), of(x, jnp.var, jnp.std)))(x), strict=True)
        for got, want in pairs:
            np.testing.assert_allclose(got, want, rtol=1e-14)


@pytest.mark.parametrize("value", [0.1, *[pytest.param(v, marks=pytest.mark.slow) for v in (0.0, 1.0, -1e30, 1e-30)]])
def test_deviation_of_a_constant_has_gradient_zero(value):
    """jax #11716: autodiff of jnp.std has NaN there; the mean of numbers 0.1 is not 0.1, and even so nothing is left."""
    x = np.full((2, 7), value, np.float32)
    y, dx = pulled(lambda x: std(x, 1))(1.0, x)
    assert not np.any(y) and not np.any(dx)
    assert np.isnan(_gradient(lambda x: jnp.std(x, 1), np.ones((2, 7), np.float32))).all()


def test_length_of_zero_has_gradient_zero():
    """jax #21723: autodiff of jnp.linalg.norm has NaN, of its square too; other rows are as they were."""
    x = np.array([[0.0, 0.0], [3.0, 4.0]], np.float32)
    got = _gradient(lambda x: norm(x, -1), x)
    assert not np.any(got[0])
    np.testing.assert_allclose(got[1], [0.6, 0.8], rtol=1e-6)
    assert _gradient(lambda x: norm(x, -1) ** 2, x).tolist() == [[0, 0], [6, 8]]


@pytest.mark.parametrize("scale", [1e-38, 5e37])
def test_no_square_overflows_or_vanishes(scale):
    """jax #39899: the length of (3, 4) is 5 and its gradient (3/5, 4/5) over the whole range of float32."""
    x = np.array([3.0, 4.0], np.float32) * np.float32(scale)
    y, dx = pulled(norm)(1.0, x)
    np.testing.assert_allclose(y, 5 * scale, rtol=1e-6)
    np.testing.assert_allclose(dx, [0.6, 0.8], rtol=1e-6)


def test_length_in_float16():
    """300 squared is no float16, 300 is: neither the value is infinite nor the gradient 0."""
    x = np.array([180.0, 240.0], np.float16)
    y, dx = pulled(norm)(1.0, x)
    assert y == 300 and y.dtype == jnp.float16
    np.testing.assert_allclose(dx, [0.6, 0.8], rtol=2**-10)


def test_deviations_do_not_change_when_all_is_shifted():
    """So their gradients sum to 0; and as std doubles when x does, <x, gradient> is std itself."""
    with jax.enable_x64(True):
        x = np.random.default_rng(2).normal(size=(5, 9))
        (_, of_var), (y, of_std) = compiled(lambda x: [pull(lambda x, f=f: f(x, 1))(1.0, x) for f in (var, std)])(x)
        for dx in (of_var, of_std):
            assert np.abs(dx.sum(1)).max() < 1e-15
        np.testing.assert_allclose((of_std * x).sum(1), y, rtol=1e-13)


def test_who_wins_among_equals_and_with_nan():
    """The first of several gets the whole gradient, also at -inf; NaN wins over all, as in the value."""
    x = np.array([[-_INF, -_INF], [2.0, 2.0], [np.nan, 5.0], [5.0, np.nan]], np.float32)
    got = _gradient(lambda x: largest(x, 1), x)
    assert got.tolist() == [[1, 0], [1, 0], [1, 0], [0, 1]]
    y, dx = pulled(lambda x: median(x, 1))(1.0, x)
    assert np.isnan(y[2:]).all()
    assert dx[2:].tolist() == [[1, 0], [0, 1]]


def test_who_wins_over_several_axes():
    """Equal entries are counted row by row over the reduced axes in their order, however `axis` lists them."""
    x = np.zeros((2, 3, 2), np.float32)
    x[1, :, 0] = x[0, :, 1] = 1
    for axis in ((0, 2), (-1, 0)):
        got = _gradient(lambda x, axis=axis: largest(x, axis), x)
        assert got[0, :, 1].tolist() == [1, 1, 1] and got.sum() == 3


def test_median_of_large_numbers_does_not_overflow():
    """Halved before they are added."""
    x = np.array([3e38, 2e38, 3e38, 1e38], np.float32)
    np.testing.assert_allclose(compiled(median)(x), 2.5e38, rtol=1e-6)


def test_reducing_no_axis_or_no_entries():
    """axis=() leaves x as it is; an empty sum of squares is 0."""
    x = np.array([[1.0, -2.0]], np.float32)
    y, dx = pulled(lambda x: largest(x, ()))(1.0, x)
    assert y.tolist() == x.tolist() and dx.tolist() == [[1, 1]]
    assert compiled(lambda x: norm(x, 1))(np.zeros((2, 0), np.float32)).tolist() == [0, 0]


@pytest.mark.parametrize("name", ["var", "std", "max", "min", "prod"])
def test_where_is_that_of_jax_numpy(name):
    """Value and gradient as there, some rows without an entry; what absent entries hold matters to neither."""
    options = {"axis": -1} | ({"initial": 9.0 if name == "min" else -9.0} if name in ("max", "min") else {})
    with jax.enable_x64(True):
        random = np.random.default_rng(3)
        x, dy, where = random.normal(size=(4, 6)), random.normal(size=4), random.random((4, 6)) < 0.6
        where[:, :2], where[1] = True, False  # jnp.std has NaN at a single entry
        ours, theirs = (
            lambda x, f=f: f(x, where=where, **options) for f in (getattr(reductions, name), getattr(jnp, name))
        )
        poisoned = np.where(where, x, random.choice([_INF, -_INF, np.nan], x.shape))
        value, dx = pulled(theirs)(dy, x)
        run = pulled(ours)
        roundings = 2 * 2 * 6 * 2.0**-53  # of either side: a mean of six numbers, and a sum of them
        for at in (x, poisoned):
            got, got_dx = run(dy, at)
            np.testing.assert_allclose(got, value, rtol=roundings)
            want = np.where(where, dx, 0)
            np.testing.assert_allclose(got_dx, want, rtol=0, atol=roundings * np.max(np.abs(want)))


def test_initial_competes_with_the_entries():
    """It gets the gradient of the rows that it wins, ties and rows without an entry among them; NaN wins, as in the value."""
    x = np.array([[1.0, 5.0], [2.0, 0.0], [7.0, 7.0], [np.nan, 0.0]], np.float32)
    where = np.array([[True, True], [True, True], [False, False], [True, True]])
    dx, dinitial = grad(lambda x, i: largest(x, 1, initial=i, where=where).sum(), (0, 1))(x, np.float32(2))
    assert dx.tolist() == [[0, 1], [0, 0], [0, 0], [1, 0]] and dinitial == 2
    y, dinitial = pulled(lambda i: largest(np.zeros((3, 0), np.float32), 1, initial=i))(1.0, -_INF)
    assert y.tolist() == [-_INF] * 3 and dinitial == 3


@pytest.mark.parametrize("name", ["var", "std", "max", "min", "prod"])
def test_where_must_not_enlarge(name):
    """(2, 3) for (3,) would be another result in JAX; and what is no mask is refused, not taken for one."""
    fn = getattr(reductions, name)
    options = {"initial": 0.0} if name in ("max", "min") else {}
    for where in (np.ones((2, 3), bool), np.ones(3, np.float32)):
        with pytest.raises(ValueError, match=r"Cannot broadcast|boolean array"):
            fn(jnp.ones(3), where=where, **options)
    if options:
        with pytest.raises(ValueError, match="specify 'initial'"):
            fn(jnp.ones(3), where=np.ones(3, bool))
