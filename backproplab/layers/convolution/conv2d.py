"""Two-dimensional convolution (cross-correlation, as networks use the word). Lecture L16, catalogue #113.

Both gradients are convolutions again. With one group the compiler derives the same two: this rule costs what autodiff's
does. With more, autodiff's weight gradient makes the groups parts of the batch; on a mesh with a second, replicated axis
XLA (jax 0.10 to 0.12) then adds it up once per replica, a factor too large, and between one group and depthwise it is
slow. This rule makes them parts of the channels and has neither trouble. With one group and the height or width sharded
on such a mesh the weight gradient is wrong by that factor in both.
"""

from functools import partial

import jax
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.convolution.conv import correlate, gradients, one_batch, pads_of
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("strides", "padding", "dilation", "groups"))
def conv2d(x, w, strides=(1, 1), padding="SAME", dilation=(1, 1), groups=1):
    """x (..., height, width, c), w (kernel height, kernel width, c / groups, m) -> y (..., out height, out width, m).

    padding: "SAME", "VALID" or ((low, high), (low, high)). dilation: spacing of the kernel's entries. groups: how many
    parts the channels are cut into, each with its own m / groups outputs; groups = c is a depthwise convolution.
    Accumulated in float32 or wider, returned in the dtype of x. Raises ValueError if the channels do not fit.
    """
    _check(x, w, groups)
    pads = pads_of(x.shape[-3:-1], w.shape[:2], strides, padding, dilation)
    y = correlate(one_batch(x, w), w, strides, pads, (1, 1), dilation, groups)
    return y.reshape(*x.shape[:-3], *y.shape[1:]).astype(x.dtype)


def _check(x, w, groups):
    if x.ndim < 3 or w.ndim != 4:
        raise ValueError(
            f"conv2d takes x (..., height, width, c) and w (height, width, c / groups, m), not {x.shape} and {w.shape}"
        )
    if x.shape[-1] != groups * w.shape[2] or w.shape[3] % groups:
        raise ValueError(f"conv2d: {x.shape[-1]} channels of x do not fit w {w.shape} in {groups} group(s)")


def conv2d_fwd(x, w, strides, padding, dilation, groups):
    """Keeps x and w, which the caller holds anyway."""
    return conv2d(x, w, strides, padding, dilation, groups), (x, w)


def conv2d_bwd(strides, padding, dilation, groups, residuals, dy):
    """Along one axis, with kernel entries k at distance d, stride s and p zeros in front,

        y_o = sum_k w_k x_i    with i = s o + d k - p

    x_i meets w_k in the output o with s o = i - d k + p, so dx_i = sum_k w_k dy_o: dy spread out by s (with zeros between),
    correlated with the kernel reversed, inputs and outputs of w exchanged. The reversed kernel starts d (k - 1) early,
    of which p are padding: d (k - 1) - p zeros go in front, and behind as many as it takes to reach the length of x.

    w_k meets x_i in every output and every example:  dw_k = sum_n sum_o dy_o x_{s o + d k - p}. That is x correlated with
    dy spread out by s, in steps of d, the examples summed over like channels and the channels one by one, like examples.
    Rows of x that no window reaches are left out. The lines are those of `conv`, for any number of axes.
    """
    x, w = residuals
    pads = pads_of(x.shape[-3:-1], w.shape[:2], strides, padding, dilation)
    dx, dw = gradients(one_batch(x, w), w, one_batch(dy, w), strides, pads, (1, 1), dilation, groups)
    return dx.reshape(x.shape), dw


defvjp(conv2d, conv2d_fwd, conv2d_bwd)


def _kept(x, w, strides=(1, 1), padding="SAME", dilation=(1, 1), groups=1):
    return x.nbytes + w.nbytes


CASES = (
    Case(conv2d, (normal(2, 5, 6, 3), normal(3, 3, 3, 4)), residual_bytes=_kept, order=2),
    Case(conv2d, (normal(2, 5, 6, 2), normal(2, 4, 2, 3)), name="even kernel", residual_bytes=_kept),
    Case(
        conv2d,
        (normal(1, 7, 8, 2), normal(3, 2, 2, 3), (2, 3), "VALID"),
        name="strides that do not divide",
        residual_bytes=_kept,
    ),
    Case(
        conv2d, (normal(1, 9, 8, 2), normal(2, 3, 2, 2), (2, 1), "SAME", (2, 2)), name="dilated", residual_bytes=_kept
    ),
    Case(
        conv2d, (normal(1, 4, 5, 1), normal(2, 2, 1, 2), (1, 1), ((2, 0), (-1, 3))), name="uneven and negative padding"
    ),
    Case(
        conv2d,
        (normal(1, 5, 5, 4), normal(3, 3, 2, 6), (1, 1), "SAME", (1, 1), 2),
        name="two groups",
        residual_bytes=_kept,
    ),
    Case(conv2d, (normal(1, 5, 4, 3), normal(3, 3, 1, 3), (1, 1), "SAME", (1, 1), 3), name="depthwise"),
    Case(
        conv2d,
        (normal(2, 7, 6, 4), normal(2, 3, 2, 4), (2, 1), ((1, 0), (0, 2)), (1, 2), 2),
        name="all options at once",
        residual_bytes=_kept,
    ),
    Case(conv2d, (normal(1, 6, 7, 2), normal(1, 1, 2, 3), (2, 2)), name="one by one, strided: rows without a gradient"),
    Case(conv2d, (normal(4, 5, 2), normal(2, 2, 2, 3)), name="no batch axis"),
    Case(conv2d, (normal(2, 2, 4, 5, 1), normal(2, 2, 1, 2)), name="two batch axes"),
    # a running sum in bfloat16 would stop at 256
    Case(
        conv2d,
        (full(1.0, 4, 16, 16, 1), full(0.5, 1, 1, 1, 2)),
        name="1024 terms",
        expect=(np.full((4, 16, 16, 1), 1.0), np.full((1, 1, 1, 2), 1024.0)),
    ),
)
