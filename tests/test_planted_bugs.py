"""The harness against bugs that people make: every one fails, on the right argument, at every size."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backproplab import Case, integers, normal, verify
from backproplab.case import DTYPES
from backproplab.harness.strip import strip
from backproplab.layers.affine.affine import affine, affine_bwd, affine_fwd
from backproplab.layers.affine.embedding import embedding
from backproplab.layers.convolution.conv2d import conv2d, conv2d_bwd, conv2d_fwd
from backproplab.layers.losses.softmax import softmax
from backproplab.layers.losses.softmax_cross_entropy_with_integer_labels import (
    softmax_cross_entropy_with_integer_labels as cross_entropy,
)
from backproplab.layers.normalization.layer_norm import layer_norm, layer_norm_bwd, layer_norm_fwd

SIZES = {"small": (4, 5), "real": (64, 256), "odd": (7, 33)}


def put(array, index, change):
    """The array with one place changed."""
    return array.at[index].set(change(array[index]))


# --- what can go wrong in each layer: name -> (bwd, the argument that must be named); x of (rows, d) ------------------


def affine_bug(change):
    return lambda residuals, dy: change(*affine_bwd(residuals, dy), *residuals, dy)


AFFINE = {
    "bias averaged": (affine_bug(lambda dx, dw, db, x, w, dy: (dx, dw, db / len(x))), "b"),
    "weights averaged": (affine_bug(lambda dx, dw, db, x, w, dy: (dx, dw / len(x), db)), "w"),
    "one element of dw 10 % off": (
        affine_bug(lambda dx, dw, db, *_: (dx, put(dw, (2, 1), lambda v: 1.1 * v), db)),
        "w",
    ),
    "all of dw 0.1 % off": (affine_bug(lambda dx, dw, db, *_: (dx, 1.001 * dw, db)), "w"),
    "one bias sign flipped": (affine_bug(lambda dx, dw, db, *_: (dx, dw, put(db, 1, jnp.negative))), "b"),
    "sign of dx": (affine_bug(lambda dx, dw, db, *_: (-dx, dw, db)), "x"),
    "bias of the first example": (affine_bug(lambda dx, dw, db, x, w, dy: (dx, dw, dy[0])), "b"),
    "dx forgotten": (affine_bug(lambda dx, dw, db, *_: (jnp.zeros_like(dx), dw, db)), "x"),
    "dx is None": (affine_bug(lambda dx, dw, db, *_: (None, dw, db)), "x"),
    "dw through bfloat16": (affine_bug(lambda dx, dw, db, *_: (dx, dw.astype(jnp.bfloat16).astype(dw.dtype), db)), "w"),
    "dw in bfloat16": (affine_bug(lambda dx, dw, db, *_: (dx, dw.astype(jnp.bfloat16), db)), "w"),
    "cotangent ignored": (lambda residuals, dy: affine_bwd(residuals, jnp.ones_like(dy)), "x"),
    "dw of absolute values": (affine_bug(lambda dx, dw, db, x, w, dy: (dx, jnp.abs(x).T @ dy, db)), "w"),
    "last row of dx missing": (affine_bug(lambda dx, dw, db, *_: (put(dx, -1, jnp.zeros_like), dw, db)), "x"),
    "nan": (affine_bug(lambda dx, dw, db, *_: (dx, put(dw, (0, 0), lambda v: v * jnp.nan), db)), "w"),
}


def norm_bug(change):
    def bwd(eps, residuals, dy):
        x, scale, mean, inverse_std = residuals
        x_hat = (x - mean) * inverse_std
        dx, dscale, dbias = layer_norm_bwd(eps, residuals, dy)
        return change(dx, dscale, dbias, x_hat, inverse_std, dy * scale, dy)

    return bwd


def no_eps(eps, residuals, dy):
    """The backward pass computes the deviation again and forgets what was added under the root."""
    x, scale, mean, _ = residuals
    return layer_norm_bwd(eps, (x, scale, mean, jax.lax.rsqrt(jnp.var(x, -1, keepdims=True))), dy)


def row_mean(a):
    return a.mean(-1, keepdims=True)


LAYER_NORM = {
    "eps left out": (no_eps, "x"),
    "no mean of g": (norm_bug(lambda dx, ds, db, h, r, g, dy: (r * (g - h * row_mean(g * h)), ds, db)), "x"),
    "no mean of g x_hat": (norm_bug(lambda dx, ds, db, h, r, g, dy: (r * (g - row_mean(g)), ds, db)), "x"),
    "statistics as constants": (norm_bug(lambda dx, ds, db, h, r, g, dy: (r * g, ds, db)), "x"),
    "scale left out": (
        norm_bug(lambda dx, ds, db, h, r, g, dy: (r * (dy - row_mean(dy) - h * row_mean(dy * h)), ds, db)),
        "x",
    ),
    "x_hat left out of dscale": (norm_bug(lambda dx, ds, db, h, r, g, dy: (dx, dy.sum(0), db)), "scale"),
    "dscale averaged": (norm_bug(lambda dx, ds, db, h, r, g, dy: (dx, ds / len(dy), db)), "scale"),
    "dbias of the last example": (norm_bug(lambda dx, ds, db, h, r, g, dy: (dx, ds, dy[-1])), "bias"),
    "unbiased deviation": (
        norm_bug(lambda dx, ds, db, h, r, g, dy: (dx * ((h.shape[-1] - 1) / h.shape[-1]) ** 0.5, ds, db)),
        "x",
    ),
}


def entropy_bug(change):
    def bwd(residuals, dloss):
        logits, labels = residuals
        p = jax.nn.softmax(logits)
        return change(p, jax.nn.one_hot(labels, p.shape[-1], dtype=p.dtype), dloss[:, None], logits, labels), None

    return bwd


CROSS_ENTROPY = {
    "mean for sum": (entropy_bug(lambda p, hot, dy, *_: dy * (p - hot) / len(p)), "logits"),
    "label forgotten": (entropy_bug(lambda p, hot, dy, *_: dy * p), "logits"),
    "rows share a cotangent": (entropy_bug(lambda p, hot, dy, *_: dy.mean() * (p - hot)), "logits"),
    "temperature 1.001": (entropy_bug(lambda p, hot, dy, z, _: dy * (jax.nn.softmax(z / 1.001) - hot)), "logits"),
    "sign": (entropy_bug(lambda p, hot, dy, *_: dy * (hot - p)), "logits"),
    "labels off by one": (entropy_bug(lambda p, hot, dy, *_: dy * (p - jnp.roll(hot, 1, -1))), "logits"),
    "label of the first row": (entropy_bug(lambda p, hot, dy, *_: dy * (p - hot[:1])), "logits"),
    "clipped": (entropy_bug(lambda p, hot, dy, *_: jnp.clip(dy * (p - hot), -0.5, 0.5)), "logits"),
}


def softmax_bug(change):
    return lambda y, dy: (change(y, dy),)


SOFTMAX = {
    "diagonal alone": (softmax_bug(lambda y, dy: y * dy), "x"),
    "as a scalar activation": (softmax_bug(lambda y, dy: y * (1 - y) * dy), "x"),
    "summed over the batch": (softmax_bug(lambda y, dy: y * (dy - (y * dy).sum(0))), "x"),
    "sum without y": (softmax_bug(lambda y, dy: y * (dy - dy.sum(-1, keepdims=True))), "x"),
    "one row": (softmax_bug(lambda y, dy: put(y * (dy - (y * dy).sum(-1, keepdims=True)), 2, lambda v: 1.01 * v)), "x"),
}


def conv_bug(change):
    def bwd(strides, padding, dilation, groups, residuals, dy):
        rule = lambda *r: conv2d_bwd(strides, padding, dilation, groups, r, dy)
        return change(rule, *residuals, dy)

    return bwd


CONV = {
    "kernel not reversed": (conv_bug(lambda rule, x, w, dy: (rule(x, w[::-1, ::-1])[0], rule(x, w)[1])), "x"),
    "dw averaged": (conv_bug(lambda rule, x, w, dy: (rule(x, w)[0], rule(x, w)[1] / len(x))), "w"),
    "dx shifted": (conv_bug(lambda rule, x, w, dy: (jnp.roll(rule(x, w)[0], 1, 1), rule(x, w)[1])), "x"),
    "dw height and width exchanged": (
        conv_bug(lambda rule, x, w, dy: (rule(x, w)[0], rule(x, w)[1].swapaxes(0, 1))),
        "w",
    ),
    "a channel of dw missing": (conv_bug(lambda rule, x, w, dy: (rule(x, w)[0], rule(x, w)[1].at[..., 0].set(0))), "w"),
    "border of dx missing": (conv_bug(lambda rule, x, w, dy: (rule(x, w)[0].at[:, 0].set(0), rule(x, w)[1])), "x"),
}


def table_bug(change):
    return lambda padding, residuals, dy: (change(jnp.zeros(residuals[1], dy.dtype), residuals[0], dy), None)


def counted(zeros, ids, dy):
    return zeros.at[ids].add(dy) / jnp.maximum(zeros.at[ids].add(1), 1)


EMBEDDING = {
    "repeated ids overwrite": (table_bug(lambda zeros, ids, dy: zeros.at[ids].set(dy)), "table"),
    "averaged over repeats": (table_bug(counted), "table"),
    "ids off by one": (table_bug(lambda zeros, ids, dy: zeros.at[ids - 1].add(dy)), "table"),
    "first row left out": (table_bug(lambda zeros, ids, dy: zeros.at[ids].add(dy).at[ids[0]].set(0)), "table"),
    "summed in bfloat16": (table_bug(lambda zeros, ids, dy: zeros.astype(jnp.bfloat16).at[ids].add(dy.astype(jnp.bfloat16)).astype(dy.dtype)), "table"),
}  # fmt: skip


def affine_case(rows, d):
    return (normal(rows, d), normal(d, 6), normal(6))


LAYERS = {
    affine: (AFFINE, affine_case),
    layer_norm: (LAYER_NORM, lambda rows, d: (normal(rows, d), normal(d), normal(d))),
    cross_entropy: (CROSS_ENTROPY, lambda rows, d: (normal(rows, d, scale=2.0), integers(0, d, rows))),
    softmax: (SOFTMAX, lambda rows, d: (normal(rows, d),)),
    conv2d: (CONV, lambda rows, d: (normal(2, rows // 4 + 4, d // 8 + 5, 2), normal(3, 3, 2, 3))),
    embedding: (EMBEDDING, lambda rows, d: (normal(rows // 2, d), integers(0, rows // 2, rows))),
}
BUGS = [(layer, name) for layer, (bugs, _) in LAYERS.items() for name in bugs]


def planted(layer, bwd, fwd=None):
    """The layer as a user's own `custom_vjp`, registered with JAX's method, with another backward or forward pass."""
    wrong = jax.custom_vjp(layer.__wrapped__, nondiff_argnums=layer.nondiff_argnums)
    wrong.defvjp(fwd or layer.fwd, bwd or layer.bwd)
    return wrong


def raw(layer):
    """The page's own passes, without what `defvjp` adds."""
    module = __import__(layer.__module__, fromlist=["_"])
    return getattr(module, layer.__name__ + "_fwd"), getattr(module, layer.__name__ + "_bwd")


