"""Single rules, at points where a bound is most easily wrong."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jax import lax

from backproplab.harness.error_rules import RULES, executed, lifted
from backproplab.harness.rounding import bounded


def analysed(f, *inputs, machine=None):
    """Values and errors of f's outputs, and the primitives without a rule."""
    closed = jax.make_jaxpr(f)(*inputs)
    unknown = set()
    with jax.enable_x64(True):
        wide = [np.asarray(x, np.float64) if jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating) else x for x in inputs]
        found = bounded(closed, unknown)(wide, machine or executed())
    return found.values, found.errors, unknown


def one(f, *inputs):
    values, errors, unknown = analysed(f, *inputs)
    assert not unknown
    return np.asarray(values[0]), np.asarray(errors[0])


def f32(*x):
    return np.array(x, np.float32)


def matrix(n, seed=0):
    a = np.random.default_rng(seed).normal(size=(n, n))
    return (a @ a.T + n * np.eye(n)).astype(np.float32)


@pytest.mark.parametrize("x, factor", [(1e-39, 1e30), (1e-39, 2.0)])
def test_numbers_below_the_smallest_normal_are_flushed(x, factor):
    """XLA reads a subnormal number as 0, whatever it is multiplied by."""
    f = lambda x: x * np.float32(factor)
    value, error = one(f, f32(x))
    assert error >= abs(np.asarray(jax.jit(f)(f32(x)), np.float64) - value) and error >= x * factor * 0.999


@pytest.mark.parametrize("compiled", [False, True])
def test_flushed_inputs_leave_nothing_proved_where_they_cannot_be_followed(compiled):
    """The compiled analysis does not carry errors of inputs: it must not claim to know."""
    closed = jax.make_jaxpr(lambda x: x + 1)(f32(1e-39))
    with jax.enable_x64(True):
        analyse = lambda x: bounded(closed, set())([x], executed()._replace(xp=jnp if compiled else np)).errors[0]
        error = np.asarray((jax.jit(analyse) if compiled else analyse)(np.array([1e-39])))
    assert np.isinf(error).all() if compiled else error[0] < 1e-6


@pytest.mark.parametrize(
    "f", [lambda x: jnp.square(jnp.exp(x)) / 3, lambda x: jnp.exp(x) / jnp.exp(x), lambda x: jnp.exp(x) + x]
)
def test_an_overflow_on_the_way_bounds_nothing(f):
    """float64 does not overflow where float32 does: the result there may be anything."""
    assert np.isinf(one(f, np.float32(100.0))[1])
    assert np.isfinite(one(f, np.float32(10.0))[1])


def test_what_may_not_be_a_number_stays_so():
    """An exact zero times nan is nan, and tanh of it too."""
    overflowed = lambda x: jnp.exp(x) / jnp.exp(x)
    for f in (lambda x: overflowed(x) * 0, lambda x: jnp.tanh(overflowed(x)), lambda x: jnp.sin(overflowed(x)), lambda x: jnp.sign(overflowed(x))):  # fmt: skip
        assert np.isinf(one(f, np.float32(100.0))[1])


def test_a_masked_entry_is_known_to_be_one():
    """-inf less a rounded number is -inf for certain: comparing it with -inf leaves nothing in doubt."""
    value, error = one(lambda x: jnp.where(x - np.float32(0.7) == -jnp.inf, 0, x), f32(-np.inf, 1.0))
    assert value.tolist() == [0, 1] and error.tolist() == [0, 0]


def test_tangent_across_a_pole_has_no_bound():
    """Both ends of an interval with a pole inside may be small."""
    near = lambda x: jnp.tan(x * np.float32(1e4) * np.float32(1e-4))
    assert np.isinf(one(near, np.float32(np.pi / 2))[1])
    assert np.isfinite(one(near, np.float32(1.5))[1])


def test_sums_of_sixteen_bits_are_rounded_more_than_once():
    """XLA's CPU backend stores partial sums of bfloat16 in bfloat16."""
    x = np.abs(np.random.default_rng(0).normal(size=(64, 512))).astype(jnp.bfloat16)
    f = lambda x: lax.reduce_sum(x, (1,))
    value, error = one(f, x)
    device = np.asarray(jax.jit(f)(x), np.float64)
    assert np.all(np.abs(device - value) <= error)
    assert np.any(np.abs(device - value) > 2.0**-8 * np.abs(value))  # one rounding would not have explained it


def test_sorted_neighbours_further_away_count():
    """A key with a large error may pass several that are exact."""
    keys = lambda x: lax.sort((jnp.concatenate([x[:2], x[2:] * np.float32(1 / 3) * 3e7 - x[2:] * np.float32(1e7)]), lax.iota(np.int32, 3)), num_keys=1)[1]  # fmt: skip
    _, error = one(keys, f32(-0.2, -0.1, 1.0))
    assert np.isinf(error).all()


