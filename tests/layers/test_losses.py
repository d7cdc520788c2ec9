"""Losses, softmax and logsumexp: exact in the tails, right at the borders, and the numbers of the lecture."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import pytest
from compiled import compiled, grad, pulled, value_and_grad

from backproplab.harness.strip import strip
from backproplab.layers.losses import (
    binary_cross_entropy,
    hinge,
    kl_divergence,
    log_softmax,
    multiclass_hinge,
    sigmoid_binary_cross_entropy,
    softmax,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
    square_error,
    weston_watkins_hinge,
)
from backproplab.layers.reductions import logsumexp as _logsumexp

_INF = np.inf
_ROUNDOFF = 2.0**-24  # of float32

# Gaps of up to 40 whose differences float32 holds exactly. A difference that it rounds is off by up to 2^-19, and the
# exponential turns that into a relative error of 2e-6 which no rule can undo.
_LOGITS = np.array(
    [
        [40.0, 0.0, 0.5, -1.25],
        [0.0, 40.0, 39.75, 2.0],
        [-20.0, 20.0, 0.125, 19.0],
        [0.0, -40.0, -40.0, -40.0],
        [3.0, -37.0, 1.5, 2.0],
        [100.0, 60.0, 96.0, 80.0],
    ],
    np.float32,
)
_COTANGENT = np.array([[1.0, -2.0, 0.5, 3.0]] * 6, np.float32)
_BOUND = 1e-6  # what issue 2 promises: 17 units in the last place, for two exponentials, a division and three sums


def logsumexp(z):
    """Of the rows; its default is all axes, as in jax.nn."""
    return _logsumexp(z, -1)


def _probabilities(row):
    exponentials = [mpmath.exp(mpmath.mpf(float(z))) for z in row]
    return [e / sum(exponentials) for e in exponentials]


def _worst_relative_error(got, exact):
    """Entry by entry against 50-digit numbers."""
    pairs = zip(np.ravel(got), [e for row in exact for e in row], strict=True)
    return max(float(abs(mpmath.mpf(float(g)) / e - 1)) for g, e in pairs)


def _gradient(fn, *args, cotangent):
    return pulled(fn)(cotangent, *args)[1:]


def test_softmax_is_exact_in_the_tail():
    """dx = y_i sum_j y_j (g_i - g_j): autodiff returns 0 for the large entry from a gap of 17 on."""
    with mpmath.workdps(50):
        exact = []
        for row, dy in zip(_LOGITS, _COTANGENT):
            y, g = _probabilities(row), [mpmath.mpf(float(v)) for v in dy]
            exact.append([y[i] * mpmath.fsum(y[j] * (g[i] - g[j]) for j in range(4)) for i in range(4)])
        assert _worst_relative_error(_gradient(softmax, _LOGITS, cotangent=_COTANGENT)[0], exact) < _BOUND


def test_log_softmax_is_exact_in_the_tail():
    """With a one-hot cotangent at the large entry its gradient is 1 - p, which rounds to 0 if it is computed so."""
    cotangent = np.array(
        [[-1, 0, 0, 0], [0, -1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [2, 0, 0, 1], [1, -2, 0.5, 3]], np.float32
    )
    with mpmath.workdps(50):
        exact = []
        for row, dy in zip(_LOGITS, cotangent):
            p, g = _probabilities(row), [mpmath.mpf(float(v)) for v in dy]
            exact.append([g[i] - p[i] * mpmath.fsum(g) for i in range(4)])
        assert _worst_relative_error(_gradient(log_softmax, _LOGITS, cotangent=cotangent)[0], exact) < _BOUND


@pytest.mark.parametrize("labels", [[0, 1, 1, 0, 0, 0], [3, 2, 0, 1, 1, 2]], ids=["right", "wrong"])
def test_cross_entropies_are_exact_in_the_tail(labels):
    """p - 1 at the label of a confident row: both cross-entropies, every entry."""
    dloss = np.array([1.0, 2.0, -1.0, 0.5, 3.0, 1.0], np.float32)
    one_hot = np.eye(4, dtype=np.float32)[labels]
    with mpmath.workdps(50):
        exact = []
        for row, label, factor in zip(_LOGITS, labels, dloss):
            p = _probabilities(row)
            exact.append([mpmath.mpf(float(factor)) * (p[j] - (j == label)) for j in range(4)])
        hard = lambda z: softmax_cross_entropy_with_integer_labels(z, np.array(labels))
        soft = lambda z: softmax_cross_entropy(z, one_hot)
        for fn in (hard, soft):
            assert _worst_relative_error(_gradient(fn, _LOGITS, cotangent=dloss)[0], exact) < _BOUND


def test_sigmoid_cross_entropy_is_exact_in_the_tail():
    """s(z) - d for right and wrong labels up to |z| = 80, where s(-z) is still a normal number."""
    z = np.array([30.0, -30.0, 40.0, 17.0, -80.0, 30.0, -40.0, 80.0], np.float32)
    labels = np.array([1, 0, 1, 1, 0, 0, 1, 0], np.float32)
    got, _ = _gradient(sigmoid_binary_cross_entropy, z, labels, cotangent=np.ones(8, np.float32))
    with mpmath.workdps(50):
        exact = [1 / (1 + mpmath.exp(-mpmath.mpf(float(v)))) - mpmath.mpf(float(d)) for v, d in zip(z, labels)]
        assert _worst_relative_error(got, [exact]) < _BOUND


def test_the_weight_of_class_1():
    """torch's pos_weight, one per class: as if each example of class 1 came that many times; it must not enlarge the loss."""
    z, labels = np.random.default_rng(5).normal(size=(4, 3)).astype(np.float32), np.eye(4, 3, dtype=np.float32)
    weights = np.array([1.0, 2.0, 3.0], np.float32)
    times = np.where(labels == 1, weights, 1)
    loss, dz, _, dweights = pulled(sigmoid_binary_cross_entropy)(1.0, z, labels, weights)
    plain, dz_plain, _ = pulled(sigmoid_binary_cross_entropy)(1.0, z, labels)
    np.testing.assert_allclose(loss, times * plain, rtol=4 * _ROUNDOFF)
    np.testing.assert_allclose(dz, times * dz_plain, rtol=4 * _ROUNDOFF)
    np.testing.assert_allclose(dweights, np.where(labels == 1, plain, 0).sum(0), rtol=8 * _ROUNDOFF)
    with pytest.raises(ValueError, match=r"targets of shape \(4, 1, 1\)"):
        sigmoid_binary_cross_entropy(jnp.asarray(z), labels, np.ones((4, 1, 1), np.float32))


