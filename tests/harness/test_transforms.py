"""The rule run again, twice at once, eagerly and in batches: what each check says, and when it is not asked."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import at, by_hand, square
from jax.custom_batching import custom_vmap

from backproplab import integers, normal, prng_key, verify
from backproplab.harness import transforms
from backproplab.harness.transforms import interleaved, repeated, transform_checks, vmapped, within

X = np.array([0.5, -1.25, 2.0])
right = lambda x, dy: 2 * x * dy


def product_with(batched_rule):
    """x*y whose cotangent of y is right alone and `batched_rule(x, dy)` in a batch."""

    @custom_vmap
    def times(x, dy):
        return x * dy

    @times.def_vmap
    def _(size, batched, x, dy):
        x, dy = (a if b else jnp.broadcast_to(a, (size, *a.shape)) for a, b in zip((x, dy), batched))
        return batched_rule(x, dy), True

    return by_hand(lambda x, y: x * y, lambda args, dy: (args[1] * dy, times(args[0], dy)))


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_right_rules_pass(dtype):
    """All of them, with an integer and a key beside the floating arguments."""
    dropout = lambda x, i, key: jnp.tanh(x)[i] * jax.random.bernoulli(key, 0.5, (2,))
    p = at(dropout, normal(3), integers(0, 3, 2), prng_key(), dtype=dtype)
    assert [(c.name, c.status) for c in transform_checks(p, 0, [], True)] == [
        (name, "pass")
        for name in ("vmap", "interleaved", "jit", "checkpoint", "scan", "eager", "shard_map", "shard_map")
    ]


def test_repeated():
    """One bit that changes from run to run is seen."""
    runs = []

    def count(dx):
        runs.append(None)
        return dx * (1 + 2.0**-52 * (len(runs) == 3))

    bwd = lambda x, dy: jax.pure_callback(count, jax.ShapeDtypeStruct(dy.shape, dy.dtype), 2 * x * dy)
    (check,) = repeated(at(square(bwd), X), 0)
    assert (check.status, check.argument) == ("fail", "x")


def test_what_leaks_from_one_trace_to_another():
    """A key that lies about when the backward pass runs; of an exception in the analysis itself the rule is not to blame."""
    left = []

    def thinned(x, key):
        return jnp.where(jax.random.bernoulli(key, 0.5, x.shape), x, 0)

    def fwd(x, key):
        left.append(key)
        return thinned(x, key), x

    rule = by_hand(thinned, lambda x, dy: (thinned(dy, left[-1]), None), fwd)
    p = at(rule, X, jax.random.key(1))
    (check,) = within(p, 0)
    assert check.status == "fail" and "inside jit the rule takes a value of another trace" in check.cause

    def analysis(*args):
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"), pytest.MonkeyPatch.context() as patched:
        patched.setattr(transforms, "analysis", lambda *args: analysis)
        list(within(at(square(right), X, dtype="float32"), 0))


def test_interleaved():
    """State outside the residuals mixes two passes up; the backward function's line is told."""
    left = []

    def fwd(x):
        left.append(x)
        return x * x, None

    def bwd(_, dy):
        return (2 * left[-1] * dy,)

    (check,) = interleaved(at(by_hand(lambda x: x * x, bwd, fwd), X), 0)
    assert (check.status, check.argument) == ("fail", "x")
    assert "the rule keeps state outside its residuals" in check.cause
    assert check.where == f"test_transforms.py:{bwd.__code__.co_firstlineno}"


BATCHES = {
    "sum over the batch": (lambda x, dy: jnp.broadcast_to((x * dy).sum(0), x.shape), "x"),
    "first element": (lambda x, dy: jnp.broadcast_to((x * dy)[0], x.shape), "x"),
    "reversed": (lambda x, dy: (x * dy)[::-1], "x"),
    "cotangent of the first": (lambda x, dy: x * dy[:1], "the cotangent"),
    "argument of the first": (lambda x, dy: x[:1] * dy, "x"),
}


@pytest.mark.parametrize("bug", BATCHES)
def test_vmapped(bug):
    """The axis under which a batching rule is wrong first, and the gradient that is wrong, are named."""
    rule, over = BATCHES[bug]
    (check,) = vmapped(at(product_with(rule), X, X), 0, [])
    assert (check.status, check.argument) == ("fail", "y")
    assert check.cause.startswith(f"under vmap over {over}, in batch element")


def test_right_batching_rule():
    """A batching rule of one's own that is right passes."""
    assert [c.status for c in vmapped(at(product_with(lambda x, dy: x * dy), X, X), 0, [])] == ["pass"]


def test_every_choice_of_batched_arguments():
    """A batching rule that is wrong only where both factors are batched and the cotangent is not, which no single one shows."""

    @custom_vmap
    def times(x, y, dy):
        return x * y * dy

    @times.def_vmap
    def _(size, batched, *factors):
        wide = [a if b else jnp.broadcast_to(a, (size, *a.shape)) for a, b in zip(factors, batched)]
        return wide[0] * wide[1] * wide[2] * (1.5 if batched == [True, True, False] else 1.0), True

    rule = by_hand(lambda x, y: x * y * y / 2, lambda args, dy: (args[1] ** 2 / 2 * dy, times(*args, dy)))
    (check,) = vmapped(at(rule, X, X), 0, [])
    assert (check.status, check.argument) == ("fail", "y")
    assert check.cause.startswith("under vmap over x and y, in batch element")


