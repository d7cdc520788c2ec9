"""What judges between a rule and autodiff: without it right rules would fail, or wrong ones pass. And NaN never passes for rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import ONLY_HERE, WIDE, X, by_hand, relu_with, right, square

from backproplab import Case, verify
from backproplab.harness import autodiff, point
from backproplab.harness.precise import NotPrecise


def test_the_proof_is_needed(monkeypatch):
    """If the rule were left in, the rule would be compared with itself; JAX's refusal of forward mode says so."""
    monkeypatch.setattr(point, "without_rules", lambda jaxpr: jaxpr)
    case = Case(square(lambda x, dy: x * dy), (X,), **WIDE)
    verdict = verify(case)
    assert verdict.status == "inconclusive"
    assert "forward-mode" in verdict.cause
    monkeypatch.setattr("backproplab.harness.verify.prove_point", lambda p: None)
    assert verify(case).passed


@pytest.mark.parametrize("slope", [0.0, 0.25, 1.0])
def test_the_kink_is_needed(monkeypatch, slope):
    """Any slope between the two sides is right at a kink, and the verdict names it; autodiff's own, 1/2, is one of them."""
    case = Case(relu_with(slope), (np.array([0.0, 1.0]),), **ONLY_HERE)
    verdict = verify(case)
    assert verdict.passed, str(verdict)
    assert any(f"lies {slope:.0%} of the way" in note for note in verdict.notes)
    monkeypatch.setattr(autodiff, "kink_at", lambda p, seed: None)
    assert verify(case).status == "fail"


def test_a_fault_beside_a_kink():
    """The entry that lies on the kink is excused, the one beside it is not."""
    halved = by_hand(lambda x: jnp.maximum(x, 0.0), lambda x, dy: (jnp.where(x[0] > 0, 0.5, 0.0) * dy,))
    verdict = verify(halved, np.array([0.0, 1.0]), **ONLY_HERE)
    assert verdict.status == "fail"
    assert verdict.argument == "x"


def test_differences_overrule_autodiff(monkeypatch):
    """Autodiff is wrong where a `custom_jvp` in the function is; the rule is right, and finite differences say so."""
    sine = jax.custom_jvp(jnp.sin)
    sine.defjvp(lambda primals, tangents: (sine(*primals), 2 * jnp.cos(primals[0]) * tangents[0]))
    case = Case(by_hand(lambda x: sine(x), lambda x, dy: (jnp.cos(x[0]) * dy,)), (X,), **ONLY_HERE)
    verdict = verify(case)
    assert verdict.passed
    assert verdict.strength == "estimated"
    assert any("autodiff disagrees with the rule and with finite differences" in note for note in verdict.notes)
    monkeypatch.setattr(autodiff, "agrees_with_differences", lambda *args: False)
    assert verify(case).status == "fail"


def test_differences_overrule_autodiff_in_few_digits_too():
    """A kernel that is smooth where two points coincide, with a constant that float32 rounds: autodiff divides 0 by 0."""

    def distance(x, y):  # cut at the end of its type, so that it is another formula in each
        return jnp.minimum(5**0.5 * jnp.sqrt(jnp.sum((x[:, None] - y) ** 2, -1)), jnp.finfo(x.dtype).max)

    def kernel(x, y):
        s = distance(x, y)
        return (1 + s + s * s / 3) * jnp.exp(-s)

    def bwd(args, dk):
        x, y = args
        s = distance(x, y)
        apart = (-5 / 3 * (1 + s) * jnp.exp(-s) * dk)[..., None] * (x[:, None] - y)
        return apart.sum(1), -apart.sum(0)

    points = np.stack([X, 2 - X])
    verdict = verify(by_hand(kernel, bwd), points, points)
    assert verdict.status == "pass", verdict
    assert autodiff.OVERRULED in verdict.notes and {c.name for c in verdict.checks} >= {"autodiff", "autodiff float32"}


def test_autodiff_that_was_overruled_convicts_nobody_alone():
    """Elsewhere either: there finite differences decide as well, and convict a rule that is wrong there alone."""
    line = jax.custom_jvp(lambda x: 2 * x)
    line.defjvp(lambda primals, tangents: (line(*primals), 3 * tangents[0]))
    for wrong, status in ((0.0, "pass"), (1.0, "fail")):
        rule = by_hand(lambda x: line(x), lambda x, dy, k=wrong: ((2 + k * (jnp.abs(x[0]) > 15)) * dy,))
        assert verify(rule, X, dtypes=("float64",)).status == status


def test_a_seam():
    """Autodiff of `where(x == 0, 0, x)` is 0 at 0 and wrong; the slope 1, which both sides have, is right."""
    case = Case(by_hand(lambda x: jnp.where(x == 0, 0.0, x), lambda x, dy: (dy,)), (np.array([0.0, 1.0]),), **ONLY_HERE)
    assert verify(case).passed
    wrong = by_hand(lambda x: jnp.where(x == 0, 0.0, x), lambda x, dy: (1.5 * dy,))
    assert verify(wrong, np.array([0.0, 1.0]), **ONLY_HERE).status == "fail"


