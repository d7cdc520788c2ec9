"""The transposed convolution, which puts a multiple of the kernel around every entry of x. Catalogue #114.

Autodiff's weight gradient slides the cotangent over x spread out with zeros, of which it multiplies strides - 1 of strides
along each axis (equinox#1259: thirty times slower than need be). This rule slides x over the cotangent instead.
"""

from functools import partial

import jax
import jax.numpy as jnp

from backproplab.case import Case, normal
from backproplab.layers.convolution.conv import correlate, correlate_examples, one_batch
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("strides", "padding", "rhs_dilation", "transpose_kernel"))
def conv_transpose(x, w, strides, padding, rhs_dilation=None, transpose_kernel=False):
    """x (..., *space, c), w (*kernel, c, m) -> y (..., *out, m), with as many axes in space as w says.

    As `jax.lax.conv_transpose` with channels last. strides: a tuple, the distance at which the entries of x are put. padding:
    "SAME" (the length of x times the stride), "VALID" (every place that an entry reaches), or pairs (low, high) for each
    axis: zeros around the spread x, as there, not what they are called in other libraries. rhs_dilation: a tuple, spacing of
    the kernel's entries. transpose_kernel: w is the kernel (*kernel, m, c) of the convolution that this one transposes, and
    gets mirrored. Accumulated in float32 or wider, returned in the dtype of x. Raises ValueError if the shapes do not fit.
    """
    if w.ndim < 3 or x.ndim < w.ndim - 1 or x.shape[-1] != w.shape[-1 if transpose_kernel else -2]:
        raise ValueError(f"conv_transpose takes x (..., *space, c) and w (*kernel, c, m), not {x.shape} and {w.shape}")
    w = _mirrored(w) if transpose_kernel else w
    pads, steps = _numbers(w.shape, strides, padding, rhs_dilation)
    y = correlate(one_batch(x, w), w, (1,) * len(steps), pads, strides, steps, 1)
    return y.reshape(*x.shape[: x.ndim - w.ndim + 1], *y.shape[1:]).astype(x.dtype)


def _mirrored(w):
    """w mirrored in space, inputs and outputs exchanged; twice, w itself."""
    return jnp.flip(w, range(w.ndim - 2)).swapaxes(-1, -2)


def _numbers(kernel, strides, padding, rhs_dilation):
    """Padding and dilation as numbers for each axis."""
    rank = len(kernel) - 2
    steps = (1,) * rank if rhs_dilation is None else rhs_dilation
    if not isinstance(padding, str):
        return padding, steps
    if padding not in ("SAME", "VALID"):
        raise ValueError(f"conv_transpose: padding is SAME, VALID or pairs of numbers, not {padding!r}")
    pads = []
    for size, stride, step in zip(kernel, strides, steps):
        reach = step * (size - 1)
        total = reach + stride - 1 if padding == "SAME" else reach + max(reach, stride - 1)
        low = reach if padding == "VALID" or stride > reach else -(-total // 2)
        pads.append((low, total - low))
    return tuple(pads), steps


def conv_transpose_fwd(x, w, strides, padding, rhs_dilation, transpose_kernel):
    """Keeps x and w, which the caller holds anyway."""
    return conv_transpose(x, w, strides, padding, rhs_dilation, transpose_kernel), (x, w)


def conv_transpose_bwd(strides, padding, rhs_dilation, transpose_kernel, residuals, dy):
    """Along one axis, with n entries x_i at places s i, p zeros in front, and K kernel entries at distance d,

        y_o = sum_k w_k x_i    for all i and k with  s i = o + d k - p,    that is  o = s i + p - d k

    Count the kernel from its end, j = K - 1 - k, and let q = d (K - 1) - p: then o = s i + d j - q, and

        dx_i = sum_j w_{K-1-j} dy_{s i + d j - q}        dw_{K-1-j} = sum_i x_i dy_{s i + d j - q}

    The first is an ordinary convolution of dy with stride s and dilation d, by the mirrored kernel, q zeros in front. The
    second is the same with x in the kernel's place, and so s and d exchanged; the examples are summed over like channels.
    Behind go as many zeros as make the last index, s (n - 1) + d (K - 1) - q, the last entry of the padded dy.
    """
    x, w = residuals
    pads, steps = _numbers(w.shape, strides, padding, rhs_dilation)
    images, dy = one_batch(x, w), one_batch(dy, w)
    back = []
    for n, size, out, (low, _), stride, step in zip(images.shape[1:], w.shape, dy.shape[1:-1], pads, strides, steps):
        front = step * (size - 1) - low
        back.append((front, stride * (n - 1) + step * (size - 1) + 1 - out - front))
    one = (1,) * len(steps)
    kernel = w if transpose_kernel else _mirrored(w)
    dx = correlate(dy, kernel, strides, back, one, steps, 1).reshape(x.shape)
    dw = correlate_examples(jnp.swapaxes(dy, 0, -1), images, steps, back, one, strides, 1)  # (*kernel, m, c), mirrored
    return dx, dw if transpose_kernel else _mirrored(dw)


defvjp(conv_transpose, conv_transpose_fwd, conv_transpose_bwd)


def _kept(x, w, *options):
    return x.nbytes + w.nbytes


CASES = (
    Case(conv_transpose, (normal(2, 3, 4, 3), normal(3, 3, 3, 2), (2, 2), "SAME"), residual_bytes=_kept, order=2),
    Case(conv_transpose, (normal(2, 5, 3), normal(2, 3, 4), (3,), "VALID"), name="one axis, strides beyond the kernel"),
    Case(conv_transpose, (normal(2, 5, 3), normal(4, 3, 2), (2,), "VALID", (3,)), name="dilated", residual_bytes=_kept),
    Case(
        conv_transpose,
        (normal(1, 3, 4, 2), normal(2, 4, 3, 2), (2, 1), "SAME", (1, 2), True),
        name="the kernel of what is transposed",
        residual_bytes=_kept,
    ),
    Case(
        conv_transpose,
        (normal(1, 4, 3, 2), normal(3, 2, 2, 3), (2, 3), ((0, 3), (-1, 2))),
        name="uneven and negative padding",
    ),
    Case(
        conv_transpose, (normal(2, 2, 2, 2), normal(2, 1, 2, 2, 3), (1, 2, 2), "SAME"), name="three axes, no batch axis"
    ),
)
