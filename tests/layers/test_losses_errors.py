"""Losses of an error and of a margin: optax's numbers, chosen slopes at kinks, and far and near errors."""

from functools import partial

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import pytest
from compiled import compiled, grad, pulled
from scipy import special, stats

from backproplab.layers.losses import (
    absolute_error,
    charbonnier,
    dice_loss,
    gaussian_nll,
    hinge,
    huber_loss,
    log_cosh,
    negative_binomial_nll,
    perceptron_loss,
    poisson_nll,
    quantile_loss,
    sigmoid_focal_loss,
    smooth_absolute_error,
    softmax_cross_entropy_with_integer_labels,
    softmax_focal_loss,
    squared_hinge,
    student_t_nll,
    tversky_loss,
)

_ROUNDOFF = 2.0**-24  # of float32
_IN_DOUBLE = 2.0**-53
_ERRORS = np.array([-3.0, -1.0, -0.25, 0.0, 0.25, 1.0, 3.0], np.float32)
_ZEROS = np.zeros(7, np.float32)


def _slopes(fn, *args):
    return grad(lambda *a: fn(*a).sum())(*args)


@pytest.mark.slow
def test_values_and_argument_order_are_those_of_optax():
    """Who moves over by keyword gets the same numbers; delta and gamma are Python numbers here."""
    rng = np.random.default_rng(0)
    y, t = rng.normal(size=(2, 3, 4)).astype(np.float32)
    signs, labels = np.sign(t), (t > 0).astype(np.float32)
    pairs = [
        (huber_loss, optax.losses.huber_loss, dict(predictions=y, targets=t, delta=0.5)),
        (huber_loss, optax.losses.huber_loss, dict(predictions=y)),
        (log_cosh, optax.losses.log_cosh, dict(predictions=y, targets=t)),
        (perceptron_loss, optax.losses.perceptron_loss, dict(predictor_outputs=y, targets=signs)),
        (sigmoid_focal_loss, optax.losses.sigmoid_focal_loss, dict(logits=y, labels=labels, alpha=0.25, gamma=1.5)),
        (sigmoid_focal_loss, optax.losses.sigmoid_focal_loss, dict(logits=y, labels=np.abs(t) / 4)),
    ]
    for ours, theirs, arguments in pairs:
        arguments = {k: jnp.asarray(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}
        # the same function in another order of operations, all numbers below 4
        np.testing.assert_allclose(
            ours(**arguments), theirs(**arguments), atol=32 * _ROUNDOFF, rtol=0, err_msg=ours.__name__
        )


def test_slopes_of_an_error():
    """The slope of each loss over the error, its chosen value at the kink 0 included, and minus it in the targets."""
    cases = [
        (absolute_error, [-1, -1, -1, 0, 1, 1, 1]),
        (lambda y, t: huber_loss(y, t, 1.0), [-1, -1, -0.25, 0, 0.25, 1, 1]),
        (lambda y, t: smooth_absolute_error(y, t, 0.5), [-1, -1, -0.5, 0, 0.5, 1, 1]),
        (lambda y, t: smooth_absolute_error(y, t, 0.0), [-1, -1, -1, 0, 1, 1, 1]),
        (lambda y, t: quantile_loss(y, t, 0.75), [-0.75, -0.75, -0.75, 0, 0.25, 0.25, 0.25]),
    ]
    for fn, expected in cases:
        _, dy, dt = pulled(fn)(1.0, _ERRORS, _ZEROS)
        assert np.array_equal(dy, expected) and np.array_equal(dt, -np.array(expected))


def test_targets_broadcast_but_never_enlarge():
    """One target for all rows gets the sum of its gradients; (n,) predictions with (n, 1) targets are an error."""
    y = np.ones((3, 2), np.float32)
    dt = grad(lambda t: absolute_error(y, t).sum())(np.zeros(2, np.float32))
    assert dt.tolist() == [-3, -3]
    for fn in (absolute_error, huber_loss, smooth_absolute_error, log_cosh, quantile_loss, charbonnier):
        with pytest.raises(ValueError, match=r"targets of shape \(3, 1\) for predictions of shape \(3,\)"):
            jax.eval_shape(fn, y[:, 0], y[:, :1])
        assert jax.eval_shape(fn, y).shape == (3, 2)


def test_log_cosh_keeps_its_digits_near_0_and_far_out():
    """optax's logaddexp(r, -r) - log 2 has none left at 1e-4, and cosh overflows at 89."""
    r = np.array([1e-6, 1e-4, 0.3, -0.999, 1.0, 5.0, -200.0, 1e4], np.float32)
    with mpmath.workdps(60):
        exact = [mpmath.log(mpmath.cosh(mpmath.mpf(float(v)))) for v in r]
        slope = [mpmath.tanh(mpmath.mpf(float(v))) for v in r]
        for got, want in zip(pulled(log_cosh)(1.0, r), (exact, slope), strict=True):
            # two transcendental functions of XLA, each off by a few units, one of them squared
            assert max(abs(float(g) / float(w) - 1) for g, w in zip(got, want)) < 16 * _ROUNDOFF


def test_curvature_of_log_cosh_in_the_tail():
    """Its second derivative, sech^2, does not round to 0 as 1 - tanh^2 does from 9 on."""
    got = jax.jit(jax.grad(jax.grad(log_cosh)))(np.float32(20.0))
    assert abs(float(got) * np.cosh(20.0) ** 2 - 1) < 8 * _ROUNDOFF


def test_charbonnier_far_out():
    """The square of 1e25 overflows; the slope r / sqrt(r^2 + eps^2) would be 0. And eps must be positive."""
    r = np.array([1e25, -1e25, 1e-30], np.float32)
    loss, slope = pulled(charbonnier)(1.0, r)
    assert np.isfinite(loss).all()
    np.testing.assert_allclose(slope, [1, -1, 1e-27], rtol=4 * _ROUNDOFF)
    with pytest.raises(ValueError, match="positive epsilon"):
        charbonnier(r, None, 0.0)


def test_one_target_for_three_quantiles():
    """A tuple of quantiles goes along the last axis."""
    y, t = np.array([[1.0, 2.0, 3.0]], np.float32), np.array([[2.5]], np.float32)
    loss, slope = pulled(lambda y: quantile_loss(y, t, (0.25, 0.5, 0.75)))(1.0, y)
    assert loss.tolist() == [[0.375, 0.25, 0.125]]
    assert slope.tolist() == [[-0.25, -0.5, 0.25]]


def test_what_is_right_teaches_nothing_but_the_perceptron_at_0_learns():
    """On their margins: hinge and its square have slope 0; the perceptron, which would not leave 0 otherwise, has -t."""
    t = np.array([1.0, -1.0], np.float32)
    assert _slopes(lambda f: hinge(f, t), t).tolist() == [0, 0]
    assert _slopes(lambda f: squared_hinge(f, t), t).tolist() == [0, 0]
    assert _slopes(lambda f: perceptron_loss(f, t), 0 * t).tolist() == [-1, 1]
    with pytest.raises(ValueError, match="want one shape"):
        perceptron_loss(t, t[:1])


def test_focal_loss_is_exact_in_the_tail():
    """-q^(g+1) - g p q^g c for a label of 1, against 50 digits, right and wrong up to 25, gamma 1/2 and 2."""
    z = np.array([-25.0, -8.0, -1.0, 0.0, 2.0, 17.0, 25.0], np.float32)
    for gamma in (0.5, 2.0):
        got = _slopes(lambda z, gamma=gamma: sigmoid_focal_loss(z, np.ones(7, np.int32), None, gamma), z)
        with mpmath.workdps(50):
            for value, v in zip(got, z):
                p = 1 / (1 + mpmath.exp(-mpmath.mpf(float(v))))
                q = 1 - p
                exact = -(q ** (gamma + 1)) + gamma * p * q**gamma * mpmath.log(p)
                # the power multiplies the roundings of q, and of its exponent's logarithm, of up to 25
                assert abs(float(mpmath.mpf(float(value)) / exact - 1)) < 128 * _ROUNDOFF


def test_focal_loss_has_no_nan_far_out():
    """optax #1267: NaN at a logit of 1000 with gamma = 0; also where gamma < 1 and 1 - p has vanished."""
    z, labels = np.array([1000.0, -1000.0] * 2, np.float32), np.array([1, 0, 0, 1])
    for gamma in (0.0, 0.5, 1.0, 2.0):
        fn = lambda z, gamma=gamma: sigmoid_focal_loss(z, labels, None, gamma)
        loss, slope = pulled(fn)(1.0, z)
        assert loss.tolist() == [0, 0, 1000, 1000]
        assert slope.tolist() == [0, 0, 1, -1]


def test_focal_loss_over_classes():
    """Of two it is the sigmoid's; of any with gamma 0 the cross-entropy, far out too; and the slope at p = 1 is the tail's."""
    z, labels = np.array([-25.0, -1.0, 0.0, 2.0, 17.0], np.float32), np.array([1, 0, 1, 0, 1])
    pair = lambda z: jnp.stack([jnp.zeros_like(z), z], -1)
    two, one = (lambda z: softmax_focal_loss(pair(z), labels)), (lambda z: sigmoid_focal_loss(z, labels))
    for of_two, of_one in zip(pulled(two)(1.0, z), pulled(one)(1.0, z), strict=True):
        np.testing.assert_allclose(of_two, of_one, rtol=64 * _ROUNDOFF)
    plain = lambda z: softmax_cross_entropy_with_integer_labels(pair(z), labels)
    focal = lambda z: softmax_focal_loss(pair(z), labels, 0.0)
    run_focal, run_plain = pulled(focal), pulled(plain)
    for at in (z, 40 * z):
        (loss, slope), (plain_loss, plain_slope) = run_focal(1.0, at), run_plain(1.0, at)
        assert np.array_equal(slope, plain_slope)
        np.testing.assert_allclose(loss, plain_loss, rtol=4 * _ROUNDOFF, atol=2 * _ROUNDOFF)  # plain: 1 + 4e-8 is 1
    assert np.isnan(compiled(lambda z: softmax_focal_loss(pair(z), labels + 2))(z)[0])


def test_likelihoods_against_numpy():
    """The normal density in float64, with a variance whose inverse overflows float32, and the Poisson loss up to log t!."""
    y, t, s = np.array([[1.0, -2.0, 1e-25], [0.5, 0.25, 0.0], [-1.0, 3.0, -112.0]], np.float32)
    exact = 0.5 * (np.log(2 * np.pi) + s + (y - t.astype(np.float64)) ** 2 * np.exp(-s.astype(np.float64)))
    np.testing.assert_allclose(jax.jit(gaussian_nll)(y, t, s), exact, rtol=16 * _ROUNDOFF)
    eta, counts = np.array([0.5, -1.0, 2.0], np.float32), np.array([0, 1, 7])
    np.testing.assert_allclose(
        jax.jit(poisson_nll)(eta, counts), np.exp(eta.astype(np.float64)) - counts * eta, rtol=16 * _ROUNDOFF
    )


def test_likelihoods_against_scipy():
    """Both densities at ordinary points, mean, scale and counts broadcast; scipy's p of a success is our failure's."""
    rng = np.random.default_rng(4)
    with jax.enable_x64(True):
        y, t, s, n = rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=(3, 1)), np.float64(3.5)
        for degrees in (n, 3):  # whole numbers beside float64 lose no digits
            exact = -stats.t.logpdf(t, degrees, y, np.exp(s))
            log_gammas = np.abs(special.gammaln([degrees / 2, (degrees + 1) / 2])).sum()
            # the terms of either sum, each off by a few roundings of its size
            sizes = np.abs(s) + np.log(np.pi * degrees) / 2 + log_gammas + np.abs(exact)
            np.testing.assert_array_less(
                np.abs(jax.jit(student_t_nll)(y, t, s, degrees) - exact), 16 * _IN_DOUBLE * sizes
            )
        counts, r = np.array([0, 1, 2, 7]), rng.uniform(0.5, 5, (3, 1))
        exact = -stats.nbinom.logpmf(counts, r, 1 / (1 + np.exp(y)))
        log_gammas = np.abs(special.gammaln([r + counts, r + 0 * counts, 1 + counts + 0 * r])).sum(0)
        sizes = counts * np.logaddexp(0, -y) + r * np.logaddexp(0, y) + log_gammas
        np.testing.assert_array_less(
            np.abs(jax.jit(negative_binomial_nll)(y, counts, r) - exact), 16 * _IN_DOUBLE * sizes
        )


