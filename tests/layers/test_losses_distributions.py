"""Cross-entropy with its options, divergences of distributions, and sparse distributions."""

import jax
import numpy as np
import optax
import pytest
from compiled import compiled, grad, pulled

from backproplab.layers.losses import (
    entmax15,
    entmax15_loss,
    hellinger,
    jensen_shannon,
    kl_divergence,
    masked_softmax_cross_entropy,
    multiclass_sparsemax_loss,
    poly_loss_cross_entropy,
    reverse_kl_divergence,
    softmax_cross_entropy_with_integer_labels,
    sparsemax,
    squared_hellinger,
    total_variation,
)

_ROUNDOFF = 2.0**-24  # of float32
_rng = np.random.default_rng(0)
_LOGITS, _LABELS = _rng.normal(size=(5, 4)).astype(np.float32), _rng.integers(0, 4, 5)
_P, _Q = _rng.dirichlet(np.ones(4), (2, 5)).astype(np.float32)


def _gradient(fn, x):
    return grad(lambda x: fn(x).sum())(x)


def _value_and_gradients(fn, *args):
    """Of its sum."""
    value, *gradients = pulled(fn)(1.0, *args)
    return value, gradients


def test_ignored_rows_count_nowhere():
    """pytorch #73205, #116349: the mean with smoothing and z-loss is that of the rows that are left, whatever stands in
    the others, and the others have a gradient of exact zeros."""
    part = np.array([True, False, True, True, False])
    poisoned = np.where(part[:, None], _LOGITS, np.nan)
    labels = np.where(part, _LABELS, -100)
    of_all = lambda z: masked_softmax_cross_entropy(z, labels, None, None, -100, 0.1, 0.01)
    by_mask = lambda z: masked_softmax_cross_entropy(z, labels, part, None, None, 0.1, 0.01)
    of_rest = lambda z: masked_softmax_cross_entropy(z, _LABELS[part], None, None, None, 0.1, 0.01)
    value, (gradient,) = _value_and_gradients(of_rest, _LOGITS[part])
    for fn in (of_all, by_mask):
        got, (dz,) = _value_and_gradients(fn, poisoned)
        np.testing.assert_allclose(got, value, rtol=4 * _ROUNDOFF)
        np.testing.assert_allclose(dz[part], gradient, rtol=8 * _ROUNDOFF, atol=_ROUNDOFF)
        assert not np.any(dz[~part])


def test_the_mean_of_no_rows_is_0():
    """Not 0/0: a batch of padding alone must not poison a training run."""
    labels = np.full(5, -100)
    value, (gradient,) = _value_and_gradients(
        lambda z: masked_softmax_cross_entropy(z, labels, ignore_index=-100), _LOGITS
    )
    assert value == 0 and not np.any(gradient)


@pytest.mark.slow
def test_options_are_what_optax_and_flax_make_of_them():
    """Smoothing is optax's smoothed labels, z-loss the squared log-normaliser, weights a weighted mean."""
    w = np.array([1.0, 2.0, 0.5, 0.0, 1.0], np.float32)
    soft = optax.losses.smooth_labels(jax.nn.one_hot(_LABELS, 4), 0.2)
    lse = jax.nn.logsumexp(_LOGITS, -1)
    rows = optax.losses.softmax_cross_entropy(_LOGITS, soft) + 0.01 * lse**2
    ours = masked_softmax_cross_entropy(_LOGITS, _LABELS, None, w, None, 0.2, 0.01)
    np.testing.assert_allclose(ours, np.sum(w * rows) / w.sum(), rtol=8 * _ROUNDOFF)
    np.testing.assert_allclose(
        poly_loss_cross_entropy(_LOGITS, _P, 0.5),
        optax.losses.poly_loss_cross_entropy(_LOGITS, _P, epsilon=0.5),
        rtol=16 * _ROUNDOFF,
    )
    where = np.array([True, True, False, True, False])
    plain = masked_softmax_cross_entropy(_LOGITS, _LABELS, where=where, reduction="none")
    theirs = optax.losses.softmax_cross_entropy_with_integer_labels(_LOGITS, _LABELS, where=where)
    np.testing.assert_allclose(plain, theirs, rtol=8 * _ROUNDOFF)
    with pytest.raises(ValueError, match="reduction must be"):
        masked_softmax_cross_entropy(_LOGITS, _LABELS, reduction="sum")


