"""linear_cross_entropy: optax's values without logits, a cotangent per row, padding, tails, memory; add_rms_norm."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import pytest
from compiled import compiled, grad, pulled
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from backproplab.layers.fused import add_rms_norm, linear_cross_entropy
from backproplab.layers.normalization import rms_norm


def draw(rows=6, features=4, classes=7, dtype=np.float32):
    random = np.random.default_rng(rows)
    x, w = random.normal(size=(rows, features)).astype(dtype), random.normal(size=(features, classes)).astype(dtype)
    return x, w, random.integers(0, classes, rows).astype(np.int32)


def logits_first(x, w, labels):
    """What it is in two steps."""
    return optax.losses.softmax_cross_entropy_with_integer_labels(x @ w, labels)


@pytest.mark.parametrize("block_size", [1, 3, 1024])
def test_it_is_the_two_steps_in_one(block_size):
    """Losses and gradients of optax on x @ w, in float64, for blocks of any size, and for a cotangent per row."""
    with jax.enable_x64(True):
        x, w, labels = draw(dtype=np.float64)
        dloss = np.random.default_rng(0).normal(size=6)  # each row has its own: after the sum over rows it is too late
        dloss[0] = 0  # one that is ignored, in the first place

        @jax.jit
        def both(x, w):
            ours, pull = jax.vjp(lambda x, w: linear_cross_entropy(x, w, labels, block_size), x, w)
            theirs, pull_theirs = jax.vjp(lambda x, w: logits_first(x, w, labels), x, w)
            return (ours, *pull(dloss)), (theirs, *pull_theirs(dloss))

        for one, other in zip(*both(x, w), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


def test_rows_without_a_label():
    """-100 or a class too many: NaN in its row alone; selected away it has no gradient, and the others have theirs."""
    x, w, labels = draw()
    labels[[1, 4]] = [-100, 7]
    assert np.isnan(compiled(linear_cross_entropy)(x, w, labels)).tolist() == [False, True, False, False, True, False]
    valid = (labels >= 0) & (labels < 7)

    def total(x, w):
        return jnp.where(valid, linear_cross_entropy(x, w, labels), 0).sum()

    dx, dw = grad(total, (0, 1))(x, w)
    assert not dx[~valid].any()
    want = grad(lambda x, w: logits_first(x, w, labels[valid]).sum(), (0, 1))(x[valid], w)
    np.testing.assert_allclose(dx[valid], want[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dw, want[1], rtol=1e-5, atol=1e-6)


def test_a_loss_far_below_rounding():
    """A right label 40 ahead: loss and gradient are 1e-17, to 1e-6 of it, in float32; the logits would give 0."""
    x, w = np.float32([[1]]), np.float32([[40, 0, -1, 0.5]])
    loss, dx, dw = pulled(lambda x, w: linear_cross_entropy(x, w, np.array([0]), 3))(1.0, x, w)
    with mpmath.workdps(40):
        rest = [mpmath.exp(z - 40) for z in (0, -1, 0.5)]
        exact = mpmath.log(1 + mpmath.fsum(rest))
        p = [e / (1 + mpmath.fsum(rest)) for e in rest]
    assert abs(float(loss[0]) / float(exact) - 1) < 1e-6
    # the other logits less log sum exp, 40, are off by a rounding of 40
    np.testing.assert_allclose(dw[0], [-float(sum(p)), *map(float, p)], rtol=4e-6)
    np.testing.assert_allclose(dx[0, 0], float(sum(p_j * (z - 40) for p_j, z in zip(p, (0, -1, 0.5)))), rtol=4e-6)
    assert compiled(logits_first)(x, w, np.array([0]))[0] == 0


def test_a_common_offset_does_not_matter():
    """Logits a thousand higher: the same loss and dx to what a float32 of that size can tell, no overflow."""
    x, w, labels = draw()
    x[:, 0] = 1
    lifted = w.copy()
    lifted[0] += 1024
    run = jax.jit(jax.value_and_grad(lambda x, w: linear_cross_entropy(x, w, labels, 3).sum(), (0, 1)))
    (loss, (dx, dw)), (loss_up, (dx_up, dw_up)) = run(x, w), run(x, lifted)
    rounding = 16 * 2.0**-13  # of a few sums that are near 1024
    np.testing.assert_allclose(loss_up, loss, rtol=rounding)
    np.testing.assert_allclose(dx_up[:, 1:], dx[:, 1:], rtol=0, atol=rounding)
    np.testing.assert_allclose(dw_up, dw, rtol=0, atol=rounding)


def test_bfloat16_adds_in_float32():
    """4096 equal rows, each adding 1/2 to an entry of dw: a running sum in bfloat16 would stop at 256."""
    x, w, labels = np.ones((4096, 1), jnp.bfloat16), np.zeros((1, 2), jnp.bfloat16), np.zeros(4096, int)
    loss, _, dw = pulled(lambda x, w: linear_cross_entropy(x, w, labels))(1.0, x, w)
    assert loss.dtype == dw.dtype == jnp.bfloat16
    assert dw.tolist() == [[-2048, 2048]]


def temporary_bytes(function):
    """What one jitted step on 2048 rows, 512 features and 8192 classes needs beside arguments and results."""
    shapes = [((2048, 512), jnp.float32), ((512, 8192), jnp.float32), ((2048,), jnp.int32)]
    args = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    compiled = jax.jit(jax.value_and_grad(lambda *a: function(*a).mean(), (0, 1))).lower(*args).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_memory():
    """The logits would be 64 MiB, and autodiff holds two such arrays; here there is an eighth of that."""
    ours = temporary_bytes(linear_cross_entropy)
    assert ours < 20 * 2**20
    assert ours < temporary_bytes(logits_first) / 6


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["shard_map", "explicit"])
def test_rows_over_two_devices(layout):
    """Each device has half of the rows; dw is the sum of what both make of it."""
    x, w, labels = draw()
    kind = AxisType.Explicit if layout == "explicit" else AxisType.Auto
    mesh = jax.make_mesh((2,), ("data",), (kind,), devices=jax.devices()[:2])
    loss = lambda x, w, labels: linear_cross_entropy(x, w, labels, 3).sum()

    def spread(x, w, labels):
        if layout == "explicit":
            return loss(x, w, labels)
        body = lambda *args: jax.lax.psum(loss(*args), "data")
        return jax.shard_map(body, mesh=mesh, in_specs=(P("data"), P(), P("data")), out_specs=P())(x, w, labels)

    want = jax.grad(loss, (0, 1))(x, w, labels)
    with jax.set_mesh(mesh):
        args = [jax.device_put(a, s) for a, s in ((x, P("data")), (w, P()), (labels, P("data")))]
        got = jax.jit(jax.grad(spread, (0, 1)))(*(args if layout == "explicit" else (x, w, labels)))
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_add_and_norm_are_the_two_steps():
    """Both results, and gradients that reach x by either or both of them, are those of the sum and its norm."""
    x, residual, scale = (np.random.default_rng(0).normal(size=s).astype(np.float32) for s in ((3, 4), (3, 4), 4))
    two = lambda x, r, scale: (rms_norm(x + r, scale), x + r)
    for ones in ((1, 0), (0, 1), (1, -2)):
        loss = lambda pair, ones=ones: sum(weight * (part**3).sum() for weight, part in zip(ones, pair))
        got = jax.jit(jax.grad(lambda *a: loss(add_rms_norm(*a)), (0, 1, 2)))(x, residual, scale)
        want = jax.jit(jax.grad(lambda *a: loss(two(*a)), (0, 1, 2)))(x, residual, scale)
        for one, other in zip(got, want, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"one shape, not \(3, 4\) and \(4,\)"):
        add_rms_norm(x, residual[0], scale)
