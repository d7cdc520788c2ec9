"""What an output depends on, within loops and branches too."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.harness.pruning import needed_at_any_depth, pruned

X = np.linspace(0.1, 1, 6).reshape(3, 2)


def operations(fn, output, *args):
    closed = jax.make_jaxpr(fn)(*args)
    return {e.primitive.name for e in needed_at_any_depth(closed.jaxpr, [closed.jaxpr.outvars[output]])}


def test_what_no_output_needs_goes():
    """And what is needed stays."""
    closed = jax.make_jaxpr(lambda x: (jnp.sin(x), jnp.cos(x))[0])(X)
    assert [e.primitive.name for e in pruned(closed).jaxpr.eqns] == ["sin"]


def test_within_a_loop():
    """What is carried counts from any step on; what is handed out, and carried for another, does not."""

    def run(x):
        def step(carry, row):
            a, b = carry
            return (jnp.sin(a) + row, jnp.tanh(b) * a), jnp.exp(row)

        (a, b), rows = jax.lax.scan(step, (jnp.zeros(2), jnp.ones(2)), x)
        return a, b, rows

    assert operations(run, 0, X) & {"sin", "tanh", "exp"} == {"sin"}
    assert operations(run, 1, X) & {"sin", "tanh", "exp"} == {"sin", "tanh"}
    assert operations(run, 2, X) & {"sin", "tanh", "exp"} == {"exp"}


def test_within_branches_and_endless_loops():
    """Of a branch what makes the result; of a loop without a length all of it."""

    def branched(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: (jnp.sin(x), jnp.cos(x)), lambda x: (jnp.exp(x), x), x)

    assert operations(branched, 0, X) & {"sin", "cos", "exp"} == {"sin", "exp"}
    endless = lambda x: jax.lax.while_loop(lambda c: c[0] < 9, lambda c: (jnp.exp(c[0]), jnp.sin(c[1])), (x[0, 0], x))
    assert operations(endless, 1, X) & {"sin", "exp"} == {"sin", "exp"}
