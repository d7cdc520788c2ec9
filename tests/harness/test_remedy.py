"""Notes that help the author of a wrong gradient."""

import jax
import jax.numpy as jnp
import numpy as np
from by_hand import X, at, by_hand, right, square

from backproplab.harness.remedy import remedies


def test_a_change_and_a_call():
    """What mends it, and what shows it."""
    notes = remedies(at(square(lambda x, dy: x * dy), X), "x", 0)
    assert [note.partition(":")[0] for note in notes] == ["hint", "reproduce"]


def test_a_rule_that_keeps_something():
    """Its gradient is another at every call: no change of one line mends that, and it is said why."""
    calls = []

    def bwd(x, dy):
        calls.append(x)
        return 2 * x * dy * len(calls)

    notes = remedies(at(square(bwd), X), "x", 0)
    assert notes[0].startswith("state: outside jit x is ") and "keeps something from call to call" in notes[0]


def test_a_rule_that_asks_whether_it_is_traced():
    """The same."""
    fn = by_hand(
        jnp.sin,
        lambda r, dy: (
            dy * jnp.cos(r[0]) * (1 if isinstance(dy, np.ndarray) or not isinstance(dy, jax.core.Tracer) else 2),
        ),
    )
    assert remedies(at(fn, X), "x", 0)[0].startswith("state: ")


def test_nothing_to_say():
    """Without an argument that is wrong."""
    assert remedies(at(square(right), X), None, 0) == []
