"""Normalisation layers."""

from backproplab.layers.normalization.batch_norm import CASES as batch_norm_cases
from backproplab.layers.normalization.batch_norm import batch_norm as batch_norm
from backproplab.layers.normalization.batch_norm_inference import CASES as batch_norm_inference_cases
from backproplab.layers.normalization.batch_norm_inference import batch_norm_inference as batch_norm_inference
from backproplab.layers.normalization.dyt import CASES as dyt_cases
from backproplab.layers.normalization.dyt import dyt as dyt
from backproplab.layers.normalization.group_norm import CASES as group_norm_cases
from backproplab.layers.normalization.group_norm import group_norm as group_norm
from backproplab.layers.normalization.instance_norm import CASES as instance_norm_cases
from backproplab.layers.normalization.instance_norm import instance_norm as instance_norm
from backproplab.layers.normalization.l2_normalize import CASES as l2_normalize_cases
from backproplab.layers.normalization.l2_normalize import l2_normalize as l2_normalize
from backproplab.layers.normalization.layer_norm import CASES as layer_norm_cases
from backproplab.layers.normalization.layer_norm import layer_norm as layer_norm
from backproplab.layers.normalization.rms_norm import CASES as rms_norm_cases
from backproplab.layers.normalization.rms_norm import rms_norm as rms_norm
from backproplab.layers.normalization.spectral_norm import CASES as spectral_norm_cases
from backproplab.layers.normalization.spectral_norm import singular_vectors as singular_vectors
from backproplab.layers.normalization.spectral_norm import spectral_norm as spectral_norm
from backproplab.layers.normalization.weight_norm import CASES as weight_norm_cases
from backproplab.layers.normalization.weight_norm import weight_norm as weight_norm

CASES = (
    *batch_norm_cases,
    *batch_norm_inference_cases,
    *dyt_cases,
    *group_norm_cases,
    *instance_norm_cases,
    *l2_normalize_cases,
    *layer_norm_cases,
    *rms_norm_cases,
    *spectral_norm_cases,
    *weight_norm_cases,
)