def test_there_are_forty():
    """The list is as long as was promised."""
    assert len(BUGS) + 4 >= 40


PLANTED = [
    pytest.param(
        *(layer, name, size),
        marks=[] if size == "small" and layer in (affine, layer_norm) else [pytest.mark.slow],
        id=f"{layer.__name__}-{name}-{size}".replace(" ", "_"),
    )
    for layer, name in BUGS
    for size in SIZES
]


@pytest.mark.parametrize("layer, name, size", PLANTED)
def test_fails_on_the_right_argument(layer, name, size):
    """Each bug at each size."""
    bugs, arguments = LAYERS[layer]
    bwd, argument = bugs[name]
    verdict = verify(planted(layer, bwd, raw(layer)[0]), *arguments(*SIZES[size]), dtypes=DTYPES)
    assert verdict.status == "fail", verdict
    assert verdict.argument == argument, verdict
    assert verdict.cause


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
def test_the_right_rules_pass(layer):
    """The same layers without a bug: what fails above, fails for the bug."""
    arguments = LAYERS[layer][1]
    verify(planted(layer, raw(layer)[1], raw(layer)[0]), *arguments(*SIZES["small"]), dtypes=DTYPES).assert_passed()


def test_a_sign_is_seen_while_the_input_is_a_hundred_times_larger():
    """An error that a tolerance relative to the largest gradient would swallow."""
    bwd, argument = AFFINE["one bias sign flipped"]
    verdict = verify(planted(affine, bwd, affine_fwd), normal(64, 256, scale=100.0), normal(256, 6), normal(6))
    assert (verdict.status, verdict.argument) == ("fail", argument)


