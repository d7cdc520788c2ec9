"""Convolution and pooling, channels last. Catalogue #113 to #115."""

from backproplab.layers.convolution.adaptive_average_pool import CASES as adaptive_average_pool_cases
from backproplab.layers.convolution.adaptive_average_pool import adaptive_average_pool as adaptive_average_pool
from backproplab.layers.convolution.average_pool import CASES as average_pool_cases
from backproplab.layers.convolution.average_pool import average_pool as average_pool
from backproplab.layers.convolution.conv import CASES as conv_cases
from backproplab.layers.convolution.conv import conv as conv
from backproplab.layers.convolution.conv2d import CASES as conv2d_cases
from backproplab.layers.convolution.conv2d import conv2d as conv2d
from backproplab.layers.convolution.conv_transpose import CASES as conv_transpose_cases
from backproplab.layers.convolution.conv_transpose import conv_transpose as conv_transpose
from backproplab.layers.convolution.lp_pool import CASES as lp_pool_cases
from backproplab.layers.convolution.lp_pool import lp_pool as lp_pool
from backproplab.layers.convolution.max_pool import CASES as max_pool_cases
from backproplab.layers.convolution.max_pool import max_pool as max_pool

CASES = (
    *adaptive_average_pool_cases,
    *average_pool_cases,
    *conv_cases,
    *conv2d_cases,
    *conv_transpose_cases,
    *lp_pool_cases,
    *max_pool_cases,
)
