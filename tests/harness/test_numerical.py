"""Finite differences beside a rule: when they are asked, where they sample, and whose side they take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import at, by_hand, square

from backproplab import Case, verify
from backproplab.harness import numerical
from backproplab.harness.autodiff import NOT_BY_AUTODIFF
from backproplab.harness.numerical import agrees_with_differences, bend, contradiction, difference_checks

X = np.array([0.5, -1.25, 2.0])

sine = lambda factor: by_hand(jnp.sin, lambda x, dy: (factor * jnp.cos(x[0]) * dy,))
rounded = by_hand(lambda x: jnp.round(x), lambda _, dy: (dy,))


def asked(p):
    """The checks and the notes."""
    notes = []
    return list(difference_checks(p, 0, notes)), notes


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_a_right_rule(dtype):
    """Passes within the bar, in few digits too: it is the formula that is compared, not its arithmetic."""
    (check,), notes = asked(at(sine(1.0), X, dtype=dtype))
    assert (check.name, check.status, notes) == ("differences", "pass", [])
    assert check.error <= check.bound
    assert check.resolves < 1e-9


def test_a_wrong_rule():
    """A part in a million is enough for a note; the verdict is left to the exact oracle."""
    checks, notes = asked(at(sine(1.000001), X))
    assert checks == []
    assert notes[0].startswith("finite differences disagree: ")


def test_several_arguments_and_outputs():
    """All of them are moved together, and all outputs weighed by their cotangents."""
    rule = by_hand(
        lambda p, x: (p["w"] * x, jnp.sum(p["b"])),
        lambda args, dy: (
            {"w": dy[0] * args[1], "b": jnp.full_like(args[0]["b"], dy[1])},
            dy[0] * args[0]["w"],
        ),
    )
    (check,), notes = asked(at(rule, {"w": X, "b": X}, X[::-1].copy()))
    assert (check.status, notes) == ("pass", [])


@pytest.mark.parametrize(
    "p",
    [
        at(rounded, X, by_design=True, reference=lambda x: x),
        at(sine(1.0), X, kink=True),
        at(jnp.sin, X + 1j),
        at(square(lambda x, dy: dy * jnp.nan), X),
    ],
    ids=["by design", "kink", "complex", "nan"],
)
def test_when_they_are_not_asked(p):
    """A declared gradient, a declared kink, complex numbers, and a gradient that is no number."""
    assert asked(p) == ([], [])


def test_at_a_kink():
    """They are of no use there, and say so."""
    checks, notes = asked(at(jnp.abs, np.array([0.0, 1.0])))
    assert checks == []
    assert "no step stays on one branch" in notes[0]


@pytest.mark.parametrize("domain", [(0.0, np.inf), (0.0, 2.0)])
def test_the_domain_is_kept(monkeypatch, domain):
    """Next to the edge of log's domain no sample crosses it, and the slope is found all the same."""
    seen = []
    keep = numerical.slope

    def slope(line, largest):
        def watched(t):
            seen.append(line(t))
            return seen[-1]

        return keep(watched, largest)

    monkeypatch.setattr(numerical, "slope", slope)
    x = np.array([1e-3, 1.0])
    log = by_hand(jnp.log, lambda x, dy: (dy / x[0],))
    (check,), notes = asked(at(log, x, domain={0: domain}))
    assert (check.status, notes) == ("pass", [])
    assert all(np.isfinite(sample.value) for sample in seen)
    assert len(seen) > 4


def test_masked_entries_stay():
    """Infinite entries, as masks have them, are not moved."""
    p = at(lambda x: jnp.exp(x), np.array([-np.inf, 1.0]))
    (check,), _ = asked(p)
    assert check.status == "pass"


@pytest.mark.parametrize(("factor", "agrees"), [(1.0, True), (1.0001, False), (-1.0, False)])
def test_whose_side_they_take(factor, agrees):
    """They side with a rule only along every direction and only where they see five digits."""
    p = at(sine(factor), X)
    c = p.cotangents("random", 0)
    assert agrees_with_differences(p, c, p.gradients(c), [], 0) is agrees


def test_they_side_with_nobody_whom_they_cannot_tell_apart():
    """An argument of which the slope is lost beside that of another: whatever a rule says of it, they see no difference."""
    p = at(lambda x, y: jnp.sum(jnp.sin(x)) + 1e-14 * jnp.sum(y), X, X)
    c = p.cotangents("random", 0)
    x, y = p.gradients(c)
    assert not agrees_with_differences(p, c, [x, 0.5 * y], [[x, y]], 0)
    assert agrees_with_differences(p, c, [x, y], [[np.full(3, np.nan), y]], 0)


def test_they_side_with_nobody():
    """At a kink, with a NaN, and for a declared gradient."""
    for p in (at(jnp.abs, np.array([0.0, 1.0])), at(rounded, X, by_design=True, reference=lambda x: x)):
        c = p.cotangents("random", 0)
        assert not agrees_with_differences(p, c, p.gradients(c), [], 0)
    p = at(sine(1.0), X)
    assert not agrees_with_differences(p, p.cotangents("random", 0), [np.full(3, np.nan)], [], 0)


