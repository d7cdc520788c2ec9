"""Mistakes that only the function's own derivative can show are named, each by a rule that makes it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import at, by_hand

from backproplab import verify
from backproplab.harness.suspects import suspects

random = np.random.default_rng(0)
X, W = random.normal(size=(5, 5)), random.normal(size=(5, 5))
IDS = np.array([0, 2, 2, 1, 0], np.int32)
K = random.normal(size=(3, 2, 2))
B = random.normal(size=5)
S = np.array(0.8)


def dense(dx=lambda x, w, dy: dy @ w.T, dw=lambda x, w, dy: x.T @ dy, db=lambda dy: dy.sum(0)):
    bwd = lambda r, dy: (dx(r[0], r[1], dy), dw(r[0], r[1], dy), db(dy))
    return by_hand(lambda x, w, b: x @ w + b, bwd)


def rows(de):
    return by_hand(lambda table, ids: table[ids], lambda r, dy: (de(jnp.zeros_like(r[0]), r[1], dy), None))


def convolve(x, k):
    return sum(jnp.pad(x, ((1, 1), (0, 0)))[i : i + len(x)] @ k[i] for i in range(3))


def convolution(dx):
    bwd = lambda r, dy: (
        dx(r[1], dy),
        jnp.stack([jnp.pad(r[0], ((1, 1), (0, 0)))[i : i + len(dy)].T @ dy for i in range(3)]),
    )
    return by_hand(convolve, bwd)


def turned(dx):
    """Rows turned by angles that their positions and a mask say."""
    angles = lambda x, at, mask: jnp.cos(at * mask)[:, None].astype(x.dtype)
    bwd = lambda r, dy: (dx(dy, angles, *r), None, None)
    return by_hand(lambda x, at, mask: x * angles(x, at, mask), bwd)


def two(bwd):
    return by_hand(lambda x: (jnp.sin(x), jnp.sum(x * x)), lambda r, dy: (bwd(r[0], *dy),))


def three(bwd):
    return by_hand(lambda x: (jnp.sin(x), jnp.sum(x * x), jnp.cos(x)), lambda r, dy: (bwd(r[0], *dy),))


def rowwise(dw):
    """Two outputs of different lengths."""
    bwd = lambda r, dy: (dy[0] @ r[1].T + jnp.pad(dy[1][None], ((4, 0), (0, 0))), dw(*r, dy[0]))
    return by_hand(lambda x, w: (x @ w, x[-1]), bwd)


def sparse(dv):
    """A product with a matrix given by the places of its entries."""
    bwd = lambda r, dy: (dv(dy, *r[1:]), None, None, jnp.zeros_like(r[3]).at[r[2]].add(r[0] * dy[r[1]]))
    return by_hand(lambda v, rows, columns, b: jnp.zeros(5).at[rows].add(v * b[columns]).astype(b.dtype), bwd)


def delayed(x, by, wide):
    """Each entry and the one `by` places before it."""
    return x + jnp.pad(x, (by, 0))[: len(x)] * (2.0 if wide else 0.5)


def echo(dx):
    """With a delay and a switch that are static."""
    rule = jax.custom_vjp(delayed, nondiff_argnums=(1, 2))
    rule.defvjp(lambda x, by, wide: (delayed(x, by, wide), None), lambda by, wide, _, dy: (dx(dy, by, wide),))
    return rule


def back(dy, by, wide):
    return dy + jnp.pad(dy, (0, by))[by:] * (2.0 if wide else 0.5)


def peaks(dx):
    """The largest of the first three columns, and of the last three."""
    windows = lambda x: jnp.stack([x[:, :3].max(1), x[:, 2:].max(1)], 1)
    return by_hand(
        windows,
        lambda r, dy: (
            dx(
                *(jnp.arange(5) == k[:, None] for k in (r[0][:, :3].argmax(1), 2 + r[0][:, 2:].argmax(1))),
                *dy.T[..., None],
            ),
        ),
    )


def smoothed(x):
    """Each entry and what came before it, fading."""
    return jax.lax.scan(lambda y, e: (0.5 * y + e,) * 2, 0.0 * x[0], x)[1]


MISTAKES = {
    "holds, where several entries of the cotangent along axis 1 meet, that of the last alone": (peaks(lambda a, b, da, db: jnp.where(b, db, a * da)), (X + 9 * np.eye(5)[[2, 2, 2, 0, 4]],)),
    "is what the function makes of the cotangent forwards: it is not transposed": (by_hand(smoothed, lambda r, dy: (smoothed(dy),)), (X,)),
    "is the right one for by = 1: the rule has that in place of 3": (echo(lambda dy, by, wide: back(dy, 1, wide)), (B, 3, True)),
    "is the right one for wide = False: the rule has that in place of True": (echo(lambda dy, by, wide: back(dy, by, False)), (B, 2, True)),
    "is the right one for the cotangent moved on by 1 along axis 0, zeros coming in": (by_hand(jnp.sin, lambda r, dy: (jnp.pad(dy, ((1, 0), (0, 0)))[:-1] * jnp.cos(r[0]),)), (X,)),
    "holds the contribution of the first example alone": (dense(dw=lambda x, w, dy: x[:1].T @ dy[:1]), (X, W, B)),
    "holds the contribution of the last example alone": (dense(dw=lambda x, w, dy: x[-1:].T @ dy[-1:]), (X, W, B)),
    "lacks the contribution of the last example (index 4 of the cotangent)": (dense(dw=lambda x, w, dy: x[:-1].T @ dy[:-1]), (X, W, B)),
    "lacks the contribution of one example (index 2 of the cotangent)": (rows(lambda e, ids, dy: e.at[ids].add(dy.at[2].set(0))), (W, IDS)),
    "is summed over the wrong axis": (dense(db=lambda dy: dy.sum(1)), (X, W, B)),
    "lacks what comes from the first entry of the cotangent along axis 1": (dense(dx=lambda x, w, dy: dy[:, 1:] @ w[:, 1:].T), (X, W, B)),
    "lacks what comes from the last entry of the cotangent of output 0 along axis 0": (rowwise(lambda x, w, dy: x[:-1].T @ dy[:-1]), (X[:, :4], W[:4])),
    "is the right one for w with axes 0 and 1 exchanged": (dense(dx=lambda x, w, dy: dy @ w), (X, W, B)),
    "holds, where several examples meet, that of the last alone: they overwrite each other": (rows(lambda e, ids, dy: e.at[np.array([0, 2, 1])].set(dy[np.array([4, 2, 3])])), (W, IDS)),
    "is the right one for the cotangent with axes 0 and 1 exchanged": (by_hand(lambda x: x * x.sum(0), lambda r, dy: (dy.T * r[0].sum(0) + (r[0] * dy.T).sum(0),)), (X,)),
    "is the right one for the cotangent moved on by 1 along axis 0;": (by_hand(jnp.sin, lambda r, dy: (jnp.roll(dy, 1, 0) * jnp.cos(r[0]),)), (X,)),
    "is the right one for x moved on by -1 along axis 1": (by_hand(jnp.sin, lambda r, dy: (dy * jnp.cos(jnp.roll(r[0], -1, 1)),)), (X,)),
    "is the right one for x made symmetric in axes 0 and 1": (by_hand(jnp.sin, lambda r, dy: (dy * jnp.cos((r[0] + r[0].T) / 2),)), (X,)),
    "is the right one for k flipped along axis 0": (convolution(lambda k, dy: convolve(dy, jnp.swapaxes(k, 1, 2))), (random.normal(size=(7, 2)), K)),
    "adds up the cotangent over axis 0 before it is used": (dense(dx=lambda x, w, dy: jnp.broadcast_to(dy.sum(0), dy.shape) @ w.T), (X, W, B)),
    "averages the cotangent over axis 1 before it is used": (dense(dx=lambda x, w, dy: jnp.broadcast_to(dy.mean(1, keepdims=True), dy.shape) @ w.T), (X, W, B)),
    "averages the cotangent over all its entries before it is used": (dense(dw=lambda x, w, dy: x.T @ jnp.full_like(dy, dy.mean())), (X, W, B)),
    "takes the cotangent to be 1 everywhere": (dense(dx=lambda x, w, dy: jnp.ones_like(dy) @ w.T), (X, W, B)),
    "is the right one for at counted from 0 along axis 0, whatever is given": (turned(lambda dy, angles, x, at, mask: dy * angles(x, jnp.arange(5), mask)), (X, IDS, X[0] > 0)),
    "is the right one for mask True everywhere, whatever is given": (turned(lambda dy, angles, x, at, mask: dy * angles(x, at, 1)), (X, IDS, X[0] > 0)),
    "is the right one with rows and columns exchanged": (sparse(lambda dy, rows, columns, b: dy[columns] * b[rows]), (B, IDS, np.array([4, 1, 3, 0, 2], np.int32), X[0])),
    "leaves out the cotangents of output 0 and 2 (of 0 to 2)": (three(lambda x, dy, ds, dt: 2 * x * ds), (B,)),
    "leaves out the cotangent of output 1 (of 0 to 1)": (two(lambda x, dy, ds: jnp.cos(x) * dy), (B,)),
    "leaves out the cotangent of output 0 (of 0 to 1)": (two(lambda x, dy, ds: 2 * x * ds), (B,)),
}  # fmt: skip


@pytest.mark.parametrize("sentence", MISTAKES, ids=str)
def test_each_mistake_is_named(sentence):
    """With the argument, by its sentence and no other."""
    rule, args = MISTAKES[sentence]
    verdict = verify(rule, *args, dtypes=("float64",))
    assert verdict.status == "fail"
    assert sentence in verdict.cause
    others = [words for words in MISTAKES if words != sentence]
    assert not any(words in verdict.cause for words in others)


@pytest.mark.slow
def test_right_rules_of_the_same_functions_pass():
    """So each failure above is that of its mistake."""
    assert verify(dense(), X, W, B).passed
    assert verify(rows(lambda e, ids, dy: e.at[ids].add(dy)), W, IDS).passed
    assert verify(sparse(lambda dy, rows, columns, b: dy[rows] * b[columns]), B, IDS, IDS[::-1], X[0]).passed
    assert verify(
        convolution(lambda k, dy: convolve(dy, jnp.swapaxes(k[::-1], 1, 2))), random.normal(size=(7, 2)), K
    ).passed
    assert verify(turned(lambda dy, angles, x, at, mask: dy * angles(x, at, mask)), X, IDS, X[0] > 0).passed
    assert verify(two(lambda x, dy, ds: jnp.cos(x) * dy + 2 * x * ds), B).passed
    assert verify(echo(back), B, 3, True).passed
    assert verify(peaks(lambda a, b, da, db: a * da + b * db), X).passed
    assert verify(by_hand(smoothed, lambda r, dy: (smoothed(dy[::-1])[::-1],)), X).passed


def test_an_argument_of_an_earlier_call():
    """A factor that is what it was at the example is told; a slope that is the same for many values is not taken for one."""
    scaled = by_hand(lambda x, s: x * jnp.cos(s), lambda r, dy: (dy * jnp.cos(S), -(dy * r[0]).sum() * jnp.sin(r[1])))
    cause = verify(scaled, X, S, dtypes=("float64",)).cause
    assert "is the right one for s as in the example, whatever is given" in cause
    clip = by_hand(
        lambda x, s: jnp.clip(x, -s, s), lambda r, dy: (dy, (dy * jnp.sign(r[0]) * (jnp.abs(r[0]) > r[1])).sum())
    )
    cause = verify(clip, X / 9, S, dtypes=("float64",)).cause
    assert "the gradient of x" in cause and "as in the example" not in cause


def test_what_is_looked_at():
    """Of a long batch the first and the last example; of large arguments nothing but these; of one example nothing."""
    sentences = lambda p: [words for words, _ in suspects(p, 1, p.cotangents("random", 0))]
    few = sentences(at(dense(), np.ones((40, 5)), W, B))
    assert sum("example" in words for words in few) == 4
    assert not any("wrong axis" in words for words in few)
    large = sentences(at(dense(), np.ones((3, 20_000)), np.ones((20_000, 3)), np.ones(3)))
    assert large and not any("exchanged" in words or "flipped" in words for words in large)
    assert not any("example" in words for words in sentences(at(dense(), X[:1], W, B)))
