"""What JAX accepts in silence: each fault of structure, shape and dtype is found, and what is right is left alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import by_hand

from backproplab.harness.contract import contract_checks, line_of

X = np.array([0.5, -1.25, 2.0], np.float32)
TREE = {"w": X, "b": np.zeros((), np.float32)}
LABELS = np.array([0, 1, 1], np.int32)

add = lambda x, y: x + y
linear = lambda p, x: p["w"] * x + p["b"]
pick = lambda x, labels: x[labels]
tanh = lambda x: jnp.tanh(x)
nothing = lambda x: np.zeros(x.shape, jax.dtypes.float0)

# name -> (function, bwd, fwd or None, arguments, the argument named, the cause)
FAULTS = {
    "too few": (add, lambda _, dy: (dy,), None, (X, X), None, "bwd returns 1 cotangents for 2 arguments"),
    "too many": (add, lambda _, dy: (dy, dy, dy), None, (X, X), None, "bwd returns 3 cotangents for 2 arguments"),
    "no tuple": (tanh, lambda _, dy: {"x": dy}, None, (X,), None, "bwd returns a dict, not a tuple of cotangents"),
    "shape": (
        lambda x, y: x + y.sum(),
        lambda _, dy: (dy, dy.sum()),
        None,
        (X, X),
        "y",
        "the cotangent has shape (), the argument (3,)",
    ),
    "narrower dtype": (
        add,
        lambda _, dy: (dy, dy.astype(jnp.bfloat16)),
        None,
        (X, X),
        "y",
        "the cotangent is bfloat16, the argument float32",
    ),
    "wider dtype": (
        add,
        lambda _, dy: (dy.astype(jnp.float32), dy),
        None,
        (X.astype(jnp.bfloat16), X.astype(jnp.bfloat16)),
        "x",
        "the cotangent is float32, the argument bfloat16",
    ),
    "float0 for a float": (
        add,
        lambda _, dy: (dy, nothing(dy)),
        None,
        (X, X),
        "y",
        "the cotangent is declared float0, but the argument is float32",
    ),
    "one array for a dict": (
        linear,
        lambda args, dy: (dy, dy),
        None,
        (TREE, X),
        "p",
        "one array is returned for the 2 leaves of the argument; JAX copies it to each",
    ),
    "leaf of a dict": (
        linear,
        lambda args, dy: ({"w": dy * args[1], "b": dy}, dy),
        None,
        (TREE, X),
        "p['b']",
        "the cotangent has shape (3,), the argument ()",
    ),
    "value's dtype": (
        tanh,
        lambda x, dy: (x,),
        lambda x: (jnp.tanh(x).astype(jnp.bfloat16), x),
        (X,),
        None,
        "fwd returns bfloat16[3], the function float32[3]",
    ),
    "value's shape": (
        tanh,
        lambda x, dy: (x,),
        lambda x: (jnp.tanh(x)[None], x),
        (X,),
        None,
        "fwd returns float32[1, 3], the function float32[3]",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(fault):
    """Each is named with its argument, in words, at the line of the function that is to blame."""
    fn, bwd, fwd, args, argument, cause = FAULTS[fault]
    rule = by_hand(fn, bwd, fwd)
    (check,) = contract_checks(rule, args, "contract")
    assert (check.status, check.argument, check.cause) == ("fail", argument, cause)
    assert check.where == line_of(fwd if fwd else bwd)


def test_structure_of_a_cotangent():
    """A list in place of the argument's tuple is named as such, not compared leaf by leaf."""
    rule = by_hand(lambda p: p[0] * p[1], lambda p, dy: ([dy * p[0][1], dy * p[0][0]],))
    (check,) = contract_checks(rule, ((X, X),), "contract")
    assert check.argument == "p"
    assert check.cause == "the cotangent's structure is PyTreeDef([*, *]), the argument's PyTreeDef((*, *))"


def test_structure_of_a_value():
    """fwd that returns a list where the function returns a tuple; autodiff would see the same numbers."""
    rule = by_hand(lambda x: (x, x), lambda _, dy: (dy[0] + dy[1],), lambda x: ([x, x], None))
    (check,) = contract_checks(rule, (X,), "contract")
    assert check.cause == "fwd returns PyTreeDef([*, *]), the function PyTreeDef((*, *))"


