"""A functional backprop lab: layers with hand-written gradients, and a harness that verifies them and yours.

Three ideas: a page (a layer with its rule and cases), a case (one function at one point), a verdict.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backproplab.case import Case as Case
    from backproplab.case import away_from_zero as away_from_zero
    from backproplab.case import booleans as booleans
    from backproplab.case import distinct as distinct
    from backproplab.case import full as full
    from backproplab.case import integers as integers
    from backproplab.case import normal as normal
    from backproplab.case import prng_key as prng_key
    from backproplab.case import simplex as simplex
    from backproplab.case import uniform as uniform
    from backproplab.harness.strip import strip as strip
    from backproplab.harness.verdict import Verdict as Verdict
    from backproplab.harness.verify import verify as verify
    from backproplab.rule import defvjp as defvjp

__all__ = [
    "Case",
    "Verdict",
    "away_from_zero",
    "booleans",
    "defvjp",
    "distinct",
    "full",
    "integers",
    "normal",
    "prng_key",
    "simplex",
    "strip",
    "uniform",
    "verify",
]
_HOMES = {
    "Verdict": "backproplab.harness.verdict",
    "defvjp": "backproplab.rule",
    "strip": "backproplab.harness.strip",
    "verify": "backproplab.harness.verify",
}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for: `backproplab --help` does not wait for jax."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(importlib.import_module(_HOMES.get(name, "backproplab.case")), name)
    return value