def test_an_outlier_of_a_t_density_pulls_by_its_inverse():
    """(n+1) / r, where the square of r is no float32 and a normal density would pull by r itself."""
    r = np.array([1e4, -1e15, 1e30], np.float32)
    loss, got = pulled(lambda r: student_t_nll(r, _ZEROS[:3], np.float32(-1.0), 3.0))(1.0, r)
    np.testing.assert_allclose(got, 4 / r.astype(np.float64), rtol=16 * _ROUNDOFF)
    assert np.isfinite(loss).all()


def test_whole_numbers_have_no_gradient_and_nothing_is_enlarged():
    """Counts and degrees of an integer dtype, and arguments of (3, 1) for predictions of (3,)."""
    y, counts = np.zeros(3, np.float32), np.array([0, 1, 3])
    _, pull = jax.vjp(jax.jit(negative_binomial_nll), y, counts, np.array(2))
    assert [d.dtype for d in pull(y)] == [y.dtype, jax.dtypes.float0, jax.dtypes.float0]
    _, pull = jax.vjp(jax.jit(student_t_nll), y, y, y, np.array(2))
    assert [d.dtype for d in pull(y)] == [y.dtype] * 3 + [jax.dtypes.float0]
    for fn, count in ((negative_binomial_nll, 3), (student_t_nll, 4)):
        for i in range(1, count):
            args = [y + 1] * count
            args[i] = y[:, None] + 1
            with pytest.raises(ValueError, match=r"targets of shape \(3, 1\) for predictions of shape \(3,\)"):
                jax.eval_shape(fn, *args)


