"""Losses on similarity, distance and alignment: optax's numbers, identical and zero vectors, tails, and CTC's cases."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiled import compiled

from backproplab.layers.metric_losses import (
    angular_distance,
    cdist,
    clip_loss,
    contrastive_loss,
    cosine_distance,
    cosine_similarity,
    ctc_loss,
    info_nce,
    lifted_structure_loss,
    pairwise_distance,
    semi_hard_triplet_loss,
    siglip_loss,
    supervised_contrastive,
    triplet_margin_loss,
)

_ROUNDOFF = 2.0**-24  # of float32
_rng = np.random.default_rng(0)
_A, _B, _C = _rng.normal(size=(3, 5, 4)).astype(np.float32)


def _value_and_gradients(fn, *args):
    """Of its sum; in one program, which is compiled sooner than the operations one by one."""
    both = lambda *a: (fn(*a), jax.grad(lambda *a: fn(*a).sum(), tuple(range(len(a))))(*a))
    value, gradients = compiled(both)(*args)
    return value, list(gradients)


@pytest.mark.slow
def test_values_and_argument_order_are_those_of_optax():
    """Who moves over by keyword gets the same numbers."""
    where = _rng.random((5, 4)) < 0.7
    pairs = [
        (cosine_similarity, optax.losses.cosine_similarity, dict(predictions=_A, targets=_B)),
        (cosine_similarity, optax.losses.cosine_similarity, dict(predictions=_A, targets=_B, epsilon=4.0, axis=0)),
        (cosine_distance, optax.losses.cosine_distance, dict(predictions=_A, targets=_B, axis=None, where=where)),
        (cosine_distance, optax.losses.cosine_distance, dict(predictions=_A, targets=_B, epsilon=4.0)),
        (
            triplet_margin_loss,
            optax.losses.triplet_margin_loss,
            dict(anchors=_A, positives=_B, negatives=_C, margin=0.5, norm_degree=4),
        ),
    ]
    for ours, theirs, arguments in pairs:
        arguments = {k: jnp.asarray(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}
        got, want = ours(**arguments), theirs(**arguments)
        np.testing.assert_allclose(got, want, atol=32 * _ROUNDOFF, rtol=0, err_msg=ours.__name__)


def test_zero_vectors_are_similar_to_nothing():
    """GRADIENT_BUGS E4: optax gives NaN. Here 0 with no gradient, and the other vector has none either."""
    zero = np.zeros((5, 4), np.float32)
    value, gradients = _value_and_gradients(cosine_similarity, zero, _B)
    assert not np.any(value) and not np.any(gradients)
    distance = compiled(cosine_distance)(zero, _B)
    assert np.abs(distance - 1).max() <= _ROUNDOFF  # half the square of a unit, which is rounded


@pytest.mark.parametrize(
    ("shape", "axis"), [((4, 1), -1), ((4,), 0), ((4,), None)], ids=["one for all", "other rank", "all axes"]
)
def test_vectors_of_different_lengths_are_refused(shape, axis):
    """An axis that means one thing in one argument and another in the other had a wrong gradient before."""
    for similar in (cosine_similarity, cosine_distance):
        with pytest.raises(ValueError, match="their lengths must be equal"):
            similar(_A, np.ones(shape, np.float32), axis=axis)
    assert compiled(cosine_similarity)(_A, np.ones(4, np.float32)).shape == (5,)


def test_distance_of_directions_that_are_close():
    """1 - cos is rounding noise for an angle of 1e-4; half the squared distance of the units is not."""
    angle = 2.0**-13
    a, b = np.array([[1.0, 0.0]], np.float32), np.array([[1.0, angle]], np.float32)
    exact = 1 - np.cos(np.arctan(angle))
    distance = compiled(cosine_distance)
    assert abs(float(distance(a, b)[0]) / exact - 1) < 2.0**-9  # of the units' roundings, relative to the angle
    assert distance(_A, 3 * _A).max() < 4 * _ROUNDOFF


def test_angles_at_both_ends():
    """The arc cosine of a float32 cosine is 0 up to 2^-12; atan2 is right to a rounding of 1, relative to the angle.

    And the slopes: turned away from b, a step of |a| dt per dt. The exact angle is that of the float32 numbers.
    """
    angles = np.float32(2.0) ** -np.arange(1, 21, 2, dtype=np.float32)
    across = np.stack([np.ones_like(angles), angles], -1)
    exact = np.arctan(angles.astype(np.float64)) / np.pi
    a = np.array([[4.0, 0.0]], np.float32)
    for sign, want in ((1, exact), (-1, 1 - exact)):
        value, (da, db) = _value_and_gradients(angular_distance, np.repeat(a, len(angles), 0), sign * across)
        np.testing.assert_allclose(value, want, rtol=4 * _ROUNDOFF)
        length = np.hypot(*across.T.astype(np.float64))
        # the second entry of b's unit, rounded, is all of e: a few of its roundings
        np.testing.assert_allclose(da, np.outer(np.full(len(angles), -sign / (4 * np.pi)), [0, 1]), atol=4 * _ROUNDOFF)
        turned = sign * np.stack([-across[:, 1], across[:, 0]], -1) / (np.pi * length**2)[:, None]
        np.testing.assert_allclose(db, sign * turned, rtol=0, atol=4 * _ROUNDOFF)


def test_angles_against_numpy():
    """Ordinary vectors in float64, and what no direction is right for: multiples, opposites, and zero vectors."""
    a, b = _A.astype(np.float64), _B.astype(np.float64)
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    np.testing.assert_allclose(compiled(angular_distance)(_A, _B), np.arccos(cosine) / np.pi, rtol=8 * _ROUNDOFF)
    whole = np.array([[1.0, 3.0, 7.0], [2.0, 0.0, -5.0]], np.float32)
    for factor, distance in ((1, 0), (3, 0), (1e25, 0), (-1, 1), (-5, 1), (0, 0.5)):
        value, gradients = _value_and_gradients(angular_distance, whole, np.float32(factor) * whole)
        assert not np.any(gradients)
        np.testing.assert_allclose(value, [distance] * 2, rtol=0, atol=2 * _ROUNDOFF)
    with pytest.raises(ValueError, match="their lengths must be equal"):
        angular_distance(_A, np.ones((4, 1), np.float32))


def test_identical_points_have_distance_0_and_no_gradient():
    """Norms are NaN there in JAX (GRADIENT_BUGS 5), among them the diagonal of the distances within one set."""
    for p in (1.0, 1.5, 2.0):
        value, gradients = _value_and_gradients(lambda x, y, p=p: pairwise_distance(x, y, p), _A, _A)
        assert not np.any(value) and not np.any(gradients)
        _, (gradient,) = _value_and_gradients(lambda x, p=p: cdist(x, x, p), _A)
        assert np.isfinite(gradient).all() and np.any(gradient)


def test_cdist_does_not_cancel():
    """Of vectors 1/8 apart at 4096: |x|^2 + |y|^2 - 2 x y has no digit left in float32."""
    x, y = np.full((1, 4), 4096.0, np.float32), np.full((1, 4), 4096.125, np.float32)
    value, (dx, _) = _value_and_gradients(cdist, x, y)
    assert value.tolist() == [[0.25]] and dx.tolist() == [[-0.5] * 4]
    with pytest.raises(ValueError, match="p from 1 on"):
        cdist(x, y, 0.5)


def test_distances_against_numpy():
    """Every pair in float64, several p, and pairs in a row as the diagonal of all pairs."""
    for p in (1.0, 1.5, 2.0, 3.0):
        want = np.linalg.norm(_A[:, None].astype(np.float64) - _B[None], p, -1)
        of_all, of_pairs = compiled(lambda a, b, p=p: (cdist(a, b, p), pairwise_distance(a, b, p)))(_A, _B)
        np.testing.assert_allclose(of_all, want, rtol=16 * _ROUNDOFF)
        np.testing.assert_allclose(of_pairs, np.diag(want), rtol=16 * _ROUNDOFF)


def test_triplets_without_an_active_one():
    """pytorch-metric-learning #107: no active triplet gives 0 and no gradient; odd degrees measure absolute differences."""
    far = _A + 100
    value, gradients = _value_and_gradients(triplet_margin_loss, _A, _A + np.float32(0.01), far)
    assert not np.any(value) and not np.any(gradients)
    loss = compiled(lambda *args: triplet_margin_loss(*args, norm_degree=1, margin=50.0, eps=0.0))(_A, _B, _C)
    np.testing.assert_allclose(loss, np.abs(_A - _B).sum(-1) - np.abs(_A - _C).sum(-1) + 50, rtol=8 * _ROUNDOFF)
    with pytest.raises(ValueError, match="one shape"):
        triplet_margin_loss(_A, _B, _C[:1])