def test_logsumexp_weights_are_exact_in_the_tail():
    """exp(x - y) would carry the rounding of y; the weights carry none."""
    with mpmath.workdps(50):
        exact = [_probabilities(row) for row in _LOGITS]
        got = _gradient(logsumexp, _LOGITS, cotangent=np.ones(6, np.float32))[0]
        assert _worst_relative_error(got, exact) < _BOUND


def test_softmax_gradients_sum_to_zero():
    """Moving a whole row changes neither softmax nor what depends on it, so each gradient row sums to 0."""
    rng = np.random.default_rng(0)
    z, dy = (rng.normal(0, scale, (50, 7)).astype(np.float32) for scale in (10.0, 1.0))
    labels = rng.integers(0, 7, 50)
    gradients = {
        "softmax": _gradient(softmax, z, cotangent=dy)[0],
        "log_softmax": _gradient(log_softmax, z, cotangent=dy)[0],
        "integer labels": _gradient(
            lambda z: softmax_cross_entropy_with_integer_labels(z, labels), z, cotangent=dy[:, 0]
        )[0],
    }
    for name, dx in gradients.items():
        # rounding: a sum of 7 numbers, each of which came from at most 20 operations on numbers of the size of dy
        assert np.abs(np.asarray(dx).astype(np.float64).sum(-1)).max() < 30 * _ROUNDOFF * 7 * np.abs(dy).max(), name