def test_differences_are_the_only_witness_against_a_reference():
    """A reference that shares the rule's fault agrees with it; the verdict does not hide that differences do not."""
    stopped = lambda x: x * jax.lax.stop_gradient(x)
    verdict = verify(square(lambda x, dy: x * dy), X, reference=stopped, **ONLY_HERE)
    assert any("finite differences disagree" in note for note in verdict.notes)
    assert not verify(square(right), X, **ONLY_HERE).notes


def test_exact_arithmetic_is_needed(monkeypatch):
    """Autodiff of log(1 - tanh(x)^2) has lost its digits at 16: float64 cannot judge a rule there, 120 digits can."""
    rule = lambda factor: by_hand(
        lambda x: jnp.log(1 - jnp.tanh(x) ** 2), lambda x, dy: (-2 * factor * jnp.tanh(x[0]) * dy,)
    )
    case = Case(rule(1.01), (np.array([16.0]),), **ONLY_HERE)
    assert verify(rule(1.0), np.array([16.0]), **ONLY_HERE).passed
    assert verify(case).status == "fail"

    def not_precise(*args):
        raise NotPrecise("taken out")

    monkeypatch.setattr(point, "precise", not_precise)
    verdict = verify(case)
    assert verdict.status == "inconclusive"
    assert "more than the measured noise, but rounding could explain it" in verdict.cause


def test_nan_where_autodiff_is_finite():
    """It never passes, and never passes for rounding."""
    verdict = verify(square(lambda x, dy: right(x, dy).at[1].set(jnp.nan)), X, **ONLY_HERE)
    assert verdict.status == "fail"
    assert "nan in 1 of 3 entries where the right one is finite, at index 1 of axis 0" in verdict.cause


def test_nan_where_autodiff_is_nan_too():
    """Where the value is finite a NaN is a fault even if autodiff shares it, not a point outside the domain."""
    rooted = by_hand(
        lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0), lambda x, dy: (jnp.where(x[0] > 0, 0.5, jnp.nan) * dy,)
    )
    assert verify(rooted, np.array([0.0, 1.0]), **ONLY_HERE).status == "fail"


def test_nan_by_autodiff_alone():
    """sqrt(x^2)^2 is x^2; at 0 autodiff multiplies 0 by infinity. A rule that is finite there and right by differences passes."""
    for factor, status in ((2, "pass"), (2.001, "fail")):
        rule = by_hand(lambda x: jnp.sqrt(x * x) ** 2, lambda x, dy, k=factor: (k * x[0] * dy,))
        assert verify(rule, np.array([0.0, 1.5]), **ONLY_HERE).status == status


def test_differences_convict_where_autodiff_has_no_number():
    """A division of two zeros that the result does not hold: the rule of another function is refuted, argument by argument."""
    plain = lambda x, w: (jnp.sqrt(x * x) ** 2 + x) * w
    rule = by_hand(plain, lambda r, dy: ((2 * r[0] + 3) * r[1] * dy, (r[0] ** 2 + r[0]) * dy))
    verdict = verify(rule, np.zeros(2), np.array([2.0, -0.5]), **ONLY_HERE)
    assert verdict.status == "fail"
    assert "the gradient of x is wrong, though autodiff has no number here" in verdict.cause


def test_a_value_far_beyond_its_noise():
    """Of an iteration whose rounding the analysis can only take for one that grows: another number of steps is no rounding."""

    def solved(steps, a, b):
        step = lambda _, x: x + 0.3 * (b - a @ x) / (1 + 1e-9 * (x @ x))
        return jax.lax.fori_loop(0, steps, step, jnp.zeros_like(b))

    few = by_hand(
        lambda a, b: solved(60, a, b),
        lambda r, dy: jax.vjp(lambda a, b: solved(60, a, b), *r)[1](dy),
        lambda a, b: (solved(20, a, b), (a, b)),
    )
    a = np.array([[2.0, 0.5], [0.5, 1.0]])
    verdict = verify(few, a, np.array([1.0, -1.0]), **ONLY_HERE)
    assert verdict.status == "fail" and "fwd returns another value" in verdict.cause


def test_outside_the_domain():
    """Where the value itself is NaN nothing can be said: inconclusive, not a pass and not a fault."""
    root = by_hand(jnp.sqrt, lambda x, dy: (0.5 / jnp.sqrt(x[0]) * dy,))
    verdict = verify(root, np.array([-1.0, 4.0]), **ONLY_HERE)
    assert verdict.status == "inconclusive"
    assert "outside the domain" in verdict.cause


def test_an_infinite_slope_of_autodiff_at_a_kink():
    """The length of a zero vector, as it stands in books: autodiff has no number there, whatever the cotangent."""
    length = lambda x: jnp.sqrt(jnp.sum(x * x, -1))

    def rule(factor):
        def bwd(args, dy):
            (x,) = args
            y = length(x)[:, None]
            return (jnp.where(y == 0, 0, factor * x / jnp.where(y == 0, 1, y)) * dy[:, None],)

        return by_hand(length, bwd)

    x = np.array([[0.0, 0.0], [0.4, -1.0]])
    assert verify(rule(1.0), x, kink=True, **ONLY_HERE).status == "pass"
    assert verify(rule(1.01), x, kink=True, **ONLY_HERE).status == "fail"


