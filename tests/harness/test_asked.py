"""Which checks `verify` asks at which cases and in which dtypes."""

import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import by_hand, square

from backproplab import Case, verify

X = np.array([0.7, -1.25, 2.0])
ONLY_HERE = {"dtypes": ("float64",), "domain": {0: "fixed"}}  # no other points are legal


def right(x, dy):
    return 2 * x * dy


def test_checks_of_each_dtype():
    """Arithmetic is asked in each dtype; what does not depend on it once, in the first.

    So is the formula, unless it is another one in the second, and the contract, for which JAX takes float64 for float32.
    """
    names = [
        check.name for check in verify(square(right), X, domain={0: "fixed"}, dtypes=("float64", "float32")).checks
    ]
    for once in ("contract float64", "differences", "linearity", "interleaved", "eager", "vmap", "autodiff"):
        assert names.count(once) == 1, once
    assert {"float64", "float32"} <= set(names)
    assert not {"contract float32", "autodiff float32"} & set(names)
    assert names.count("repeated") == 2


def test_the_contract_of_mixed_types():
    """In float32 an argument that was given in bfloat16 keeps its type, and its cotangent must, too."""
    rule = by_hand(lambda x, y: y * x, lambda args, dz: (args[1] * dz, args[0] * dz))
    failing = {c.name for c in verify(rule, X.astype(jnp.bfloat16), X.astype(np.float32)).checks if c.status == "fail"}
    assert failing == {"contract float32"}


def test_named_cases_are_not_run_in_the_widest_dtype():
    """Their formula is judged in it, and where no other dtype follows they are run."""
    names = lambda *dtypes: {c.name for c in verify(Case(square(right), (X,), name="named", dtypes=dtypes)).checks}
    runs = {"repeated", "float64", "float32"}
    assert names("float64", "float32") & runs == {"repeated", "float32"}
    assert names("float64") & runs == {"repeated", "float64"}


@pytest.mark.parametrize(
    ("transforms", "name", "asked"),
    [("examples", "", {"vmap", "scan", "eager"}), ("examples", "named", set()), ("all", "named", {"vmap", "scan", "eager"}), ("none", "", set())],
)  # fmt: skip
def test_transforms_at_chosen_cases(transforms, name, asked):
    """At examples, at all cases or at none."""
    checks = verify(Case(square(right), (X,), name=name, **ONLY_HERE), transforms=transforms).checks
    assert {check.name for check in checks} & {"vmap", "scan", "eager"} == asked


def test_no_other_transforms():
    """One line says which there are."""
    with pytest.raises(ValueError, match="transforms is one of examples, all, none"):
        verify(square(right), X, transforms="vmap")