def test_softmax_jacobian():
    """Lecture S14: diag(y) - y y^T at z = [1, 2, 3], and the cross-entropy of label 2."""
    with jax.enable_x64(True):
        z = np.array([1.0, 2.0, 3.0])
        y, jacobian = compiled(lambda z: (softmax(z), jax.jacrev(softmax)(z)))(z)
        printed = [[0.0819250691, -0.0220330445, -0.0598920245], [0, 0.1848364465, -0.1628034020], [0, 0, 0.2226954265]]
        upper = np.triu(printed) + np.triu(printed, 1).T
        half_digit = 0.5e-10  # the rows are printed to 10 decimals
        assert np.abs(y - np.array([0.0900305732, 0.2447284711, 0.6652409558])).max() <= half_digit
        assert np.abs(jacobian - upper).max() <= half_digit
        loss, dz = value_and_grad(softmax_cross_entropy_with_integer_labels)(z, 2)
        assert abs(loss - 0.4076059644) <= half_digit
        assert np.abs(dz - np.array([0.0900305732, 0.2447284711, -0.3347590442])).max() <= half_digit


def test_two_class_softmax_is_the_sigmoid():
    """Lecture S14: softmax of (z, 0) and its cross-entropy are the sigmoid of z and its binary cross-entropy."""
    with jax.enable_x64(True):
        z = np.linspace(-50, 50, 21)
        pair = lambda z: jnp.stack([jnp.zeros_like(z), z], -1)
        for label in (0, 1):
            labels = np.full(21, label)
            two = lambda z: softmax_cross_entropy_with_integer_labels(pair(z), labels).sum()
            one = lambda z: sigmoid_binary_cross_entropy(z, labels.astype(np.float64)).sum()
            # both are exact to a few units in the last place of float64
            np.testing.assert_allclose(grad(two)(z), grad(one)(z), rtol=16 * 2.0**-53)


def test_multiclass_hinges_of_the_lecture():
    """Lecture S11 and S12: loss 8 with gradient [-1, 0, 1]; hinge 1.58 beside cross-entropy 1.0402."""
    scores = np.array([13.0, -7.0, 11.0], np.float32)
    loss, ds = value_and_grad(lambda s: weston_watkins_hinge(s, 0, 10.0))(scores)
    assert loss == 8 and ds.tolist() == [-1, 0, 1]

    scores = np.array([-2.85, 0.86, 0.28], np.float32)
    for fn in (weston_watkins_hinge, multiclass_hinge):
        assert abs(compiled(fn)(scores, 2) - 1.58) < 4 * _ROUNDOFF  # three roundings of numbers below 2
    loss, ds = value_and_grad(softmax_cross_entropy_with_integer_labels)(scores, 2)
    assert abs(loss - 1.0402) < 5e-5  # printed to 4 decimals
    assert np.abs(ds - np.array([0.0154, 0.6312, -0.6466])).max() <= 1e-4  # -0.6466 is 0.3534 - 1 rounded before


def test_binary_cross_entropy_at_its_minimum():
    """Lecture L7: at y = d the slope is -1 for d = 1 and +1 for d = 0, and 0 inside."""
    slope = compiled(jax.vmap(jax.grad(binary_cross_entropy)))
    y = np.array([1.0, 0.0, 0.5, 0.9], np.float32)
    assert slope(y, y).tolist() == [-1, 1, 0, 0]


def test_binary_cross_entropy_far_wrong():
    """The loss at a wrong certainty is infinite, and so is its slope: not a clipped number, not NaN."""
    y, d = np.array([0.0, 1.0, 0.0, 1.0], np.float32), np.array([1.0, 0.0, 0.5, 0.5], np.float32)
    loss, slope = compiled(jax.vmap(jax.value_and_grad(binary_cross_entropy)))(y, d)
    assert loss.tolist() == [_INF] * 4
    assert slope.tolist() == [-_INF, _INF, -_INF, _INF]


def test_binary_cross_entropy_keeps_all_digits_near_its_minimum():
    """-d/y + (1-d)/(1-y) loses digits where y is close to d; (y-d) / (y (1-y)) does not."""
    y, d = np.float32(0.3), np.nextafter(np.float32(0.3), np.float32(1))
    with mpmath.workdps(50):
        a, b = mpmath.mpf(float(y)), mpmath.mpf(float(d))
        exact = (a - b) / (a * (1 - a))
    # four roundings
    assert abs(float(grad(binary_cross_entropy)(y, d)) / float(exact) - 1) < 4 * _ROUNDOFF


