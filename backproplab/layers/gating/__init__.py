"""Gated units: one half of what comes in decides how much of the other passes. Catalogue #40, #41, #44."""

from backproplab.layers.gating.film import CASES as film_cases
from backproplab.layers.gating.film import film as film
from backproplab.layers.gating.geglu import CASES as geglu_cases
from backproplab.layers.gating.geglu import geglu as geglu
from backproplab.layers.gating.glu import CASES as glu_cases
from backproplab.layers.gating.glu import glu as glu
from backproplab.layers.gating.reglu import CASES as reglu_cases
from backproplab.layers.gating.reglu import reglu as reglu
from backproplab.layers.gating.swiglu import CASES as swiglu_cases
from backproplab.layers.gating.swiglu import swiglu as swiglu

CASES = (
    *film_cases,
    *geglu_cases,
    *glu_cases,
    *reglu_cases,
    *swiglu_cases,
)