_LABELS = np.array([0, 1, 0, 1, 1])


def _mined(x, labels, margin):
    """The definitions of both losses of mined pairs, pair by pair in float64."""
    d = np.linalg.norm(x[:, None] - x[None], axis=-1)
    rows = range(len(x))
    pairs = [(a, p) for a in rows for p in rows if a != p and labels[a] == labels[p]]
    negatives = [[k for k in rows if labels[k] != labels[a]] for a in rows]
    semi_hard = lifted = 0.0
    for a, p in pairs:
        beyond = [d[a, k] for k in negatives[a] if d[a, k] > d[a, p]]
        negative = min(beyond) if beyond else max(d[a, k] for k in negatives[a])
        semi_hard += max(0, d[a, p] - negative + margin)
        both = [margin - d[i, k] for i in (a, p) for k in negatives[i]]
        lifted += max(0, d[a, p] + np.log(np.sum(np.exp(both)))) ** 2 / 2
    return semi_hard / len(pairs), lifted / len(pairs)


def test_losses_of_mined_pairs_against_their_definitions():
    """Both margins, one of which leaves some triplets inactive; a batch of batches is each of them."""
    x = np.stack([_A, _B, _C])
    for margin in (0.25, 2.0):
        want = np.array([_mined(a.astype(np.float64), _LABELS, margin) for a in x])
        for i, fn in enumerate((semi_hard_triplet_loss, lifted_structure_loss)):
            got = compiled(lambda x, fn=fn: fn(x, np.tile(_LABELS, (3, 1)), margin))(x)
            # a few roundings each in a distance of four terms, the exponential, the logarithm and the square
            np.testing.assert_allclose(got, want[:, i], rtol=32 * _ROUNDOFF)


