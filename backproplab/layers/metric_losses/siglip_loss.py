"""The sigmoid loss of SigLIP: every pair of image and text is a yes or no question (Zhai et al., 2023, arXiv 2303.15343).

Catalogue #76. The rule keeps its arguments; autodiff keeps arrays of all pairs.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.metric_losses.info_nce import similarities
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def siglip_loss(images, texts, scale=10.0, bias=-10.0):
    """sum_j -log sigmoid(z_ij (scale S_ij + bias)), S = images texts^T, z_ij = 1 for i = j and -1 for all other pairs.

    images (..., n, d), texts (..., m, d), where text i belongs to image i and texts after the n-th to none, scale and bias
    numbers or scalar arrays, differentiated too -> loss (..., n), in the dtype of the images; no mean is taken. (The paper
    learns log scale and divides the sum by n.)
    """
    return jnp.sum(jnp.logaddexp(0, -_signs(images, texts) * _logits(images, texts, scale, bias)), -1).astype(
        images.dtype
    )


def _logits(images, texts, scale, bias):
    return scale * similarities(images, texts) + bias


def _signs(images, texts):
    """(n, m): +1 on the diagonal, -1 elsewhere."""
    return 2 * jnp.eye(images.shape[-2], texts.shape[-2], dtype=jnp.int8) - 1


def siglip_loss_fwd(images, texts, scale, bias):
    """Keeps its arguments, which the caller holds anyway: the logits are one matrix product."""
    return siglip_loss(images, texts, scale, bias), (images, texts, scale, bias)


def siglip_loss_bwd(residuals, dloss):
    """-log sigmoid(u) has the slope -sigmoid(-u), so the logits L = scale S + bias have the gradient

        G_ij = -z_ij sigmoid(-z_ij L_ij) dloss_i

    exact in the tails as exp(-log(1 + exp(z L))). Then

        dimages = scale G texts        dtexts = scale G^T images        dscale = sum_ij G_ij S_ij        dbias = sum_ij G_ij
    """
    images, texts, scale, bias = residuals
    a, b = widened(images), widened(texts)
    z = _signs(a, b)
    s = similarities(a, b)
    g = -z * jnp.exp(-jnp.logaddexp(0, z * (scale * s + bias))) * dloss[..., None].astype(s.dtype)
    dimages = scale * jnp.einsum("...nm,...md->...nd", g, b)
    return dimages, scale * jnp.einsum("...nm,...nd->...md", g, a), jnp.sum(g * s), jnp.sum(g)


defvjp(siglip_loss, siglip_loss_fwd, siglip_loss_bwd)


def _kept(images, texts, scale, bias):
    """The arguments."""
    return images.nbytes + texts.nbytes + scale.nbytes + bias.nbytes


_apart = np.eye(3)[[1, 2, 0]]  # unit vectors, as a matrix that is not its own transpose
CASES = (
    Case(siglip_loss, (normal(4, 5), normal(4, 5), full(1.5), full(-0.5)), residual_bytes=_kept, order=2),
    Case(
        siglip_loss,
        (normal(2, 3, 4), normal(2, 5, 4), full(0.5), full(0.0)),
        name="more texts than images",
        residual_bytes=_kept,
    ),
    # all logits 0: minus 1/2 on the diagonal, 1/2 off it
    Case(
        siglip_loss,
        (np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros((2, 2)), full(2.0), full(0.0)),
        name="logits 0",
        expect=(np.zeros((2, 2)), np.array([[-1.0, 1.0], [1.0, -1.0]]), np.array(0.0), np.array(0.0)),
    ),
    Case(siglip_loss, (_apart, _apart, full(64.0), full(-32.0)), name="tails: right by 32"),
    Case(siglip_loss, (_apart, np.eye(3), full(64.0), full(-32.0)), name="tails: wrong by 32"),
)