def test_multiclass_slope_at_the_minimum():
    """Lecture L8, S18: through probabilities the slope is -1/y_c at the label and 0 elsewhere, -1 at y = d."""
    with jax.enable_x64(True):
        loss = lambda y: kl_divergence(jnp.log(y), np.array([0.0, 1.0, 0.0]))
        slope = grad(loss)
        np.testing.assert_allclose(slope(np.array([0.25, 0.5, 0.25])), [0, -2, 0], rtol=2.0**-52)
        np.testing.assert_allclose(slope(np.array([1e-9, 1.0, 1e-9])), [0, -1, 0], rtol=2.0**-52)


@pytest.mark.parametrize("fn", [softmax_cross_entropy_with_integer_labels, multiclass_hinge, weston_watkins_hinge])
def test_each_row_has_its_own_cotangent(fn):
    """Liger #968, #1298: every row was scaled by the cotangent of row 0. A zero in it must silence its row alone."""
    rng = np.random.default_rng(1)
    scores, labels = rng.normal(size=(5, 4)).astype(np.float32), rng.integers(0, 4, 5)
    dloss = np.array([0.0, 1.0, -2.0, 3.0, 0.5], np.float32)
    got = _gradient(lambda s: fn(s, labels), scores, cotangent=dloss)[0]
    alone = grad(fn)
    one_by_one = [dloss[i] * alone(scores[i], labels[i]) for i in range(5)]
    np.testing.assert_allclose(got, one_by_one, rtol=4 * _ROUNDOFF)
    assert not np.any(got[0])


@pytest.mark.parametrize("fn", [softmax_cross_entropy_with_integer_labels, multiclass_hinge, weston_watkins_hinge])
def test_label_out_of_range_is_loud_and_can_be_selected_away(fn):
    """A label of -1 or d gives NaN; behind a selection its row has a gradient of exact zeros."""
    scores, labels = np.ones((3, 4), np.float32), np.array([-1, 4, 2])
    assert np.isnan(compiled(fn)(scores, labels)).tolist() == [True, True, False]
    padded = lambda s: jnp.where((labels >= 0) & (labels < 4), fn(s, labels), 0).sum()
    gradient = grad(padded)(scores)
    assert not np.any(gradient[:2]) and np.isfinite(gradient).all() and np.any(gradient[2])


@pytest.mark.parametrize("fn", [softmax, log_softmax, logsumexp])
def test_masked_entries_have_zero_gradient(fn):
    """-inf entries and rows of nothing else: exact zeros, also where autodiff of jax.nn's function gives NaN."""
    x = np.array([[1.0, -_INF, 0.5], [-_INF, -_INF, -_INF]], np.float32)
    y, dx = pulled(fn)(1.0, x)
    assert not np.isnan(y).any() and np.isfinite(dx).all()
    assert dx[0, 1] == 0 and not np.any(dx[1])


@pytest.mark.parametrize("fn", [softmax, log_softmax])
def test_nan_in_the_cotangent_of_a_masked_entry_stays_there(fn):
    """What comes back for a masked entry is thrown away by selection: 0 times NaN would poison the row."""
    x = np.array([[1.0, -_INF, 0.5]], np.float32)
    clean, poisoned = np.array([[1.0, 0.0, 2.0]], np.float32), np.array([[1.0, np.nan, 2.0]], np.float32)
    run = pulled(fn)
    assert np.array_equal(run(poisoned, x)[1], run(clean, x)[1])


def test_masked_logits_in_the_cross_entropies():
    """optax #1786: a target of 0 at a masked class made value and gradients NaN. Here they are those without it."""
    logits, labels = np.array([[1.0, -_INF, 2.0]], np.float32), np.array([[0.25, 0.0, 0.75]], np.float32)
    without = [0, 2]
    for fn, first in ((softmax_cross_entropy, logits), (kl_divergence, np.asarray(jax.nn.log_softmax(logits)))):
        value, *gradients = pulled(fn)(1.0, first, labels)
        bare_value, *bare_gradients = pulled(fn)(1.0, first[:, without], labels[:, without])
        assert np.array_equal(value, bare_value)
        for got, bare in zip(gradients, bare_gradients):
            assert np.array_equal(got[:, without], bare) and got[0, 1] == 0


