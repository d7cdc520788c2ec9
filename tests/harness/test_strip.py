"""The autodiff oracle: no rule survives in it, wherever it sat. Run with JAX_CUSTOM_VJP3 unset and set to 1."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import by_hand

from backproplab.harness.strip import count_rules, prove_stripped, strip

X = np.array([0.5, -1.25, 2.0], np.float32)

sine = by_hand(jnp.sin, lambda args, dy: (100.0 * dy,))  # a rule that nothing could mistake for cos(x) dy


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def power(exponent, x):
    return x**exponent


power.defvjp(lambda exponent, x: (x**exponent, None), lambda exponent, _, dy: (100.0 * dy,))

around = by_hand(lambda x: 2 * sine(x), lambda args, dy: (100.0 * dy,))


@jax.custom_jvp
def clipped(x):
    return jnp.clip(x, -1, 1)


clipped.defjvp(lambda primals, tangents: (clipped(*primals), 7.0 * tangents[0]))


def scanned(layer):
    return lambda x: jax.lax.scan(lambda carry, _: (layer(carry), layer(carry)), x, None, length=2)[1]


# name -> a function of the layer to use in it, and how often the layer is called in the program
PLACES = {
    "plain": lambda layer: layer,
    "jit": lambda layer: jax.jit(lambda x: layer(2 * x)),
    "jit in jit": lambda layer: jax.jit(lambda x: jax.jit(layer)(x) + 1),
    "vmap": lambda layer: jax.vmap(lambda x: layer(x) * x),
    "vmap in vmap": lambda layer: lambda x: jax.vmap(jax.vmap(layer))(x[None] * x[:, None]),
    "vmap over a batch axis": lambda layer: lambda x: jax.vmap(layer, 1)(x[None]),
    "scan": scanned,
    "checkpointed scan": lambda layer: scanned(jax.checkpoint(layer)),
    "fori_loop": lambda layer: lambda x: jax.lax.fori_loop(0, 2, lambda i, y: layer(y), x),
    "cond": lambda layer: lambda x: jax.lax.cond(x[0] > 0, layer, lambda y: 3 * y, x),
    "switch": lambda layer: lambda x: jax.lax.switch(1, [lambda y: y, lambda y: layer(y) * y], x),
    "checkpoint": lambda layer: jax.checkpoint(lambda x: layer(x) * x),
    "map": lambda layer: lambda x: jax.lax.map(layer, x),
    "associative scan": lambda layer: lambda x: jax.lax.associative_scan(lambda a, b: layer(a) + layer(b), x),
    "pytrees": lambda layer: lambda x: {"a": layer(x), "b": (x, layer(layer(x)))},
}


@pytest.mark.parametrize("place", PLACES)
def test_no_rule_survives(place):
    """The gradient of the stripped function is autodiff's, and the value has not changed."""
    ruled, plain = PLACES[place](sine), PLACES[place](jnp.sin)
    total = lambda f: lambda x: sum(jnp.sum(leaf) for leaf in jax.tree.leaves(f(x)))
    run = jax.jit(lambda x: [(f(x), jax.grad(total(f))(x)) for f in (ruled, strip(ruled), plain)])
    (value, by_rule), (stripped_value, stripped), (_, right) = run(X)
    assert np.abs(by_rule - right).max() > 1  # the rule was there
    jax.tree.map(np.testing.assert_array_equal, stripped_value, value)
    np.testing.assert_allclose(stripped, right, rtol=1e-5)
    assert count_rules(jax.make_jaxpr(ruled)(X)) > 0
    assert count_rules(jax.make_jaxpr(strip(ruled))(X)) == 0


@pytest.mark.parametrize("place", PLACES)
def test_the_proof(place):
    """JAX itself refuses forward mode while a rule is left, and not when none is: no place hides one from the proof."""
    ruled = PLACES[place](sine)
    with pytest.raises(TypeError, match="forward-mode"):
        prove_stripped(ruled, X)
    prove_stripped(strip(ruled), X)


