"""At points that the harness chooses: what is asked of a rule there, and what is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import by_hand
from jax.lax import stop_gradient as constant

from backproplab import Case, normal, verify

X = normal(2, 3)


def decayed(x, step, rate):
    """The step and the rates matter from the second row on."""
    states = [x[0]]
    for row in x[1:]:
        states.append(jnp.exp(step * rate) * states[-1] + row)
    return jnp.stack(states)


def decayed_rule(args, dy):
    """With the product of a decay and its rate, which is 0 times infinity where that is infinite."""
    x, step, rate = args
    decay, gradients = jnp.exp(step * rate), [dy[-1]]
    for row in dy[:-1][::-1]:
        gradients.append(row + decay * gradients[-1])
    dx = jnp.stack(gradients[::-1])
    before = jnp.concatenate([jnp.zeros_like(x[:1]), decayed(x, step, rate)[:-1]])
    moved = jnp.sum(dx * before * decay, 0)
    return dx, jnp.sum(moved * rate), moved * step


def test_an_infinity_that_has_no_effect():
    """With one row the rates have none: nobody computes with an infinite one, and it is not asked for."""
    rule = by_hand(decayed, decayed_rule)
    assert verify(rule, np.ones((1, 3)), np.array(0.5), -np.array([0.5, 1.0, 2.0])).status == "pass"


def test_the_slope_at_an_infinity():
    """Any finite one is as good; no number is not, where -inf stands for a masked entry or the author has made a case of it."""
    shown = lambda x: jnp.where(jnp.isfinite(x), x, 0.0)
    assert verify(by_hand(shown, lambda args, dy: (dy,)), X).status == "pass"
    careless = by_hand(shown, lambda args, dy: (dy + 0 * args[0],))
    told = verify(careless, X)
    assert told.status == "pass" and any("make a case of them" in note for note in told.notes)
    assert verify(Case(careless, (np.array([1.0, np.inf]),), name="infinite")).status == "fail"
    softmax = lambda x: jnp.exp(x - jnp.max(x, -1, keepdims=True)) / jnp.sum(jnp.exp(x - jnp.max(x, -1, keepdims=True)), -1, keepdims=True)  # fmt: skip

    def rule(args, dy):
        y = softmax(args[0])
        return (y * (dy - jnp.sum(y * dy, -1, keepdims=True)) + 0 * args[0],)

    assert verify(by_hand(softmax, rule), X).status == "fail"


def test_no_entries():
    """An axis of none: what wins is the initial, which has all of the gradient."""
    largest = lambda x, least: jnp.max(x, 1, initial=least)
    rule = by_hand(largest, lambda args, dy: (jnp.zeros_like(args[0]), jnp.sum(dy)))
    assert verify(rule, np.zeros((2, 0)), np.array(1.5)).status == "pass"


def test_a_reference_that_is_another_function_elsewhere():
    """It was not written with every point in mind: where the values differ it is not the rule that is wrong."""
    sign = lambda w: jnp.where(w >= 0, 1.0, -1.0)
    binary = by_hand(lambda w: sign(w) + 0 * w, lambda args, dy: (dy,))
    reference = lambda w: w + constant(jnp.sign(w) - w)
    case = Case(binary, (X,), reference=reference, by_design=True)
    assert verify(case).status == "pass"
    wrong = by_hand(lambda w: sign(w) + 0 * w, lambda args, dy: (dy * (args[0] < 0.9),))
    assert verify(Case(wrong, (X,), reference=reference, by_design=True)).status == "fail"


def clipped(limit):
    """The identity, whose gradient is cut off."""
    return by_hand(lambda x: 1.0 * x, lambda args, dy: (limit(dy),))


def test_a_gradient_that_is_not_linear_by_design():
    """What the reference's own rule declares is the right one, and need not be linear in the cotangent."""
    declared = clipped(lambda dy: jnp.clip(dy, -0.3, 0.3))
    right = clipped(lambda dy: jnp.sign(dy) * jnp.minimum(jnp.abs(dy), 0.3))
    wrong = clipped(lambda dy: jnp.minimum(dy, 0.3))
    assert verify(Case(right, (X,), reference=declared, by_design=True)).status == "pass"
    assert verify(Case(wrong, (X,), reference=declared, by_design=True)).status == "fail"


def test_a_seam_whose_slope_is_small():
    """phi has the slope 1 at 0 from both sides, and autodiff 1/2. The sum that phi is divided by hides it but for an epsilon."""
    phi = lambda x: jnp.where(x > 0, x + 1, jnp.exp(jnp.minimum(x, 0)))
    share = lambda x, v: phi(x) * v / (phi(x) + 1e-6) + jnp.sum(v)

    def rule(args, dy):
        x, v = args
        slope = jnp.where(x > 0, 1.0, jnp.exp(jnp.minimum(x, 0)))
        dv = dy * phi(x) / (phi(x) + 1e-6) + jnp.sum(dy)
        return dy * slope * v * 1e-6 / (phi(x) + 1e-6) ** 2, dv

    verdict = verify(by_hand(share, rule), np.random.default_rng(0).normal(size=6), np.linspace(1.0, 2.0, 6))
    assert verdict.status == "pass", str(verdict)


