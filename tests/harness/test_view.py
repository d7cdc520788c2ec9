"""A case's function as the oracles want it: which leaves are differentiated, their names, and the way back."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from backproplab import Case, verify
from backproplab.harness.view import NothingToDifferentiate, is_inexact, view

X = np.array([0.5, -1.25], np.float32)
LABELS = np.array([0, 1], np.int32)


def seen(fn, *args, **fields):
    return view(Case(fn, args, **fields), args)


def loss(params, x, labels, key=None, name="mean"):
    return params["w"][0] * x, labels


def test_labels_are_paths():
    """Parameter name and pytree path, in the order of the leaves; integers are no leaves to differentiate."""
    v = seen(loss, {"w": [X, LABELS], "b": X}, X, LABELS)
    assert v.labels == ("params['b']", "params['w'][0]", "x")
    assert v.positions == (0, 0, 1)
    assert [r.dtype for r in v.rest] == [np.int32, np.int32]


def test_there_and_back():
    """`rebuild` gives the arguments back, each leaf in its place, Python values untouched."""
    args = {"w": [X, LABELS], "b": 2 * X}, 3 * X, LABELS, jax.random.key(0), "sum"
    v = seen(loss, *args)
    back = v.rebuild(v.diff, v.rest)
    assert back[4] == "sum"
    assert jax.tree.structure(back) == jax.tree.structure(args)
    for ours, theirs in zip(jax.tree.leaves(back[:3]), jax.tree.leaves(args[:3])):
        assert ours is theirs


def test_call():
    """Floating outputs alone, as a list, whatever the function returns them in."""
    v = seen(loss, {"w": [X], "b": X}, X, LABELS)
    outputs = v.call(loss)(v.diff, v.rest)
    assert len(outputs) == 1
    np.testing.assert_array_equal(outputs[0], X * X)


def test_argnums():
    """Only what is chosen is differentiated; the rest is handed over."""
    v = seen(lambda x, y: x + y, X, X, argnums=(1,))
    assert (v.labels, len(v.rest)) == (("y",), 1)


def test_static_arguments():
    """What a custom_vjp declares static is fixed, floating or not, and told apart by the signature."""

    @partial(jax.custom_vjp, nondiff_argnums=(1,))
    def scale(x, factor):
        return factor * x

    first, second = seen(scale, X, 2.0), seen(scale, X, 3.0)
    assert first.labels == ("x",)
    assert first.rebuild([X], [])[1] == 2.0
    assert first.signature != second.signature
    assert first.signature == seen(scale, 2 * X, 2.0).signature


@pytest.mark.parametrize("other", [X.astype(np.float64), X[:1], X.astype(ml_dtypes.bfloat16)])
def test_signature(other):
    """Shapes and dtypes tell programs apart, numbers do not."""
    assert seen(jnp.sin, X).signature == seen(jnp.sin, 2 * X).signature
    assert seen(jnp.sin, X).signature != seen(jnp.sin, other).signature


def test_functions_and_none_as_arguments():
    """They are handed over as they are."""
    v = seen(lambda f, x, mask: f(x), jnp.sin, X, None)
    assert v.labels == ("x",)
    f, x, mask = v.rebuild(v.diff, v.rest)
    assert (f, mask) == (jnp.sin, None)
    assert x is X


def test_nothing_to_differentiate():
    """Raises, naming the arguments."""
    with pytest.raises(NothingToDifferentiate, match="among the arguments params, x"):
        seen(loss, LABELS, LABELS)


@pytest.mark.parametrize(
    ("leaf", "answer"),
    [(X, True), (X.astype(ml_dtypes.bfloat16), True), (X + 1j, True), (1.0, True), (1j, True), (np.float32(1), True),
     (LABELS, False), (np.array([True]), False), (1, False), (True, False), ("a", False), (None, False)],
)  # fmt: skip
def test_is_inexact(leaf, answer):
    """Floating and complex numbers of all widths, nothing else."""
    assert is_inexact(leaf) is answer


def test_a_key_is_not_inexact():
    """Keys are differentiated by nobody."""
    assert not is_inexact(jax.random.key(0))


def test_a_callable_object_need_not_be_hashable():
    """A module that holds arrays is told from others by what it is."""

    @dataclass(frozen=True)
    class Scaled:
        by: np.ndarray

        def __call__(self, x):
            return self.by * x

    one, other = Scaled(X), Scaled(X)
    assert seen(one, X).signature == seen(one, X).signature != seen(other, X).signature
    assert seen(one, X).labels == ("x",)
    verdict = verify(one, X)
    assert verdict.status == "pass", verdict