def test_overlap_losses_are_optax_dice_loss():
    """Each class over the pixels, prices and smoothing as there; whole targets, and classes as the last axis."""
    rng = np.random.default_rng(5)
    p, t = rng.dirichlet(np.ones(3), (2, 4, 5)).astype(np.float32), rng.integers(0, 2, (2, 4, 5, 3))
    of_optax = partial(optax.losses.dice_loss, p, t, apply_softmax=False, reduction="none")  # it looks at the numbers
    theirs = of_optax(smooth=0.5), of_optax(alpha=0.3, beta=0.7)
    ours = lambda p, t: (dice_loss(p, t, (1, 2), 0.5), tversky_loss(p, t, axis=(1, 2), alpha=0.3, beta=0.7))
    for one, other in zip(compiled(ours)(p, t), theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=8 * _ROUNDOFF)


def test_overlap_losses_where_nothing_is():
    """Two empty sets without smoothing agree; sets that agree but for 1e-6 have a loss of 6 digits, not 1 - 0.999999."""
    empty = np.zeros((1, 4), np.float32)
    loss, slope = pulled(lambda p: dice_loss(p, empty, -1, 0.0))(1.0, empty)
    assert loss == 0 and not np.any(slope)
    p = np.full(8, 1 - 2.0**-20, np.float32)
    exact = 0.5 * 2.0**-20 / (1 - 0.5 * 2.0**-20)
    loss = compiled(lambda p: dice_loss(p, np.ones(8, np.float32), smooth=0.0))(p)
    np.testing.assert_allclose(loss, exact, rtol=4 * _ROUNDOFF)
    with pytest.raises(ValueError, match="want one shape"):
        tversky_loss(p, p[:1])
