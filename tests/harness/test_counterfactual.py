"""A wrong gradient that is the right one of another function: which function that is, each by a rule that makes the mistake."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import at, by_hand

from backproplab import verify
from backproplab.harness.counterfactual import other_function

random = np.random.default_rng(0)
X, W = random.normal(size=(6, 4)), random.normal(size=(4, 4))
MASK = random.random((6, 4)) < 0.6


def layer(x, w, mask):
    return changed(x, w, mask)


def changed(
    x,
    w,
    mask,
    constant=lambda y: y,
    slope=jnp.tanh,
    clip=jnp.clip,
    where=jnp.where,
    low=jnp.less,
    turn=lambda w: w,
    total=jnp.cumsum,
):
    """Something of everything; each option is a place for a mistake."""
    sigma = constant(jnp.sqrt(jnp.sum(w * w)))
    h = slope(x @ w / sigma)
    shown = where(mask & (x > 0), h, 0.0)
    inside = clip(x, -1.0, 1.0)
    order = jnp.arange(len(x))
    before = jnp.where(low(order[:, None], order), 1.0, 0.0)
    return total(shown, 0) + before @ inside + before.T @ h


def twice(x):
    """The sum of what is before, by a loop."""
    return jax.lax.scan(lambda held, row: (jnp.cos(held) * row + held, held), jnp.zeros(x.shape[1:]), x)[1]


def rule_of(fn, other):
    """`fn` with the gradient of `other`."""
    return by_hand(
        fn,
        lambda args, dy: (
            *jax.vjp(lambda *moving: other(*moving, *args[2:]), *args[:2])[1](dy),
            *[None] * (len(args) - 2),
        ),
    )


MISTAKES = {
    "leaves out the path through `sigma` (test_counterfactual.py:": {"constant": jax.lax.stop_gradient},
    "counts the path through `sigma` (test_counterfactual.py:": {"constant": lambda y: jax.lax.stop_gradient(2 * y) - y},
    "takes the slope of `tanh` (test_counterfactual.py:": {"slope": lambda x: jax.lax.stop_gradient(jnp.tanh(x) - x) + x},
    "takes the slope of `clip` (test_counterfactual.py:": {"clip": lambda x, low, high: jax.lax.stop_gradient(jnp.clip(x, low, high) - x) + x},
    "finds its condition true everywhere: a mask is left out": {"where": lambda mask, h, _: h},
    "is `<=`": {"low": jnp.less_equal},
    "is `>=`": {"low": jnp.greater_equal},
    "whose `cumsum` (test_counterfactual.py:": {"total": lambda x, axis: jnp.cumsum(x[::-1], axis)[::-1]},
}  # fmt: skip


@pytest.mark.parametrize("sentence", MISTAKES, ids=str)
def test_each_mistake_is_named(sentence):
    """In words and with the line of the function; the rule's own text is not looked at."""
    rule = rule_of(layer, lambda x, w, mask: changed(x, w, mask, **MISTAKES[sentence]))
    verdict = verify(rule, X, W, MASK, dtypes=("float64",))
    assert verdict.status == "fail" and sentence in verdict.cause, verdict.cause


def test_terms_factors_operands_and_loops():
    """What is left out of a sum or a product, and a loop run the other way or with a path of its body left out."""

    def affine(x, b):
        return jnp.exp(x + b) * b

    told = lambda fn, other, *args, leaf=0: other_function(at(rule_of(fn, other), *args), leaf, 0, {})
    assert "without the term `b` in `add`" in told(affine, lambda x, b: jnp.exp(x) * b, X[:, :3], X[:, 1:])
    assert "without the factor `b` in `mul`" in told(affine, lambda x, b: jnp.exp(x + b), X[:, :3], X[:, 1:])
    square = lambda x, b: jnp.sin(x) @ b
    assert "in which `sin` is transposed before `dot_general`" in told(square, lambda x, b: jnp.sin(x).T @ b, X[:4], W)
    looped = lambda x, b: twice(x) * b
    assert "whose `scan`" in told(looped, lambda x, b: twice(x[::-1])[::-1] * b, X, X)

    def cut(x, b):
        step = lambda held, row: (jnp.cos(held) * row + jax.lax.stop_gradient(held), held)
        return jax.lax.scan(step, jnp.zeros(4), x)[1] * b

    assert "leaves out the path through" in told(looped, cut, X, X)


