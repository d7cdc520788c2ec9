"""The gated unit whose gate is a relu, relu(gate) value (Shazeer, 2020, arXiv 2002.05202). Catalogue #41.

The rule keeps the two arguments, which the projections before it hold anyway; autodiff keeps relu(gate) besides, or the
result of a comparison.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, away_from_zero, full, normal
from backproplab.layers.activations.relu import relu
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def reglu(gate, value):
    """max(gate, 0) value, elementwise; gate (...), value (...) of one shape -> y (...)."""
    return relu(gate) * value


def reglu_fwd(gate, value):
    """Keeps its arguments: each is the other's local gradient, where the gate is open."""
    return reglu(gate, value), (gate, value)


def reglu_bwd(residuals, dy):
    """Where the gate is open, gate > 0, y = gate value; where it is shut, y = 0:

        dgate = dy value, dvalue = dy gate        both 0 where gate <= 0, by selection

    At the kink gate = 0 the slope is 0, as that of `relu`.
    """
    gate, value = residuals
    dy = widened(dy)
    return jnp.where(gate > 0, dy * value, 0), jnp.where(gate > 0, dy * gate, 0)


defvjp(reglu, reglu_fwd, reglu_bwd)


def _kept(gate, value):
    return gate.nbytes + value.nbytes


CASES = (
    Case(reglu, (away_from_zero(4, 5), normal(4, 5)), residual_bytes=_kept),
    Case(reglu, (away_from_zero(2, 3, 4), normal(2, 3, 4)), name="two batch axes", residual_bytes=_kept),
    Case(
        reglu,
        (np.array([2.0, -2.0, 0.5]), np.array([3.0, 3.0, 0.0])),
        name="open, shut, nothing to pass",
        expect=(np.array([3.0, 0.0, 0.0]), np.array([2.0, 0.0, 0.5])),
    ),
    Case(
        reglu,
        (full(0.0, 3), np.array([2.0, -1.0, 0.0])),
        name="gate at zero: slope 0",
        kink=True,
        expect=(np.zeros(3), np.zeros(3)),
    ),
)
