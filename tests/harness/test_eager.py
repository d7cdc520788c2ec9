"""The rule outside jit: what it sees there, what runs its operations, and that JAX is afterwards what it was before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import at, by_hand, square
from jax._src import dispatch
from jax.extend.core import primitives

from backproplab.harness.eager import eager

X = np.array([0.5, -1.25, 2.0])


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("of", ["the value", "x"])
def test_what_differs_outside_jit_is_seen(of, dtype):
    """Value and gradient outside jit are held to those inside, in every dtype."""
    off = lambda name, x: 1.5 if of == name and not isinstance(x, jax.core.Tracer) else 1.0
    rule = by_hand(
        lambda x: x * x, lambda x, dy: (2 * x * dy * off("x", dy),), lambda x: (x * x * off("the value", x), x)
    )
    (check,) = eager(at(rule, X, dtype=dtype), 0)
    assert check.status == "fail"
    assert check.cause.startswith(f"outside jit {of} is")


def test_values_are_there_to_be_looked_at():
    """What a rule computes on the way is an array as well, also inside its own jitted helpers and loops."""
    seen = []

    @jax.jit
    def helper(x):
        seen.append(isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer))
        return jax.lax.fori_loop(0, 3, lambda i, a: a + x, jnp.zeros_like(x))

    p = at(square(lambda x, dy: 2 / 3 * helper(jnp.sin(x) * 0 + x) * dy), X)
    seen.clear()
    (check,) = eager(p, 0)
    assert check.status == "pass"
    assert seen == [True, True]  # at two points


def test_other_masks_and_whole_numbers():
    """A plan that is made once for each shape, where the lengths are others the next time; lengths that are refused there."""
    plans = {}

    def masked(x, lengths):
        return jnp.where(jnp.arange(4) < lengths[:, None], x, 0)

    def rule(keeps):
        def bwd(r, dy):
            x, lengths = r
            mask = jnp.arange(4) < lengths[:, None]
            traced = isinstance(lengths, jax.core.Tracer)
            if not traced and not keeps and lengths[0] > lengths[1]:
                raise ValueError("lengths must ascend")
            return jnp.where(plans.setdefault(x.shape, mask) if keeps and not traced else mask, dy, 0), None

        return by_hand(masked, bwd)

    args = np.random.default_rng(0).normal(size=(2, 4)), np.array([1, 3])
    assert [check.status for check in eager(at(rule(True), *args), 0)] == ["fail"]
    assert [check.status for check in eager(at(rule(False), *args), 0)] == ["pass"]


def test_numpy_runs_what_it_can(monkeypatch):
    """Nothing is compiled for operations that numpy has, whole numbers and comparisons among them."""
    ran = []
    rule = square(lambda x, dy: jnp.where(jnp.argsort(x)[jnp.cumsum(x > -9) - 1] >= 0, 2 * x * dy, 0))
    p = at(rule, X)
    p.pair.rule(p.inputs(p.cotangents("random", 0)))
    compiled = dispatch.xla_primitive_callable
    monkeypatch.setattr(
        dispatch, "xla_primitive_callable", lambda prim, **params: ran.append(prim.name) or compiled(prim, **params)
    )
    (check,) = eager(p, 0)
    assert check.status == "pass"
    assert set(ran) == {"convert_element_type"}  # of Python's numbers, whose type gives way to others


def test_what_numpy_cannot_run_jax_does():
    """A callback, random bits, and a rule that does not bear being run without jit at all."""

    def bwd(x, dy):
        doubled = jax.pure_callback(lambda a: 2 * np.asarray(a), jax.ShapeDtypeStruct(x.shape, x.dtype), x)
        bits = jax.random.bits(jax.random.key(0), x.shape)
        if jax.config.jax_disable_jit:
            raise ValueError("without jit")
        return doubled * dy * jnp.where(bits >= 0, 1, 0)

    (check,) = eager(at(square(bwd), X), 0)
    assert check.status == "pass"


def test_jax_is_left_as_it_was():
    """Also where the rule raises."""
    before = primitives.mul_p.impl

    def bwd(x, dy):
        if not isinstance(dy, jax.core.Tracer):
            raise ValueError("outside jit")
        return 2 * x * dy

    with pytest.raises(ValueError, match="outside jit"):
        list(eager(at(square(bwd), X), 0))
    assert primitives.mul_p.impl is before
    assert not jax.config.jax_disable_jit


@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
def test_what_a_rule_remembers_outside_jit(used):
    """It keeps the first numbers of a shape, and is right for these alone, whether it has seen them before or not."""
    kept = {}

    def bwd(x, dy):
        return 2 * dy * (x if isinstance(x, jax.core.Tracer) else kept.setdefault(x.shape, x))

    p = at(square(bwd), np.array([0.5, -1.25]))
    if used:
        kept[2,] = p.view.diff[0]
    (check,) = eager(p, 0)
    assert check.status == "fail" and "outside jit" in check.cause


def test_what_the_last_forward_pass_left():
    """A mask by shape, outside jit only: the backward pass takes that of another forward pass which came in between."""
    left = {}

    def rule(reads):
        def fwd(x):
            if not isinstance(x, jax.core.Tracer):
                left[x.shape] = x > 0
            return jnp.where(x > 0, x, 0), x

        def bwd(x, dy):
            return (jnp.where(left[x.shape] if reads and not isinstance(x, jax.core.Tracer) else x > 0, dy, 0),)

        return by_hand(lambda x: jnp.where(x > 0, x, 0), lambda r, dy: bwd(r, dy), fwd)

    (stale,) = eager(at(rule(True), X), 0)
    assert stale.status == "fail" and "with another forward pass before the backward pass" in stale.cause
    (own,) = eager(at(rule(False), X), 0)
    assert own.status == "pass"


def test_an_order_that_is_refused():
    """Numbers that must ascend, as the rule says where it can see them: no other forward pass comes in between."""

    def ascending(x):
        if not isinstance(x, jax.core.Tracer) and not np.all(np.diff(x) > 0):
            raise ValueError("not sorted")
        return x * x, x

    (check,) = eager(at(by_hand(lambda x: x * x, lambda x, dy: (2 * x * dy,), ascending), np.sort(X)), 0)
    assert check.status == "pass"
