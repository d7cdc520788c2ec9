"""Affine maps and their relatives."""

from backproplab.layers.affine.affine import CASES as affine_cases
from backproplab.layers.affine.affine import affine as affine
from backproplab.layers.affine.bilinear import CASES as bilinear_cases
from backproplab.layers.affine.bilinear import bilinear as bilinear
from backproplab.layers.affine.einsum import CASES as einsum_cases
from backproplab.layers.affine.einsum import einsum as einsum
from backproplab.layers.affine.embedding import CASES as embedding_cases
from backproplab.layers.affine.embedding import embedding as embedding
from backproplab.layers.affine.embedding_bag import CASES as embedding_bag_cases
from backproplab.layers.affine.embedding_bag import embedding_bag as embedding_bag
from backproplab.layers.affine.low_rank_linear import CASES as low_rank_linear_cases
from backproplab.layers.affine.low_rank_linear import low_rank_linear as low_rank_linear
from backproplab.layers.affine.ragged_dot import CASES as ragged_dot_cases
from backproplab.layers.affine.ragged_dot import ragged_dot as ragged_dot
from backproplab.layers.affine.ragged_dot import ragged_outer as ragged_outer
from backproplab.layers.affine.squared_norm_of_linear import CASES as squared_norm_of_linear_cases
from backproplab.layers.affine.squared_norm_of_linear import squared_norm_of_linear as squared_norm_of_linear

CASES = (
    *affine_cases,
    *bilinear_cases,
    *einsum_cases,
    *embedding_cases,
    *embedding_bag_cases,
    *low_rank_linear_cases,
    *ragged_dot_cases,
    *squared_norm_of_linear_cases,
)
