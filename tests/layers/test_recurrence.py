"""Recurrent layers against loops, and what padding, lengths, directions and saturated gates do to their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled, grad

from backproplab.layers.recurrence import elman_rnn, gru, linear_recurrence, lstm

BATCH, TIME, INPUTS, UNITS = 3, 5, 3, 2
LENGTHS = np.array([5, 0, 2])


def assert_close(one, other):
    """In float64: a few dozen roundings of numbers of size 1."""
    np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-13)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _elman(a, state, u, _):
    (h,) = state
    return (np.tanh(a + h @ u),)


def _lstm(a, state, u, _):
    h, c = state
    i, f, g, o = np.split(a + h @ u, 4)
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(c), c


def _gru(a, state, u, c):
    (h,) = state
    p = h @ u
    r, z = _sigmoid(a[:2] + p[:2]), _sigmoid(a[2:4] + p[2:4])
    return ((1 - z) * np.tanh(a[4:] + r * (p[4:] + c)) + z * h,)


def _gru_before(a, state, u, _):
    (h,) = state
    r, z = _sigmoid(a[:2] + h @ u[:, :2]), _sigmoid(a[2:4] + h @ u[:, 2:4])
    return ((1 - z) * np.tanh(a[4:] + (r * h) @ u[:, 4:]) + z * h,)


# the layer as f(x, w, u, b, c, lengths, initial, reverse) -> (h, c or nothing), gates, states, one step in numpy
LAYERS = {
    "elman_rnn": (lambda x, w, u, b, c, n, s, r: (elman_rnn(x, w, u, b, n, s[0], r),), 1, 1, _elman),
    "lstm": (lambda x, w, u, b, c, n, s, r: lstm(x, w, u, b, n, s, r), 4, 2, _lstm),
    "gru": (lambda x, w, u, b, c, n, s, r: (gru(x, w, u, b, c, n, s[0], True, r),), 3, 1, _gru),
    "gru, reset before": (
        lambda x, w, u, b, c, n, s, r: (gru(x, w, u, b, None, n, s[0], False, r),),
        3,
        1,
        _gru_before,
    ),
}


def _arguments(gates, states, dtype: type = np.float64) -> list:
    draw = lambda *shape: np.random.default_rng(shape).normal(size=shape).astype(dtype)
    start = tuple(draw(BATCH, UNITS) + i for i in range(states))
    weights = draw(INPUTS, gates * UNITS), draw(UNITS, gates * UNITS), draw(gates * UNITS), draw(UNITS)
    return [draw(BATCH, TIME, INPUTS), *weights, start]


def _loops(step, x, w, u, b, c, lengths, start, reverse):
    """All h, and the last state, one sequence and one step after the other; padded steps are left out."""
    h = np.empty((BATCH, TIME, UNITS))
    last = [np.empty((BATCH, UNITS)) for _ in start]
    for n, length in enumerate(lengths):
        state = tuple(s[n] for s in start)
        for t in reversed(range(TIME)) if reverse else range(TIME):
            if t < length:
                state = step(x[n, t] @ w + b, state, u, c)
            h[n, t] = state[0]
        for kept, s in zip(last, state):
            kept[n] = s
    return h, last


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_values_are_those_of_loops(name, reverse):
    """Every state of sequences of different lengths, one of them empty, in both directions; and the last memory."""
    layer, gates, states, step = LAYERS[name]
    with jax.enable_x64(True):
        x, w, u, b, c, start = _arguments(gates, states)
        h, *memory = compiled(lambda *args: layer(*args, reverse))(x, w, u, b, c, LENGTHS, start)
    right, last = _loops(step, x, w, u, b, c, LENGTHS, start, reverse)
    assert_close(h, right)
    assert_close(h[:, 0 if reverse else -1], last[0])
    for one, other in zip(memory, last[1:], strict=True):
        assert_close(one, other)


def _gradients(layer, arguments, lengths, reverse):
    """Of a loss that wants something of every state."""
    x, w, u, b, c, start = arguments

    def loss(x, w, u, b, start):
        outputs = layer(x, w, u, b, c, lengths, start, reverse)
        return sum(jnp.sum(jnp.sin(output + i)) for i, output in enumerate(outputs))

    return grad(loss, (0, 1, 2, 3, 4))(x, w, u, b, start)


@pytest.mark.parametrize("name", LAYERS)
def test_padding_is_not_read(name):
    """jax#15183: NaN and infinity beyond the lengths leave all gradients as they were, with exact zeros for the padding."""
    layer, gates, states, _ = LAYERS[name]
    x, *rest = _arguments(gates, states, np.float32)
    padded = np.arange(TIME) >= LENGTHS[:, None]
    poisoned = np.where(padded[..., None], np.array([np.nan, np.inf, -np.inf], np.float32), x)
    clean = _gradients(layer, (x, *rest), LENGTHS, False)
    assert not np.any(clean[0][padded]) and np.all(clean[0][~padded])
    for one, other in zip(
        jax.tree.leaves(clean), jax.tree.leaves(_gradients(layer, (poisoned, *rest), LENGTHS, False))
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["elman_rnn", "lstm"])
def test_a_padded_batch_is_its_sequences_one_by_one(name):
    """keras#17966: a sequence cut to its length has the same gradients; an empty one hands its cotangents to the start."""
    layer, gates, states, _ = LAYERS[name]
    with jax.enable_x64(True):
        x, *weights, start = _arguments(gates, states)

        def loss(start, n, length):
            alone = jnp.asarray(x)[n : n + 1, :length]
            outputs = layer(alone, *weights, None, start, False)
            frozen = outputs[0][:, -1] if length else start[0]
            return (
                jnp.sum(jnp.sin(outputs[0]))
                + (TIME - length) * jnp.sum(jnp.sin(frozen))
                + sum(jnp.sum(jnp.sin(o + 1)) for o in outputs[1:])
            )

        *_, batch = _gradients(layer, (x, *weights, start), LENGTHS, False)
        for n, length in enumerate(LENGTHS):
            alone = jax.jit(jax.grad(loss), static_argnums=(1, 2))(tuple(s[n : n + 1] for s in start), n, int(length))
            for one, other in zip(batch, alone):
                assert_close(one[n : n + 1], other)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_reverse_is_the_mirror_image(name):
    """Each sequence turned round within its own length: same states, turned back, and same gradients of the weights."""
    layer, gates, states, _ = LAYERS[name]
    mirrored = np.array([[n - 1 - t if t < n else t for t in range(TIME)] for n in LENGTHS])
    turn = lambda a: jnp.take_along_axis(jnp.asarray(a), mirrored[..., None], 1)
    with jax.enable_x64(True):
        x, *weights, start = _arguments(gates, states)
        lengths = LENGTHS.clip(1)
        mirrored[1] = np.arange(TIME)
        real = (np.arange(TIME) < lengths[:, None])[..., None]

        def loss(w, x, reverse):
            h = layer(x, w, *weights[1:], lengths, start, reverse)[0]
            return jnp.sum(real * jnp.sin(h * (1 + jnp.arange(TIME)[:, None])) if reverse else real * jnp.sin(
                turn(h) * (1 + jnp.arange(TIME)[:, None])))  # fmt: skip

        gradient = jax.jit(jax.grad(loss), static_argnums=2)
        one, other = gradient(weights[0], x, True), gradient(weights[0], turn(x), False)
        assert_close(one, other)


