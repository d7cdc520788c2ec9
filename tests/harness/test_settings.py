"""Numbers and switches that are not differentiated: each by itself, and only where it may be changed."""

import functools

import jax
import numpy as np
import pytest

from backproplab import Case, verify
from backproplab.harness.settings import reset

X = np.array([0.5, -1.25, 2.0])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def scaled(x, rate, twice):
    return x * rate * (1 + twice)


scaled.defvjp(
    lambda x, rate, twice: (scaled(x, rate, twice), None), lambda rate, twice, _, dy: (dy * rate * (1 + twice),)
)


def test_each_by_itself():
    """Half of a number, the other switch; the rest as it was."""
    args = (X, 0.5, False)
    found = dict(reset(Case(scaled, args), args))
    assert [changed[1:] for changed in found.values()] == [(0.25, False), (0.5, True)]
    assert next(iter(found)) == "with rate = 0.25 in place of 0.5"
    assert all(changed[0] is X for changed in found.values())


@pytest.mark.parametrize(("rate", "domain", "others"), [(0.0, None, [0.5]), (0.5, "fixed", []), (0.5, (0.3, 1.0), []),
    (np.inf, None, []), (None, None, [])])  # fmt: skip
def test_which_numbers(rate, domain, others):
    """One that is 0 or not finite has no half; the declared domain is kept."""
    args = (X, rate, 0)
    assert [changed[1] for _, changed in reset(Case(scaled, args, domain={1: domain}), args)] == others


@pytest.mark.parametrize(("count", "others"), [(4, [3]), (1, [2]), (0, []), (-1, [])])
def test_which_counts(count, others):
    """Steps, windows and groups become one fewer, a single one two; the first and the last axis stay that."""
    args = (X, count, None)
    assert [changed[1] for _, changed in reset(Case(scaled, args), args)] == others
    assert list(reset(Case(lambda x, count: x * count, args[:2], argnums=(0,)), args[:2])) == []  # it may be data


def test_what_is_differentiated_is_not_a_setting():
    """It is moved as an argument."""
    args = (X, 0.5)
    assert list(reset(Case(lambda x, y: x * y, args), args)) == []
    assert len(list(reset(Case(lambda x, y: x * y, args, argnums=(0,)), args))) == 1


@pytest.mark.parametrize(("bwd", "told"), [(lambda rate, twice, _, dy: (dy * 0.5 * (1 + twice),), "rate = 0.25"),
    (lambda rate, twice, _, dy: (dy * rate,), "twice = True"), (scaled.bwd, None)])  # fmt: skip
def test_what_is_written_into_a_rule(bwd, told):
    """A rate of the example, a flag that was off there."""
    rule = jax.custom_vjp(scaled.__wrapped__, nondiff_argnums=(1, 2))
    rule.defvjp(scaled.fwd, bwd)
    verdict = verify(rule, X, 0.5, False)
    assert verdict.status == ("fail" if told else "pass"), str(verdict)
    assert told is None or told in str(verdict)
