"""Affine maps and their relatives."""

from backproplab.layers.affine.affine import CASES as affine_cases
from backproplab.layers.affine.affine import affine as affine
from backproplab.layers.affine.embedding import CASES as embedding_cases
from backproplab.layers.affine.embedding import embedding as embedding
from backproplab.layers.affine.squared_norm_of_linear import (
    CASES as squared_norm_of_linear_cases,
)
from backproplab.layers.affine.squared_norm_of_linear import (
    squared_norm_of_linear as squared_norm_of_linear,
)

CASES = (*affine_cases, *embedding_cases, *squared_norm_of_linear_cases)
