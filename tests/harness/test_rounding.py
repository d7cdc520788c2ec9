"""No rounding error exceeds its bound: random programs in three precisions against float64 at the same inputs."""

import statistics
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_programs import ONE, OPERATIONS, SCALES, TWO, Step, random_inputs, run

from backproplab.harness.error_rules import executed, lifted
from backproplab.harness.jitted import quick_options
from backproplab.harness.rounding import bounded

DTYPES = {"float32": np.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}
STEP = st.builds(Step, st.sampled_from(OPERATIONS), st.integers(0, 7), st.integers(0, 7))
PROGRAM = st.lists(STEP, min_size=1, max_size=6)
QUIET = {"deadline": None, "database": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
EXAMPLE = {"program": PROGRAM, "seed": st.integers(0, 10_000), "dtype": st.sampled_from(sorted(DTYPES)), "scale": st.sampled_from(SCALES)}  # fmt: skip


class Found:
    """What the programs of one test showed: how many bounds were finite, and bound / error of each entry."""

    def __init__(self):
        self.programs, self.entries, self.bounded, self.ratios = 0, 0, 0, []
        self.operations = Counter()

    def add(self, error, bound):
        finite = np.isfinite(bound) & np.isfinite(error)
        self.programs += 1
        self.entries += error.size
        self.bounded += int(finite.sum())
        seen = finite & (error > 0)
        self.ratios += list(bound[seen] / error[seen])

    def __str__(self):
        return f"{self.programs} programs, {self.bounded / self.entries:.0%} of the entries bounded, median bound/error {self.tightness:.3g}"

    @property
    def tightness(self):
        return statistics.median(self.ratios)


def never_exceeded(found, program, seed, dtype, scale, whole):
    """The device's result is no further from float64 than the bound. whole: compiled as one, else op by op."""
    inputs = random_inputs(seed, DTYPES[dtype], scale)
    device = lambda *inputs: run(program, inputs)
    closed = jax.make_jaxpr(device)(*inputs)
    got = np.asarray(jax.jit(device)(*inputs) if whole else device(*map(jnp.asarray, inputs)), np.float64)
    with jax.enable_x64(True):
        exact_inputs = [np.asarray(x, np.float64) for x in inputs]
        unknown = set()
        _values, errors, _ = bounded(closed, unknown)(exact_inputs, executed())
        formula, formula_errors, _ = bounded(closed, unknown)(exact_inputs, lifted())
        exact = np.asarray(run(program, [jnp.asarray(x) for x in exact_inputs], wide=True))
    # float64 itself is off by what the analysis says of it, here and in the analysis' own values
    wide = 2 * formula_errors[0]
    with np.errstate(invalid="ignore"):
        check(exact, formula[0], wide, "float64 by JAX and by the analysis")
        check(got, exact, errors[0] + wide, "the device and float64")
        error = np.where(got == exact, 0.0, np.abs(got - exact))
    found.add(error, errors[0] + wide)


def check(got, exact, bound, what):
    same = (got == exact) | (np.isnan(got) & np.isnan(exact))
    # without a bound, nothing is claimed
    wrong = ~same & ~(np.abs(got - exact) <= bound) & np.isfinite(bound) & ~np.isnan(exact)
    assert not wrong.any(), f"{what}: {got[wrong]} and {exact[wrong]} differ by more than {bound[wrong]}"


def test_no_error_exceeds_its_bound():
    """The property on which every verdict rests."""
    found = Found()

    @settings(max_examples=50, **QUIET)
    @given(**EXAMPLE)
    def examples(program, seed, dtype, scale):
        never_exceeded(found, program, seed, dtype, scale, whole=False)

    examples()
    assert found.bounded > 0.4 * found.entries
    assert np.isfinite(found.tightness)


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_error_exceeds_its_bound_in_ten_thousand_programs(dtype, capsys):
    """The same at length, a few of the programs compiled as a whole, where XLA fuses; says how tight the bounds are."""
    found, fused = Found(), Found()
    example = EXAMPLE | {"dtype": st.just(dtype)}

    @settings(max_examples=3_334, **QUIET)
    @given(**example)
    def examples(program, seed, dtype, scale):
        never_exceeded(found, program, seed, dtype, scale, whole=False)

    @settings(max_examples=60, **QUIET)
    @given(**example)
    def compiled(program, seed, dtype, scale):
        never_exceeded(fused, program, seed, dtype, scale, whole=True)

    examples()
    compiled()
    with capsys.disabled():
        print(f"\n{dtype}, op by op: {found}\n{dtype}, fused: {fused}")
    assert np.isfinite(found.tightness) and np.isfinite(fused.tightness)


@pytest.mark.parametrize("operations", [sorted(ONE), sorted(TWO)], ids=["of one", "of two"])
def test_the_compiled_analysis_is_the_interpreted_one(operations):
    """Large programs are analysed by XLA, small ones by numpy: the bounds are the same for every operation."""
    inputs = random_inputs(3, np.float32, 1.0)

    def all_at_once(x, y):
        x = x * np.float32(0.9)  # so that there are errors to pass on
        return [run([Step(name, 0, 1)], [x, y]) for name in operations]

    closed = jax.make_jaxpr(all_at_once)(*inputs)
    with jax.enable_x64(True):
        wide = [np.asarray(x, np.float64) for x in inputs]
        ours, bounds, branches = bounded(closed, set(), branching=True)(wide, executed())
        machine = executed()._replace(xp=None)
        analyse = lambda wide, machine: bounded(closed, set(), branching=True)(wide, machine._replace(xp=jnp))
        theirs, their_bounds, their_branches = jax.jit(analyse, compiler_options=quick_options())(wide, machine)
    for name, a, b, e, f in zip(operations, ours, theirs, bounds, their_bounds, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(e, f, rtol=1e-3, atol=1e-12, err_msg=f"bound of {name}")
    np.testing.assert_allclose(branches, their_branches, rtol=1e-9)