def within_form(form):
    """Whether the rule that is being traced sees it: a scan and a checkpoint leave their marks on the stack."""
    frames = inspect.stack(0)
    marks = {"scan": "loops.py", "checkpoint": "ad_checkpoint.py"}
    return any(frame.filename.endswith(marks[form]) for frame in frames)


@pytest.mark.parametrize("form", ["scan", "checkpoint"])
def test_within(form):
    """A rule that is another one there is told, and a rule that raises there while the function does not."""
    wrong = square(lambda x, dy: (3 if within_form(form) else 2) * x * dy)
    failed = [c for c in within(at(wrong, X), 0) if c.status == "fail"]
    assert [(c.name, c.argument) for c in failed] == [(form, "x")]
    assert failed[0].cause.startswith(f"inside {form} the gradient of x is")


def test_a_rule_that_raises_within():
    """What the function allows and its rule does not; what neither allows is not held against the rule."""

    def fwd(x):
        if within_form("scan"):
            raise RuntimeError("not here")
        return x * x, x

    (*_, check) = within(at(by_hand(lambda x: x * x, lambda x, dy: (2 * x * dy,), fwd), X), 0)
    assert (check.name, check.status) == ("scan", "fail")
    assert "the rule raises RuntimeError: not here" in check.cause

    def nowhere(x):
        if within_form("scan"):
            raise RuntimeError("not here")
        return x * x

    names = [c.name for c in within(at(by_hand(nowhere, lambda args, dy: (2 * args[0] * dy,)), X), 0)]
    assert names == ["jit", "checkpoint"]


def test_shapes_that_vary():
    """Where the shapes depend on the seed there are no two points to compare: no answer in place of a wrong one."""
    sizes = iter(range(2, 20))
    ragged = lambda key, dtype: np.ones(next(sizes), dtype)
    p = at(square(right), ragged)
    assert list(interleaved(p, 0)) == []
    assert list(vmapped(p, 0, [])) == []


def relu_by_callback(slope):
    """A right rule that JAX cannot batch: its callback does not say how."""

    def bwd(x, dy):
        mask = lambda x: np.where(x > 0, 1, np.where(x == 0, slope, 0)).astype(x.dtype)
        return jax.pure_callback(mask, jax.ShapeDtypeStruct(x.shape, x.dtype), x) * dy

    return by_hand(lambda x: jnp.maximum(x, 0), lambda x, dy: (bwd(x[0], dy),))


def ranks_by_callback(rows):
    """Each entry times its rank, whose slope is a constant; ranks that the callback takes from `rows` of a batch."""

    def ranks(x):
        places = np.argsort(np.argsort(x, -1), -1).astype(x.dtype)
        return np.broadcast_to(rows(places), x.shape)

    at_host = lambda x: jax.pure_callback(ranks, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="broadcast_all")
    return by_hand(lambda x: x * jnp.argsort(jnp.argsort(x)), lambda args, dy: (at_host(args[0]) * dy,))


def test_a_callback_that_takes_one_row_for_all():
    """The rows of the batch are in different orders, also where the case gives numbers and no sampler."""
    (check,) = vmapped(at(ranks_by_callback(lambda places: places), X), 0, [])
    assert check.status == "pass"
    first = ranks_by_callback(lambda places: places[:1] if places.ndim > 1 else places)
    (check,) = vmapped(at(first, X), 0, [])
    assert (check.status, check.argument) == ("fail", "x")


def test_what_refuses_vmap():
    """It is loud, so no fault of the gradient: a note says it. Slopes at a kink are had without batching too."""
    notes = []
    assert list(vmapped(at(relu_by_callback(0.5), X), 0, notes)) == []
    assert "under vmap over x the rule raises NotImplementedError" in notes[0]
    at_zero = np.array([0.0, 1.0, -2.0])
    assert verify(relu_by_callback(0.25), at_zero, kink=True, dtypes=("float64",)).passed
    assert verify(relu_by_callback(1.5), at_zero, kink=True, dtypes=("float64",)).status == "fail"


def test_large_arguments(monkeypatch):
    """Above a million entries the time is not spent."""
    p = at(square(right), X)
    monkeypatch.setattr(transforms, "_LARGE", 2)
    assert list(transform_checks(p, 0, [], True)) == []
    monkeypatch.setattr(transforms, "_LARGE", 3)
    assert list(transform_checks(p, 0, [], True))


def test_what_is_alike_is_not_analysed(monkeypatch):
    """Where the values agree to their last digits no bound is computed; one that is off by more is judged by its bound."""
    analysed = []
    monkeypatch.setattr(transforms, "analysis", lambda jaxpr, unknown: lambda *args: analysed.append(jaxpr))
    assert all(check.status == "pass" for check in within(at(square(right), X), 0)) and not analysed
    monkeypatch.setattr(transforms, "_alike", lambda got, exact: False)
    with pytest.raises(TypeError):  # the analysis that was asked for has no result
        list(within(at(square(right), X), 1))
    assert analysed
