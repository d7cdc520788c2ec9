"""Convolution and pooling: against loops and lax's own autodiff, at edges, in mixed dtypes, over a mesh."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled, grad, pull, pulled
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from backproplab.layers.convolution import average_pool, conv2d, max_pool

_ROUNDOFF = 2.0**-53  # of float64
_NHWC = ("NHWC", "HWIO", "NHWC")

# shape of x, shape of w, then strides, padding, dilation, groups
CONVOLUTIONS = {
    "plain": ((2, 5, 6, 3), (3, 3, 3, 4), (1, 1), "SAME", (1, 1), 1),
    "even kernel": ((2, 5, 6, 2), (2, 4, 2, 3), (1, 1), "SAME", (1, 1), 1),
    "strides that do not divide": ((1, 7, 9, 2), (3, 2, 2, 3), (2, 3), "VALID", (1, 1), 1),
    "strides wider than the kernel": ((1, 8, 7, 2), (1, 2, 2, 2), (3, 3), "SAME", (1, 1), 1),
    "dilated and strided": ((1, 9, 8, 2), (2, 3, 2, 2), (2, 1), "SAME", (2, 2), 1),
    "SAME_LOWER": ((1, 5, 4, 1), (2, 4, 1, 2), (2, 2), "SAME_LOWER", (1, 1), 1),
    "padding wider than the kernel": ((1, 3, 2, 1), (2, 2, 1, 2), (1, 1), ((4, 3), (0, 5)), (1, 1), 1),
    "negative padding": ((1, 6, 7, 1), (2, 3, 1, 2), (2, 1), ((-2, 1), (1, -3)), (1, 1), 1),
    "grouped": ((2, 5, 5, 4), (3, 3, 2, 6), (1, 1), "SAME", (1, 1), 2),
    "depthwise": ((2, 5, 4, 3), (3, 3, 1, 6), (2, 1), "SAME", (1, 1), 3),
    "all at once": ((2, 8, 7, 4), (2, 3, 2, 4), (2, 1), ((1, 0), (-1, 2)), (1, 2), 2),
}

# shape of x, then window, strides, padding as numbers
POOLS = {
    "windows side by side": ((2, 4, 6, 3), (2, 2), (2, 2), ((0, 0), (0, 0))),
    "overlapping, padded": ((1, 7, 8, 2), (3, 3), (2, 2), ((1, 1), (0, 1))),
    "odd, not reaching the edge": ((1, 5, 7, 2), (2, 3), (2, 2), ((0, 0), (0, 0))),
    "strides wider than the window": ((1, 6, 7, 1), (2, 2), (3, 4), ((0, 0), (0, 0))),
    "uneven padding": ((1, 4, 4, 1), (3, 3), (1, 1), ((0, 2), (1, 1))),
    "windows of padding alone": ((1, 3, 4, 1), (2, 2), (1, 1), ((3, 0), (0, 2))),
    "negative padding": ((1, 6, 7, 1), (2, 2), (1, 2), ((-1, 0), (0, -2))),
}


def _normal(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def _loops(x, w, dy, strides, padding, dilation, groups):
    """y, dx, dw: the definition's products one by one; entries of x that lie outside are skipped."""
    y, dx, dw = np.zeros(dy.shape), np.zeros(x.shape), np.zeros(w.shape)
    per_group = w.shape[3] // groups
    for row, column, i, j in np.ndindex(*dy.shape[1:3], *w.shape[:2]):
        a = row * strides[0] + i * dilation[0] - padding[0][0]
        b = column * strides[1] + j * dilation[1] - padding[1][0]
        if not (0 <= a < x.shape[1] and 0 <= b < x.shape[2]):
            continue
        for out, c in np.ndindex(w.shape[3], w.shape[2]):
            channel = out // per_group * w.shape[2] + c
            y[:, row, column, out] += x[:, a, b, channel] * w[i, j, c, out]
            dx[:, a, b, channel] += dy[:, row, column, out] * w[i, j, c, out]
            dw[i, j, c, out] += x[:, a, b, channel] @ dy[:, row, column, out]
    return y, dx, dw