def test_where_all_arguments_are_large():
    """A textbook rule overflows there, and so does much that is right: a note. Where one argument is large it is a failure."""

    def rule(args, dy):
        a, b = args
        slope = dy * jnp.exp(a * b) / (1 + jnp.exp(a * b))
        return slope * b, slope * a

    softplus = by_hand(lambda a, b: jnp.logaddexp(a * b, 0.0), rule)
    small = verify(softplus, np.full(3, 0.3), np.full(3, 0.3))
    assert small.status == "pass"
    assert any("a, b times 1000" in note and "no failure" in note for note in small.notes)
    assert verify(softplus, np.full(3, 1.0), np.full(3, 1.0)).status == "fail"


def test_results_that_nobody_means():
    """At a thousand times the arguments the value is 1e72, and a power that the rule has on its way overflows."""
    power = by_hand(lambda x: x**24, lambda args, dy: (24 * dy * args[0] ** 23 + 0 * args[0] ** 110,))
    assert verify(power, np.array([0.7, 1.0, 1.3])).status == "pass"


def test_nan_at_a_smooth_zero():
    """0 * NaN from a branch that is not taken: autodiff of the same text is NaN as well, but the function is the identity there."""

    def project(x):
        n = jnp.sqrt(jnp.sum(x * x))
        return jnp.where(n > 1.2, x * (1.2 / jnp.where(n > 1.2, n, 1)), x)

    def bwd(residuals, dy):
        (x,) = residuals
        n = jnp.sqrt(jnp.sum(x * x))
        outside = (n > 1.2).astype(x.dtype)
        u = x / n
        return ((1 - outside) * dy + outside * (1.2 / n) * (dy - u * jnp.sum(u * dy)),)

    verdict = verify(by_hand(project, bwd), np.array([0.7, -1.25, 2.0]), dtypes=("float64",))
    assert verdict.status == "fail" and "all zero" in verdict.cause and "the function is smooth" in verdict.cause


def test_nan_at_equal_eigenvalues():
    """A function of a symmetric matrix is smooth where two eigenvalues meet, though their vectors are not."""

    def root(a):
        values, vectors = jnp.linalg.eigh(a @ a.T + jnp.eye(3))
        return vectors * jnp.sqrt(values) @ vectors.T

    def bwd(residuals, dy, careful):
        (a,) = residuals
        values, vectors = jnp.linalg.eigh(a @ a.T + jnp.eye(3))
        roots = jnp.sqrt(values)
        slopes = 1 / (roots[:, None] + roots)
        if not careful:
            slopes = (roots[:, None] - roots) / (values[:, None] - values)
            slopes = jnp.where(jnp.eye(3) > 0, 1 / (2 * roots), slopes)
        ds = vectors @ (slopes * (vectors.T @ (dy + dy.T) @ vectors)) @ vectors.T
        return (ds @ a,)

    good, bad = (verify(by_hand(root, lambda r, dy, c=c: bwd(r, dy, c)), normal(3, 3)) for c in (True, False))
    assert good.passed, good
    assert bad.status == "fail" and "the function is smooth" in bad.cause, bad


def test_where_autodiff_alone_has_no_number():
    """Inside a box the distance has slope, though autodiff takes the root of 0 there: finite differences see a rule without."""

    def distance(x):
        q = jnp.abs(x) - 1
        return jnp.sqrt(jnp.sum(jnp.maximum(q, 0) ** 2, -1)) + jnp.minimum(jnp.max(q, -1), 0)

    def rule(inside):
        def bwd(residuals, dy):
            (x,) = residuals
            m = jnp.maximum(jnp.abs(x) - 1, 0)
            n = jnp.sqrt(jnp.sum(m * m, -1, keepdims=True))
            within = inside * (jnp.arange(x.shape[-1]) == jnp.argmax(jnp.abs(x), -1)[..., None])
            return (dy[..., None] * jnp.sign(x) * jnp.where(n > 0, m / jnp.where(n > 0, n, 1), within),)

        return by_hand(distance, bwd)

    x = np.array([[1.5, -2.0], [3.0, 0.25]])
    assert verify(rule(1.0), x, dtypes=("float64",)).status == "pass"
    verdict = verify(rule(0.0), x, dtypes=("float64",))
    assert verdict.status == "fail" and "where autodiff has no number, but the function is smooth" in verdict.cause


def test_nan_at_a_kink():
    """The length of a vector has slopes at 0, of which NaN is none, though autodiff has no other; the root of a number has none."""
    length = lambda x: jnp.sqrt(jnp.sum(x * x))
    norm = by_hand(length, lambda r, dy: (dy * r[0] / length(r[0]),))
    verdict = verify(norm, X, dtypes=("float64",))
    assert verdict.status == "fail" and "all zero: the gradient is not finite, by autodiff neither" in verdict.cause
    zero = by_hand(length, lambda r, dy: (dy * r[0] / jnp.where(length(r[0]) == 0, 1, length(r[0])),))
    assert verify(zero, X, dtypes=("float64",)).status == "pass"
    root = by_hand(lambda x: jnp.sqrt(jnp.abs(x)), lambda r, dy: (dy * jnp.sign(r[0]) / jnp.sqrt(jnp.abs(r[0])) / 2,))
    assert verify(root, X, dtypes=("float64",)).status == "pass"


