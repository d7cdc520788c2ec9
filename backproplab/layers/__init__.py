"""Layers with hand-written gradients: a room per family, a page per layer."""

from backproplab.layers import (
    activations,
    affine,
    convolution,
    gates,
    losses,
    normalization,
    reductions,
    regularization,
)

CASES = (
    *gates.CASES,
    *affine.CASES,
    *activations.CASES,
    *normalization.CASES,
    *losses.CASES,
    *reductions.CASES,
    *convolution.CASES,
    *regularization.CASES,
)
