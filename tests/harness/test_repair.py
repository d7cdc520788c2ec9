"""The single change that would make a rule right: found, worded with its line, and confirmed at other points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import at, by_hand
from rules import EPS, affine, cross_entropy, gelu, norm, normalised, softmax, tempered, with_rule

from backproplab import verify
from backproplab.harness.backward import reaching_further, rule_of
from backproplab.harness.edits import REPAIRS, edits, edits_of_inputs, edits_of_numbers

_RANDOM = np.random.default_rng(0)
X, W, B = (_RANDOM.normal(size=shape) for shape in ((4, 5), (5, 5), (5,)))
TARGETS = _RANDOM.dirichlet(np.ones(5), 4)


def mean(a):
    return a.mean(-1, keepdims=True)


def norm_dx(x, scale, dy):
    x_hat, r = normalised(x)
    return r * (dy * scale - mean(dy * scale) - x_hat * mean(dy * scale * x_hat))


def other_eps(x, scale, bias, dy):
    centred = x - mean(x)
    r = jax.lax.rsqrt(mean(centred * centred) + 1e-3)
    g = dy * scale
    return r * (g - mean(g) - centred * r * mean(g * centred * r)), (dy * normalised(x)[0]).sum(0), dy.sum(0)


def no_scale(x, scale, bias, dy):
    x_hat, r = normalised(x)
    return r * (dy - mean(dy) - x_hat * mean(dy * x_hat)), (dy * x_hat).sum(0), dy.sum(0)


def gelu_sign(x, dy):
    return (dy * (jax.scipy.stats.norm.cdf(x) - x * jnp.exp(-x * x / 2) / np.sqrt(2 * np.pi)),)


# what is wrong: the layer, its rule, its arguments, and words of the hint
WRONG = {
    "sign of dx": (affine, lambda x, w, b, dy: (-(dy @ w.T), x.T @ dy, dy.sum(0)), (X, W, B), "to have the opposite sign"),
    "square dx = dy w": (affine, lambda x, w, b, dy: (dy @ w, x.T @ dy, dy.sum(0)), (X, W, B), "transpose"),
    "mean for sum": (affine, lambda x, w, b, dy: (dy @ w.T, x.T @ dy / 4, dy.sum(0)), (X, W, B), "div"),
    "eps": (norm, other_eps, (X, B, B), f"use {EPS:g} in place of 0.001"),
    "scale left out": (norm, no_scale, (X, B, B), "`dy`"),
    "dscale without x_hat": (norm, lambda x, s, b, dy: (norm_dx(x, s, dy), dy.sum(0), dy.sum(0)), (X, B, B), None),
    "softmax without y": (softmax, lambda x, dy: (dy - (dy * softmax(x)).sum(-1, keepdims=True),), (X,), "multiplied"),
    "gelu's second sign": (gelu, gelu_sign, (X,), "to have the opposite sign"),
    "label forgotten": (cross_entropy, lambda z, t, dy: (dy * softmax(z) / 4, -dy * jnp.log(softmax(z)) / 4), (X, TARGETS), None),
    "temperature forgotten": (tempered, lambda x, t, dy: (dy * (1 - jnp.tanh(x / t) ** 2), (-dy * (1 - jnp.tanh(x / t) ** 2) * x / t**2).sum()),
                              (X, np.array(1.7)), "t"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_the_change_is_named(name):
    """What it says is what was done to the rule, at a line of this file; where no single change helps it says nothing."""
    layer, backward, arguments, words = WRONG[name]
    verdict = verify(with_rule(layer, backward), *arguments, dtypes=("float64",))
    assert verdict.status == "fail"
    hints = [note for note in verdict.notes if note.startswith("hint: ")]
    if words is None:
        assert not any("makes the rule right" in hint for hint in hints)
    else:
        assert hints and words in hints[0] and "test_repair.py:" in hints[0]


def solved(a, b):
    return jnp.linalg.solve(a, b)


def of_solve(a, b, dy):
    back = jnp.linalg.solve(a, dy)  # of the transpose
    return -jnp.outer(back, solved(a, b)), back


def factored(x):
    return jnp.linalg.cholesky(x @ x.T + 9 * jnp.eye(5))


def of_cholesky(x, dy, half=1.0):
    low = factored(x)
    inside = jnp.tril(low.T @ dy) * (1 - (1 - half) * jnp.eye(5))
    back = jnp.linalg.solve(low.T, jnp.linalg.solve(low.T, inside.T).T)
    return ((back + back.T) @ x,)


def looked_up(table, places):
    return table[places] * 1.0


def of_lookup(table, places, dy):
    return jnp.zeros_like(table).at[places].set(dy), None


def quick(x):
    return x * jax.nn.sigmoid(1.702 * x)


def of_quick(x, dy):
    s = jax.nn.sigmoid(1.7 * x)
    return (dy * (s + 1.7 * x * s * (1 - s)),)


def tanh_gelu(x):
    return 0.5 * x * (1 + jnp.tanh(x + 0.044715 * x**3))


def of_tanh_gelu(x, dy, k=0.04715):
    t = jnp.tanh(x + k * x**3)
    return (dy * 0.5 * (1 + t + x * (1 - t * t) * (1 + 3 * k * x * x)),)


def thinned(x):
    return jnp.where(x > 0, x, 0) / 0.7


def spread(x, variance):
    return x / jnp.sqrt(variance)


def run(u, x):
    """A loop with a product in its state."""
    step = lambda h, row: (jnp.tanh(row + (jnp.cos(row) * h) @ u),) * 2
    return jax.lax.scan(step, jnp.ones(5), x)[1]


def of_run(u, x, dy):
    h = jnp.concatenate([jnp.ones((1, 5)), run(u, x)])

    def back(carry, given):
        dh, du = carry
        before, row, dy = given
        gate = jnp.cos(row)
        mixed = gate * before
        da = (dh + dy) * (1 - jnp.tanh(row + mixed @ u) ** 2)
        du = du + jnp.outer(before, da)  # not of what is mixed
        through = da @ u.T
        return (through * gate, du), da - jnp.sin(row) * before * through

    (_, du), dx = jax.lax.scan(back, (jnp.zeros(5), jnp.zeros((5, 5))), (h[:-1], x, dy), reverse=True)
    return du, dx


MATRICES = {
    "a solve that is not of the transpose": (solved, of_solve, (W, B), ("transpose",)),
    "a diagonal that is not halved": (factored, of_cholesky, (W,), ("diagonal halved", "`eye`", "scaled")),
    "entries that overwrite": (looked_up, of_lookup, (W, np.array([0, 2, 2, 1])), ("to add up what meets in one place",)),
    "a number in two places": (quick, of_quick, (X,), ("use 1.702 in place of 1.7, there and wherever else it stands, makes the rule",)),
    "a number and three times it": (tanh_gelu, of_tanh_gelu, (X,), ("use 0.044715 in place of 0.04715, there and wherever",)),
    "a number left out": (thinned, lambda x, dy: (jnp.where(x > 0, dy, 0),), (X,), ("to be divided by 0.7",)),
    "the input for the output": (jnp.tanh, lambda x, dy: (dy * (1 - x * x),), (X,), ("replaced by the output",)),
    "the input for its tanh": (lambda x: jnp.tanh(x) + x, lambda x, dy: (dy * (2 - x * x),), (X,), ("replaced by its hyperbolic tangent",)),
    "a variance for a deviation": (spread, lambda x, v, dy: (dy / v, -dy * x / v**1.5 / 2), (X, np.exp(X)), ("square root",)),
    "another value in a loop": (run, of_run, (W, X), ("`mixed`",)),
}  # fmt: skip


def told(layer, backward, arguments):
    """The hint on a rule that is wrong, with a line of this file; nothing if there is none."""
    verdict = verify(with_rule(layer, backward), *arguments, dtypes=("float64",))
    assert verdict.status == "fail"
    return next((note for note in verdict.notes if note.startswith("hint: ") and "test_repair.py:" in note), "")


@pytest.mark.parametrize("name", MATRICES)
def test_changes_of_matrices_places_and_loops(name):
    """What a factorization's rule, a scatter, a saved value and a step of a loop are got wrong by."""
    *wrong, words = MATRICES[name]
    hint = told(*wrong)
    assert any(each in hint for each in words), hint


