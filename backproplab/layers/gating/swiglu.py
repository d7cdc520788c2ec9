"""The gated unit whose gate is a silu, silu(gate) value: the hidden layer of most language models (Shazeer, 2020, arXiv
2002.05202). Catalogue #41.

The rule keeps the two arguments, which the projections before it hold anyway; autodiff keeps five arrays or more.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.activations.silu import silu, silu_bwd
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def swiglu(gate, value):
    """gate sigmoid(gate) value, elementwise; gate (...), value (...) of one shape -> y (...).

    In bfloat16 the product of the three is taken in float32 and rounded once.
    """
    return (silu(widened(gate)) * widened(value)).astype(jnp.result_type(gate, value, float))


def swiglu_fwd(gate, value):
    """Keeps its arguments: silu(gate) and its slope follow, at the price of one exponential."""
    return swiglu(gate, value), (gate, value)


def swiglu_bwd(residuals, dy):
    """y = silu(gate) value is a product, so each factor gets dy times the other:

        dvalue = dy silu(gate)        dgate = dy value silu'(gate)

    silu' is the rule of `silu`, which is exact in both tails; neither product is rounded to 16 bits in between.
    """
    gate, value = residuals
    dy = widened(dy)
    return *silu_bwd(gate, dy * value), dy * silu(widened(gate))


defvjp(swiglu, swiglu_fwd, swiglu_bwd)


def _kept(gate, value):
    return gate.nbytes + value.nbytes


CASES = (
    Case(swiglu, (normal(4, 5, scale=2.0), normal(4, 5)), residual_bytes=_kept, order=2),
    Case(swiglu, (normal(2, 3, 4), normal(2, 3, 4)), name="two batch axes", residual_bytes=_kept),
    Case(
        swiglu,
        (full(0.0, 3), np.array([2.0, -1.0, 0.0])),
        name="gate at zero: half the slope",
        expect=(np.array([1.0, -0.5, 0.0]), np.zeros(3)),
    ),
    Case(swiglu, (np.array([-30.0, 30.0, -80.0, 1000.0]), np.array([0.5, -2.0, 1.5, 3.0])), name="tails of the gate"),
)
