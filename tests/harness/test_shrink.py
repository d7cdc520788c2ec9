"""The call that reproduces a failure: small, valid Python, and it fails for the same argument."""

import jax
import numpy as np
import pytest
from rules import affine, norm, with_rule

from backproplab import normal, verify
from backproplab.case import prng_key


def masked(x, key):
    return x * jax.random.bernoulli(key, 0.5, x.shape)


WRONG = {
    "a product": (affine, lambda x, w, b, dy: (dy @ w.T, 2 * x.T @ dy, dy.sum(0)), (normal(8, 5), normal(5, 6), normal(6))),
    "a key": (masked, lambda x, key, dy: (dy, None), (normal(4, 3), prng_key())),
    "seen only at zero": (
        lambda x: x**3,
        lambda x, dy: (3 * x * x * dy + jax.numpy.where(x == 0, dy, 0),),
        (normal(7),),
    ),
}  # fmt: skip


def reproduction(verdict):
    (note,) = [note for note in verdict.notes if note.startswith("reproduce: ")]
    return note.removeprefix("reproduce: ")


@pytest.mark.parametrize("name", WRONG)
def test_the_call_fails_as_the_original_did(name):
    """Pasted, it is a failing verdict about the same argument, at no more than forty numbers."""
    layer, backward, arguments = WRONG[name]
    rule = with_rule(layer, backward)
    verdict = verify(rule, *arguments, dtypes=("float64",))
    call = reproduction(verdict)
    again = eval(call, {"verify": verify, "np": np, "jax": jax, rule.__name__: rule, "f": rule})
    assert (again.status, again.argument) == ("fail", verdict.argument)
    assert call.count(",") < 40


def test_zeros_where_nothing_depends_on_them():
    """A wrong slope at one entry leaves the others out of the call."""
    rule = with_rule(lambda x: x * x, lambda x, dy: (jax.numpy.where(x > 1.25, 3, 2) * x * dy,))
    call = reproduction(verify(rule, 2 + np.arange(6.0), dtypes=("float64",)))
    assert call.startswith("verify(f, np.array([") and call.count(",") == 2  # one number is enough
    wide = reproduction(verify(rule, np.where(np.arange(6) == 4, 7.0, 1.0), dtypes=("float64",)))
    numbers = eval(wide.removeprefix("verify(f, ").removesuffix(", seed=0)"), {"np": np})
    assert len(numbers) < 6 and np.sum(numbers != 0) == 1


def test_what_is_too_large_to_read_is_not_printed():
    """A layer that insists on its sizes has no small call."""

    def insisting(x):
        assert x.shape == (64,)
        return x * x

    verdict = verify(with_rule(insisting, lambda x, dy: (x * dy,)), normal(64), dtypes=("float64",))
    assert verdict.status == "fail"
    assert not [note for note in verdict.notes if note.startswith("reproduce: ")]


def test_wrong_at_its_full_size_alone_is_shown_there():
    """Where smaller axes hide the fault, the sizes stay."""
    rule = with_rule(lambda x: x * x, lambda x, dy: (2 * x * dy * (1 if len(x) < 4 else 2),))
    call = reproduction(verify(rule, normal(5), dtypes=("float64",)))
    assert np.size(eval(call.split("(", 1)[1].rsplit(", seed", 1)[0].split(", ", 1)[1], {"np": np})) == 5


def test_norm_keeps_a_finite_point():
    """Zeros that make the function undefined are not taken."""
    rule = with_rule(norm, lambda x, s, b, dy: (dy, (dy * x).sum(0), dy.sum(0)))
    assert "nan" not in reproduction(verify(rule, normal(4, 5), normal(5), normal(5), dtypes=("float64",)))
