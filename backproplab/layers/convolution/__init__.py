"""Convolution and pooling over images, channels last. Catalogue #113 and #115."""

from backproplab.layers.convolution.average_pool import CASES as average_pool_cases
from backproplab.layers.convolution.average_pool import average_pool as average_pool
from backproplab.layers.convolution.conv2d import CASES as conv2d_cases
from backproplab.layers.convolution.conv2d import conv2d as conv2d
from backproplab.layers.convolution.max_pool import CASES as max_pool_cases
from backproplab.layers.convolution.max_pool import max_pool as max_pool

CASES = (
    *average_pool_cases,
    *conv2d_cases,
    *max_pool_cases,
)
