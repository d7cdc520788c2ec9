"""A function with switches is the function as long as they are off, and what they say when one is on."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.harness.switches import with_switches

X = np.random.default_rng(0).normal(size=(5, 3))
_FUSED = 2.0**-45  # the same operations, of which the compiler makes other loops: 2^8 roundings


def everything(x, w, n):
    """Calls, loops, branches and a custom derivative."""
    h = jax.jit(lambda x: jnp.where(x > 0, x, jnp.sin(x)))(x @ w)
    h = jax.lax.cond(n > 0, lambda h: 2 * h, lambda h: h - 1, h)
    last, all_of_them = jax.lax.scan(
        lambda held, row: (held * jnp.cos(row), held + row), jnp.ones(h.shape[1]), h, reverse=True
    )
    return jax.nn.relu(jnp.cumsum(all_of_them, 0)) + last


def switched(fn, *args, active):
    closed = jax.make_jaxpr(fn)(*args)
    run, switches = with_switches(closed, active, ["x", "w", "n"][: len(args)])
    return lambda args, settings: run(list(args), settings)[0], switches


def test_all_switches_off_change_nothing():
    """Neither value nor gradient, in all that a program may consist of."""
    args = (X, X[:3], 1)
    with jax.enable_x64(True):
        run, switches = switched(everything, *args, active=[True, True, False])
        off = [1.0] * len(switches)
        assert len(switches) > 20
        of = lambda f: jax.vjp(lambda x, w: f((x, w, 1)), *args[:2])
        (ours, our_pull), (jaxs, pull) = of(lambda args: run(args, off)), of(lambda args: everything(*args))
        for a, b in zip((ours, *our_pull(jnp.ones_like(ours))), (jaxs, *pull(jnp.ones_like(jaxs)))):
            np.testing.assert_allclose(a, b, rtol=_FUSED, atol=_FUSED)


def test_every_switch_has_words_and_a_place():
    """And none is there twice."""
    _, switches = switched(everything, X, X[:3], 1, active=[True, True, False])
    assert len({switch.key for switch in switches}) == len(switches)
    for switch in switches:
        assert switch.what and all(words for _, words in switch.settings)
        assert switch.path == (not switch.settings)
    assert any("test_switches.py:" in switch.what for switch in switches)


def test_what_is_not_differentiated_has_no_paths():
    """Of n alone nothing depends that has a slope."""
    _, switches = switched(lambda x, w, n: x * jnp.sin(1.0 * n), X, X, 1, active=[True, False, False])
    assert not any("sin" in switch.what for switch in switches if switch.path)
