"""Gates: the scalar building blocks of every computational graph, applied elementwise."""

from backproplab.layers.gates.add import CASES as add_cases
from backproplab.layers.gates.add import add as add
from backproplab.layers.gates.divide import CASES as divide_cases
from backproplab.layers.gates.divide import divide as divide
from backproplab.layers.gates.exp import CASES as exp_cases
from backproplab.layers.gates.exp import exp as exp
from backproplab.layers.gates.fan_out import CASES as fan_out_cases
from backproplab.layers.gates.fan_out import fan_out as fan_out
from backproplab.layers.gates.heaviside import (
    CASES as heaviside_cases,
)
from backproplab.layers.gates.heaviside import (
    heaviside as heaviside,
)
from backproplab.layers.gates.heaviside import (
    perceptron_rule as perceptron_rule,
)
from backproplab.layers.gates.log import CASES as log_cases
from backproplab.layers.gates.log import log as log
from backproplab.layers.gates.maximum import CASES as maximum_cases
from backproplab.layers.gates.maximum import maximum as maximum
from backproplab.layers.gates.minimum import CASES as minimum_cases
from backproplab.layers.gates.minimum import minimum as minimum
from backproplab.layers.gates.multiply import CASES as multiply_cases
from backproplab.layers.gates.multiply import multiply as multiply
from backproplab.layers.gates.power import CASES as power_cases
from backproplab.layers.gates.power import power as power
from backproplab.layers.gates.power import static_power as static_power
from backproplab.layers.gates.reciprocal import CASES as reciprocal_cases
from backproplab.layers.gates.reciprocal import reciprocal as reciprocal
from backproplab.layers.gates.rsqrt import CASES as rsqrt_cases
from backproplab.layers.gates.rsqrt import rsqrt as rsqrt
from backproplab.layers.gates.scale_shift import CASES as scale_shift_cases
from backproplab.layers.gates.scale_shift import scale_shift as scale_shift
from backproplab.layers.gates.sigmoid_neuron import CASES as sigmoid_neuron_cases
from backproplab.layers.gates.sigmoid_neuron import sigmoid_neuron as sigmoid_neuron
from backproplab.layers.gates.sqrt import CASES as sqrt_cases
from backproplab.layers.gates.sqrt import sqrt as sqrt
from backproplab.layers.gates.staged import CASES as staged_cases
from backproplab.layers.gates.staged import staged as staged

CASES = (
    *add_cases,
    *divide_cases,
    *exp_cases,
    *fan_out_cases,
    *heaviside_cases,
    *log_cases,
    *maximum_cases,
    *minimum_cases,
    *multiply_cases,
    *power_cases,
    *reciprocal_cases,
    *rsqrt_cases,
    *scale_shift_cases,
    *sigmoid_neuron_cases,
    *sqrt_cases,
    *staged_cases,
)
