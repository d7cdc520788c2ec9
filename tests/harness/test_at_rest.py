"""An iteration that is cut off where its value will do, and the rule of what it tends to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import at

from backproplab import verify
from backproplab.harness.at_rest import AT_REST, brought_to_rest, longer, unrest

A, B = np.array([0.3, 0.1, 0.4], np.float32), np.array([0.1, -1.2, 0.6], np.float32)


def solved(steps=None, tolerance=0.0, backward_steps=None, factor=1.0):
    """The fixed point of z = cos(a z) / 2 + b by a loop of so many steps, or to a tolerance; its implicit gradient times
    `factor` for `a`, in closed form or by a loop of so many steps."""
    step = lambda z, a, b: jnp.cos(z * a) / 2 + b

    def solve(a, b):
        if steps is not None:
            return jax.lax.fori_loop(0, steps, lambda _, z: step(z, a, b), b)
        goes_on = lambda state: jnp.any(jnp.abs(state[0] - state[1]) > tolerance)
        return jax.lax.while_loop(goes_on, lambda state: (step(state[0], a, b), state[0]), (b, b + 1))[0]

    def bwd(kept, dz):
        a, z = kept
        slope = -jnp.sin(z * a) / 2
        again = lambda _, u: dz + slope * a * u
        u = dz / (1 - slope * a) if backward_steps is None else jax.lax.fori_loop(0, backward_steps, again, dz)
        return factor * u * slope * z, u

    rule = jax.custom_vjp(solve)
    rule.defvjp(lambda a, b: (z := solve(a, b), (a, z)), bwd)
    return rule


@pytest.mark.parametrize(
    "how",
    [{"steps": 6}, {"steps": 12}, {"tolerance": 1e-4}, {"tolerance": 1e-6}, {"steps": 12, "backward_steps": 12}],
    ids=str,
)
def test_the_rule_of_the_limit_passes(how):
    """The steps that were taken have another derivative, which nobody means; a note says how it was judged."""
    verdict = verify(solved(**how), A, B)
    assert verdict.status == "pass", verdict
    assert AT_REST in verdict.notes


@pytest.mark.parametrize("how", [{"steps": 6}, {"tolerance": 1e-4}], ids=str)
def test_a_wrong_rule_of_the_limit_fails(how):
    """Judged beside the limit: what is right is not blamed, and the factor is the one that was planted."""
    verdict = verify(solved(**how, factor=1.001), A, B)
    assert verdict.status == "fail"
    assert {check.argument for check in verdict.checks if check.status == "fail"} == {"a"}
    assert "1.001 times the right one" in verdict.cause


def test_a_backward_loop_of_too_few_steps_fails():
    """It would be right after more of its own steps; the function is at rest, and it is not."""
    assert verify(solved(steps=30, backward_steps=30), A, B).status == "pass"
    assert verify(solved(steps=30, backward_steps=3), A, B).status == "fail"


def test_how_far_from_rest():
    """A function without a loop and a loop that has ended are at rest, a walk is far from it."""
    of = lambda f, *args: unrest(at(f, *args))
    assert of(lambda x: jnp.sin(x), A) == 0
    assert 1e-7 < of(solved(tolerance=1e-3), A, B) < 1e-3 < of(solved(steps=1), A, B)
    assert of(solved(steps=200), A, B) == 0
    walk = lambda x: jax.lax.fori_loop(0, 8, lambda i, y: y - 0.1 * y * y, x)
    assert of(walk, B) > 0.1


def test_loops_that_take_or_yield_something_stay():
    """A recurrence over its inputs has as many steps as these; whether it is long enough is no question."""
    program = jax.make_jaxpr(lambda xs: jax.lax.scan(lambda c, x: (c * x + 1, c), 0.0, xs))(B)
    assert str(longer(program, 8)) == str(program)


def test_both_sides_are_brought_to_rest():
    """The rule is asked at the limit, too: with what a loop cut off it would be as far off as the function."""
    p = at(solved(steps=6), A, B)
    cotangents = p.cotangents("random", 0)
    off = lambda q: max(d.furthest / d.scale for d in q.formulas(cotangents)[1:])
    assert off(p) > 1e-7 > 1e-12 > off(brought_to_rest(p))


def test_each_point_is_brought_to_its_own_rest():
    """What was compiled is shared by all points of one function; the arguments are not."""
    p = at(solved(steps=6), A, B)
    other = p.moved([x / 2 for x in p.view.diff])
    here, there = brought_to_rest(p), brought_to_rest(other)
    assert here.pair is there.pair and there.view is other.view
    cotangents = p.cotangents("random", 0)
    assert not np.allclose(here.formulas(cotangents)[1].exact, there.formulas(cotangents)[1].exact)
