"""A case at one seed and dtype: cotangents, what is made once, and the three comparisons."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import at, by_hand, square

from backproplab import Case, normal
from backproplab.harness import programs
from backproplab.harness.point import Point, point, prove_point

X = np.array([0.5, -1.25, 2.0])
right = lambda x, dy: 2 * x * dy


def test_cotangents():
    """Ones, zeros, one entry, or signed random numbers; the same for the same seed, and each output has its own."""
    p = at(lambda x: (x, jnp.sum(x), x.astype(jnp.float32)), X)
    assert [c.shape for c in p.cotangents("ones", 0)] == [(3,), (), (3,)]
    assert all((c == 1).all() for c in p.cotangents("ones", 0))
    assert not any(c.any() for c in p.cotangents("zeros", 0))
    assert [int(c.sum()) for c in p.cotangents("entry", 0)] == [1, 1, 1]
    first, again, other = (p.cotangents("random", seed) for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(first, again))
    assert not any((a == b).any() for a, b in zip(first, other))
    assert [c.dtype for c in first] == [np.float64, np.float64, np.float32]
    assert {-1.0, 1.0} <= set(np.sign(np.concatenate([c.ravel() for c in p.cotangents("random", 2)])))


def test_complex_cotangents():
    """Both parts are random."""
    (c,) = at(lambda x: x * 1j, X).cotangents("random", 0)
    assert c.real.all()
    assert c.imag.all()


def test_programs_are_made_once():
    """Another seed of the same case finds what was compiled; another dtype or function does not."""
    rule = square(right)
    first, second = (at(rule, normal(3), seed=seed) for seed in (0, 1))
    assert first.pair is second.pair
    assert not np.array_equal(first.view.diff[0], second.view.diff[0])
    assert at(rule, normal(3), dtype="float32").pair is not first.pair
    assert at(square(right), normal(3)).pair is not first.pair


def test_asked_often_they_are_made_with_care(monkeypatch):
    """Once, with the same numbers; a point that was there before keeps its own."""
    monkeypatch.setattr("backproplab.harness.point._OFTEN", 3)
    rule = square(right)
    before, _, after, later = (at(rule, X) for _ in range(4))
    assert (before.often, after.often) == (False, True)
    assert after.pair is later.pair is not before.pair
    cotangents = before.cotangents("random", 0)
    for p in (before, after):
        assert [d.got.tolist() for d in p.formulas(cotangents)] == [
            d.exact.tolist() for d in before.formulas(cotangents)
        ]
        assert not any(d.any_wrong for d in p.arithmetic(cotangents))


def test_once():
    """Made the first time it is asked for, by whatever seed."""
    rule = square(right)
    made = []
    for seed in (0, 1):
        assert at(rule, normal(3), seed=seed).once("number", lambda: made.append(1) or 7) == 7
    assert made == [1]


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_formulas_do_not_depend_on_the_dtype(dtype):
    """A right rule agrees with its oracle to float64's last digits, in whatever dtype its program runs."""
    p = at(by_hand(jnp.sin, lambda x, dy: (jnp.cos(x[0]) * dy,)), X, dtype=dtype)
    value, gradient = p.formulas(p.cotangents("random", 0))
    for d in (value, gradient):
        assert not d.wrong.any()
        assert d.bound.max() < 2.0**-42  # of entries of about 1
    wrong = at(by_hand(jnp.sin, lambda x, dy: (1.0625 * jnp.cos(x[0]) * dy,)), X, dtype=dtype)
    assert wrong.formulas(p.cotangents("random", 0))[1].wrong.all()


def test_roundings_are_of_the_dtype():
    """The run in float32 differs from its formula by float32's roundings, within their bound."""
    p = at(by_hand(jnp.sin, lambda x, dy: (jnp.cos(x[0]) * dy,)), X, dtype="float32")
    value, gradient = p.arithmetic(p.cotangents("random", 0))
    for d in (value, gradient):
        assert not d.wrong.any()
        assert 0 < d.error.max() < d.bound.max() < 1e-5