def _numbers(x, w, strides, padding, dilation):
    windows = [step * (size - 1) + 1 for size, step in zip(w.shape[:2], dilation)]
    return lax.padtype_to_pads(x.shape[1:3], windows, strides, padding) if isinstance(padding, str) else padding


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_conv2d_is_the_loops_and_laxs_own_gradient(name):
    """Value, dx and dw in float64, for every option: each entry within what rounding its sum can do."""
    x_shape, w_shape, *options = CONVOLUTIONS[name]
    strides, padding, dilation, groups = options

    def plain(x, w):
        return lax.conv_general_dilated(
            x, w, strides, padding, rhs_dilation=dilation, dimension_numbers=_NHWC, feature_group_count=groups
        )

    with jax.enable_x64(True):
        x, w = _normal(x_shape, w_shape)
        (dy,) = _normal(jax.eval_shape(plain, x, w).shape, seed=1)
        ours = lambda x, w: conv2d(x, w, *options)
        got, own = compiled(lambda *args: (pull(ours)(*args), pull(plain)(*args)))(dy, x, w)
        pads = _numbers(x, w, strides, padding, dilation)
        want = _loops(x, w, dy, strides, pads, dilation, groups)
        sizes = _loops(abs(x), abs(w), abs(dy), strides, pads, dilation, groups)
        terms = max(
            dy.size, w.size
        )  # no sum here is longer, and n terms in any order are off by n roundoffs of their size
        for g, o, exact, size in zip(got, own, want, sizes):
            assert g.dtype == np.float64
            assert np.all(np.abs(g - exact) <= 2 * terms * _ROUNDOFF * size)  # zero where nothing is added up
            assert np.all(np.abs(g - o) <= 2 * terms * _ROUNDOFF * size)


