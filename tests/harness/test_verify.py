"""Every check is needed: for each there is a wrong rule that only it sees, and that passes when it is taken out.

Then what `verify` promises beside its checks: exceptions become verdicts, the same seed the same verdict.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import ONLY_HERE, WIDE, X, by_hand, relu_with, right, square
from jax.custom_batching import custom_vmap

from backproplab import Case, normal, verify
from backproplab.harness import arithmetic, autodiff, contract, explore, numerical, promises, second, transforms
from backproplab.harness import verify as verifier
from backproplab.harness.view import NothingToDifferentiate

# --- rules that are wrong in ways of their own -------------------------------------------------------------------------

_left_outside = []


def leave_outside(x):
    _left_outside.append(x)
    return x * x, None


_runs = []


def another_last_place(dx):
    """Off by one unit in the last place in two runs of four, as sums in no fixed order are."""
    _runs.append(None)
    return dx * (1 + 2.0**-52) if len(_runs) % 4 < 2 else dx


def of_the_day(x, dy):
    shape = jax.ShapeDtypeStruct(dy.shape, dy.dtype)
    return jax.pure_callback(another_last_place, shape, right(x, dy), vmap_method="sequential")


@custom_vmap
def right_alone(x, dy):
    return right(x, dy)


@right_alone.def_vmap
def first_of_the_batch(size, batched, x, dy):
    whole = right(x, dy)
    return jnp.broadcast_to(whole[:1] if any(batched) else whole, (size, whole.shape[-1])), True


def variance(gradient):
    return by_hand(lambda x: jnp.mean((x - x.mean()) ** 2), lambda args, dy: (dy * gradient(*args),))


sum_of_leaves = by_hand(lambda p: p["a"] + p["b"], lambda p, dy: (dy,))

# name -> (the check that sees it, its module and generator, the case)
WRONG = {
    "bfloat16 argument, float32 cotangent": (
        "contract bfloat16",
        (contract, "contract_checks"),
        Case(square(lambda x, dy: right(x, dy.astype(jnp.float32))), (X,), dtypes=("bfloat16",)),
    ),
    "one array for two leaves, right by luck": (
        "contract float64",
        (contract, "contract_checks"),
        Case(sum_of_leaves, ({"a": X, "b": X},), **WIDE),
    ),
    "fwd returns one more than the function": (
        "value",
        (autodiff, "formula_checks"),
        Case(square(right, lambda x: (x * x + 1, x)), (X,), **WIDE),
    ),
    "the factor 2 is forgotten": (
        "autodiff",
        (autodiff, "formula_checks"),
        Case(square(lambda x, dy: x * dy), (X,), **ONLY_HERE),
    ),
    "slope 2 at the kink of relu": (
        "autodiff",
        (autodiff, "formula_checks"),
        Case(relu_with(2.0), (np.array([0.0, 1.0]),), **ONLY_HERE),
    ),
    "wrong below -10": (
        "other points",
        (explore, "other_points"),
        Case(square(lambda x, dy: jnp.where(x < -10, 1.0, right(x, dy))), (X,), **WIDE),
    ),
    "divides by 3, its size here": (
        "other shapes",
        (explore, "other_shapes"),
        Case(variance(lambda x: 2 / 3 * (x - x.mean())), (normal(3),), **WIDE),
    ),
    "a rate of one half, as here": (
        "other settings",
        (explore, "other_settings"),
        Case(by_hand(lambda x, rate: rate * x, lambda _, dy: (0.5 * dy, None)), (X, 0.5), argnums=(0,), **WIDE),
    ),
    "wrong at a node, as autodiff is": (
        "differences",
        (numerical, "difference_checks"),
        Case(by_hand(lambda x: jnp.where(x == 2, 1.0, jnp.sin(x - 2) + 1), lambda x, dy: (jnp.where(x[0] == 2, 0.0, jnp.cos(x[0] - 2)) * dy,)), (X,), **ONLY_HERE),
    ),
    "not zero for a cotangent of zeros": (
        "linearity",
        (promises, "linearity_checks"),
        Case(square(lambda x, dy: jnp.where(jnp.any(dy != 0), right(x, dy), 1.0)), (X,), **WIDE),
    ),
    "the cotangent is clipped": (
        "linearity",
        (promises, "linearity_checks"),
        Case(square(lambda x, dy: right(x, jnp.clip(dy, -2, 2))), (X,), **WIDE),
    ),
    "not the slope that the case names": (
        "expected",
        (promises, "expectation_checks"),
        Case(relu_with(0.0), (np.array([0.0, 1.0]),), expect=(np.array([0.5, 1.0]),), **ONLY_HERE),
    ),
    "keeps the output too": (
        "residual bytes",
        (promises, "residual_checks"),
        Case(by_hand(lambda x: x * x, lambda r, dy: (2 * r[0] * dy,), lambda x: (x * x, (x, x * x))), (X,),
             residual_bytes=24, **WIDE),
    ),
    "the second derivative is stopped": (
        "second derivative",
        (second, "second_order_checks"),
        Case(square(lambda x, dy: right(jax.lax.stop_gradient(x), dy)), (X,), order=2, **WIDE),
    ),
    "another last place in every other run": (
        "repeated",
        (transforms, "repeated"),
        Case(square(of_the_day), (X,), **WIDE),
    ),
    "leaves its argument outside the residuals": (
        "interleaved",
        (transforms, "interleaved"),
        Case(square(lambda _, dy: right(_left_outside[-1], dy), leave_outside), (X,), **WIDE),
    ),
    "wrong for arrays, right for tracers": (
        "eager",
        (transforms, "eager"),
        Case(square(lambda x, dy: right(x, dy) if isinstance(dy, jax.core.Tracer) else dy), (X,), **WIDE),
    ),
    "a batching rule of the first element": (
        "vmap",
        (transforms, "vmapped"),
        Case(square(lambda x, dy: right_alone(x, dy)), (X,), **WIDE),
    ),
    "a cast to float32 in float64": (
        "float64",
        (arithmetic, "arithmetic_checks"),
        Case(square(lambda x, dy: right(x, dy).astype(jnp.float32).astype(x.dtype)), (X,), **WIDE),
    ),
    "digits lost in a large sum": (
        "float32",
        (arithmetic, "arithmetic_checks"),
        Case(variance(lambda x: 2 / x.size * ((x + 1e4) - (x.mean() + 1e4))), (X,), dtypes=("float32",)),
    ),
    "digits lost near zero": (
        "other points float32",
        (explore, "near_zero"),
        Case(by_hand(lambda x: jnp.log(-jnp.expm1(-x)), lambda r, dy: (dy * jnp.exp(-r[0]) / (1 - jnp.exp(-r[0])),)), (np.abs(X),),
             domain={0: (0.0, np.inf)}, dtypes=("float64", "float32")),
    ),
}  # fmt: skip


def take_out(monkeypatch, module, generator, name):
    """`generator` no longer answers under `name`."""
    ask = getattr(module, generator)
    monkeypatch.setattr(
        module, generator, lambda *args, **kwargs: [check for check in ask(*args, **kwargs) if check.name != name]
    )


@pytest.mark.parametrize("wrong", WRONG)
def test_every_check_is_needed(monkeypatch, wrong):
    """Only the named check sees the wrong rule: without it the rule would pass."""
    name, (module, generator), case = WRONG[wrong]
    if name == "autodiff":  # the other points and shapes are asked the same
        for other in ("other_points", "other_shapes", "other_settings"):
            monkeypatch.setattr(explore, other, lambda *args, **kwargs: ())
    for other in ("within", "eager") if name == "interleaved" else ():  # which see such state as well
        monkeypatch.setattr(transforms, other, lambda *args: ())
    verdict = verify(case)
    assert {check.name for check in verdict.checks if check.status != "pass"} == {name}, str(verdict)
    assert verdict.status == "fail"
    take_out(monkeypatch, module, generator, name)
    assert verify(case).passed


# --- what verify promises beside its checks -----------------------------------------------------------------------------


def raises(*args):
    raise RuntimeError("no such \n luck")


@pytest.mark.parametrize("where", ["function", "fwd", "bwd", "sampler"])
def test_exceptions_become_verdicts(where):
    """What the function under test raises, wherever, is quoted in a failing check."""
    fn, bwd = (raises if where == name else good for name, good in (("function", jnp.sin), ("bwd", right)))
    fwd = raises if where == "fwd" else lambda x: (fn(x), x)
    rule = by_hand(fn, lambda x, dy: (bwd(x, dy),), fwd)
    verdict = verify(rule, raises if where == "sampler" else X, **WIDE)
    assert verdict.status == "fail"
    assert verdict.cause == "RuntimeError: no such luck"
    assert [check.name for check in verdict.checks if check.status == "fail"] == ["runs"]


def test_an_exception_under_one_transformation():
    """A rule that only runs under jit still gets all the checks before; the exception is the fault."""
    only_traced = square(lambda x, dy: right(x, dy) if isinstance(dy, jax.core.Tracer) else raises())
    verdict = verify(only_traced, X, **ONLY_HERE)
    assert verdict.cause == "RuntimeError: no such luck"
    assert "autodiff" in {check.name for check in verdict.checks if check.status == "pass"}


@pytest.mark.parametrize(
    ("rule", "cause", "argument"),
    [
        (by_hand(lambda x, b: x + b, lambda _, dy: (dy,)), "bwd returns 1 cotangents for 2 arguments", None),
        (by_hand(lambda x, b: x + b, lambda _, dy: (dy, dy)), "the cotangent has shape (3,), the argument ()", "b"),
    ],
)
def test_what_jax_refuses_is_named(rule, cause, argument):
    """JAX raises at these rules; the verdict names the argument and the line first and then quotes JAX."""
    verdict = verify(rule, X, np.array(1.0), **WIDE)
    assert (verdict.cause, verdict.argument) == (cause, argument)
    assert verdict.where.startswith("test_verify.py:")
    assert verdict.checks[-1].name == "runs"


def test_nothing_to_differentiate():
    """A usage error, so it raises: with integers alone, and with the floating argument not chosen."""
    with pytest.raises(NothingToDifferentiate, match="no floating array among the arguments x"):
        verify(lambda x: x * 2, np.arange(3))
    with pytest.raises(NothingToDifferentiate):
        verify(lambda x, i: x[i], X, np.arange(2), argnums=(1,))
    with pytest.raises(NothingToDifferentiate):
        verify(square(right), np.arange(3))


def test_no_rule_at_all():
    """JAX's own gradient passes, and the verdict says that this is what was verified."""
    verdict = verify(jnp.sin, X, **ONLY_HERE)
    assert verdict.passed
    assert verdict.notes == ("no hand-written rule was found: this verifies JAX's own gradient",)


