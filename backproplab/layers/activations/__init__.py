"""Activations: what a unit makes of its weighted sum. Catalogue #20 to #39."""

from backproplab.layers.activations.celu import CASES as celu_cases
from backproplab.layers.activations.celu import celu as celu
from backproplab.layers.activations.clip import CASES as clip_cases
from backproplab.layers.activations.clip import clip as clip
from backproplab.layers.activations.crelu import CASES as crelu_cases
from backproplab.layers.activations.crelu import crelu as crelu
from backproplab.layers.activations.elu import CASES as elu_cases
from backproplab.layers.activations.elu import elu as elu
from backproplab.layers.activations.expm1 import CASES as expm1_cases
from backproplab.layers.activations.expm1 import expm1 as expm1
from backproplab.layers.activations.gaussian import CASES as gaussian_cases
from backproplab.layers.activations.gaussian import gaussian as gaussian
from backproplab.layers.activations.gelu import CASES as gelu_cases
from backproplab.layers.activations.gelu import gelu as gelu
from backproplab.layers.activations.gelu_tanh import CASES as gelu_tanh_cases
from backproplab.layers.activations.gelu_tanh import gelu_tanh as gelu_tanh
from backproplab.layers.activations.gumbel_softmax import CASES as gumbel_softmax_cases
from backproplab.layers.activations.gumbel_softmax import gumbel_softmax as gumbel_softmax
from backproplab.layers.activations.hard_shrink import CASES as hard_shrink_cases
from backproplab.layers.activations.hard_shrink import hard_shrink as hard_shrink
from backproplab.layers.activations.hard_sigmoid import CASES as hard_sigmoid_cases
from backproplab.layers.activations.hard_sigmoid import hard_sigmoid as hard_sigmoid
from backproplab.layers.activations.hard_swish import CASES as hard_swish_cases
from backproplab.layers.activations.hard_swish import hard_swish as hard_swish
from backproplab.layers.activations.hard_tanh import CASES as hard_tanh_cases
from backproplab.layers.activations.hard_tanh import hard_tanh as hard_tanh
from backproplab.layers.activations.leaky_relu import CASES as leaky_relu_cases
from backproplab.layers.activations.leaky_relu import leaky_relu as leaky_relu
from backproplab.layers.activations.log1mexp import CASES as log1mexp_cases
from backproplab.layers.activations.log1mexp import log1mexp as log1mexp
from backproplab.layers.activations.log1p import CASES as log1p_cases
from backproplab.layers.activations.log1p import log1p as log1p
from backproplab.layers.activations.log_sigmoid import CASES as log_sigmoid_cases
from backproplab.layers.activations.log_sigmoid import log_sigmoid as log_sigmoid
from backproplab.layers.activations.logit import CASES as logit_cases
from backproplab.layers.activations.logit import logit as logit
from backproplab.layers.activations.maxout import CASES as maxout_cases
from backproplab.layers.activations.maxout import maxout as maxout
from backproplab.layers.activations.mish import CASES as mish_cases
from backproplab.layers.activations.mish import mish as mish
from backproplab.layers.activations.prelu import CASES as prelu_cases
from backproplab.layers.activations.prelu import prelu as prelu
from backproplab.layers.activations.relu import CASES as relu_cases
from backproplab.layers.activations.relu import relu as relu
from backproplab.layers.activations.relu6 import CASES as relu6_cases
from backproplab.layers.activations.relu6 import relu6 as relu6
from backproplab.layers.activations.relu_squared import CASES as relu_squared_cases
from backproplab.layers.activations.relu_squared import relu_squared as relu_squared
from backproplab.layers.activations.selu import CASES as selu_cases
from backproplab.layers.activations.selu import selu as selu
from backproplab.layers.activations.sigmoid import CASES as sigmoid_cases
from backproplab.layers.activations.sigmoid import sigmoid as sigmoid
from backproplab.layers.activations.silu import CASES as silu_cases
from backproplab.layers.activations.silu import silu as silu
from backproplab.layers.activations.sin import CASES as sin_cases
from backproplab.layers.activations.sin import sin as sin
from backproplab.layers.activations.sinc import CASES as sinc_cases
from backproplab.layers.activations.sinc import sinc as sinc
from backproplab.layers.activations.snake import CASES as snake_cases
from backproplab.layers.activations.snake import snake as snake
from backproplab.layers.activations.soft_shrink import CASES as soft_shrink_cases
from backproplab.layers.activations.soft_shrink import soft_shrink as soft_shrink
from backproplab.layers.activations.soft_sign import CASES as soft_sign_cases
from backproplab.layers.activations.soft_sign import soft_sign as soft_sign
from backproplab.layers.activations.softplus import CASES as softplus_cases
from backproplab.layers.activations.softplus import softplus as softplus
from backproplab.layers.activations.sparse_plus import CASES as sparse_plus_cases
from backproplab.layers.activations.sparse_plus import sparse_plus as sparse_plus
from backproplab.layers.activations.squareplus import CASES as squareplus_cases
from backproplab.layers.activations.squareplus import squareplus as squareplus
from backproplab.layers.activations.swish import CASES as swish_cases
from backproplab.layers.activations.swish import swish as swish
from backproplab.layers.activations.tanh import CASES as tanh_cases
from backproplab.layers.activations.tanh import tanh as tanh
from backproplab.layers.activations.tanh_shrink import CASES as tanh_shrink_cases
from backproplab.layers.activations.tanh_shrink import tanh_shrink as tanh_shrink
from backproplab.layers.activations.threshold import CASES as threshold_cases
from backproplab.layers.activations.threshold import threshold as threshold

CASES = (
    *celu_cases,
    *clip_cases,
    *crelu_cases,
    *elu_cases,
    *expm1_cases,
    *gaussian_cases,
    *gelu_cases,
    *gelu_tanh_cases,
    *gumbel_softmax_cases,
    *hard_shrink_cases,
    *hard_sigmoid_cases,
    *hard_swish_cases,
    *hard_tanh_cases,
    *leaky_relu_cases,
    *log1mexp_cases,
    *log1p_cases,
    *log_sigmoid_cases,
    *logit_cases,
    *maxout_cases,
    *mish_cases,
    *prelu_cases,
    *relu_cases,
    *relu6_cases,
    *relu_squared_cases,
    *selu_cases,
    *sigmoid_cases,
    *silu_cases,
    *sin_cases,
    *sinc_cases,
    *snake_cases,
    *soft_shrink_cases,
    *soft_sign_cases,
    *softplus_cases,
    *sparse_plus_cases,
    *squareplus_cases,
    *swish_cases,
    *tanh_cases,
    *tanh_shrink_cases,
    *threshold_cases,
)