def by_columns(v, scale):
    return v / jnp.sqrt((v * v).sum(0, keepdims=True)) * scale


def of_columns(v, scale, dy):
    size = jnp.sqrt((v * v).sum(0, keepdims=True))
    unit = v / size
    return scale / size * (dy - unit * (unit * dy).sum(1, keepdims=True)), (dy * unit).sum(0)


def whitened(x):
    centred = x - x.mean(0)
    return centred / jnp.sqrt((centred**2).mean(0) + EPS)


def of_whitened(x, dy):
    """With the means of a layer's norm in a batch's."""
    centred = x - x.mean(0)
    r = 1 / jnp.sqrt((centred**2).mean(0) + EPS)
    hat = centred * r
    return (r * (dy - mean(dy) - hat * mean(dy * hat)),)


def settled(w, b):
    return jnp.linalg.solve(jnp.eye(5) - w / 10, b)


def of_settled(w, b, dy, steps=5):
    back = jax.lax.fori_loop(0, steps, lambda _, each: dy + w.T @ each / 10, dy)
    return jnp.outer(back, settled(w, b)) / 10, back


def of_square(x, dy):
    inner = dy * jnp.cos(x @ x) * x.T
    return inner @ x.T + x.T @ inner + dy * jnp.sin(x @ x)


