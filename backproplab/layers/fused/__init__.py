"""Fused layers, which never hold what lies between two steps. Catalogue #55 and #128."""

from backproplab.layers.fused.add_rms_norm import CASES as add_rms_norm_cases
from backproplab.layers.fused.add_rms_norm import add_rms_norm as add_rms_norm
from backproplab.layers.fused.linear_cross_entropy import CASES as linear_cross_entropy_cases
from backproplab.layers.fused.linear_cross_entropy import linear_cross_entropy as linear_cross_entropy

CASES = (*add_rms_norm_cases, *linear_cross_entropy_cases)
