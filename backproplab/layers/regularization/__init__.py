"""Regularisation: what keeps a network from learning its data by heart."""

from backproplab.layers.regularization.dropout import CASES as dropout_cases
from backproplab.layers.regularization.dropout import dropout as dropout

CASES = dropout_cases