@pytest.mark.parametrize(
    "name", ["plain", *[pytest.param(n, marks=pytest.mark.slow) for n in ("all at once", "depthwise")]]
)
def test_conv2d_under_vmap_and_jit(name):
    """One example after the other, mapped, or compiled: the same gradients; also with a kernel for each example."""
    x_shape, w_shape, *options = CONVOLUTIONS[name]
    with jax.enable_x64(True):
        x, w = _normal((3, *x_shape), (3, *w_shape))
        gradients = jax.grad(lambda x, w: jnp.sum(jnp.sin(conv2d(x, w, *options))), (0, 1))
        alone = compiled(gradients)
        single = [alone(*pair) for pair in zip(x, w)]
        shared = [alone(one, w[0]) for one in x]
        # sin' is at most 1: sums of as many products as the kernel or an output plane has entries
        close = {"rtol": 0, "atol": 2 * max(w[0].size, x[0].size) * _ROUNDOFF * x[0].size}
        for mapped in (jax.vmap(gradients)(x, w), jax.jit(jax.vmap(gradients))(x, w)):
            for i, part in enumerate(mapped):
                np.testing.assert_allclose(part, [s[i] for s in single], **close)
        for i, part in enumerate(compiled(jax.vmap(gradients, (0, None)))(x, w[0])):
            np.testing.assert_allclose(part, [s[i] for s in shared], **close)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_conv2d_on_a_mesh_with_a_replicated_axis(kind, groups):
    """XLA adds autodiff's dw of a grouped convolution up once per replica: four times too large here. Not ours."""
    x, w = (a.astype(np.float32) for a in _normal((4, 7, 8, 4), (3, 3, 4 // groups, 4)))
    options = ((2, 1), "SAME", (1, 2), groups)
    # linear in y, so that dy is known and has no rounding of its own
    gradients = jax.jit(jax.grad(lambda x, w, dy: jnp.sum(dy * conv2d(x, w, *options)), (0, 1)))
    y_shape = jax.eval_shape(lambda x, w: conv2d(x, w, *options), x, w).shape
    dy = _normal(y_shape, seed=1)[0].astype(np.float32)
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(kind,) * 2)
    place = lambda a, *spec: jax.device_put(a, NamedSharding(mesh, P(*spec)))
    with jax.set_mesh(mesh):
        placed = place(x, "data"), place(w), place(dy, "data")
        got = gradients(*placed)
    wide = [a.astype(float) for a in (x, w, dy)]
    pads = _numbers(x, w, *options[:3])
    _, *want = _loops(*wide, options[0], pads, options[2], groups)
    _, *sizes = _loops(*map(abs, wide), options[0], pads, options[2], groups)
    for g, exact, size, argument in zip(got, want, sizes, placed):
        assert np.all(np.abs(np.asarray(g) - exact) <= 2 * dy.size * 2.0**-24 * size)  # float32
        if kind == AxisType.Explicit:
            assert jax.typeof(g).sharding == jax.typeof(argument).sharding


def test_conv2d_of_two_dtypes():
    """Activations in bfloat16 and weights in float32, or the other way: no digit of either is lost on the way in."""
    x, w = (a.astype(jnp.bfloat16) for a in _normal((2, 5, 6, 3), (3, 3, 3, 4)))
    run = pulled(conv2d)
    for x_dtype, w_dtype in ((jnp.bfloat16, np.float32), (np.float32, jnp.bfloat16)):
        y, dx, dw = run(1.0, x.astype(x_dtype), w.astype(w_dtype))
        assert y.dtype == x_dtype
        assert (dx.dtype, dw.dtype) == (x_dtype, w_dtype)
        y_32, dx_32, dw_32 = run(1.0, x.astype(np.float32), w.astype(np.float32))
        for got, want in ((y, y_32), (dx, dx_32), (dw, dw_32)):
            np.testing.assert_array_equal(got, want.astype(got.dtype))  # the same float32 numbers, rounded once


def test_conv2d_in_bfloat16_rounds_once():
    """Every entry is within half an ulp of bfloat16 (2^-8 relative) of the loops, with a little for the float32 sums."""
    x_shape, w_shape, *options = CONVOLUTIONS["all at once"]
    x, w = (a.astype(jnp.bfloat16) for a in _normal(x_shape, w_shape))
    layer = lambda x, w: conv2d(x, w, *options)
    dy = _normal(jax.eval_shape(layer, x, w).shape, seed=1)[0].astype(jnp.bfloat16)
    wide = [np.asarray(a, float) for a in (x, w, dy)]
    want = _loops(*wide, *options)
    sizes = _loops(*map(abs, wide), *options)
    for got, exact, size in zip(pulled(layer)(dy, x, w), want, sizes):
        sums = dy.size * 2.0**-24 * size  # float32 sums of fewer than dy.size terms
        assert np.all(np.abs(np.asarray(got, float) - exact) <= 2.0**-8 * np.abs(exact) + 2 * sums)


def test_nothing_fits():
    """An image smaller than the kernel or window gives an output without entries, and gradients that are zeros."""
    x, w = (a.astype(np.float32) for a in _normal((1, 2, 4, 1), (3, 3, 1, 2)))
    for strides in ((1, 1), (2, 2), (3, 1)):
        y, dx, dw = pulled(lambda x, w, s=strides: conv2d(x, w, s, "VALID"))(1.0, x, w)
        assert y.size == 0
        assert dx.shape == x.shape and dw.shape == w.shape and not np.any(dx) and not np.any(dw)
        for pool in (max_pool, average_pool):
            dx = grad(lambda x: pool(x, (3, 3), strides).sum())(x)
            assert dx.shape == x.shape and not np.any(dx)


def test_shapes_that_do_not_fit_are_named():
    """Bad input gets a ValueError that says which shapes, not one from inside lax."""
    x, w = np.ones((1, 4, 4, 3), np.float32), np.ones((2, 2, 2, 2), np.float32)
    with pytest.raises(ValueError, match="3 channels of x do not fit"):
        conv2d(x, w)
    with pytest.raises(ValueError, match="conv2d takes x"):
        conv2d(x[0, 0], w)
    for pool in (max_pool, average_pool):
        with pytest.raises(ValueError, match="pooling takes x"):
            pool(x[0, 0])


def _window_cells(x_shape, window, strides, padding):
    """For each place of the output, the cells of x in its window, row by row; those on the padding left out."""
    sizes = [(n + sum(p) - k) // s + 1 for n, k, s, p in zip(x_shape[1:3], window, strides, padding)]
    for place in np.ndindex(*sizes):
        starts = [o * s - p[0] for o, s, p in zip(place, strides, padding)]
        stops = [n + min(p[1], 0) for n, p in zip(x_shape[1:3], padding)]
        lows = [max(0, -p[0]) for p in padding]
        spans = [range(max(a, low), min(a + k, stop)) for a, k, low, stop in zip(starts, window, lows, stops)]
        yield place, list(itertools.product(*spans))


@pytest.mark.parametrize("name", POOLS)
def test_max_pool_is_the_loops(name):
    """NNlib.jl #133 (padding), ocannl #512 (overlap): dy goes to the first largest real entry, and nowhere else."""
    shape, window, strides, padding = POOLS[name]
    with jax.enable_x64(True):
        x = np.random.default_rng(0).integers(-3, 3, shape).astype(float)  # few values: many ties
        pool = lambda x: max_pool(x, window, strides, padding)
        y_shape = jax.eval_shape(pool, x).shape
        dy = np.random.default_rng(1).integers(-8, 9, y_shape).astype(float)  # integers: sums are exact
        want, dx = np.full(y_shape, -np.inf), np.zeros(shape)
        for (row, column), cells in _window_cells(shape, window, strides, padding):
            for n, c in np.ndindex(shape[0], shape[3]) if cells else ():
                a, b = max(cells, key=lambda cell: x[n, *cell, c])  # the first of equals
                want[n, row, column, c] = x[n, a, b, c]
                dx[n, a, b, c] += dy[n, row, column, c]
        y, got = pulled(pool)(dy, x)
        np.testing.assert_array_equal(y, want)
        np.testing.assert_array_equal(got, dx)


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("name", POOLS)
def test_average_pool_is_the_loops(name, count_include_pad):
    """Means over all places or over the real ones; a window of padding alone is 0, not 0/0."""
    shape, window, strides, padding = POOLS[name]
    with jax.enable_x64(True):
        (x,) = _normal(shape)
        pool = lambda x: average_pool(x, window, strides, padding, count_include_pad)
        (dy,) = _normal(jax.eval_shape(pool, x).shape, seed=1)
        y, got = pulled(pool)(dy, x)
        want, dx, sizes = np.zeros(y.shape), np.zeros(shape), np.zeros(shape)
        for (row, column), cells in _window_cells(shape, window, strides, padding):
            count = np.prod(window) if count_include_pad else max(1, len(cells))
            for a, b in cells:
                want[:, row, column] += x[:, a, b] / count
                dx[:, a, b] += dy[:, row, column] / count
                sizes[:, a, b] += np.abs(dy[:, row, column]) / count
        roundings = 4 * np.prod(window)  # both sides add at most this many numbers, divided before or after
        np.testing.assert_allclose(y, want, rtol=0, atol=roundings * _ROUNDOFF * np.abs(x).max())
        assert np.all(np.abs(got - dx) <= roundings * _ROUNDOFF * sizes)


def test_max_pool_breaks_ties_as_jax_does():
    """The first of equals, also where padding of -inf ties with entries of -inf; so the convention can be swapped in."""
    for padding in ("VALID", "SAME", ((1, 1), (1, 1))):
        for value in (0.0, -np.inf):
            x = np.full((1, 3, 3, 1), value, np.float32)
            own = lambda x, p=padding: lax.reduce_window(
                x, -np.inf, lax.max, (1, 2, 2, 1), (1,) * 4, p if isinstance(p, str) else ((0, 0), *p, (0, 0))
            )
            ours = lambda x, p=padding: max_pool(x, (2, 2), (1, 1), p)
            got, want = compiled(lambda x: [jax.grad(lambda x, f=f: f(x).sum())(x) for f in (ours, own)])(x)
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("shape", [(1, 4, 4, 1), (2, 32, 32, 32)])
def test_max_pool_keeps_nan_when_differentiated(shape):
    """XLA's maximum over an axis lost these on the CPU: a diverged network must not look finite while it trains."""
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    x[0, 1:3, 1:3, 0] = np.nan
    pool = lambda x: max_pool(x, (3, 3), (2, 2), "SAME")
    for vjp in (jax.vjp, jax.jit(lambda f, x: jax.vjp(f, x), static_argnums=0)):
        np.testing.assert_array_equal(vjp(pool, x)[0], pool(x))
    assert np.isnan(pool(x)).any()


@pytest.mark.slow
def test_max_pool_with_more_than_256_places():
    """One byte no longer numbers them: the last place of a 1 x 257 window still gets its gradient."""
    x = np.arange(257, dtype=np.float32).reshape(1, 1, 257, 1)
    dx = jax.jit(jax.grad(lambda x: max_pool(x, (1, 257)).sum()))(x)
    np.testing.assert_array_equal(dx, x == 256)


@pytest.mark.parametrize("pool", [max_pool, average_pool])
def test_pools_add_overlaps_in_float32(pool):
    """256 + fourteen ones + 256 meet in one entry: 526, in bfloat16 528. Added up in bfloat16 the ones would be lost."""
    x = np.zeros((1, 7, 7, 1), jnp.bfloat16)
    x[0, 3, 3] = 1.0  # the only entry that all sixteen windows share
    dy = np.ones((1, 4, 4, 1))
    dy[0, 0, 0] = dy[0, 3, 3] = 256
    scale = 16 if pool is average_pool else 1  # the mean divides by 16
    _, dx = pulled(lambda x: pool(x, (4, 4), (1, 1)))((scale * dy).astype(jnp.bfloat16), x)
    assert dx.dtype == jnp.bfloat16 and dx[0, 3, 3, 0] == 528