def test_fwd_with_another_value():
    """What differentiating code computes must be what the function computes."""
    wrong = planted(
        layer_norm,
        layer_norm_bwd,
        lambda x, scale, bias, eps: (
            1.0001 * layer_norm_fwd(x, scale, bias, eps)[0],
            layer_norm_fwd(x, scale, bias, eps)[1],
        ),
    )
    verdict = verify(wrong, normal(4, 5), normal(5), normal(5))
    assert verdict.status == "fail"
    assert "fwd returns another value" in verdict.cause


def test_nan_on_both_sides_never_passes():
    """The well-known trap: the value is safe behind a `where`, both gradients are nan, and nan == nan to many a checker."""
    root = jax.custom_vjp(lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0))
    root.defvjp(lambda x: (root(x), x), lambda x, dy: (jnp.where(x > 0, dy, 0) * 0.5 / jnp.sqrt(x),))
    x = np.array([1.0, 0.0, 4.0], np.float32)
    assert np.isnan(jax.grad(lambda x: strip(root)(x).sum())(x)[1])
    verdict = verify(root, x)
    assert (verdict.status, verdict.argument) == ("fail", "x")
    assert "nan" in verdict.cause


def test_the_wrong_dtype_is_named():
    """JAX takes a bfloat16 cotangent for a float32 argument without a word."""
    bwd, _ = AFFINE["dw in bfloat16"]
    verdict = verify(planted(affine, bwd, affine_fwd), *affine_case(4, 5))
    assert "bfloat16" in verdict.cause


