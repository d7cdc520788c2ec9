"""`defvjp`: rules written without a thought of dtypes or meshes, under every kind of parallelism that JAX has."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled, grad
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from backproplab import defvjp
from backproplab.layers.activations import sigmoid
from backproplab.layers.affine import affine
from backproplab.layers.convolution import conv2d
from backproplab.layers.gates import multiply
from backproplab.layers.losses import softmax_cross_entropy_with_integer_labels
from backproplab.layers.normalization import layer_norm


def textbook_fwd(x, w, b):
    return x @ w + b, (x, w)


def textbook_bwd(residuals, dy):
    x, w = residuals
    return dy @ w.T, x.T @ dy, dy.sum(0)


def textbook(register):
    """A user's rule as a textbook has it, registered by `register(layer, fwd, bwd)`."""
    layer = jax.custom_vjp(lambda x, w, b: x @ w + b)
    register(layer, textbook_fwd, textbook_bwd)
    return layer


mine = textbook(defvjp)
plain = textbook(lambda layer, fwd, bwd: layer.defvjp(fwd, bwd))


def draw(*shape):
    return np.random.default_rng(len(shape) + sum(shape)).normal(size=shape).astype(np.float32)


LABELS = np.random.default_rng(0).integers(0, 16, 64)
X, W, B = draw(64, 32), draw(32, 16), draw(16)

# per layer: parameters, data with a batch axis in front, and the mean of something smooth of the layer's output
LAYERS = {
    "affine": ((W, B), X, lambda w, b, x: jnp.mean(jnp.tanh(affine(x, w, b)) ** 2)),
    "textbook": ((W, B), X, lambda w, b, x: jnp.mean(jnp.tanh(mine(x, w, b)) ** 2)),
    "layer_norm": ((draw(32), draw(32)), X, lambda scale, bias, x: jnp.mean(jnp.tanh(layer_norm(x, scale, bias)) ** 2)),
    "cross_entropy": (
        (draw(16),),
        draw(64, 16),
        lambda shift, x: jnp.mean(softmax_cross_entropy_with_integer_labels(x + shift, _labels(x))),
    ),
    "conv2d": ((draw(3, 3, 2, 4),), draw(16, 6, 5, 2), lambda w, x: jnp.mean(jnp.tanh(conv2d(x, w)) ** 2)),
}


def _labels(x):
    """Labels that follow the data, so that they are sharded alike."""
    return jnp.argmax(jax.lax.stop_gradient(x) * 3 % 1, -1)


@cache
def unsharded(name):
    params, x, loss = LAYERS[name]
    return jax.jit(jax.grad(loss, argnums=tuple(range(len(params) + 1))))(*params, x)


def assert_same(got, name):
    """Equal to the gradients on one device: the order of float32 sums differs, nothing else."""
    for g, right in zip(got, unsharded(name), strict=True):
        np.testing.assert_allclose(g, right, rtol=1e-4, atol=1e-5 * np.abs(right).max())


def mesh(kind):
    return jax.make_mesh((4, 2), ("data", "model"), axis_types=(kind,) * 2)


def place(m, array, *spec):
    return jax.device_put(array, NamedSharding(m, P(*spec)))


@pytest.mark.parametrize("name", LAYERS)
def test_data_parallel_over_auto_axes(name):
    """jit with a sharded batch: the compiler adds the sums, the rule needs nothing."""
    params, x, loss = LAYERS[name]
    m = mesh(AxisType.Auto)
    x = place(m, x, "data")
    params = [place(m, p) for p in params]
    got = jax.jit(jax.grad(loss, argnums=tuple(range(len(params) + 1))))(*params, x)
    assert_same(got, name)


@pytest.mark.parametrize("name", ["affine", "textbook"])
def test_tensor_parallel_over_auto_axes(name):
    """The columns of w spread over the model axis."""
    (w, b), x, loss = LAYERS[name]
    m = mesh(AxisType.Auto)
    got = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(
        place(m, w, None, "model"), place(m, b, "model"), place(m, x, "data")
    )
    assert_same(got, name)


LAYOUTS = [("data", None, None), ("data", None, "model"), (("data", "model"), None, None)]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch, rows, columns", LAYOUTS)
def test_explicit_axes(name, batch, rows, columns):
    """Explicit axes, three layouts: gradients come back equal and with the sharding of their arguments."""
    params, x, loss = LAYERS[name]
    m = mesh(AxisType.Explicit)
    spec = {4: (None, None, None, columns), 2: (rows, columns), 1: (columns,)}
    if name not in ("affine", "textbook"):  # normalised over the last axis, or a convolution: these spread their batch
        spec, batch = {4: (), 1: ()}, "model" if columns else batch
    with jax.set_mesh(m):
        placed = [place(m, p, *spec[np.ndim(p)]) for p in params]
        placed.append(place(m, x, batch))
        got = jax.jit(jax.grad(loss, argnums=tuple(range(len(params) + 1))))(*placed)
        for g, argument in zip(got, placed):
            assert jax.typeof(g).sharding == jax.typeof(argument).sharding
    assert_same(got, name)


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_shard_map_data_parallel(name, check_vma):
    """The loss inside shard_map, its gradient taken outside: parameters are summed over the data axis, once."""
    params, x, loss = LAYERS[name]
    m = mesh(AxisType.Auto)

    def whole(*args):
        body = lambda *args: jax.lax.pmean(loss(*args), "data")
        specs = (*[P()] * len(params), P("data"))
        return jax.shard_map(body, mesh=m, in_specs=specs, out_specs=P(), check_vma=check_vma)(*args)

    assert_same(jax.jit(jax.grad(whole, argnums=tuple(range(len(params) + 1))))(*params, x), name)


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("name", ["affine", "textbook"])
def test_shard_map_tensor_parallel(name, check_vma):
    """Columns of w per device: dx is summed over the model axis, and over it alone."""
    (w, b), x, loss = LAYERS[name]
    m = mesh(AxisType.Auto)

    def whole(w, b, x):
        body = lambda *args: jax.lax.pmean(loss(*args), ("data", "model"))
        specs = (P(None, "model"), P("model"), P("data"))
        return jax.shard_map(body, mesh=m, in_specs=specs, out_specs=P(), check_vma=check_vma)(w, b, x)

    assert_same(jax.jit(jax.grad(whole, argnums=(0, 1, 2)))(w, b, x), name)


