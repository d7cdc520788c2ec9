"""Reductions over axes."""

from backproplab.layers.reductions.logsumexp import CASES as logsumexp_cases
from backproplab.layers.reductions.logsumexp import logsumexp as logsumexp

CASES = (*logsumexp_cases,)
