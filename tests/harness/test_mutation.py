"""Planted bugs: cases that look closely catch them, cases that do not are told which they let pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rules import affine, softmax, with_rule

from backproplab import Case, layers, normal
from backproplab.case import full
from backproplab.harness.mutation import WrongRule, mutate, mutations
from backproplab.harness.refused import Refused

right = with_rule(affine, lambda x, w, b, dy: (dy @ w.T, x.T @ dy, dy.sum(0)))


def test_random_numbers_catch_every_bug_in_a_product():
    """A generic point tells every edit of a polynomial rule from the rule."""
    found = mutate(Case(right, (normal(4, 5), normal(5, 3), normal(3))))
    assert found.score == 1 and len(found.mutants) > 5


def test_a_blind_case_is_told_what_it_misses():
    """Where x is 0, whatever is done to its product with dy goes unseen; the report names operation, line and change."""
    found = mutate(Case(right, (full(0.0, 4, 5), normal(5, 3), normal(3)), name="x is zero"))
    missed = found.having("missed")
    assert missed and found.score is not None and found.score < 0.95
    assert all(mutant.operation and "rules.py:" not in mutant.by and ".py:" in mutant.where for mutant in missed)
    assert "missed: " in str(found)
    assert found.to_dict()["score"] == found.score


def test_what_is_the_same_function_is_left_out():
    """y (dy - sum(dy y)) with its operands exchanged is the same: no case could catch it, and none is blamed."""
    rule = with_rule(softmax, lambda x, dy: (softmax(x) * (dy - jnp.sum(dy * softmax(x), -1, keepdims=True)),))
    found = mutate(Case(rule, (normal(3, 4),)))
    assert found.score == 1


def test_bugs_in_complex_numbers_are_planted():
    """An edit of complex128 is traced in double precision as well; in single it did not fit its place."""
    turned = lambda x: jnp.sum(x * jnp.exp(1j * x)).real
    slope = lambda x, dy: ((dy * (1 + 1j * x) * jnp.exp(1j * x)).real,)
    found = mutate(Case(with_rule(turned, slope), (normal(3),), dtypes=("float64",)))
    assert found.score == 1 and len(found.mutants) > 5


def test_a_wrong_rule_is_refused():
    """Its own mending would count as a bug that its cases let pass."""
    wrong = with_rule(affine, lambda x, w, b, dy: (dy @ w.T, x.T @ dy / 4, dy.sum(0)))
    with pytest.raises(WrongRule, match="does not pass `autodiff`"):
        mutate(Case(wrong, (normal(4, 5), normal(5, 3), normal(3))))


def test_a_rule_that_its_case_contradicts_is_refused():
    """Else the wrong numbers of the case would be said to catch every mutant."""
    with pytest.raises(WrongRule, match="does not pass `expected`"):
        mutate(Case(with_rule(lambda x: x * x, lambda x, dy: (2 * x * dy,)), (np.arange(3.0),), expect=np.ones(3)))


def test_a_rule_that_is_wrong_elsewhere_is_refused():
    """Also where its case's own formula holds: once a mutant does not pass another check, nor does the rule."""
    wrong = with_rule(lambda x: x * x, lambda x, dy: (jnp.where(x == 0, 7.0, 2 * x) * dy,))
    with pytest.raises(WrongRule, match="does not pass `other points`"):
        mutate(Case(wrong, (normal(3),)))


def test_functions_without_a_rule_are_passed_over():
    """There is nothing to plant a bug in."""
    assert list(mutations([Case(jnp.tanh, (normal(3),)), Case(lambda x: right(x, x.T, x[0]), (normal(3, 3),))])) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "room",
    [room for room in vars(layers).values() if hasattr(room, "CASES")],
    ids=lambda room: room.__name__.split(".")[-1],
)
def test_every_room_catches_nineteen_of_twenty(room):
    """The cases on its pages see bugs in their rules: of a small sample per page, as many as a few seconds allow.

    `backproplab verify --mutate` plants ten times as many, and says which a page lets pass.
    """
    found = list(mutations(room.CASES, limit=6, seconds=2))
    caught, missed = (sum(len(of.having(fate)) for of in found) for fate in ("caught", "missed"))
    assert caught >= 19 * missed, "\n".join(str(of) for of in found if of.having("missed"))


def test_a_function_written_for_float32():
    """Bugs are planted in the dtype that it runs in; one that runs in none says what it raises, in one line."""

    def padded(x):
        return jax.lax.pad(x, jnp.float32(0), ((1, 1, 0),)) ** 2

    rule = jax.custom_vjp(padded)
    rule.defvjp(lambda x: (padded(x), x), lambda x, dy: (2 * x * dy[1:-1],))
    report = mutate(Case(rule, (np.array([0.5, -1.25, 2.0], np.float32),)))
    assert report.mutants and report.score > 0.5
    with pytest.raises(Refused, match="padded raises TypeError: pad operand"):
        mutate(Case(rule, (np.array([0.5]),), dtypes=("float64",)))