def test_gradient_inside_shard_map():
    """grad inside shard_map with check_vma: what comes back is already summed over the devices."""
    (w, b), x, _ = LAYERS["textbook"]
    m = mesh(AxisType.Auto)

    def body(w, b, x):
        return jax.tree.map(lambda g: g / 4, jax.grad(lambda p: jnp.mean(jnp.tanh(mine(x, *p)) ** 2))((w, b)))

    got = jax.jit(jax.shard_map(body, mesh=m, in_specs=(P(), P(), P("data")), out_specs=P()))(w, b, x)
    assert_same([*got, unsharded("textbook")[2]], "textbook")


def test_what_plain_registration_cannot_do():
    """Why `defvjp` exists: the same rule registered with JAX's own method fails under Explicit axes and in shard_map."""
    loss = lambda w, b, x: jnp.mean(jnp.tanh(plain(x, w, b)) ** 2)
    m = mesh(AxisType.Explicit)
    with jax.set_mesh(m), pytest.raises(Exception, match=r"(?i)shard|ambiguous|contract"):
        jax.jit(jax.grad(loss))(place(m, W), place(m, B), place(m, X, "data"))
    body = lambda w, b, x: jax.lax.pmean(loss(w, b, x), "data")
    whole = jax.shard_map(body, mesh=mesh(AxisType.Auto), in_specs=(P(), P(), P("data")), out_specs=P())
    with pytest.raises(Exception, match=r"(?i)vary|vma|manual"):
        jax.jit(jax.grad(whole))(W, B, X)


def test_cotangents_take_the_dtype_of_their_arguments():
    """A rule that computes in float32 serves bfloat16 arguments, and mixed ones."""
    x, w, b = (a.astype(d) for a, d in zip((X, W, B), (jnp.bfloat16, np.float32, np.float16)))
    layer = jax.custom_vjp(lambda x, w, b: x @ w + b)
    defvjp(layer, textbook_fwd, lambda r, dy: tuple(g.astype(jnp.float32) for g in textbook_bwd(r, dy)))
    got = grad(lambda *args: jnp.sum(layer(*args)), (0, 1, 2))(x, w, b)
    assert [g.dtype for g in got] == [jnp.bfloat16, jnp.float32, jnp.float16]


def scaled_fwd(power, params, index):
    return params["a"][index] ** power * params["b"], (params, index)


def scaled_bwd(power, residuals, dy):
    params, index = residuals
    slope = jnp.zeros_like(params["a"]).at[index].set(power * params["a"][index] ** (power - 1) * params["b"])
    return {"a": dy * slope, "b": dy * params["a"][index] ** power}, None


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def scaled(power, params, index):
    """Static, pytree and integer arguments in one."""
    return params["a"][index] ** power * params["b"]


defvjp(scaled, scaled_fwd, scaled_bwd)


def test_pytrees_integers_and_static_arguments():
    """Every kind of argument that `custom_vjp` takes, under grad, jit, vmap, checkpoint, scan and twice."""
    params = {"a": jnp.array([2.0, 3.0]), "b": jnp.array(5.0)}
    right = {"a": np.array([0.0, 135.0]), "b": np.array(27.0)}
    f = lambda params: scaled(3, params, jnp.int32(1))
    for g in (jax.grad(f), jax.jit(jax.grad(f)), jax.grad(jax.checkpoint(f))):
        jax.tree.map(np.testing.assert_allclose, g(params), right)
    batch = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), params)
    jax.tree.map(lambda g, r: np.testing.assert_allclose(g, [r, r]), compiled(jax.vmap(jax.grad(f)))(batch), right)
    total = lambda params: jax.lax.scan(lambda c, _: (c + f(params), None), 0.0, None, length=3)[0]
    jax.tree.map(lambda g, r: np.testing.assert_allclose(g, 3 * r), grad(total)(params), right)
    second = grad(lambda a: jax.grad(f)({"a": a, "b": params["b"]})["a"][1])(params["a"])
    np.testing.assert_allclose(second, [0.0, 90.0])


def test_python_numbers_are_arrays_to_a_rule():
    """`jax.grad(sigmoid)(0.3)` is the first thing that one tries; and a number inside a loop is a number to JAX too."""
    assert jax.grad(sigmoid)(0.0) == 0.25
    assert jax.jit(jax.grad(sigmoid))(0.0) == 0.25
    thrice = lambda x: jax.lax.fori_loop(0, 3, lambda _, x: multiply(3.0, x), x)
    assert jax.grad(thrice)(0.5) == 27
    x = jnp.ones(2, jnp.bfloat16)
    assert jax.vjp(multiply, x, 3.0)[0].dtype == jnp.bfloat16  # the number stays weakly typed


def test_wrong_structures_are_still_rejected():
    """What JAX rejects, it must go on rejecting."""
    layer = jax.custom_vjp(lambda x, w: x @ w)
    defvjp(layer, lambda x, w: (x @ w, (x, w)), lambda residuals, dy: (dy @ residuals[1].T,))
    with pytest.raises((TypeError, ValueError)):
        jax.grad(lambda x: jnp.sum(layer(x, W)))(X)