def test_an_approximation_of_float32():
    """It has the digits of its dtype: enough beside a float64 that is right, and not enough where it stands alone."""
    double = by_hand(lambda x: 2 * x * (1 + (4e-7 if x.dtype == np.float32 else 0)), lambda args, dy: (2 * dy,))
    assert verify(double, X, domain={0: "fixed"}).status == "pass"
    assert verify(double, X, domain={0: "fixed"}, dtypes=("float32",)).status == "fail"
    lower = by_hand(lambda x: jnp.where(x < 0, -jnp.inf, x), lambda args, dy: (jnp.where(args[0] < 0, 0, dy),))
    assert verify(lower, X, domain={0: "fixed"}).status == "pass"  # an infinite value is no wider for it


@pytest.mark.parametrize(("x", "status"), [(-95.0, "pass"), (-80.0, "fail")])
def test_what_float32_cannot_hold(x, status):
    """A slope of e^-95 beside one of 1 is 0 in float32 and may be so in a formula; one of e^-80 may not."""
    rule = by_hand(jnp.exp, lambda args, dy: (jnp.where(args[0] < -70, 0.0, dy * jnp.exp(args[0])),))
    assert verify(Case(rule, (np.array([0.0, x]),), name="a tail")).status == status


def test_functions_made_of_pieces():
    """A series near 0 and a closed form beyond, of which the rule has other pieces: each leaves a little out. Not of a tail."""

    def sinc(x):
        near = jnp.abs(x) < 0.05
        q, safe = x * x, jnp.where(near, 1, x)
        return jnp.where(near, 1 - q / 6 + q * q / 120 - q**3 / 5040, jnp.sin(safe) / safe)

    def slope(x, off=0.0):
        near = jnp.abs(x) < 0.05
        q, safe = x * x, jnp.where(near, 1, x)
        series = x * (-1 / 3 + q / 30 - q * q / 840 + q**3 / 45360 - q**4 / 3991680)
        return jnp.where(near, series, (jnp.cos(safe) - jnp.sin(safe) / safe) / safe) * (1 + off)

    places = np.array([0.0, 1e-3, 0.049, -0.0499, 0.3, 2.0])
    assert verify(by_hand(sinc, lambda r, dy: (dy * slope(r[0]),)), places, **ONLY_HERE).passed
    off = verify(by_hand(sinc, lambda r, dy: (dy * slope(r[0], 1e-11),)), places, **ONLY_HERE)
    assert off.status == "fail", off
    tail = by_hand(jnp.tanh, lambda r, dy: (jnp.where(jnp.abs(r[0]) > 11, 0, dy / jnp.cosh(r[0]) ** 2),))
    assert verify(tail, np.array([0.1, 12.0]), **ONLY_HERE).status == "fail"


def test_numbers_that_are_rounded_to_few_digits():
    """0.1 in float32 on its way into a product, where the function has the bfloat16 next to it: both are as they should be."""
    leaky = lambda x: jnp.where(x > 0, x, 0.1 * x) / 0.75
    bwd = lambda r, dy: ((dy * jnp.where(r[0] > 0, 1.0, jnp.float32(0.1)) / 0.75).astype(dy.dtype),)
    assert verify(by_hand(leaky, bwd), np.array([0.7, -1.25, 2.0]), dtypes=("float64", "bfloat16")).status != "fail"
    cast = lambda r, dy: (dy * jnp.where(r[0] > 0, 1.0, 0.1).astype(dy.dtype) / 0.75,)
    assert verify(by_hand(leaky, cast), np.array([0.7, -1.25, 2.0]), dtypes=("float64", "bfloat16")).passed


@pytest.mark.parametrize("judge", ["many digits", "none"])
def test_a_loop_in_which_autodiff_cancels(monkeypatch, judge):
    """1 - sigmoid(30) has three digits in float64, the rule's sigmoid(-30) has all: it is not wrong, whoever judges."""

    def steps(x, f):
        gated = lambda c, xf: (jax.nn.sigmoid(xf[1]) * c + (1 - 1 / (1 + jnp.exp(-xf[1]))) * xf[0], None)
        return jax.lax.scan(gated, jnp.zeros_like(x[0]), (x, f))[0]

    def bwd(f, dy):
        def step(d, f):
            return d * jax.nn.sigmoid(f), d * jax.nn.sigmoid(-f)

        return jax.lax.scan(step, dy, f, reverse=True)[1], None

    rule = jax.custom_vjp(steps)
    rule.defvjp(lambda x, f: (steps(x, f), f), bwd)
    if judge == "none":

        def refuse(*_):
            raise NotPrecise("a loop")

        monkeypatch.setattr(point, "precise", refuse)
    generator = np.random.default_rng(0)
    x, f = generator.normal(size=(3, 4)), 30 + np.abs(generator.normal(size=(3, 4)))
    verdict = verify(Case(rule, (x, f), name="shut", argnums=(0,)))
    assert verdict.status == ("pass" if judge == "many digits" else "inconclusive"), verdict
