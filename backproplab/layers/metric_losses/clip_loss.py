"""The symmetric contrastive loss of CLIP: which text belongs to the image, and which image to the text (Radford et al.,
2021, arXiv 2103.00020). Catalogue #76. The rule keeps its arguments; autodiff keeps arrays of all pairs.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal, uniform
from backproplab.layers.metric_losses.info_nce import cross_entropies, similarities, with_respect_to_logits
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def clip_loss(images, texts, temperature=0.07):
    """The mean of the cross-entropies of images among texts and of texts among images, L = images texts^T / temperature.

    images (..., n, d), texts (..., n, d), pairs of the same number, temperature a positive number or scalar array,
    differentiated too -> loss (..., n), in the dtype of the images; no mean is taken over the pairs. Whoever wants
    cosines hands over vectors of unit length. Raises ValueError if the numbers differ.
    """
    if images.shape[-2] != texts.shape[-2]:
        raise ValueError(f"clip_loss wants pairs, not {images.shape[-2]} images and {texts.shape[-2]} texts")
    logits = similarities(images, texts) / temperature
    return (0.5 * (cross_entropies(logits) + cross_entropies(logits.mT))).astype(images.dtype)


def clip_loss_fwd(images, texts, temperature):
    """Keeps its arguments, which the caller holds anyway: the logits are one matrix product."""
    return clip_loss(images, texts, temperature), (images, texts, temperature)


def clip_loss_bwd(residuals, dloss):
    """Two classifications of the same logits, rows and columns. With R and C the softmax along rows and columns, pair i
    has the cotangent g_i / 2 in row i and in column i:

        G_ij = ((R_ij - delta_ij) g_i + (C_ij - delta_ij) g_j) / 2
        dimages = G texts / T        dtexts = G^T images / T        dT = -sum_ij G_ij L_ij / T

    and each half of the last sum is taken as in `info_nce`, from the differences to the pair's own logit.
    """
    images, texts, temperature = residuals
    a, b = widened(images), widened(texts)
    logits = similarities(a, b) / temperature
    by_rows, first = with_respect_to_logits(logits, 0.5 * widened(dloss))
    by_columns, second = with_respect_to_logits(logits.mT, 0.5 * widened(dloss))
    g = (by_rows + by_columns.mT) / temperature
    dimages = jnp.einsum("...nm,...md->...nd", g, b)
    return dimages, jnp.einsum("...nm,...nd->...md", g, a), -(first + second) / temperature


defvjp(clip_loss, clip_loss_fwd, clip_loss_bwd)

_positive = {2: (0.0, np.inf)}


def _kept(images, texts, temperature):
    """The arguments."""
    return images.nbytes + texts.nbytes + temperature.nbytes


_apart = np.eye(3)[[1, 2, 0]]  # unit vectors, as a matrix that is not its own transpose
CASES = (
    Case(clip_loss, (normal(4, 5), normal(4, 5), uniform(0.5, 2.0)), residual_bytes=_kept, order=2, domain=_positive),
    Case(
        clip_loss,
        (normal(2, 3, 4), normal(2, 3, 4), uniform(0.5, 2.0)),
        name="two batches",
        residual_bytes=_kept,
        domain=_positive,
    ),
    # all logits equal: 1/2 off the diagonal and -1/2 on it, from rows and columns alike
    Case(
        clip_loss,
        (np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros((2, 2)), full(1.0)),
        name="ties",
        domain=_positive,
        expect=(np.zeros((2, 2)), np.array([[-0.5, 0.5], [0.5, -0.5]]), np.array(0.0)),
    ),
    Case(clip_loss, (_apart, _apart, full(2.0**-4)), name="tails", domain=_positive),
)
