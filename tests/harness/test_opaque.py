"""Functions that JAX cannot differentiate: finite differences judge their rules, and say so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backproplab import Case, normal, verify
from backproplab.harness.opaque import MOST, by_differences

CPU = jax.devices("cpu")[0]
X = np.array([0.3, -0.8, 1.7])


def slopes(f, x, domain=None):
    """Of the sum of f, an entry-wise function: the slope of every entry and its bar."""
    run = by_differences(lambda diff, rest: [f(diff[0])], [x], [], [domain], CPU)
    (_, slope), (_, bar) = run([x, np.ones_like(x)])
    return slope, bar


@pytest.mark.parametrize("x", [X, 1e-4 * X, 1e4 * X], ids=["of size 1", "small", "large"])
def test_a_smooth_function(x):
    """The bar holds, and nine digits are known, whatever the size of the argument."""
    size = np.max(np.abs(x))
    slope, bar = slopes(lambda x: x * jnp.sin(x / size), x)
    right = np.sin(x / size) + x / size * np.cos(x / size)
    assert np.all(np.abs(slope - right) <= bar)
    assert np.all(bar < 1e-9 * np.abs(right))


def test_entries_of_all_sizes():
    """Beside one of 1e6 a step for an entry at 0 would be larger than what the function is there."""
    x = np.array([0.0, 1.0, 1e6])
    slope, bar = slopes(lambda x: 1 / (1 + x), x)
    right = -1 / (1 + x) ** 2
    assert np.all(np.abs(slope - right) <= bar)
    assert np.all(bar[:2] < 1e-6 * np.abs(right[:2]))


def test_a_kink():
    """Any slope between those of the two sides is within the bar; beside the kink only the one."""
    slope, bar = slopes(jnp.abs, np.array([0.0, 0.1]))
    assert abs(slope[0] - 1) <= bar[0] and abs(slope[0] + 1) <= bar[0] and bar[0] < 1.1
    assert abs(slope[1] - 1) <= bar[1] < 1e-9


def test_a_kink_with_others_around():
    """Wide steps, as of a large argument, go past several: the bar still reaches to the slopes on either side."""
    heights = jnp.array([0.0, 1.0, -2.0, 3.0, 0.5, 4.0, 1.0])
    for x in np.arange(1.0, 6.0):
        slope, bar = slopes(lambda x: jnp.interp(x, jnp.arange(7.0), heights), np.array([x, 40.0]))
        before, behind = np.diff(heights)[int(x) - 1 : int(x) + 1]
        assert abs(slope[0] - before) <= bar[0] and abs(slope[0] - behind) <= bar[0]


def test_a_domain_is_kept():
    """Beside the end of an interval the steps are shorter."""
    slope, bar = slopes(jnp.log, np.array([1e-3, 0.5]), (0.0, np.inf))
    assert np.all(np.abs(slope - [1e3, 2.0]) <= bar)
    assert np.all(bar < 1e-7 * slope)  # and says something


def test_at_the_end_of_an_interval():
    """Steps go beyond it, where the function need not be: then nothing is known, and no other slope is taken for its own."""
    at_zero = lambda f: [float(x[0]) for x in slopes(f, np.array([0.0, 0.5]), (-1e-307, np.inf))]
    slope, bar = at_zero(jnp.sin)
    assert abs(slope - 1) <= bar < 1e-9
    slope, bar = at_zero(lambda x: jnp.where(x < 0, 0.0, x))
    assert abs(slope - 1) <= bar
    assert np.isinf(at_zero(lambda x: jnp.where(x < 0, jnp.nan, x))[1])


def root(cosine=jnp.sin, first=lambda e: e):
    """y with y - e sin y = m, by a loop of unknown length; the derivative is that of the equation."""

    @jax.custom_vjp
    def solve(m, e):
        step = lambda s: (s[0] - (s[0] - e * jnp.sin(s[0]) - m) / (1 - e * jnp.cos(s[0])), s[1] + 1)
        return jax.lax.while_loop(lambda s: (s[1] < 30) & (jnp.max(jnp.abs(step(s)[0] - s[0])) > 1e-15), step, (m, 0))[
            0
        ]

    def fwd(m, e):
        y = solve(m, e)
        return y, (y, e)

    def bwd(kept, dy):
        y, e = kept
        dm = dy / (1 - first(e) * jnp.cos(y))
        return dm, dm * cosine(y)

    solve.defvjp(fwd, bwd)
    return solve


M, E = normal(4), np.array([0.1, 0.3, 0.5, 0.2])


def test_a_loop():
    """A right implicit derivative passes, to second order too; the verdict is called estimated and names the oracle."""
    verdict = verify(Case(root(), (M, E), domain={1: (0.0, 0.9)}, order=2))
    assert verdict.status == "pass", str(verdict)
    assert "estimated" in str(verdict)
    assert any("finite differences judge it" in note for note in verdict.notes)


def test_a_wrong_rule():
    """The argument and the line are named, and the change that mends it."""
    verdict = verify(Case(root(cosine=jnp.cos), (M, E), domain={1: (0.0, 0.9)}))
    wrong = {check.argument for check in verdict.checks if check.status == "fail"}
    assert wrong == {"e"}
    assert all("test_opaque.py:" in check.where for check in verdict.checks if check.status == "fail")


@pytest.mark.slow
def test_a_wrong_second_derivative():
    """Of a rule that is right and holds one of its arguments for constant."""
    verdict = verify(Case(root(first=jax.lax.stop_gradient), (M, E), domain={1: (0.0, 0.9)}, order=2))
    assert {check.name for check in verdict.checks if check.status == "fail"} == {"second derivative"}


def on_the_host(slope):
    """|x| in numpy, which JAX does not see into."""

    @jax.custom_vjp
    def f(x):
        return jax.pure_callback(np.abs, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="expand_dims")

    f.defvjp(lambda x: (f(x), x), lambda x, dy: (dy * slope(x),))
    return f


@pytest.mark.parametrize("slope", [jnp.sign, lambda x: jnp.where(x >= 0, 1.0, -1.0)], ids=["middle", "right"])
def test_a_callback_at_its_kink(slope):
    """Where no slope is the right one every one between is, at zeros that the harness puts in as well."""
    assert verify(on_the_host(slope), X).status == "pass"


def sorted_on_the_host(order):
    """A weighted sum of sorted numbers, whose order numpy finds: at equal ones no slope of one alone is the gradient's."""
    host = lambda x: np.argsort(-np.asarray(x), axis=-1, kind="stable").astype(np.int32)
    places = lambda x: jax.pure_callback(host, jax.ShapeDtypeStruct(x.shape, np.int32), x, vmap_method="expand_dims")

    @jax.custom_vjp
    def f(x, w):
        return jnp.sum(x[places(x)] * w)

    def bwd(kept, dy):
        x, w, places = kept
        return jnp.zeros_like(x).at[places].set(dy * order(w)), dy * x[places]

    f.defvjp(lambda x, w: (f(x, w), (x, w, places(x))), bwd)
    return f


@pytest.mark.parametrize("x", [np.array([0.5, 0.1, 0.9, -0.3]), np.array([1.0, 0.0, 1.0, 1.0])], ids=["apart", "equal"])
def test_where_kinks_meet(x):
    """Any order of equal numbers is one; beside them there is one order, and another is wrong."""
    w = np.array([0.3, -1.2, 0.8, 2.0])
    assert verify(sorted_on_the_host(lambda w: w), x, w).status == "pass"
    assert verify(sorted_on_the_host(lambda w: w[::-1]), x, w).status == "fail"


def test_a_wrong_callback():
    """By a factor."""
    assert verify(on_the_host(lambda x: 1.01 * jnp.sign(x)), X).status == "fail"


def test_too_many_numbers():
    """Entry by entry takes too long: inconclusive, with what would help."""
    verdict = verify(on_the_host(jnp.sign), np.ones(MOST + 1))
    assert verdict.status == "inconclusive"
    assert "a reference" in str(verdict)
