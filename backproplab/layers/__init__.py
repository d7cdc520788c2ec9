"""Layers with hand-written gradients: a room per family, a page per layer."""

from backproplab.layers import (
    activations,
    affine,
    attention,
    convolution,
    fused,
    gates,
    gating,
    linear_algebra,
    losses,
    metric_losses,
    normalization,
    quantization,
    recurrence,
    reductions,
    regularization,
)

CASES = (
    *gates.CASES,
    *affine.CASES,
    *activations.CASES,
    *gating.CASES,
    *normalization.CASES,
    *losses.CASES,
    *metric_losses.CASES,
    *reductions.CASES,
    *attention.CASES,
    *recurrence.CASES,
    *convolution.CASES,
    *linear_algebra.CASES,
    *quantization.CASES,
    *regularization.CASES,
    *fused.CASES,
)