def test_what_agrees_is_not_analysed(monkeypatch):
    """Two formulas that agree to their last digits, and a run that is off by units of the largest entry, need no bound; a
    gradient that differs by more does, and one that is 0 throughout."""
    asked = []
    monkeypatch.setattr(programs, "run_analysis", lambda jaxpr, unknown: lambda *_: asked.append(jaxpr))
    rule = lambda factor: by_hand(jnp.sin, lambda x, dy: (factor * jnp.cos(x[0]) * dy,))
    for factor, numbers, analysed in ((1.0, X, False), (1 + 2.0**-40, X, True), (1.0, np.full(3, np.pi / 2), False)):
        p = at(rule(factor), numbers)
        with contextlib.suppress(TypeError):  # the analysis that was asked for
            p.formulas(p.cotangents("random", 0))
        assert bool(asked) is analysed, factor
        asked.clear()
    p = at(by_hand(lambda x: x * 0, lambda x, dy: (dy * 0,)), X)
    with contextlib.suppress(TypeError):
        p.formulas(p.cotangents("random", 0))
    assert asked


def test_a_run_in_float32_is_held_to_the_formula_of_the_wider_point(monkeypatch):
    """Where that is the same program; what is off by more than eight units of the largest entry is analysed."""
    right = by_hand(jnp.sin, lambda x, dy: (jnp.cos(x[0]) * dy,))
    wide = at(right, X)
    case, cpu = Case(right, (X,)), jax.devices("cpu")[0]
    narrow = point(case, 0, "float32", cpu, 0.0, wide)
    assert narrow.widened is wide.pair
    c = narrow.cotangents("random", 0)
    near = narrow.arithmetic(c)
    assert all(np.all(d.bound == 8 * 2.0**-24 * d.scale) for d in near)
    ran = narrow.ran(c)
    monkeypatch.setattr(Point, "ran", lambda self, c: [ran[0], ran[1] * np.float32(1 + 2.0**-17)])
    off = narrow.arithmetic(c)
    assert off[1].wrong.all() and np.all(off[1].bound < 8 * 2.0**-24 * off[1].scale)


def test_floor():
    """Where a gradient vanishes, what would be large is said by value, cotangent and argument: c y / x."""
    p = at(lambda x: jnp.stack([jnp.sum(x) * 0 + 8.0]), np.full(3, 2.0))
    c = [np.array([3.0])]
    value, gradient = p.formulas(c)
    assert (value.floor, gradient.floor) == (0.0, 12.0)
    assert gradient.scale == 12.0


def test_precise_formulas():
    """120 digits see the factor 1.001 where float64's bound is wider than the gradient."""
    cancels = lambda factor: by_hand(
        lambda x: jnp.log(1 - jnp.tanh(x) ** 2), lambda x, dy: (-2 * factor * jnp.tanh(x[0]) * dy,)
    )
    x, c = np.array([17.0]), [np.array([1.0])]
    assert not at(cancels(1.0), x).precise_formulas(c)[1].wrong.any()
    wrong = at(cancels(1.001), x)
    assert not wrong.formulas(c)[1].wrong.any()
    assert wrong.precise_formulas(c)[1].wrong.all()


def test_the_proof_is_made_of_the_oracle():
    """Of the stripped function, or of the reference where there is one: a rule in it is stripped as well."""
    prove_point(at(square(right), X))
    prove_point(at(lambda x: x * x, X, reference=square(lambda x, dy: dy)))


def test_the_proof_refuses_a_rule(monkeypatch):
    """One that stripping left in the oracle, also where the same operations have been proved to hide none."""
    prove_point(at(square(right), X))
    monkeypatch.setattr("backproplab.harness.point.without_rules", lambda jaxpr: jaxpr)
    with pytest.raises(TypeError, match="forward-mode"):
        prove_point(at(square(lambda x, dy: 2 * dy * x), X))


def test_on_the_device():
    """The rule runs on the device that was asked for."""
    assert at(square(right), X).device == jax.devices("cpu")[0]