def test_no_number_beside_a_choice():
    """Of the angle of 0 there is no gradient, and at the bend of its distance from 0 any slope will do: neither is a mistake."""
    off = lambda z, phase: jnp.abs(jnp.angle(z) - phase)

    def rule(args, dy):
        z, phase = args
        s = jnp.sign(jnp.angle(z) - phase) * dy
        share = s / (z.real**2 + z.imag**2)
        return jax.lax.complex(-z.imag * share, -z.real * share), -s

    z = np.array([1 + 1j, -1 + 2j, 0.5 - 1j, 2 + 0.5j, 1 - 2j])
    assert verify(by_hand(off, rule), z, np.linspace(0.1, 0.5, 5)).status == "pass"
    conjugate = by_hand(off, lambda args, dy: (jnp.conj(rule(args, dy)[0]), rule(args, dy)[1]))
    assert verify(conjugate, z, np.linspace(0.1, 0.5, 5)).status == "fail"


def test_digits_lost_near_zero():
    """1 - exp(-x) cancels for small x in float32; the numbers given are none of them small."""
    fn = lambda x: jnp.log(-jnp.expm1(-x))
    cancels = by_hand(fn, lambda r, dy: (dy * jnp.exp(-r[0]) / (1 - jnp.exp(-r[0])),))
    keeps = by_hand(fn, lambda r, dy: (dy * jnp.exp(-r[0]) / -jnp.expm1(-r[0]),))
    x, fields = np.array([0.7, 1.25, 2.0]), {"domain": {0: (0.0, np.inf)}, "dtypes": ("float64", "float32")}
    verdict = verify(cancels, x, **fields)
    assert verdict.status == "fail" and "x loses digits in float32" in verdict.cause
    assert verify(keeps, x, **fields).status == "pass"


def test_a_leading_axis_that_is_taken_for_another():
    """A function of one axis sorts the last and picks from the first of two: nobody has written a rule for that."""
    second = lambda x: jnp.sort(x)[1]

    def bwd(args, dy):
        return (jnp.zeros_like(args[0]).at[jnp.argsort(args[0])[1]].add(dy),)

    assert verify(by_hand(second, bwd), normal(5)).status == "pass"
    mean_then_floor = by_hand(
        lambda x, y: jnp.sum(jnp.maximum(jnp.mean(x * y, 0), 0.1)),
        lambda args, dy: tuple(
            dy * (jnp.mean(args[0] * args[1], 0) > 0.1) * other / len(args[0]) for other in args[::-1]
        ),
    )
    assert verify(mean_then_floor, normal(4, 3), normal(4, 3)).status == "pass"  # of two batches, no batch of batches
    total = by_hand(lambda x: jnp.sum(x * x), lambda args, dy: (2 * args[0] * dy * args[0].ndim,))
    assert verify(total, normal(5)).status == "fail"  # what sums it up takes it for what it is


def test_rows_that_vanish():
    """No number where a row is 0, though the function, |x| x of its norm, has a slope there: 0."""
    squash = lambda x: x * jnp.sqrt(jnp.sum(x * x, -1, keepdims=True))

    def rule(least):
        def bwd(args, dy):
            n = jnp.sqrt(jnp.sum(args[0] ** 2, -1, keepdims=True))
            along = jnp.sum(args[0] * dy, -1, keepdims=True)
            return (n * dy + args[0] * along / jnp.where(n > least, n, 1.0),)

        return by_hand(squash, bwd)

    assert verify(rule(0.0), normal(4, 3)).passed
    careless = verify(rule(-1.0), normal(4, 3))
    assert careless.status == "fail" and "zero in some rows" in careless.cause


@pytest.mark.parametrize("refuses", ["function and rule", "rule"])
def test_a_callback_that_raises_elsewhere(refuses, capfd):
    """At numbers of the harness's own making: nobody has promised that it takes them. If only the rule refuses, a note says so."""

    def inverse(x):
        if not np.all(x):
            raise np.linalg.LinAlgError("Singular matrix")
        return np.asarray(1 / np.asarray(x), x.dtype)

    host = lambda x: jax.pure_callback(inverse, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="expand_dims")
    layer = jax.custom_vjp(host if refuses == "function and rule" else lambda x: x * x)
    layer.defvjp(
        lambda x: (layer(x), x), lambda x, dy: (-dy * host(x) ** 2 if refuses != "rule" else dy * 2 / host(x),)
    )
    verdict = verify(layer, np.array([0.5, -1.25], np.float32))
    assert verdict.status == "pass", verdict
    assert any("all zero: the rule raises" in note for note in verdict.notes) == (refuses == "rule")
    assert "Traceback" not in capfd.readouterr().err