def root(a):
    """Of x^3 + x = the mean of a, by a bisection."""

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        below = jnp.sum(middle**3 + middle - a) < 0
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    return jax.lax.fori_loop(0, 60, halve, (jnp.zeros(()), jnp.full((), 8.0)))[0]


def rule_of_root(factor, power=2):
    """Right with 1 and 2."""
    return by_hand(root, lambda a, dy: (factor * dy * jnp.ones(3) / (3 * (3 * root(a[0]) ** power + 1)),))


def test_they_side_with_the_rule_of_a_bisection():
    """Of which autodiff says that the root does not move, and of which no two points go the same way."""
    assert verify(rule_of_root(1.0), np.array([5.0, 8.0, 11.0])).status == "pass"
    assert verify(rule_of_root(1.001), np.array([5.0, 8.0, 11.0])).status == "fail"


def test_they_judge_the_wrong_rule_of_a_bisection():
    """What is said to be right is what they have, not the 0 of autodiff; and the hint goes by them."""
    verdict = verify(rule_of_root(1.0, power=3), np.array([5.0, 8.0, 11.0]))
    assert verdict.status == "fail" and NOT_BY_AUTODIFF in verdict.notes
    assert "right is -0.0134552" in verdict.cause
    assert any("to raise to the power 2, not 3 makes the rule right" in note for note in verdict.notes)


def test_they_judge_at_other_points_too():
    """Where the rule is right at the example alone: autodiff, which knows nothing, could not convict it there."""
    slope = lambda a: jnp.where(jnp.mean(a) > 40, 2.0, 1.0) / (3 * (3 * root(a) ** 2 + 1))
    verdict = verify(by_hand(root, lambda a, dy: (dy * jnp.ones(3) * slope(a[0]),)), np.array([5.0, 8.0, 11.0]))
    assert verdict.status == "fail" and "is 2 times the right one" in verdict.cause


def test_a_seam_beside_which_they_agree():
    """There the rule is meant to be the derivative, so at the seam too; a gradient that is stopped on purpose is not."""
    node = lambda x: jnp.where(x == 2, 1.0, jnp.sin(x - 2) + 1)
    rule = by_hand(node, lambda x, dy: (jnp.where(x[0] == 2, 0.0, jnp.cos(x[0] - 2)) * dy,))
    (check,), _ = asked(at(rule, np.array([0.5, 2.0, 3.0])))
    assert check.status == "fail" and "a seam there but no kink" in check.cause
    stopped = by_hand(lambda x: x * jax.lax.stop_gradient(x), lambda x, dy: (x[0] * dy,))
    checks, notes = asked(at(stopped, X))
    assert checks == [] and "disagree" in notes[0]


def test_slopes_that_do_not_add_up():
    """At three equal numbers the median's slopes agree from both sides, and yet it has no gradient."""
    middle = by_hand(lambda x: jnp.sort(x)[1], lambda args, dy: (dy * jnp.eye(3)[jnp.argsort(args[0])[1]],))
    assert contradiction(at(middle, np.zeros(3)), 0) is None
    seam = by_hand(lambda x: jnp.where(x == 0, 0.0, x).sum(), lambda args, dy: (1.5 * dy * jnp.ones(3),))
    assert "finite differences have" in contradiction(at(seam, np.zeros(3)), 0)


def test_slopes_on_either_side():
    """A bend has two, a root or a jump none."""
    zero = np.zeros(1)
    assert "any slope from -" in bend(at(jnp.abs, zero), 0)
    for without in (jnp.sin, lambda x: jnp.sqrt(jnp.abs(x)), jnp.sign, lambda x: jnp.where(x == 0, 1.0, x)):
        assert bend(at(without, zero), 0) is None


def test_steps_keep_to_the_winner_of_a_scatter():
    """Where two updates of one entry are equal there is a kink, as for any maximum."""
    largest = lambda x: jnp.full(2, -9.0).at[np.array([0, 0, 1])].max(x)
    checks, notes = asked(at(largest, np.array([1.0, 1.0, 2.0])))
    assert checks == []
    assert "no step stays on one branch" in notes[0]


@pytest.mark.slow
def test_where_no_bound_decides():
    """Of Newton's iteration, whose rounding error the analysis can only take for one that grows, a wrong slope is convicted."""

    def newton(b):
        y = jnp.cbrt(b)
        for _ in range(40):
            y = y - (y**3 + 2 * y - b) / (3 * y * y + 2)
        return y

    for factor, status in ((3, "pass"), (1, "fail")):
        rule = by_hand(newton, lambda args, dy, k=factor: (dy / (k * newton(args[0]) ** 2 + 2),))
        assert verify(Case(rule, (X,), dtypes=("float64",))).status == status