def grouped(x):
    """Two heads share what each row holds."""
    return jnp.stack([x, 2 * x], 1)


PLACES = {
    "a sum along another axis": (by_columns, of_columns, (W, B), ("to take the sum over axis 0, not over axis 1, makes",)),
    "a mean along another axis": (lambda x: x - mean(x), lambda x, dy: (dy - dy.mean(0, keepdims=True),), (W,), ("the mean over axis 1, not over axis 0,",)),
    "a share of a sum along another axis": (lambda x: x - 0.3 * x.sum(1, keepdims=True), lambda x, dy: (dy - 0.3 * dy.sum(0, keepdims=True),), (W,), ("the sum over axis 1, not over axis 0,",)),
    "two means along another axis": (whitened, of_whitened, (W,), ("the mean over axis 0, not over axis 1, and all others like it, makes the rule",)),
    "one place of an axis": (grouped, lambda x, dy: ((jnp.array([1, 2])[:, None] * dy)[:, 0],), (X,), ("to add up axis 1, not to take one place of it,",)),
    "one place too far": (lambda x: x[1:] - x[:-1], lambda x, dy: (jnp.pad(dy, ((1, 0), (0, 0))) - jnp.pad(dy, ((1, 0), (0, 0))),), (X,), ("`pad`", "one place earlier along axis 0")),
    "a shift the other way": (lambda x: x * jnp.roll(x, 1, 0), lambda x, dy: (dy * jnp.roll(x, 1, 0) + jnp.roll(dy * x, 1, 0),), (X,), ("`concatenate`", "to shift by -1 along axis 0, not by 1, makes the rule")),
    "a sum from the wrong end": (lambda x: jnp.cumsum(x * x, 0), lambda x, dy: (2 * x * jnp.cumsum(dy, 0),), (X,), ("`cumsum`", "to run backwards makes the rule")),
    "a matrix that is not turned": (lambda x: jnp.sin(x @ x) * x.T, lambda x, dy: (of_square(x, dy),), (W,), ("transpose",)),
    "a conjugate": (lambda z: jnp.real(z * jnp.conj(z)) + jnp.imag(z), lambda z, dy: (2 * dy * z - 1j * dy,), (X + 1j * X[::-1],), ("conjugate",)),
    "too few steps": (settled, of_settled, (W, B), ("to take 50 steps, not 5: it stops too early, makes the rule right",)),
    "too few digits": (jax.scipy.special.ndtr, lambda x, dy: (0.39894 * dy * jnp.exp(-x * x / 2),), (X,), ("to use 0.3989422804 in place of 0.39894 makes",)),
    "too few digits within": (lambda x: jnp.cos(np.e * x), lambda x, dy: (-np.e * dy * jnp.sin(2.718 * x),), (X,), ("in place of 2.718 makes",)),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_changes_of_axes_places_and_numbers(name):
    """What a sum goes over, where an array begins, how long an iteration goes on, and a number that stands nowhere else."""
    *wrong, words = PLACES[name]
    hint = told(*wrong)
    assert all(each in hint for each in words), hint


def test_a_rule_inside_another_function():
    """The layer that is at fault is named, its line, and the change; whether it is called once or in a loop."""
    dense = with_rule(lambda x, w: x @ w, lambda x, w, dy: (dy @ w.T / 2, x.T @ dy))
    once = lambda x, w: jnp.sum(jnp.tanh(dense(jnp.sin(x), w)))
    looped = lambda x, w: jnp.sum(jax.lax.scan(lambda h, _: (jnp.tanh(dense(h, w)), None), x, None, 3)[0])
    for function in (once, looped):
        verdict = verify(function, X, W, dtypes=("float64",))
        assert verdict.status == "fail"
        hint = next(note for note in verdict.notes if note.startswith("hint: "))
        assert "changing `div` at test_repair.py:" in hint and "to leave out `2` makes the rule right" in hint


def one_name(x, dy):
    g = jnp.cos(x)
    first = g
    g = g * jnp.exp(jnp.sin(x))
    return (dy * (first + 1) + 0 * g,)


def test_two_values_of_one_name():
    """They are told apart where a rule gives one name to one after the other."""
    verdict = verify(with_rule(lambda x: jnp.exp(jnp.sin(x)) + x, one_name), X, dtypes=("float64",))
    assert any("to use another value of `g` makes the rule right" in note for note in verdict.notes)


def test_every_edit_can_be_made():
    """One that cannot would end the search: of arrays with few axes beside those with many, of square and of long ones."""

    def layer(x, w, b, t):
        return jnp.tanh(x @ w + b) * t + jnp.cumsum(x[:, :4], 0)

    def bwd(kept, dy):
        x, w, b, t = kept
        y = jnp.tanh(x @ w + b)
        da = dy * t * (1 - y * y)
        dx = (da @ w.T).at[:, :4].add(jnp.cumsum(dy[::-1], 0)[::-1])
        return dx, x.T @ da, da.sum(0), jnp.sum(dy * y) + 0.0 * jnp.mean(x)

    p = at(by_hand(layer, bwd), *(_RANDOM.normal(size=shape) for shape in ((4, 6), (6, 4), (4,), ())))
    rule = reaching_further(rule_of(p), p.view.labels)
    found = list(edits(rule.backward, REPAIRS, (0.5,)))
    for output in range(4):
        found += [*edits_of_inputs(rule.backward, output), *edits_of_numbers(rule.backward, (0.5,))]
    kinds = {edit.kind for edit in found}
    assert {"times slope", "displaced", "turned", "other way", "input"} <= kinds and len(found) > 1000
    for edit in found:
        assert len(edit.change().jaxpr.outvars) == 4


def test_what_would_break_the_example_is_no_hint():
    """A size written into a rule is right for that size: no other number is, though one would be at every other point."""
    average = with_rule(lambda x: jnp.sum(jnp.sin(x)) / x.size, lambda x, dy: (dy * jnp.cos(x) * 0.05,))
    verdict = verify(average, X, dtypes=("float64",))
    assert verdict.status == "fail" and "with odd sizes" in verdict.cause
    assert not any(note.startswith("hint: ") for note in verdict.notes)