def test_conjugates_and_exchanged_paths():
    """A complex cotangent that is not conjugated, and two paths of which one is taken for both."""
    told = lambda fn, other, *args: other_function(at(rule_of(fn, other), *args), 0, 0, {})

    def spectrum(x, b):
        return jnp.fft.rfft(jnp.sin(x)) * b

    def conjugated(x, b):
        z = jnp.fft.rfft(jnp.sin(x))
        return (jnp.conj(z) + jax.lax.stop_gradient(z - jnp.conj(z))) * b

    assert "conjugates what comes back through" in told(spectrum, conjugated, X, X[:, :3])

    def square(x, b):
        k = jnp.sin(x)
        return k @ k + b

    def one_sided(x, b):
        k = jnp.sin(x)
        return 2 * k @ jax.lax.stop_gradient(k) + b

    words = told(square, one_sided, X[:4], W)
    assert (
        "counts the path through `k` into `dot_general`" in words and "as its operand 0 twice and leaves out" in words
    )


def test_what_is_overwritten_carried_or_conjugated():
    """Repeated indices, a loop's state one step late as a whole or in one product, and a matrix that lacks its conjugate."""
    told = lambda fn, other, *args, leaf=0: other_function(at(rule_of(fn, other), *args), leaf, 0, {})
    places = np.array([0, 2, 2, 1])

    def once(x, b):
        kept = jnp.array([1.0, 0.0, 1.0, 1.0])[:, None]  # the second of two equal places comes last
        taken = jnp.sin(x)[places]
        return (kept * taken + jax.lax.stop_gradient((1 - kept) * taken)) * b

    words = told(lambda x, b: jnp.sin(x)[places] * b, once, X, W)
    assert "several times, the last contribution alone" in words

    def run(x, w, late=lambda before, after: before, late_product=lambda before, after: before):
        def step(h, row):
            value = jnp.tanh(row + h @ w)
            at = late(h, value)
            made = jnp.tanh(row + at @ w + (late_product(h, value) - h) @ (w - jax.lax.stop_gradient(w)))
            made = made + jax.lax.stop_gradient(value - made)
            return made, made

        return jax.lax.scan(step, jnp.zeros(4), x)[1]

    moved = lambda before, after: before + jax.lax.stop_gradient(after - before)
    plain = lambda x, w: jax.lax.scan(lambda h, row: (jnp.tanh(row + h @ w),) * 2, jnp.zeros(4), x)[1]
    words = told(plain, lambda x, w: run(x, w, late=moved), X, W, leaf=1)
    assert "for the slopes of a step of `scan` (test_counterfactual.py:" in words and "after the step" in words
    words = told(plain, lambda x, w: run(x, w, late_product=moved), X, W, leaf=1)
    assert "for the slope of `dot_general` (test_counterfactual.py:" in words and "after the step" in words

    z, a = X + 1j * X[::-1], W + 1j * W.T
    half = lambda x, b: b @ jnp.sin(x)
    other = lambda x, b: jnp.conj(b) @ jnp.sin(x)
    same_value = lambda x, b: other(x, b) - jax.lax.stop_gradient(other(x, b) - half(x, b))
    assert "`b` is conjugated before `dot_general`" in told(half, same_value, z[:4], a)


def test_steps_of_a_loop():
    """What all steps use: one step's share alone, one step's missing, and a factor that every step repeats."""
    told = lambda fn, other, *args, leaf=0: other_function(at(rule_of(fn, other), *args), leaf, 0, {})

    def run(x, w, used=lambda w, i: w, held=lambda h: h):
        step = lambda h, given: (jnp.tanh(given[0] + held(h) @ used(w, given[1])),) * 2
        return jax.lax.scan(step, jnp.zeros(4), (x, jnp.arange(len(x))))[1]

    when = lambda counts: lambda w, i: jnp.where(counts(i), w, jax.lax.stop_gradient(w))
    plain = lambda x, w: run(x, w)
    of = lambda counts: told(plain, lambda x, w: run(x, w, when(counts)), X, W, leaf=1)
    assert "holds what the last step of `scan` (test_counterfactual.py:" in of(lambda i: i == len(X) - 1)
    assert "leaves out what the last step of `scan` (test_counterfactual.py:" in of(lambda i: i < len(X) - 1)
    back = lambda h: 2 * jax.lax.stop_gradient(h) - h
    words = told(plain, lambda x, w: run(x, w, held=back), X, W)
    assert "counts the path through" in words and "with the wrong sign" in words


def test_several_paths_at_once():
    """A count that two paths share, in the numbers in play; and one path that is all there is."""
    told = lambda fn, other, *args: other_function(at(rule_of(fn, other), *args), 0, 0, {6.0: "rows", 4.0: "columns"})
    stop, share = jax.lax.stop_gradient, lambda y, f: f * y + jax.lax.stop_gradient((1 - f) * y)

    def normed(x, b, counted=lambda y: y):
        mu = counted(x.mean(0))
        sigma = jnp.sqrt(counted(jnp.square(x - stop(mu)).mean(0)))
        return (x - mu) / sigma * b

    words = told(lambda x, b: normed(x, b), lambda x, b: normed(x, b, lambda y: share(y, 2 / 3)), X, X)
    assert (
        "counts the paths through `sigma`" in words
        and "and `mu`" in words
        and "0.666667 = 4/6 (columns over rows) times" in words
    )

    def product(x, b):
        h = jnp.sin(x)
        return h * jnp.exp(h) + h**3 * b

    words = told(product, lambda x, b: jnp.sin(x) * stop(jnp.exp(jnp.sin(x))), X, X)
    assert "is what comes through `h` into `mul`" in words and "alone, all other paths left out" in words