def test_label_entry_in_the_tail_and_each_row_its_own_cotangent():
    """Without options the rule is that of the plain cross-entropy, p - 1 at a gap of 40 included; Liger #1298."""
    z = np.array([[40.0, 0.0], [0.0, 30.0]], np.float32)
    g = np.array([2.0, -3.0], np.float32)
    labels = np.array([0, 1])
    ours = _gradient(lambda z: g * masked_softmax_cross_entropy(z, labels, reduction="none"), z)
    plain = _gradient(lambda z: g * softmax_cross_entropy_with_integer_labels(z, labels), z)
    assert np.array_equal(ours, plain) and np.all(ours != 0)


def test_equal_distributions_have_no_gradient():
    """Where training ends: exact zeros, also of the distance, whose square root has a kink there (Liger #1373)."""
    for fn in (jensen_shannon, total_variation, squared_hellinger, hellinger):
        value, gradients = _value_and_gradients(fn, _P, _P)
        assert not np.any(value) and all(not np.any(d) for d in gradients), fn.__name__


def test_close_distributions_keep_their_digits():
    """log p - log m and sqrt p - sqrt q cancel; the rules start from p - q, which is exact."""
    p = np.full((1, 4), 0.25, np.float32)
    q = p + np.float32(2.0**-20) * np.array([[1.0, -1.0, 2.0, -2.0]], np.float32)
    a, b = p.astype(np.float64), q.astype(np.float64)
    m = (a + b) / 2
    exact = {jensen_shannon: 0.5 * np.log1p((a - m) / m), squared_hellinger: (1 - np.sqrt(b / a)) / 2}
    for fn, want in exact.items():
        got = _gradient(lambda p, fn=fn: fn(p, q), p)
        assert np.abs(got / want - 1).max() < 8 * _ROUNDOFF, fn.__name__  # float64 itself has lost 20 of 53 bits


def test_probabilities_of_0_take_no_part():
    """optax #1786 and xlogx: no NaN in any value or gradient with classes of probability 0 on either side."""
    p, q = np.array([[0.0, 0.5, 0.5, 0.0]], np.float32), np.array([[0.5, 0.0, 0.5, 0.0]], np.float32)
    values = {}
    for fn in (jensen_shannon, total_variation, squared_hellinger, hellinger):
        values[fn], gradients = _value_and_gradients(fn, p, q)
        assert np.isfinite(values[fn]).all() and all(np.isfinite(d).all() for d in gradients), fn.__name__
    assert abs(float(values[jensen_shannon][0]) - np.log(2) / 2) < 2 * _ROUNDOFF
    assert values[hellinger][0] == np.float32(np.sqrt(0.5))


def test_divergences_against_numpy():
    """The textbook formulas in float64, and the reverse divergence as the forward one with its arguments exchanged."""
    p, q = _P.astype(np.float64), _Q.astype(np.float64)
    m = (p + q) / 2
    kl = lambda a, b: np.sum(a * np.log(a / b), -1)
    expected = {
        jensen_shannon: (kl(p, m) + kl(q, m)) / 2,
        total_variation: np.abs(p - q).sum(-1) / 2,
        squared_hellinger: 1 - np.sqrt(p * q).sum(-1),
        hellinger: np.sqrt(1 - np.sqrt(p * q).sum(-1)),
    }
    for fn, want in expected.items():
        np.testing.assert_allclose(jax.jit(fn)(_P, _Q), want, atol=16 * _ROUNDOFF, rtol=0, err_msg=fn.__name__)
    np.testing.assert_allclose(compiled(reverse_kl_divergence)(np.log(_P), _Q), kl(p, q), rtol=0, atol=16 * _ROUNDOFF)
    np.testing.assert_allclose(compiled(kl_divergence)(np.log(_Q), _P), kl(p, q), rtol=0, atol=16 * _ROUNDOFF)