def test_every_fault_is_told():
    """Not the first alone: two arguments, two checks."""
    rule = by_hand(lambda x, y: x + y, lambda _, dy: (dy.astype(jnp.bfloat16), dy[0]))
    assert [c.argument for c in contract_checks(rule, (X, X), "contract")] == ["x", "y"]


@pytest.mark.parametrize(
    ("rule", "args"),
    [
        (by_hand(lambda x, y: x + y, lambda _, dy: (dy, dy)), (X, X)),
        (by_hand(lambda x, y: x + y, lambda _, dy: [dy, dy]), (X, X)),
        (by_hand(lambda x, y: x + 0 * y, lambda _, dy: (dy, None)), (X, X)),
        (by_hand(pick, lambda args, dy: (jnp.zeros_like(args[0]).at[args[1]].add(dy), None)), (X, LABELS)),
        (by_hand(pick, lambda args, dy: (jnp.zeros_like(args[0]).at[args[1]].add(dy), nothing(args[1]))), (X, LABELS)),
        (by_hand(linear, lambda a, dy: ({"w": dy * a[1], "b": dy.sum()}, dy * a[0]["w"])), (TREE, X)),
        (by_hand(linear, lambda a, dy: ({"w": None, "b": dy.sum()}, dy * a[0]["w"])), (TREE, X)),
        (by_hand(lambda x: (x, jnp.argmax(x)), lambda _, dy: (dy[0],)), (X,)),
    ],
    ids=[
        "plain",
        "list",
        "none",
        "none for integers",
        "float0 for integers",
        "tree",
        "none in a tree",
        "integer output",
    ],
)
def test_what_is_right_passes(rule, args):
    """None stands for zeros, an integer has no cotangent, an integer output has none that comes in."""
    (check,) = contract_checks(rule, args, "contract float32")
    assert (check.name, check.status) == ("contract float32", "pass")


def test_static_and_default_arguments():
    """The rule gets the static arguments first and the defaults that the caller left out; neither has a cotangent."""

    @partial(jax.custom_vjp, nondiff_argnums=(1,))
    def power(x, exponent=3, scale=2.0):
        return scale * x**exponent

    fwd = lambda x, exponent, scale: (scale * x**exponent, (x, scale))
    power.defvjp(
        fwd, lambda exponent, r, dy: (r[1] * exponent * r[0] ** (exponent - 1) * dy, (r[0] ** exponent * dy).sum())
    )
    assert [c.status for c in contract_checks(power, (X,), "contract")] == ["pass"]
    power.defvjp(fwd, lambda exponent, r, dy: (dy, dy))
    assert [c.argument for c in contract_checks(power, (X,), "contract")] == ["scale"]


def test_functions_without_a_rule_of_their_own():
    """Nothing is asked of a plain function."""
    assert contract_checks(jnp.tanh, (X,), "contract") == []


def test_a_rule_with_symbolic_zeros():
    """Its fwd is told of each leaf whether it is differentiated; what its bwd returns is held to the same."""
    right = jax.custom_vjp(lambda p, labels: p["x"][labels])
    fwd = lambda p, labels: (p["x"].value[labels.value], (p["x"].perturbed, labels.perturbed, labels.value))
    bwd = lambda kept, dy: ({"x": jnp.zeros(3, np.float32).at[kept[2]].add(dy)}, None)
    right.defvjp(fwd, bwd, symbolic_zeros=True)
    assert [c.status for c in contract_checks(right, ({"x": X}, LABELS), "contract")] == ["pass"]
    right.defvjp(fwd, lambda kept, dy: ({"x": dy[:2]}, None), symbolic_zeros=True)
    (check,) = contract_checks(right, ({"x": X}, LABELS), "contract")
    assert check.argument == "p['x']"
    assert "shape (2,)" in check.cause


def test_exceptions_propagate():
    """They are the verdict's business."""

    def bwd(residuals, dy):
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        contract_checks(by_hand(lambda x: x, bwd), (X,), "contract")


def test_line_of():
    """The file without its folder and the first line, behind wrappers; None for what has no code."""
    assert line_of(test_line_of) == f"test_contract.py:{test_line_of.__code__.co_firstlineno}"
    assert line_of(by_hand(test_line_of, lambda r, dy: dy)) == line_of(test_line_of)
    assert line_of(len) is None
    assert line_of(None) is None