def test_a_count_of_each_row():
    """A mean over all entries where it should be over those that count."""

    def centred(x, mask):
        mu = jnp.where(mask, x, 0).sum(1, keepdims=True) / mask.sum(1, keepdims=True)
        return x - mu * jnp.cos(x)

    def other(x, mask):
        plain = jax.lax.stop_gradient(jnp.where(mask, x, 0).sum(1, keepdims=True) / mask.sum(1, keepdims=True))
        mu = jnp.where(mask, x, 0).sum(1, keepdims=True) / 4
        return x - (plain + mu - jax.lax.stop_gradient(mu)) * jnp.cos(x)

    fn = by_hand(centred, lambda r, dy: (jax.vjp(lambda x: other(x, r[1]), r[0])[1](dy)[0], None))
    words = other_function(at(fn, X, MASK), 0, 0, {})
    assert "counts the path through `mu` (test_counterfactual.py:" in words and "differs along axis 0" in words


def test_a_bound_that_was_forgotten():
    """One end of a clip, by its number."""
    fn = lambda x, b: x * jnp.clip(x + 1, 0.0, 2.0) * b
    words = other_function(at(rule_of(fn, lambda x, b: x * jnp.maximum(x + 1, 0.0) * b), X, X), 0, 0, {})
    assert "without the bound `2.0` in `min` (test_counterfactual.py:" in words


def test_a_shift_that_comes_out_again():
    """The largest entry, subtracted before the exponential, does not hide that the sum of all was taken for a constant."""

    def softmax(x):
        e = jnp.exp(x - jnp.max(x, -1, keepdims=True))
        z = jnp.sum(e, -1, keepdims=True)
        return e / z

    words = other_function(at(by_hand(softmax, lambda r, dy: (dy * softmax(r[0]),)), X), 0, 0, {})
    assert "leaves out the path through `z`" in words or ("`e` into `div`" in words and "alone" in words)


def test_paths_that_overwrite_each_other():
    """Where two windows of one array overlap, one alone; and a path that is lost at some places, which are said."""
    fn = lambda x: jnp.sin(x[:-1]) * jnp.cos(x[1:])

    def dx(r, dy):
        low, high = r[0][:-1], r[0][1:]
        wide = jnp.zeros_like(r[0]).at[1:].set(-dy * jnp.sin(low) * jnp.sin(high))
        return (wide.at[:-1].set(dy * jnp.cos(low) * jnp.cos(high)),)

    words = other_function(at(by_hand(fn, dx), X), 0, 0, {})
    assert "leaves out the path through" in words and "one overwrites the other" in words

    def edge(r, dy):
        low, high = r[0][:-1], r[0][1:]
        wide = jnp.zeros_like(r[0]).at[1:].set((-dy * jnp.sin(low) * jnp.sin(high)).at[2].set(0))
        return (wide.at[:-1].add(dy * jnp.cos(low) * jnp.cos(high)),)

    words = other_function(at(by_hand(fn, edge), X), 0, 0, {})
    assert "leaves out the path through" in words and "in 4 of 24 entries, at index 3 of axis 0" in words


def test_what_holds_at_one_point_alone_is_not_said():
    """At equal rows a mean over the rows is a row: the other point tells them apart. Nor is anything said of noise."""
    equal = np.tile(X[:1], (6, 1))
    fn = lambda x, w: jnp.tanh(x) @ w
    noise = by_hand(fn, lambda r, dy: (dy @ r[1].T, random.normal(size=W.shape)))
    assert other_function(at(noise, equal, W), 1, 0, {}) is None


def test_a_function_that_autodiff_has_another_gradient_of():
    """A declared gradient is that of no switch: nothing is said, and nothing raised."""
    fn = by_hand(lambda x: jnp.round(x), lambda r, dy: (2 * dy,))
    straight = lambda x: x
    assert other_function(at(fn, X, reference=straight, by_design="straight through"), 0, 0, {}) in (
        None,
        "counts the path through `x` 2 times",
    )


def test_it_gives_up_in_time():
    """No time, no answer."""
    rule = rule_of(layer, lambda x, w, mask: changed(x, w, mask, slope=jnp.sin))
    assert other_function(at(rule, X, W, MASK), 0, 0, {}, seconds=0.0) is None