def test_the_same_seed_the_same_verdict():
    """Verdicts can be compared, kept and repeated; another seed asks at another point."""
    case = Case(square(right), (normal(3),), **ONLY_HERE)
    assert verify(case, seed=3) == verify(case, seed=3)
    assert verify(case, seed=3) != verify(case, seed=4)


def test_a_case_and_a_function_are_the_same():
    """`verify(fn, *args, **fields)` is `verify(Case(fn, args, **fields))`, and fields override a case's own."""
    rule = square(right)
    assert verify(rule, X, **ONLY_HERE) == verify(Case(rule, (X,), **ONLY_HERE))
    assert verify(Case(rule, (X,)), **ONLY_HERE) == verify(replace(Case(rule, (X,)), **ONLY_HERE))


def test_what_only_the_harness_raises(monkeypatch):
    """It says nothing of the rule: inconclusive, with the words of the error. What the rule raises fails it."""

    def broken(*args, **options):
        raise RuntimeError("no such thing")

    monkeypatch.setattr(verifier.inside, "judged", broken)
    verdict = verify(square(right), X, **ONLY_HERE)
    assert verdict.status == "inconclusive"
    assert verdict.cause == "the function runs, but the harness raised RuntimeError: no such thing"
    verdict = verify(square(broken), X, **ONLY_HERE)
    assert (verdict.status, verdict.cause) == ("fail", "RuntimeError: no such thing")