def test_sparsemax_is_the_projection_onto_the_simplex():
    """optax's projection, and exact zeros; its Jacobian is the support's identity minus a mean."""
    y = jax.jit(sparsemax)(2 * _LOGITS)
    theirs = jax.jit(jax.vmap(optax.projections.projection_simplex))(2 * _LOGITS)
    np.testing.assert_allclose(y, theirs, rtol=0, atol=8 * _ROUNDOFF)
    assert np.any(np.asarray(y) == 0)
    jacobian = jax.jit(jax.jacrev(sparsemax))(np.array([0.5, 0.25, -3.0], np.float32))
    assert jacobian.tolist() == [[0.5, -0.5, 0], [-0.5, 0.5, 0], [0, 0, 0]]


def test_entmax_is_the_maximum_and_has_a_finite_gradient():
    """Its condition p = max(0, x/2 - tau)^2 with a sum of 1; GRADIENT_BUGS E15: autodiff is NaN on half of all inputs."""
    rng = np.random.default_rng(1)
    x = rng.normal(0, 3, (20, 6)).astype(np.float32)
    dy = rng.normal(size=x.shape).astype(np.float32)
    y, (dx,) = _value_and_gradients(lambda x: dy * entmax15(x), x)
    y, dx = y / dy.astype(np.float64), np.asarray(dx)
    np.testing.assert_allclose(y.sum(-1), 1, rtol=16 * _ROUNDOFF)
    tau = x / 2 - np.sqrt(y)
    inside = y > 0
    for row, on, t in zip(x / 2, inside, tau):
        assert np.ptp(t[on]) < 64 * _ROUNDOFF and np.all(row[~on] <= t[on].min() + 64 * _ROUNDOFF)
    assert np.isfinite(dx).all() and not np.any(dx[~inside]) and np.abs(dx.sum(-1)).max() < 32 * _ROUNDOFF


def test_sparse_losses():
    """The sparsemax loss is optax's; both have the gradient p - e, no gradient and no loss once the label is far above."""
    np.testing.assert_allclose(
        jax.jit(multiclass_sparsemax_loss)(2 * _LOGITS, _LABELS),
        jax.jit(optax.losses.multiclass_sparsemax_loss)(2 * _LOGITS, _LABELS),
        atol=16 * _ROUNDOFF,
    )
    one_hot = np.eye(4)[_LABELS]
    for loss, probabilities in ((multiclass_sparsemax_loss, sparsemax), (entmax15_loss, entmax15)):
        got = _gradient(lambda z, loss=loss: loss(z, _LABELS), _LOGITS)
        np.testing.assert_allclose(got, jax.jit(probabilities)(_LOGITS) - one_hot, rtol=0, atol=4 * _ROUNDOFF)
        sure, labels = np.array([[3.0, 0.0, 0.5]] * 2, np.float32), np.array([0, 3])
        value, (gradient,) = _value_and_gradients(lambda z, loss=loss: loss(z, labels), sure)
        assert value[0] == 0 and not np.any(gradient[0]) and np.isnan(value[1])


def test_entmax_loss_is_its_formula():
    """p s - s_label + 4/3 sum(p - p^1.5) in float64, which loses digits where ours does not."""
    p, z = np.asarray(jax.jit(entmax15)(_LOGITS), np.float64), _LOGITS.astype(np.float64)
    formula = (p * z).sum(-1) - z[np.arange(5), _LABELS] + 4 / 3 * (p - p**1.5).sum(-1)
    np.testing.assert_allclose(jax.jit(entmax15_loss)(_LOGITS, _LABELS), formula, rtol=0, atol=16 * _ROUNDOFF)
