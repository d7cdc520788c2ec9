"""Quantisation: steps with a declared gradient. Catalogue #127."""

from backproplab.layers.quantization.fake_quantize import CASES as fake_quantize_cases
from backproplab.layers.quantization.fake_quantize import fake_quantize as fake_quantize
from backproplab.layers.quantization.lsq import CASES as lsq_cases
from backproplab.layers.quantization.lsq import lsq as lsq
from backproplab.layers.quantization.pact import CASES as pact_cases
from backproplab.layers.quantization.pact import pact as pact
from backproplab.layers.quantization.round_ste import CASES as round_ste_cases
from backproplab.layers.quantization.round_ste import round_ste as round_ste
from backproplab.layers.quantization.sign_ste import CASES as sign_ste_cases
from backproplab.layers.quantization.sign_ste import sign_ste as sign_ste
from backproplab.layers.quantization.stochastic_round import CASES as stochastic_round_cases
from backproplab.layers.quantization.stochastic_round import stochastic_round as stochastic_round
from backproplab.layers.quantization.ternary_ste import CASES as ternary_ste_cases
from backproplab.layers.quantization.ternary_ste import ternary_ste as ternary_ste
from backproplab.layers.quantization.vector_quantize import CASES as vector_quantize_cases
from backproplab.layers.quantization.vector_quantize import vector_quantize as vector_quantize

CASES = (
    *fake_quantize_cases,
    *lsq_cases,
    *pact_cases,
    *round_ste_cases,
    *sign_ste_cases,
    *stochastic_round_cases,
    *ternary_ste_cases,
    *vector_quantize_cases,
)