def test_residual_bytes_are_told():
    """By the rule and by autodiff, in the first dtype: 3 float64 numbers each for a square."""
    assert verify(square(right), X, **ONLY_HERE).residual_bytes == (24, 24)


def test_by_design():
    """A declared gradient is judged by its reference alone; without one by what the case expects."""
    passes = by_hand(lambda x: jnp.round(x), lambda _, dy: (dy,))
    by_reference = partial(verify, passes, X, by_design=True, **ONLY_HERE)
    straight = lambda x: x + jax.lax.stop_gradient(jnp.round(x) - x)
    assert by_reference(reference=straight).passed
    assert by_reference(reference=lambda x: 2 * straight(x) - jax.lax.stop_gradient(straight(x))).status == "fail"
    assert by_reference(expect=(np.ones(3),)).passed
    assert by_reference(expect=(np.array([1.0, 1.0, 2.0]),)).status == "fail"
    assert verify(passes, X, **ONLY_HERE).status == "fail"


def test_settings_of_python():
    """A function may branch on a switch and take a count for an axis, as outside jit; a rule that cannot under jit is told how."""

    def summed(x, doubled, axis):
        return jnp.sum(jnp.sin(x) * (2.0 if doubled else 1.0), axis=axis)

    x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2)
    assert verify(summed, x, True, 1).status == "pass"
    rule = jax.custom_vjp(summed)
    rule.defvjp(
        lambda x, doubled, axis: (summed(x, doubled, axis), x), lambda x, dy: (dy[:, None] * 2 * jnp.cos(x), None, None)
    )
    verdict = verify(rule, x, True, 1)
    assert verdict.status == "fail"
    assert "jit traces doubled and axis unless nondiff_argnums says otherwise: Tracer" in str(verdict)
    static = jax.custom_vjp(summed, nondiff_argnums=(1, 2))
    static.defvjp(
        rule.fwd, lambda doubled, axis, x, dy: (jnp.expand_dims(dy, axis) * (2 if doubled else 1) * jnp.cos(x),)
    )
    assert verify(static, x, True, 1).status == "pass"


@pytest.mark.parametrize(("factor", "status"), [(1.0, "pass"), (1.00001, "fail")])
def test_a_function_written_for_float32(factor, status):
    """Where its own types fit in float32 alone, it is verified there, with all that a verdict says."""

    def summed(x):
        return jax.lax.scan(lambda total, row: (total + jnp.sin(row), None), jnp.zeros(2, jnp.float32), x)[0]

    rule = jax.custom_vjp(summed)
    rule.defvjp(lambda x: (summed(x), x), lambda x, dy: (factor * dy * jnp.cos(x),))
    x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2)
    verdict = verify(rule, x)
    assert verdict.status == status
    assert "verified in float32 alone: in float64 it raises TypeError: scan body" in str(verdict)
    assert status == "pass" or f"is {factor} times the right one" in str(verdict)
    assert verify(rule, x[0]).status == "fail", "it is asked for once more, and not for ever"
    alone = verify(rule, x, dtypes=("float64",))
    assert alone.status == "fail" and "in runs: TypeError: scan body" in str(alone), "there is no other to verify in"
