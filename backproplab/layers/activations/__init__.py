"""Activations: what a unit makes of its weighted sum. Catalogue #20 to #31."""

from backproplab.layers.activations.celu import CASES as celu_cases
from backproplab.layers.activations.celu import celu as celu
from backproplab.layers.activations.elu import CASES as elu_cases
from backproplab.layers.activations.elu import elu as elu
from backproplab.layers.activations.gelu import CASES as gelu_cases
from backproplab.layers.activations.gelu import gelu as gelu
from backproplab.layers.activations.gelu_tanh import CASES as gelu_tanh_cases
from backproplab.layers.activations.gelu_tanh import gelu_tanh as gelu_tanh
from backproplab.layers.activations.hard_sigmoid import CASES as hard_sigmoid_cases
from backproplab.layers.activations.hard_sigmoid import hard_sigmoid as hard_sigmoid
from backproplab.layers.activations.hard_swish import CASES as hard_swish_cases
from backproplab.layers.activations.hard_swish import hard_swish as hard_swish
from backproplab.layers.activations.hard_tanh import CASES as hard_tanh_cases
from backproplab.layers.activations.hard_tanh import hard_tanh as hard_tanh
from backproplab.layers.activations.leaky_relu import CASES as leaky_relu_cases
from backproplab.layers.activations.leaky_relu import leaky_relu as leaky_relu
from backproplab.layers.activations.log_sigmoid import CASES as log_sigmoid_cases
from backproplab.layers.activations.log_sigmoid import log_sigmoid as log_sigmoid
from backproplab.layers.activations.mish import CASES as mish_cases
from backproplab.layers.activations.mish import mish as mish
from backproplab.layers.activations.prelu import CASES as prelu_cases
from backproplab.layers.activations.prelu import prelu as prelu
from backproplab.layers.activations.relu import CASES as relu_cases
from backproplab.layers.activations.relu import relu as relu
from backproplab.layers.activations.relu6 import CASES as relu6_cases
from backproplab.layers.activations.relu6 import relu6 as relu6
from backproplab.layers.activations.selu import CASES as selu_cases
from backproplab.layers.activations.selu import selu as selu
from backproplab.layers.activations.sigmoid import CASES as sigmoid_cases
from backproplab.layers.activations.sigmoid import sigmoid as sigmoid
from backproplab.layers.activations.silu import CASES as silu_cases
from backproplab.layers.activations.silu import silu as silu
from backproplab.layers.activations.softplus import CASES as softplus_cases
from backproplab.layers.activations.softplus import softplus as softplus
from backproplab.layers.activations.swish import CASES as swish_cases
from backproplab.layers.activations.swish import swish as swish
from backproplab.layers.activations.tanh import CASES as tanh_cases
from backproplab.layers.activations.tanh import tanh as tanh

CASES = (
    *celu_cases,
    *elu_cases,
    *gelu_cases,
    *gelu_tanh_cases,
    *hard_sigmoid_cases,
    *hard_swish_cases,
    *hard_tanh_cases,
    *leaky_relu_cases,
    *log_sigmoid_cases,
    *mish_cases,
    *prelu_cases,
    *relu_cases,
    *relu6_cases,
    *selu_cases,
    *sigmoid_cases,
    *silu_cases,
    *softplus_cases,
    *swish_cases,
    *tanh_cases,
)
