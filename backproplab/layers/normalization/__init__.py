"""Normalisation layers."""

from backproplab.layers.normalization.batch_norm import CASES as batch_norm_cases
from backproplab.layers.normalization.batch_norm import batch_norm as batch_norm
from backproplab.layers.normalization.batch_norm_inference import (
    CASES as batch_norm_inference_cases,
)
from backproplab.layers.normalization.batch_norm_inference import (
    batch_norm_inference as batch_norm_inference,
)
from backproplab.layers.normalization.layer_norm import CASES as layer_norm_cases
from backproplab.layers.normalization.layer_norm import layer_norm as layer_norm
from backproplab.layers.normalization.rms_norm import CASES as rms_norm_cases
from backproplab.layers.normalization.rms_norm import rms_norm as rms_norm

CASES = (*batch_norm_cases, *batch_norm_inference_cases, *layer_norm_cases, *rms_norm_cases)