@pytest.mark.parametrize("fn", [semi_hard_triplet_loss, lifted_structure_loss], ids=lambda fn: fn.__name__)
def test_batches_without_pairs_or_negatives(fn):
    """pytorch-metric-learning #107: 0 and no gradient, not NaN; among them a batch of one and one of identical points."""
    for x, labels in (
        (_A, np.arange(5)),
        (_A, np.zeros(5, int)),
        (_A[:1], np.zeros(1, int)),
    ):
        value, (gradient,) = _value_and_gradients(lambda x, labels=labels: fn(x, labels), x)
        assert value == 0 and not np.any(gradient)
    _, (gradient,) = _value_and_gradients(lambda x: fn(x, _LABELS), np.ones_like(_A))
    assert not np.any(gradient)
    with pytest.raises(ValueError, match=f"{fn.__name__} takes embeddings"):
        fn(_A, _LABELS[:4])


def test_all_triplets_are_not_written_down():
    """Of n^3 candidates only what is added up or compared along an axis is made, and nothing of n^2 is kept."""
    x, labels = np.zeros((128, 4), np.float32), np.arange(128) % 4
    program = jax.jit(jax.grad(lambda x: semi_hard_triplet_loss(x, labels))).lower(x).compile()
    assert program.memory_analysis().temp_size_in_bytes < 128**3