def test_saturated_units_have_a_gradient():
    """tanh'(12) = 1.5e-10 comes through in float32, and in bfloat16, where h is 1: 1 - h^2 would be 0."""
    right = 1 / np.cosh(12.0) ** 2
    for dtype, digits in ((np.float32, 4e-7), (jnp.bfloat16, 2**-8)):
        zero = np.zeros((1, 1), dtype)
        db = grad(lambda b: elman_rnn(zero, zero, zero, b).sum())(np.full(1, 12, dtype))
        assert abs(float(db[0]) / right - 1) < digits


def test_bfloat16_sums_over_time_in_float32():
    """1024 equal steps: db and dw are 1024 times one step's; a running sum in bfloat16 would stop at 256."""
    x, w = np.ones((1024, 1), jnp.bfloat16), np.zeros((1, 1), jnp.bfloat16)
    dw, db = grad(lambda w, b: elman_rnn(x, w, jnp.zeros_like(w), b).sum(), (0, 1))(w, np.zeros(1, jnp.bfloat16))
    assert dw[0, 0] == db[0] == 1024


def test_gru_refuses_a_second_bias():
    """It would be added to b: two parameters that do one thing."""
    x, w, u, b, c, start = _arguments(3, 1, np.float32)
    with pytest.raises(ValueError, match="reset_after=False"):
        gru(x, w, u, b, c, None, start[0], False)


# The linear recurrence


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_linear_recurrence_is_the_loop(reverse, parallel):
    """Value, da, db and the start's gradient by loops, with a factor that is 0 and one that is -1; a start for all rows."""
    with jax.enable_x64(True):
        random = np.random.default_rng(3)
        a, b, start, dh = (random.normal(size=shape) for shape in ((2, 6, 3), (2, 6, 3), (3,), (2, 6, 3)))
        a[0, 2], a[1, 3] = 0, -1
        layer = lambda a, b, start: linear_recurrence(a, b, start, reverse, parallel)
        h, gradients = jax.jit(lambda *args: (layer(*args), jax.vjp(layer, *args)[1](dh)))(a, b, start)
        got = (h, *gradients)
    right, da, db, later = np.empty_like(b), np.empty_like(a), np.empty_like(b), np.zeros((2, 3))
    times = range(6)[::-1] if reverse else range(6)
    state, found = np.tile(start, (2, 1)), {}
    for t in times:
        found[t] = state
        state = right[:, t] = a[:, t] * state + b[:, t]
    for t in reversed(times):
        later = later + dh[:, t]
        da[:, t], db[:, t] = later * found[t], later
        later = later * a[:, t]
    for one, other in zip(got, (right, da, db, later.sum(0))):
        assert_close(one, other)


def test_moving_average_of_a_long_series():
    """One factor for all steps: after 100 ones h is 1 - 0.9^100, and its slope in the weight that of the closed form."""
    with jax.enable_x64(True):
        average = lambda s: linear_recurrence(1 - s, s * np.ones((100, 1)), None, False, True)[-1, 0]
        value, slope = jax.jit(jax.value_and_grad(average))(jnp.full(1, 0.1))
        np.testing.assert_allclose(value, 1 - 0.9**100, rtol=1e-13)
        np.testing.assert_allclose(slope, [100 * 0.9**99], rtol=1e-10, atol=0)  # a difference of sums of size 10


def test_linear_recurrence_names_what_does_not_fit():
    """No time axis, or a complex factor for real numbers: a ValueError that says so."""
    with pytest.raises(ValueError, match="time, d"):
        linear_recurrence(np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match="not both"):
        linear_recurrence(np.ones((2, 3), np.complex64), np.ones((2, 3), np.float32))