CAUSES = [
    (affine, "bias averaged", "1/7"),
    (affine, "sign of dx", "wrong sign"),
    (affine, "dx forgotten", "zero everywhere"),
    (affine, "bias of the first example", "first example"),
    (affine, "cotangent ignored", "ignored"),
    (affine, "nan", "nan"),
    (affine, "one element of dw 10 % off", "1 of 198 entries"),
    (affine, "last row of dx missing", "zero at index 6 of axis 0"),
    (cross_entropy, "mean for sum", "a mean where the sum is right"),
    (conv2d, "dw height and width exchanged", "transpose"),
    (conv2d, "dx shifted", "shifted by one along axis 1"),
]


@pytest.mark.parametrize("layer, name, words", CAUSES)
def test_says_why(layer, name, words):
    """The cause in words, and the file of the rule."""
    bugs, arguments = LAYERS[layer]
    case = replace(Case(planted(layer, bugs[name][0], raw(layer)[0]), arguments(*SIZES["odd"])), dtypes=("float64",))
    verdict = verify(case)
    assert any(words in (check.cause or "") for check in verdict.checks), verdict
    assert verdict.where is None or verdict.where.endswith(tuple("0123456789"))


def test_the_line_of_the_rule_is_named():
    """A failure says where to look."""
    verdict = verify(
        planted(affine, affine_bug(lambda dx, dw, db, *_: (dx, 2 * dw, db)), affine_fwd), *affine_case(4, 5)
    )
    assert verdict.where.startswith("test_planted_bugs.py:")
    assert conv2d_fwd.__module__ == "backproplab.layers.convolution.conv2d"