def test_while_loop():
    """Reverse mode cannot pass a while loop; forward mode can, once the rule in it is gone."""
    loop = lambda layer: lambda x: jax.lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, layer(c[1])), (0, x))[1]
    with pytest.raises(TypeError, match="forward-mode"):
        prove_stripped(loop(sine), X)
    prove_stripped(strip(loop(sine)), X)
    forward = lambda f: jax.jvp(f, (X,), (np.ones_like(X),))[1]
    np.testing.assert_allclose(forward(strip(loop(sine))), forward(loop(jnp.sin)), rtol=1e-6)


def test_a_rule_in_the_condition_of_a_while_loop():
    """A condition is a jaxpr too."""
    loop = lambda x: jax.lax.while_loop(lambda y: jnp.sum(sine(y)) > 9, lambda y: y / 2, x)
    assert count_rules(jax.make_jaxpr(loop)(X)) == 1
    assert count_rules(jax.make_jaxpr(strip(loop))(X)) == 0


def test_rules_within_rules():
    """The forward body of a rule holds rules of its own."""
    np.testing.assert_allclose(jax.grad(lambda x: strip(around)(x).sum())(X), 2 * np.cos(X), rtol=1e-6)
    prove_stripped(strip(around), X)


def test_static_arguments():
    """What `nondiff_argnums` binds stays bound."""
    cube = partial(power, 3)
    np.testing.assert_allclose(jax.grad(lambda x: strip(cube)(x).sum())(X), 3 * X**2, rtol=1e-6)
    prove_stripped(strip(cube), X)


def test_custom_jvp_stays():
    """It says what JAX's autodiff means at a kink, so it belongs to the oracle."""
    f = lambda x: clipped(sine(x)).sum()
    np.testing.assert_allclose(jax.grad(strip(f))(X), 7 * np.cos(X), rtol=1e-6)


def test_second_derivatives():
    """Nothing of a rule is left for the second derivative either."""
    second = jax.grad(lambda x: jax.grad(lambda y: strip(sine)(y).sum())(x).sum())
    np.testing.assert_allclose(second(X), -np.sin(X), rtol=1e-6)


def test_constants_are_kept():
    """Arrays that a function closes over are constants of its jaxpr."""
    weights = jnp.arange(3.0)
    f = jax.jit(lambda x: sine(weights * x))
    np.testing.assert_allclose(jax.grad(lambda x: strip(f)(x).sum())(X), weights * np.cos(weights * X), rtol=1e-6)


def test_arguments_that_are_not_floating():
    """Integers, booleans and pytrees pass through; the proof takes them too."""
    f = lambda tree, index, mask: {"y": jnp.where(mask, sine(tree["x"][index]), 0.0)}
    args = {"x": X}, np.array([2, 0]), np.array([True, False])
    np.testing.assert_allclose(strip(f)(*args)["y"], [np.sin(2.0), 0.0], rtol=1e-6)
    prove_stripped(strip(f), *args)


def test_nothing_to_strip():
    """A function without rules keeps its value and gradient."""
    f = lambda x: jnp.tanh(x).sum()
    assert strip(f)(X) == f(X)
    np.testing.assert_array_equal(jax.grad(strip(f))(X), jax.grad(f)(X))


def test_under_transformations():
    """A stripped function is a JAX function: it may be jitted and vmapped before it is differentiated."""
    f = jax.jit(jax.vmap(strip(sine)))
    np.testing.assert_allclose(jax.grad(lambda x: f(x).sum())(X), np.cos(X), rtol=1e-6)


def test_count_rules():
    """Every call counts, at every depth, the inner ones of a rule's own forward body included."""
    assert count_rules(jax.make_jaxpr(jnp.sin)(X)) == 0
    assert count_rules(jax.make_jaxpr(around)(X)) == 2
    assert count_rules(jax.make_jaxpr(lambda x: sine(x) + sine(2 * x))(X)) == 2
    assert count_rules(jax.make_jaxpr(jax.jit(lambda x: jax.checkpoint(sine)(x)))(X)) == 1
