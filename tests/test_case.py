"""Cases and the samplers of their points."""

import functools
import subprocess
import sys

import jax
import ml_dtypes
import numpy as np
import pytest

from backproplab import (
    Case,
    away_from_zero,
    booleans,
    distinct,
    full,
    integers,
    normal,
    prng_key,
    simplex,
    uniform,
    verify,
)
from backproplab.case import (
    backward_rule,
    case_id,
    dtypes_of,
    forward_rule,
    function_name,
    parameter_names,
    static_argnums,
    with_defaults,
)
from backproplab.networks import mlp


def take(x, by=2.0, *more):
    return x * by


@functools.partial(jax.custom_vjp, nondiff_argnames=("by",))
def scaled(x, by=3):
    return x * by


def sample(sampler, dtype="float32"):
    return Case(take, (sampler,)).arguments(0, dtype)[0]


def test_same_seed_same_arguments():
    """A seed names a point: the same numbers in every process, others for another seed and another position."""
    case = Case(take, (normal(4), normal(4)))
    code = "from backproplab import Case, normal; print(Case(max, (normal(4), normal(4))).arguments(5, 'float64')[1].tolist())"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    first, second = case.arguments(5, "float64")
    assert str(second.tolist()) == there.strip()
    assert not np.array_equal(first, second) and not np.array_equal(first, case.arguments(6, "float64")[0])


def test_narrower_dtypes_round_the_same_point():
    """float32 and bfloat16 see the point of float64, rounded."""
    wide = sample(normal(100), "float64")
    np.testing.assert_array_equal(sample(normal(100)), wide.astype(np.float32))
    np.testing.assert_array_equal(sample(normal(100), "bfloat16"), wide.astype(ml_dtypes.bfloat16))


def test_samplers():
    """Each sampler's promise, on a thousand numbers."""
    assert np.abs(sample(away_from_zero(1000, gap=0.1))).min() >= np.float32(0.1)
    assert {-1.0, 1.0} == set(np.sign(sample(away_from_zero(1000))))
    assert np.diff(np.sort(sample(distinct(10, 100, gap=0.1), "float64").ravel())).min() > 0.1 - 1e-12
    assert set(sample(integers(-2, 3, 1000))) == {-2, -1, 0, 1, 2}
    assert 0 < sample(booleans(1000, probability=0.1)).mean() < 0.5
    low, high = sample(uniform(2.0, 3.0, 1000)).min(), sample(uniform(2.0, 3.0, 1000)).max()
    assert 2.0 <= low < 2.1 and 2.9 < high <= 3.0
    assert (sample(simplex(50, 20)) > 0).all()
    np.testing.assert_allclose(sample(simplex(50, 20), "float64").sum(-1), 1.0, rtol=1e-14)  # 20 roundings of 1e-16
    np.testing.assert_array_equal(sample(full(0.5, 2, 3)), np.full((2, 3), 0.5, np.float32))
    assert abs(sample(normal(1000, mean=5.0, scale=0.1)).mean() - 5.0) < 0.1


def test_samplers_keep_shape_and_dtype():
    """The shape that was asked for, and the dtype that is verified; integers and masks have their own."""
    for sampler in (normal(2, 3), uniform(0, 1, 2, 3), away_from_zero(2, 3), distinct(2, 3), full(1, 2, 3), simplex(2, 3)):  # fmt: skip
        assert sample(sampler, "bfloat16").shape == (2, 3) and sample(sampler, "bfloat16").dtype == ml_dtypes.bfloat16
    assert sample(integers(0, 2, 2)).dtype == np.int32 and sample(booleans(2)).dtype == bool
    assert jax.dtypes.issubdtype(sample(prng_key()).dtype, jax.dtypes.prng_key)