def test_contrastive_pairs_that_coincide():
    """Alike they are at their minimum; different, no direction is the right one: no NaN, no gradient."""
    for similar in (1, 0):
        fn = lambda x, s=similar: contrastive_loss(x, _A, np.full(5, s))
        assert not np.any(_value_and_gradients(fn, _A)[1])


def test_contrastive_losses_of_all_pairs_against_numpy():
    """InfoNCE, CLIP, supervised contrastive and SigLIP by their formulas in float64."""
    a, b = _A.astype(np.float64), _B.astype(np.float64)
    log_softmax = lambda z: z - np.log(np.exp(z).sum(-1, keepdims=True))
    logits = a @ b.T / 0.5
    rows, columns = -np.diag(log_softmax(logits)), -np.diag(log_softmax(logits.T))
    close = partial(np.testing.assert_allclose, atol=64 * _ROUNDOFF, rtol=8 * _ROUNDOFF)
    close(jax.jit(info_nce)(_A, _B, 0.5), rows)
    close(jax.jit(clip_loss)(_A, _B, 0.5), (rows + columns) / 2)
    signs = 2 * np.eye(5) - 1
    close(jax.jit(siglip_loss)(_A, _B, 2.0, -1.0), np.log1p(np.exp(-signs * (2 * a @ b.T - 1))).sum(-1))
    labels = np.array([0, 1, 0, 0, 2])
    logits = a @ a.T / 0.5
    np.fill_diagonal(logits, -np.inf)
    log_p = log_softmax(logits)
    positive = (labels[:, None] == labels) & ~np.eye(5, dtype=bool)
    want = [-log_p[i][positive[i]].mean() if positive[i].any() else 0 for i in range(5)]
    close(jax.jit(supervised_contrastive)(_A, labels, 0.5), want)


def test_a_sure_pair_still_has_a_gradient():
    """p - 1 on the diagonal rounds to 0 in float32 from a gap of 17 on; here the gap is 1/temperature = 32."""
    eye = np.eye(3, dtype=np.float32)
    exact = 2 * np.exp(-32.0) / (1 + 2 * np.exp(-32.0))
    for fn in (info_nce, clip_loss):
        _, (gradient, slope) = _value_and_gradients(lambda x, t, fn=fn: fn(x, eye, t), eye, np.float32(2.0**-5))
        assert np.abs(np.diag(gradient) / (-32 * exact) - 1).max() < 16 * _ROUNDOFF
        assert abs(float(slope) / (3 * 32**2 * exact) - 1) < 32 * _ROUNDOFF


def test_all_pairs_are_not_kept():
    """What crosses from forward to backward are the arguments: nothing of n times m."""
    x = np.ones((64, 2), np.float32)
    for fn in (info_nce, clip_loss, siglip_loss):
        pull = jax.eval_shape(lambda x, fn=fn: jax.vjp(fn, x, x)[1], x)
        kept = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(pull))
        assert kept <= 2 * x.nbytes + 16