def test_logsumexp_of_an_empty_axis():
    """The sum of nothing is 0, its logarithm -inf."""
    x = np.zeros((2, 0), np.float32)
    y, dx = pulled(logsumexp)(1.0, x)
    assert y.tolist() == [-_INF, -_INF]
    assert dx.shape == (2, 0)


@pytest.mark.slow
def test_values_and_argument_order_are_those_of_optax():
    """Who moves over from optax by keyword gets the same numbers."""
    rng = np.random.default_rng(2)
    with jax.enable_x64(True):
        z, labels, p = rng.normal(size=(5, 4)), rng.integers(0, 4, 5), rng.dirichlet(np.ones(4), 5)
        signs = rng.choice([-1.0, 1.0], (5, 4))
        pairs = [
            (softmax_cross_entropy, optax.losses.softmax_cross_entropy, dict(logits=z, labels=p)),
            (
                softmax_cross_entropy_with_integer_labels,
                optax.losses.softmax_cross_entropy_with_integer_labels,
                dict(logits=z, labels=labels),
            ),
            (sigmoid_binary_cross_entropy, optax.losses.sigmoid_binary_cross_entropy, dict(logits=z, labels=p)),
            (kl_divergence, optax.losses.kl_divergence, dict(log_predictions=jax.nn.log_softmax(z), targets=p)),
            (hinge, optax.losses.hinge_loss, dict(predictor_outputs=z, targets=signs)),
        ]
        for ours, theirs, arguments in pairs:
            arguments = {name: jnp.asarray(value) for name, value in arguments.items()}
            # the same function in another order of operations, all numbers below 8
            np.testing.assert_allclose(
                ours(**arguments), theirs(**arguments), atol=64 * 2.0**-53, err_msg=ours.__name__
            )
        assert jnp.allclose(square_error(z, p), optax.losses.squared_error(z, p).sum(-1) / 2, atol=64 * 2.0**-53)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fn",
    [
        lambda z: softmax(z)[..., 0],
        lambda z: log_softmax(z)[..., 0],
        lambda z: softmax_cross_entropy_with_integer_labels(z, np.zeros(3, np.int32)),
        logsumexp,
    ],
    ids=["softmax", "log_softmax", "integer labels", "logsumexp"],
)
def test_bfloat16_is_rounded_once(fn):
    """Inside it is float32: the gradient of bfloat16 logits is that of the same numbers in float64, rounded."""
    z = np.random.default_rng(3).normal(0, 3, (3, 300)).astype(jnp.bfloat16)
    got = _gradient(fn, z, cotangent=np.ones(3, jnp.bfloat16))[0]
    assert got.dtype == jnp.bfloat16
    with jax.enable_x64(True):
        exact = np.asarray(jax.vjp(strip(fn), z.astype(np.float64))[1](jnp.ones(3))[0])
    # one rounding of the result to 8 bits, one of what is kept (softmax keeps y in bfloat16), and those of float32
    error = np.abs(np.asarray(got).astype(np.float64) - exact)
    assert np.all(error <= 2.5 * 2.0**-9 * np.abs(exact) + 2.0**-20)


def test_hinge_gradients_keep_one_byte_per_score():
    """Autodiff keeps whole scores for a gradient of -1, 0 and 1."""
    scores, labels = np.ones((8, 16), np.float32), np.zeros(8, np.int32)
    for fn in (multiclass_hinge, weston_watkins_hinge):
        _, pull_back = jax.vjp(lambda s, fn=fn: fn(s, labels), scores)
        assert sum(leaf.nbytes for leaf in jax.tree.leaves(pull_back)) == scores.size


def test_square_error_does_not_broadcast():
    """(n, 1) against (n,) would be n^2 differences."""
    with pytest.raises(ValueError, match=r"wants one shape, not \(4, 1\) and \(4,\)"):
        square_error(jnp.ones((4, 1)), jnp.ones(4))