def test_the_largest_along_another_axis():
    """As along the last, transposed."""
    x = f32([1.0, 5.0, 2.0], [4.0, 4.5, 8.0], [3.0, 0.5, 9.0], [7.0, 6.0, 6.5])
    along = lambda axis: lambda x: lax.top_k(x / 3, 2, axis=axis)
    values, errors, unknown = analysed(along(0), x)
    turned, turned_errors, _ = analysed(along(-1), x.T)
    assert not unknown and np.max(errors[0]) > 0
    for one, two in zip((*values, *errors), (*turned, *turned_errors)):
        np.testing.assert_array_equal(one, np.asarray(two).T)


def test_a_form_that_a_rule_does_not_foresee_is_unbounded(monkeypatch):
    """A rule that raises says nothing about the operation: its value is JAX's, and it is named."""

    def unforeseen(eqn, inputs, machine):
        raise IndexError("no such axis")

    monkeypatch.setitem(RULES, "sin", unforeseen)
    (value,), (error,), unknown = analysed(lambda x: jnp.sin(x) + 1, f32(0.5))
    assert unknown == {"sin"} and np.isinf(error).all() and np.allclose(value, np.sin(0.5) + 1)


def test_ties_of_exact_keys_keep_their_order():
    """No doubt where nothing was rounded."""
    assert not one(lambda x: lax.sort((x, lax.iota(np.int32, 4)), num_keys=1)[1], f32(1, 0, 0, 1))[1].any()


@pytest.mark.parametrize("name", ["cholesky", "lu", "solve", "eigenvalues", "singular values", "triangular"])
def test_factorisations_are_bounded_and_the_bounds_hold(name):
    """float32 against float64 at the same matrix, of condition 10 or so."""
    f = {
        "cholesky": jnp.linalg.cholesky,
        "lu": lambda a: lax.linalg.lu(a)[0],
        "solve": lambda a: jnp.linalg.solve(a, a[:, :2] + 1),
        "eigenvalues": lambda a: jnp.linalg.eigh(a)[0],
        "singular values": lambda a: jnp.linalg.svd(a)[1],
        "triangular": lambda a: lax.linalg.triangular_solve(a, a[:2], lower=True, transpose_a=True),
    }[name]
    a = matrix(6)
    (value, *_), (error, *_), _ = analysed(f, a)
    with jax.enable_x64(True):
        exact = np.asarray(f(a.astype(np.float64)))
    assert np.all(np.abs(exact - value) <= 1e-10)
    assert np.all(np.abs(np.asarray(f(a), np.float64) - value) <= error)
    assert np.max(error) < 0.01 * np.max(np.abs(value))


def test_pivots_in_doubt_leave_no_bound():
    """Two candidates of one size: rounding decides which row goes first."""
    a = f32([1.0, 2.0], [1.0, 3.0])
    rounded = lambda a: lax.linalg.lu(a * np.float32(1 / 3) * np.float32(3))[0]
    assert np.isinf(one(rounded, a)[1]).any()


@pytest.mark.parametrize("f, name", [(lambda a: jnp.linalg.qr(a)[0], "qr"), (lambda a: jnp.linalg.eigh(a)[1], "eigh"), (lambda a: lax.igamma(a, a), "igamma"), (lambda a: lax.zeta(a + 2, a), "zeta")])  # fmt: skip
def test_what_has_no_honest_bound_is_named(f, name):
    """Unbounded, and the verdict can say why."""
    _, errors, unknown = analysed(f, matrix(3))
    assert unknown == {name} and np.isinf(errors[0]).all()


def test_random_bits_and_permutations_are_exact():
    """Numbers drawn from a key do not depend on rounding."""
    key = jax.random.key(0)
    for f in (
        lambda k: jax.random.bits(k, (5,)),
        lambda k: jax.random.uniform(k, (5,)),
        lambda k: jax.random.bernoulli(k, 0.3, (5,)),
    ):
        values, errors, unknown = analysed(f, key)
        assert not unknown and np.all(
            np.asarray(errors[0]) < 1e-6
        )  # (a product with 1 and two sums count as roundings)
        assert np.array_equal(np.asarray(values[0], np.float64), np.asarray(f(key), np.float64))


def test_complex_products_and_transforms_are_bounded():
    """The modulus of the error, of complex64 against complex128."""
    z = (np.random.default_rng(0).normal(size=(2, 12)) + 1j).astype(np.complex64)
    f = lambda z: jnp.fft.irfft(
        jnp.conj(jnp.fft.rfft(jnp.real(z * z))) * jnp.exp(1j * jnp.imag(z[:, :7])) / (z[:, :7] + 3)
    )
    value, error = one(f, z)
    assert np.all(np.abs(np.asarray(f(z), np.float64) - value) <= error) and np.all(error < 1e-3)


