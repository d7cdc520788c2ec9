"""The gated unit whose gate is a gelu, gelu(gate) value (Shazeer, 2020, arXiv 2002.05202). Catalogue #41.

The rule keeps the two arguments, which the projections before it hold anyway; autodiff keeps seven arrays.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.activations.gelu import gelu, gelu_bwd
from backproplab.layers.activations.gelu_tanh import gelu_tanh, gelu_tanh_bwd
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("approximate",))
def geglu(gate, value, approximate=True):
    """gelu(gate) value, elementwise; gate (...), value (...) of one shape -> y (...).

    approximate: the gelu with tanh, or else the one with the error function; name and default of `jax.nn.gelu`.
    """
    return (_gelu(gate, approximate) * widened(value)).astype(jnp.result_type(gate, value, float))


def _gelu(gate, approximate):
    """In float32 or wider."""
    return (gelu_tanh if approximate else gelu)(widened(gate))


def geglu_fwd(gate, value, approximate):
    """Keeps its arguments: gelu(gate) and its slope follow."""
    return geglu(gate, value, approximate), (gate, value)


def geglu_bwd(approximate, residuals, dy):
    """y = gelu(gate) value is a product, so each factor gets dy times the other:

        dvalue = dy gelu(gate)        dgate = dy value gelu'(gate)

    gelu' is the rule of `gelu_tanh` or `gelu`, which are exact in both tails.
    """
    gate, value = residuals
    dy = widened(dy)
    (dgate,) = (gelu_tanh_bwd if approximate else gelu_bwd)(gate, dy * value)
    return dgate, dy * _gelu(gate, approximate)


defvjp(geglu, geglu_fwd, geglu_bwd)


def _kept(gate, value, approximate=True):
    return gate.nbytes + value.nbytes


CASES = (
    Case(geglu, (normal(4, 5), normal(4, 5)), residual_bytes=_kept, order=2),
    Case(geglu, (normal(4, 5), normal(4, 5), False), name="error function", residual_bytes=_kept, order=2),
    Case(
        geglu,
        (full(0.0, 3), np.array([2.0, -1.0, 0.0])),
        name="gate at zero: half the slope",
        expect=(np.array([1.0, -0.5, 0.0]), np.zeros(3)),
    ),
    Case(geglu, (np.array([-5.0, 5.0, -7.0, 100.0]), np.array([0.5, -2.0, 1.5, 3.0])), name="tails of the gate"),
    Case(
        geglu,
        (np.array([-5.0, 5.0, -10.0, 100.0]), np.array([0.5, -2.0, 1.5, 3.0]), False),
        name="tails of the gate, error function",
    ),
    Case(
        geglu,
        (np.array([-12.5, -36.75, -37.25]), np.array([0.5, -2.0, 1.5]), False),
        name="where phi is about to underflow, error function",
    ),
)