def _enumerated(logits, target, blank):
    """CTC by its definition: all class sequences that collapse to the target, and the gradient, in float64."""
    p = np.exp(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
    total, occupancy = 0.0, np.zeros_like(p)
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        collapsed = [c for c, _ in itertools.groupby(path) if c != blank]
        if collapsed == list(target):
            probability = np.prod(p[np.arange(len(p)), path])
            total += probability
            occupancy[np.arange(len(p)), path] += probability
    return (np.inf, np.zeros_like(p)) if total == 0 else (-np.log(total), p - occupancy / total)


def _value_and_gradient(logits, logit_paddings, labels, label_paddings, weights, blank=0):
    loss, pull = jax.vjp(lambda z: ctc_loss(z, logit_paddings, labels, label_paddings, blank), logits)
    return loss, pull(weights)[0]


_ctc = jax.jit(_value_and_gradient, static_argnums=5)


@pytest.mark.parametrize("blank", [0, 2])
def test_ctc_is_its_definition(blank):
    """Enumerated: repeats, one label, no label, padded frames, too few frames; each with its own cotangent."""
    a, b = (1, 2) if blank == 0 else (0, 1)
    targets, frames = [[a, a], [a, b], [b], [], [a, a], []], [4, 3, 4, 2, 2, 0]
    logits = np.random.default_rng(2).normal(size=(6, 4, 3)).astype(np.float32)
    labels = np.array([[*t, *[99] * (2 - len(t))] for t in targets])
    label_paddings = np.array([[0.0] * len(t) + [1.0] * (2 - len(t)) for t in targets], np.float32)
    logit_paddings = (np.arange(4) >= np.array(frames)[:, None]).astype(np.float32)
    logits = np.where(logit_paddings[..., None] > 0, np.nan, logits)
    weights = np.array([1.0, -2.0, 3.0, 0.5, 1.0, 1.0], np.float32)
    loss, gradient = map(np.asarray, _ctc(logits, logit_paddings, labels, label_paddings, weights, blank))
    for i, (target, n) in enumerate(zip(targets, frames)):
        value, slope = _enumerated(logits[i, :n].astype(np.float64), target, blank)
        np.testing.assert_allclose(loss[i], value, rtol=0, atol=16 * _ROUNDOFF)
        np.testing.assert_allclose(gradient[i, :n], weights[i] * slope, rtol=0, atol=32 * _ROUNDOFF)
        assert not np.any(gradient[i, n:])


def test_ctc_has_the_values_of_optax():
    """Where an alignment exists; where none does, optax gives 99999.7 and a gradient, here +inf and none."""
    z = np.random.default_rng(3).normal(size=(3, 4, 4)).astype(np.float32)
    arguments = dict(
        logits=z,
        logit_paddings=np.zeros((3, 4), np.float32),
        labels=np.array([[1, 1, 2], [3, 2, 0], [2, 2, 2]]),
        label_paddings=np.array([[0, 0, 0], [0, 0, 1], [0, 0, 0]], np.float32),
    )
    ours = _ctc(*arguments.values(), np.ones(3, np.float32))
    assert np.array_equal(ours[0], jax.jit(ctc_loss)(**arguments))
    theirs = jax.jit(optax.losses.ctc_loss)(**arguments)
    np.testing.assert_allclose(ours[0][:2], theirs[:2], rtol=16 * _ROUNDOFF)
    assert ours[0][2] == np.inf and not np.any(ours[1][2]) and theirs[2] > 9e4


def test_ctc_is_never_negative_and_exact_after_many_frames():
    """optax #1771: -8e-8 for sure logits. And posteriors sum to 1 in frame 400 as in frame 1."""
    rng = np.random.default_rng(4)
    z = rng.normal(0, 3, (400, 5)).astype(np.float32)
    labels, frames, places = rng.integers(1, 5, 60), np.zeros(400, np.float32), np.zeros(60, np.float32)
    gradient = np.asarray(_ctc(z, frames, labels, places, np.float32(1))[1], np.float64)
    assert np.abs(gradient.sum(-1)).max() < 16 * _ROUNDOFF
    with jax.enable_x64(True):
        exact = np.asarray(_ctc(z.astype(np.float64), frames, labels, places, 1.0)[1])
    # a few units in the last place per frame of the way
    assert np.abs(gradient - exact).max() < 400 * 2 * _ROUNDOFF
    labels = np.arange(60) % 4 + 1
    sure = 40 * np.eye(5, dtype=np.float32)[np.r_[labels, np.zeros(340, int)]]
    assert 0 <= _ctc(sure, frames, labels, places, np.float32(1))[0] < 1e-6