def test_named_algorithms_round_their_operands():
    """A product asked for in bfloat16 passes is off by that, and in float64, as a formula, by nothing."""
    x = f32(*np.linspace(1, 2, 7))
    f = lambda x: jnp.dot(x, x, precision="BF16_BF16_F32")
    _, (error,), _ = analysed(f, x)
    _, (formula,), _ = analysed(f, x, machine=lifted())
    assert error > 2.0**-8 * 14 and formula < 1e-12


@pytest.mark.parametrize("bits", [(5, 3), (4, 3), (8, 7)])
def test_reduced_precision_has_a_range_too(bits):
    """Fewer bits of exponent overflow and underflow earlier."""
    x = f32(1e-9, 0.3, 1e4, 1e6, 1e-3)
    f = lambda x: lax.reduce_precision(x, *bits)
    value, error = one(f, x)
    assert np.all(~(np.abs(np.asarray(f(jnp.asarray(x)), np.float64) - value) > error))


@pytest.mark.parametrize("target", [np.int8, np.int32, np.uint8])
def test_casts_to_whole_numbers_saturate(target):
    """As JAX does, and in doubt only where the interval straddles a step."""
    x = f32(-1e12, -3.7, 2.2, 300.0, np.inf, np.nan)
    f = lambda x: x.astype(target)
    value, error = one(f, x)
    assert np.array_equal(value, np.asarray(f(jnp.asarray(x)))) and not error.any()
    assert np.isinf(one(lambda x: (x * np.float32(1 / 3) * 3).astype(target), f32(2.0))[1])


def test_whole_numbers_keep_their_width():
    """numpy would add up int32 in 64 bits, and XLA wraps around."""
    x = np.array([2**31 - 1, 1], np.int32)
    value, _ = one(lambda x: lax.reduce_sum(x, (0,)), x)
    assert value == -(2**31)


def test_long_loops_are_given_up():
    """A loop that ends in float32 need not end in float64: after so many steps it is run by JAX, and named."""
    steps = lambda n: lambda x: lax.while_loop(lambda s: s[1] < n, lambda s: (s[0] + x, s[1] + 1), (x, 0))[0]
    (value, *_), (error, *_), unknown = analysed(steps(20_000), np.float32(1.0))
    assert unknown == {"while"} and np.isinf(error) and value == 20_001
    value, error = one(steps(20), np.float32(0.1))
    assert error < 1e-5 and abs(value - 2.1) < 1e-6


_ELEMENTWISE = lambda f: jax.vmap(jax.grad(f))
# Functions that releases of JAX make of different primitives, and their values in many digits.
COMPOSED = {
    "slope of erf": (_ELEMENTWISE(lax.erf), lambda x: 2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-x * x), 1.5),
    "slope of erfc": (_ELEMENTWISE(lax.erfc), lambda x: -2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-x * x), 4.0),
    "slope of tanh": (_ELEMENTWISE(jnp.tanh), lambda x: mpmath.sech(x) ** 2, 1.5),
    "slope of atanh": (_ELEMENTWISE(jnp.arctanh), lambda x: 1 / (1 - x * x), 0.9),
    "log2": (lambda x: jnp.log2(x * x), lambda x: 2 * mpmath.log(abs(x)) / mpmath.log(2), 4.0),
    "polynomial": (lambda x: jnp.polyval(f32(0.3, -1.7, 0.5, 2.1), x),
                   lambda x: sum(mpmath.mpf(float(c)) * x**k for k, c in enumerate(f32(2.1, 0.5, -1.7, 0.3))), 3.0),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPOSED)
def test_functions_that_jax_puts_together(name):
    """No result is further from the exact one than its bound, which is a few roundings; the argument has an error too."""
    f, exact, reach = COMPOSED[name]
    factor = np.float32(0.8125)
    x = np.random.default_rng(0).uniform(-reach, reach, 500).astype(np.float32)
    program = lambda x: f(x * x * factor / x)  # which is rounded three times before
    values, errors = one(program, x)
    with mpmath.workdps(50):
        right = np.array([float(exact(mpmath.mpf(float(v)) * mpmath.mpf(float(factor)))) for v in x])
    got = np.asarray(jax.jit(program)(x), np.float64)
    assert (np.abs(got - right) <= errors + 1e-12 * np.abs(right)).all()
    assert np.abs(values - right).max() < 2.0**-23 * np.abs(right).max()  # 2 / sqrt(pi) is stored in float32
    assert np.median(errors / np.abs(right)) < 1e-5


def test_every_rule_is_of_a_primitive_of_jax():
    """A rule under a misspelt name would never run; those that newer and older releases name otherwise come in pairs."""
    from jax._src.interpreters import mlir

    known = {p.name for p in mlir._lowerings} | {p.name for d in mlir._platform_specific_lowerings.values() for p in d}
    unheard = {n for n in RULES if n not in known and n.replace("_", "-", 1) not in known}
    older = {"copy_p", "expand_dims", "reduced_vary_cast_p"}
    newer = {"exp_neg_sq", "log2", "one_minus_square", "polynomial", "reduced_vary_cast", "vary_unreduced_cast"}
    assert unheard <= older | newer
