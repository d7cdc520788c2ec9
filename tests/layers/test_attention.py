"""Attention: jax.nn's values, what is hidden, blocks, memory, devices; and positions as rotations."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled, grad, pulled
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from backproplab import strip
from backproplab.harness.error_rules import executed
from backproplab.harness.rounding import bounded
from backproplab.layers.attention import dot_product_attention, rotary_embedding

_ROUNDOFF = 2.0**-24  # of float32


def draw(*shapes, seed=0, dtype=np.float32):
    random = np.random.default_rng(seed)
    return [random.normal(size=shape).astype(dtype) for shape in shapes]


def rounded(function, *args):
    """The output in float64 at these numbers, and the bound on what rounding in their dtype does to it."""
    closed = jax.make_jaxpr(strip(function))(*args)
    with jax.enable_x64(True):
        found = bounded(closed, set())([np.asarray(x, np.float64) for x in args], executed())
    return found.values[0], found.errors[0]


def value_and_pull(function, g, *args):
    """Output and gradients for the cotangent g, in one program."""
    return pulled(function)(g, *args)


def by_hand(query, key, value, seen, scale):
    """The textbook formula and its gradients for a cotangent of ones, in numpy; (T, D), (S, D), (S, E)."""
    logits = np.where(seen, scale * query @ key.T, -np.inf)
    exponentials = np.exp(logits - np.where(seen, logits, 0).max(-1, keepdims=True))
    p = exponentials / np.maximum(exponentials.sum(-1, keepdims=True), 1e-300)
    g = np.ones((len(query), value.shape[1]))
    dp = g @ value.T
    dz = p * (dp - (p * dp).sum(-1, keepdims=True))
    return p @ value, (scale * dz @ key, scale * dz.T @ query, p.T @ g)


@pytest.mark.parametrize(
    ("heads", "options"),
    [
        ((4, 2), {"is_causal": True}),
        ((2, 1), {"bias": (1, 2, 5, 7), "mask": True, "scale": 0.3}),
        ((1, 1), {"local_window_size": (2, 1)}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else str(value),
)
def test_the_import_can_be_switched(heads, options):
    """Values and gradients of jax.nn.dot_product_attention, by its argument names, in blocks that leave a rest."""
    query, key, value = draw((2, 5, heads[0], 4), (2, 7, heads[1], 4), (2, 7, heads[1], 4))
    options = dict(options)
    if "bias" in options:
        (options["bias"],) = draw(options["bias"], seed=1)
        options["mask"] = np.random.default_rng(2).random((2, 1, 5, 7)) < 0.7
        options["mask"][..., 0] = True  # of a query that sees nothing the two make different things
    (g,) = draw(query.shape, seed=3)
    ours = value_and_pull(partial(dot_product_attention, block_size=3, **options), g, query, key, value)
    theirs = value_and_pull(partial(jax.nn.dot_product_attention, **options), g, query, key, value)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=200 * _ROUNDOFF)  # sums of a few products of size 1


def test_batch_axes_are_optional():
    """(T, N, D) is one sequence, as in jax.nn; two axes in front are a batch of batches."""
    query, key, value = draw((2, 3, 4, 1, 2), (2, 3, 4, 1, 2), (2, 3, 4, 1, 2))
    attend = jax.jit(dot_product_attention)
    whole, one = attend(query, key, value), attend(query[1, 2], key[1, 2], value[1, 2])
    np.testing.assert_allclose(whole[1, 2], one, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("block_size", [1, 3, 100])
def test_blocks_do_not_matter(block_size):
    """Any size of blocks is the same function, in float64 against numpy: causal, with a rest and a hidden query."""
    with jax.enable_x64(True):
        query, key, value = draw((7, 3), (7, 3), (7, 2), dtype=np.float64)
        mask = np.ones((7, 7), bool)
        mask[4] = False
        head = lambda x: x[:, None]
        run = lambda q, k, v: dot_product_attention(
            head(q), head(k), head(v), mask=mask, scale=0.5, is_causal=True, block_size=block_size
        )[:, 0]
        right, gradients = by_hand(query, key, value, mask & np.tri(7, dtype=bool), 0.5)
        got = value_and_pull(run, np.ones_like(right), query, key, value)
        for one, other in zip(got, (right, *gradients), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


def test_a_query_that_sees_nothing():
    """0, and no gradient to anything from it, where jax.nn has the mean of all values and 1/S for each of them."""
    query, key, value = draw((3, 1, 2), (4, 1, 2), (4, 1, 2))
    mask = np.array([[True] * 4, [False] * 4, [True, False, True, True]])
    g = np.zeros_like(query)
    g[1] = 1e6
    out, *gradients = value_and_pull(partial(dot_product_attention, mask=mask), g, query, key, value)
    assert not out[1].any() and out[0].any()
    assert not any(gradient.any() for gradient in gradients)
    theirs = compiled(lambda *args: jax.nn.dot_product_attention(*args, mask=mask[None]))(query, key, value)
    np.testing.assert_allclose(theirs[1], value.mean(0), rtol=1e-5)


def test_padding_may_hold_anything():
    """NaN in a key and value that nobody sees, in a query that sees nothing and its cotangent: no harm to others."""
    query, key, value = draw((3, 1, 2), (4, 1, 2), (4, 1, 2))
    mask = np.ones((3, 4), bool)
    mask[2], mask[:, 3] = False, False
    run = pulled(partial(dot_product_attention, mask=mask))
    (g,) = draw((3, 1, 2), seed=1)
    clean = run(g, query, key, value)
    query[2], key[3], value[3], g[2] = np.nan, np.nan, np.nan, np.nan
    for got, want in zip(run(g, query, key, value), clean, strict=True):
        np.testing.assert_array_equal(got, want)
    value[1] = np.nan  # this one is seen
    assert np.isnan(run(g, query, key, value)[0][:2]).all()


def test_the_bias_of_every_batch_has_its_gradient():
    """Each shape that broadcasts gets the sum over its repetitions; adding a number to a row changes nothing."""
    query, key, value = draw((2, 3, 2, 2), (2, 5, 2, 2), (2, 5, 2, 2))
    (full,) = draw((2, 2, 3, 5), seed=1)
    gradient = grad(lambda bias: (dot_product_attention(query, key, value, bias, block_size=2) ** 2).sum())
    whole = gradient(full)
    rounding = 5 * _ROUNDOFF * np.abs(whole).sum(-1).max()  # five entries in a row
    np.testing.assert_allclose(whole.sum(-1), 0, rtol=0, atol=rounding)
    assert (np.abs(whole).sum((-2, -1)) > 1e-3).all()
    for axes in ((0, 1, 2), (1,), (3,)):
        repeated = full[tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(4))]
        want = gradient(np.broadcast_to(repeated, full.shape)).sum(axes, keepdims=True)
        sizes = np.abs(gradient(np.broadcast_to(repeated, full.shape))).sum(axes, keepdims=True)
        assert np.all(np.abs(gradient(repeated) - want) <= 4 * _ROUNDOFF * sizes)  # the order of at most twelve


def test_wide_heads_and_a_large_mean():
    """256 features with a common offset, batch 2: no entry of a gradient is off by more than its sums can lose."""
    query, key, value = (x + 3 for x in draw((2, 4, 1, 256), (2, 4, 1, 256), (2, 4, 1, 256)))
    attend = partial(dot_product_attention, scale=1 / 256, block_size=2)
    got = value_and_pull(attend, np.ones_like(query), query, key, value)
    for batch in range(2):
        exact = [x[batch, :, 0].astype(float) for x in (query, key, value)]
        right, gradients = by_hand(*exact, np.ones((4, 4), bool), 1 / 256)
        for one, other in zip(got, (right, *gradients), strict=True):
            # dp and g.o are 768, sums of 256 in lanes of eight or more: 32 roundings of it, times the scale and a key
            np.testing.assert_allclose(one[batch, :, 0], other, rtol=1e-5, atol=32 * 768 * _ROUNDOFF * 3 / 256)


def test_bfloat16_keeps_the_output_in_float32():
    """A query that sees one key has no gradient: with the rounded output it would be off by 2^-9 of dp, 0.01 here."""
    query, key, value = (x.astype(jnp.bfloat16) for x in draw((4, 1, 8), (4, 1, 8), (4, 1, 8)))
    value[0] += jnp.bfloat16(1.0078125)  # so that the mean of the others is no number of eight bits
    attend = lambda q: dot_product_attention(q, key, value, is_causal=True)
    _, dq = value_and_pull(attend, 1.0, query)
    right = by_hand(*(np.asarray(x[:, 0], float) for x in (query, key, value)), np.tri(4, dtype=bool), 8**-0.5)[1][0]
    np.testing.assert_allclose(np.asarray(dq[:, 0], float), right, rtol=2.0**-8, atol=1e-5)


def temporary_bytes(function, *shapes):
    """What one jitted call of value and gradients needs beside arguments and results."""
    total = lambda *args: function(*args).sum()
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    compiled = jax.jit(jax.value_and_grad(total, tuple(range(len(shapes))))).lower(*args).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_memory_at_2048_tokens():
    """Eight heads of 64 features: a tenth of what jax.nn needs, whose weights alone are 128 MiB."""
    shapes = [(1, 2048, 8, 64)] * 3
    ours = temporary_bytes(lambda *a: dot_product_attention(*a, is_causal=True), *shapes)
    assert ours < 48 * 2**20
    assert ours < temporary_bytes(lambda *a: jax.nn.dot_product_attention(*a, is_causal=True), *shapes) / 10


@pytest.mark.parametrize(
    ("options", "blocks"),
    [({}, 256), ({"is_causal": True}, 136), ({"local_window_size": (511, 0)}, 31)],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else str(value),
)
def test_what_is_hidden_is_not_computed(options, blocks):
    """8192 tokens are 16 x 16 blocks: half of them and the diagonal if causal; two per row in a window of one block."""
    x = jax.ShapeDtypeStruct((1, 8192, 1, 8), jnp.float32)
    attend = lambda q, k, v: dot_product_attention(q, k, v, **options).sum()
    program = str(jax.make_jaxpr(jax.grad(attend, (0, 1, 2)))(x, x, x))
    assert set(re.findall(r"length=(\d+)", program)) == {str(blocks)}
    # a program of this size compiles within a second, and it does not grow with the sequence
    assert len(program.splitlines()) < 500


@pytest.mark.parametrize(
    "layout", ["shard_map", *(pytest.param(x, marks=pytest.mark.slow) for x in ("shard_map unchecked", "explicit"))]
)
def test_a_batch_over_two_devices(layout):
    """Each device takes one sequence; the bias, which both share, gets the sum of their gradients."""
    query, key, value = draw((2, 3, 2, 2), (2, 3, 1, 2), (2, 3, 1, 2))
    (bias,) = draw((2, 3, 3))
    kind = AxisType.Explicit if layout == "explicit" else AxisType.Auto
    mesh = jax.make_mesh((2,), ("data",), (kind,), devices=jax.devices()[:2])

    def loss(query, key, value, bias):
        return (dot_product_attention(query, key, value, bias, is_causal=True, block_size=2) ** 2).sum()

    def spread(*args):
        if layout == "explicit":
            return loss(*args)
        body = lambda *args: jax.lax.psum(loss(*args), "data")
        specs = (P("data"), P("data"), P("data"), P())
        return jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=layout == "shard_map")(*args)

    args = [query, key, value, bias]
    want = grad(loss, (0, 1, 2, 3))(*args)
    with jax.set_mesh(mesh):
        if layout == "explicit":
            args = [jax.device_put(x, P("data") if x.ndim == 4 else P()) for x in args]
        got = jax.jit(jax.grad(spread, (0, 1, 2, 3)))(*args)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3, 2, 4), (5, 2, 3), (5, 2, 4)), r"\(3, 2, 4\), \(5, 2, 3\) and \(5, 2, 4\)"),
        (((3, 3, 4), (5, 2, 4), (5, 2, 4)), "N a multiple of K"),
        (((3, 2, 4), (5, 2, 4), (6, 2, 4)), "not"),
        (((1, 3, 2, 4), (2, 5, 2, 4), (2, 5, 2, 4)), "not"),
        (((3, 2, 4), (5, 2, 4), (5, 2, 4), (3, 4)), r"must broadcast to \(2, 3, 5\), not \(3, 4\)"),
        (((3, 2, 4), (5, 2, 4), (5, 2, 4), (1, 2, 3, 5)), "must broadcast"),
    ],
)
def test_shapes_that_do_not_fit(shapes, message):
    """A ValueError with the shapes, also where broadcasting would have made something of them."""
    with pytest.raises(ValueError, match=message):
        dot_product_attention(*draw(*shapes))


def test_a_mask_of_numbers_is_refused():
    """0 and -inf, or 0 and 1, are a bias; taken for a mask they would mean the opposite."""
    with pytest.raises(ValueError, match="mask must be boolean, not float32"):
        dot_product_attention(*draw((3, 1, 2), (3, 1, 2), (3, 1, 2)), mask=np.zeros((3, 3), np.float32))


# Rotary positions


@pytest.mark.parametrize("interleaved", [False, True])
def test_pairs_are_complex_numbers(interleaved):
    """Pair i as a complex number is multiplied by exp(i position base^(-2i/D)), in float64 against numpy."""
    with jax.enable_x64(True):
        (x,) = draw((5, 2, 6), dtype=np.float64)
        positions = np.array([0, 1, 7, 100, 100_000])
        first, second = (x[..., ::2], x[..., 1::2]) if interleaved else (x[..., :3], x[..., 3:])
        turned = (first + 1j * second) * np.exp(1j * positions[:, None, None] * 500.0 ** (-np.arange(0, 6, 2) / 6))
        parts = (turned.real, turned.imag)
        want = np.stack(parts, -1).reshape(x.shape) if interleaved else np.concatenate(parts, -1)
        got = compiled(lambda x: rotary_embedding(x, positions, 500.0, interleaved=interleaved))(x)
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)  # sines of 100,000


def test_only_distances_matter():
    """The product of a query at s and a key at t is that at s + 5 and t + 5; lengths stay what they are."""
    query, key = draw((6, 1, 8), (6, 1, 8))
    positions = np.arange(6)
    turn = compiled(rotary_embedding)
    at = lambda x, shift: turn(x, positions + shift)[:, 0]
    lengths = np.linalg.norm(query[:, 0], axis=-1, keepdims=True) * np.linalg.norm(key[:, 0], axis=-1)
    rounding = 8 * _ROUNDOFF * lengths  # eight products
    assert np.all(np.abs(at(query, 5) @ at(key, 5).T - at(query, 0) @ at(key, 0).T) <= rounding)
    np.testing.assert_allclose(np.linalg.norm(at(query, 5), axis=-1), np.linalg.norm(query[:, 0], axis=-1), rtol=1e-6)


def test_the_gradient_turns_back():
    """dx is dy turned by minus the angle; what is not turned passes; nothing is kept of x."""
    x, dy = draw((4, 2, 7), (4, 2, 7))
    positions = np.arange(4)
    turn = lambda x, positions: rotary_embedding(x, positions, features=4)
    _, dx = pulled(lambda x: turn(x, positions))(dy, x)
    np.testing.assert_allclose(dx, compiled(turn)(dy, -positions), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(dx[..., 4:], dy[..., 4:])


def test_features_that_make_no_pairs():
    """An odd number, or more than there are, is refused by name."""
    for features in (None, 3, 6, -2):
        with pytest.raises(ValueError, match="turns an even number of the 5 features"):
            rotary_embedding(np.ones((2, 1, 5), np.float32), np.arange(2), features=features)


def test_a_sink_is_a_key_without_a_value():
    """Nothing else than one more key, orthogonal to every query but for a bias, whose value is 0; in blocks as at once."""
    q, k, v = draw((2, 5, 4, 3), (2, 6, 2, 3), (2, 6, 2, 3))
    sink = np.float32([0.5, -1.0, 2.0, -np.inf])
    more = [np.concatenate([np.zeros_like(x[:, :1]), x], 1) for x in (k, v)]
    bias = np.concatenate([np.broadcast_to(sink[:, None, None], (4, 5, 1)), np.zeros((4, 5, 6), np.float32)], -1)
    for block_size in (2, 512):
        in_blocks = lambda *args, size=block_size: dot_product_attention(*args, sink=sink, block_size=size)
        (found, error), (right, other) = rounded(in_blocks, q, k, v), rounded(dot_product_attention, q, *more, bias)
        assert np.all(np.abs(found - right) <= error + other)
        assert np.max(error + other) < 1e-4 * np.max(np.abs(right))  # else it would say nothing


@pytest.mark.slow
def test_dropout_of_weights():
    """The mean over many keys is attention without it; the dropped share is what was asked for; a key decides."""
    q, k, v = draw((7, 2, 3), (9, 2, 3), (9, 2, 3))
    of = lambda key: dot_product_attention(q, k, v, block_size=4, dropout_rate=0.25, dropout_rng=key)
    drawn = jax.vmap(of)(jax.random.split(jax.random.key(0), 4000))
    deviation = drawn.std(0) / np.sqrt(len(drawn))  # of the mean; five of them are beyond chance
    assert np.all(np.abs(drawn.mean(0) - dot_product_attention(q, k, v)) <= 5 * deviation)
    np.testing.assert_array_equal(of(jax.random.key(1)), of(jax.random.key(1)))
    shown = dot_product_attention(0 * q, k, np.eye(9, dtype=np.float32)[:, None].repeat(2, 1), block_size=4,
                                  dropout_rate=0.25, dropout_rng=jax.random.key(1))  # fmt: skip
    assert set(np.round(np.unique(shown), 5)) == {0, np.round(np.float32(4 / 27), 5)}  # 1 / 9 / (1 - 0.25)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"logits_soft_cap": 0.0}, "logits_soft_cap must be positive"),
        ({"dropout_rate": 1.0, "dropout_rng": jax.random.key(0)}, "from 0 to less than 1"),
        ({"dropout_rate": 0.5}, "needs a key"),
        ({"sink": np.zeros(3, np.float32)}, "one number per query head"),
    ],
)
def test_options_that_do_not_fit(options, words):
    """One line each."""
    q, k, v = draw((5, 2, 3), (5, 2, 3), (5, 2, 3))
    with pytest.raises(ValueError, match=words):
        dot_product_attention(q, k, v, **options)