def test_what_arguments_become():
    """Floats take the dtype verified, 16 bits keep theirs in float32, everything else stays; settings are untouched."""
    given = (1.5, np.float64([1.0]), ml_dtypes.bfloat16(1), np.int64([3]), np.int64(7), np.bool(True), 1j, "sum", {"w": [normal(2)], "b": None})  # fmt: skip
    narrow = Case(take, given).arguments(0, "float32")
    wide = Case(take, given).arguments(0, "float64")
    assert [a.dtype for a in narrow[:7]] == [np.float32, np.float32, ml_dtypes.bfloat16, np.int32, np.int32, bool, np.complex64]  # fmt: skip
    assert [a.dtype for a in wide[:3]] == [np.float64] * 3 and wide[6].dtype == np.complex128
    assert narrow[7] == "sum" and narrow[8]["w"][0].shape == (2,) and narrow[8]["b"] is None
    assert type(Case(scaled, (1.0, 3)).arguments()[1]) is int
    assert Case(take, (normal(2), 7, True)).arguments()[1:] == (7, True)


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda: Case(3, ()), TypeError, "Case wants a function first, not 3"),
        (lambda: Case(take, normal(3)), TypeError, r"Case of take wants a tuple of arguments, as in Case\(fn, "),
        (lambda: Case(take, (normal(3),), dtypes=("float33",)), ValueError, "float33"),
        (lambda: Case(take, (normal(3),), dtypes=("int32",)), ValueError, "no floating dtypes"),
        (lambda: Case(take, (normal(3),), dtypes="float32"), ValueError, "no floating dtypes"),
        (lambda: Case(take, (normal(3),), dtypes=()), ValueError, "no floating dtypes"),
    ],
)  # fmt: skip
def test_cases_that_make_no_sense(make, error, words):
    """A slip in a list of cases is told where it is written, not as a verdict."""
    with pytest.raises(error, match=words):
        make()


def test_names():
    """What reports call a function: partials by what they wrap, networks with their module, the case in brackets."""
    assert function_name(functools.partial(functools.partial(take, 1), 2)) == "take"
    assert function_name(mlp.apply) == "mlp.apply"
    assert Case(take, (), name="zeros").id == case_id("take", "zeros") == "take[zeros]"
    assert Case(take, ()).id == "take"


def test_parameters():
    """Names by position, with *rest counted; statics by name or number; defaults filled in as a rule receives them."""
    assert parameter_names(take, 4) == ("x", "by", "more[0]", "more[1]")
    assert parameter_names(max, 2) == ("arg0", "arg1")
    assert static_argnums(scaled) == (1,) and static_argnums(take) == ()
    assert with_defaults(take, (1,)) == (1, 2.0)
    assert with_defaults(max, (1,)) == (1,)


def test_default_dtypes():
    """Built-in functions are held to bfloat16 as well, others to float64 and float32, and a case may say otherwise."""
    from backproplab.layers.activations import relu

    assert dtypes_of(Case(relu, (normal(3),))) == ("float64", "float32", "bfloat16")
    assert dtypes_of(Case(take, (normal(3),))) == ("float64", "float32")
    assert dtypes_of(Case(relu, (normal(3),), dtypes=("float16",))) == ("float16",)


def test_what_only_looks_like_a_rule():
    """A wrapper that has taken over all attributes of one, as `functools.wraps` and `jax.vmap` do, is another function."""
    squared = jax.custom_vjp(lambda x: x * x)
    squared.defvjp(lambda x: (x * x, x), lambda x, dy: (2 * x * dy,))
    doubled = functools.wraps(squared)(lambda x: 2 * squared(x).sum())
    for rule in (squared, jax.jit(squared)):
        assert forward_rule(rule) is squared.fwd and backward_rule(rule) is squared.bwd
    for other in (doubled, jax.vmap(squared), jax.checkpoint(squared), np.sin):
        assert forward_rule(other) is None and backward_rule(other) is None
    assert verify(doubled, np.array([0.5, -1.25])).status == "pass"


def test_an_object_that_knows_its_like_alone():
    """Until Python 3.13 `inspect` compares callable objects with types; one whose `__eq__` cannot has its arguments counted."""

    class Turned:
        def __init__(self, by):
            self.by = by

        def __eq__(self, other):
            return self.by == other.by

        def __hash__(self):
            return hash(self.by)

        def __call__(self, x):
            return self.by * x

    assert parameter_names(Turned(2.0), 1) == (("arg0",) if sys.version_info < (3, 13) else ("x",))
    assert verify(Turned(2.0), np.array([0.5])).status == "pass"
