"""Convolution (cross-correlation, as networks use the word) along any number of axes. Catalogue #113.

Both gradients are convolutions again. With one group the compiler derives the same two: this rule costs what autodiff's
does. With more see `conv2d`. A depthwise convolution is one with as many groups as channels; a causal one of a sequence
has padding "CAUSAL".
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from backproplab.case import Case, normal
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("strides", "padding", "lhs_dilation", "rhs_dilation", "groups"))
def conv(x, w, strides=1, padding="SAME", lhs_dilation=1, rhs_dilation=1, groups=1):
    """x (..., *space, c), w (*kernel, c / groups, m) -> y (..., *out, m), with as many axes in space as w says.

    As `jax.lax.conv_general_dilated` with channels last. strides, lhs_dilation (zeros put between the entries of x),
    rhs_dilation (spacing of the kernel's entries): one number for all axes, or one for each. padding: "SAME", "VALID", for
    one axis "CAUSAL" (y_t depends on x up to t), or pairs (low, high) for each axis, which come after the dilation of x.
    groups: how many parts the channels are cut into, each with its own m / groups outputs. Accumulated in float32 or wider,
    returned in the dtype of x. Raises ValueError if the channels do not fit, or if padding by name meets a dilated x.
    """
    options = _numbers(x, w, strides, padding, lhs_dilation, rhs_dilation)
    if x.shape[-1] != groups * w.shape[-2] or w.shape[-1] % groups:
        raise ValueError(f"conv: {x.shape[-1]} channels of x do not fit w {w.shape} in {groups} group(s)")
    y = correlate(one_batch(x, w), w, *options, groups)
    return y.reshape(*x.shape[: x.ndim - w.ndim + 1], *y.shape[1:]).astype(x.dtype)


def _numbers(x, w, strides, padding, lhs_dilation, rhs_dilation):
    """The options as numbers for each axis."""
    rank = w.ndim - 2
    if rank < 1 or x.ndim < rank + 1:
        raise ValueError(f"conv takes x (..., *space, c) and w (*kernel, c / groups, m), not {x.shape} and {w.shape}")
    strides, spread, steps = (
        (option,) * rank if isinstance(option, int) else option for option in (strides, lhs_dilation, rhs_dilation)
    )
    if isinstance(padding, str) and max(spread) > 1:
        raise ValueError(f"conv: padding {padding} is not defined for a dilated x; give pairs of numbers")
    if padding == "CAUSAL":
        if rank > 1:
            raise ValueError(f"conv: causal is a convolution along one axis, not {rank}")
        padding = ((steps[0] * (w.shape[0] - 1), 0),)
    return strides, pads_of(x.shape[-rank - 1 : -1], w.shape[:rank], strides, padding, steps), spread, steps


def pads_of(sizes, kernel, strides, padding, steps):
    """The padding as numbers of zeros: a pair for each axis."""
    if not isinstance(padding, str):
        return padding
    windows = [step * (k - 1) + 1 for k, step in zip(kernel, steps)]
    return lax.padtype_to_pads(sizes, windows, strides, padding)


def one_batch(x, w):
    """All leading axes as one; untouched if there is exactly one, so that it may be sharded."""
    return x if x.ndim == w.ndim else x.reshape(-1, *x.shape[x.ndim - w.ndim + 1 :])


def one_dtype(*arrays):
    """What to accumulate in, and the arrays in one dtype: lax.conv_general_dilated takes no two."""
    dtype = jnp.result_type(*arrays)
    return jnp.promote_types(dtype, jnp.float32), [array.astype(dtype) for array in arrays]


def correlate(x, w, strides, pads, spread, steps, groups):
    """x (n, *space, c), w (*kernel, c / groups, m) -> (n, *out, m), in float32 or wider."""
    wide, (x, w) = one_dtype(x, w)
    last, space = w.ndim - 1, tuple(range(1, w.ndim - 1))
    images = (0, last, *space)
    numbers = lax.ConvDimensionNumbers(images, (last, last - 1, *range(last - 1)), images)
    return lax.conv_general_dilated(
        x, w, strides, pads, spread, steps, numbers, feature_group_count=groups, preferred_element_type=wide
    )


def correlate_examples(x, dy, strides, pads, spread, steps, groups):
    """x (c / groups, *space, groups n) and, as a kernel with the examples for channels, dy (n, *out, m)
    -> (*kernel, c / groups, m), in float32 or wider."""
    wide, (x, dy) = one_dtype(x, dy)
    last, space = dy.ndim - 1, tuple(range(1, dy.ndim - 1))
    numbers = lax.ConvDimensionNumbers((0, last, *space), (last, 0, *space), (last - 1, last, *range(last - 1)))
    return lax.conv_general_dilated(
        x, dy, strides, pads, spread, steps, numbers, feature_group_count=groups, preferred_element_type=wide
    )


def conv_fwd(x, w, strides, padding, lhs_dilation, rhs_dilation, groups):
    """Keeps x and w, which the caller holds anyway."""
    return conv(x, w, strides, padding, lhs_dilation, rhs_dilation, groups), (x, w)


def conv_bwd(strides, padding, lhs_dilation, rhs_dilation, groups, residuals, dy):
    """Along one axis, with kernel entries k at distance d, stride s, p zeros in front, and x spread out by e, which puts x_i
    at place e i,

        y_o = sum_k w_k x_i    for all i and k with  e i = s o + d k - p

    x_i meets w_k in the output o with s o = e i - d k + p, so dx_i = sum_k w_k dy_o: dy spread out by s (with zeros between),
    correlated with the kernel reversed, in steps of e, inputs and outputs of w exchanged. The reversed kernel starts
    d (k - 1) early, of which p are padding: d (k - 1) - p zeros go in front, and behind as many as it takes to reach the
    length of the spread x.

    w_k meets x_i in every output and every example:  dw_k = sum_n sum_o dy_o x_i  with i as above. That is x spread out as
    before, correlated with dy spread out by s, in steps of d, the examples summed over like channels and the channels one
    by one, like examples. Rows of x that no window reaches are left out.
    """
    x, w = residuals
    options = _numbers(x, w, strides, padding, lhs_dilation, rhs_dilation)
    dx, dw = gradients(one_batch(x, w), w, one_batch(dy, w), *options, groups)
    return dx.reshape(x.shape), dw


def gradients(x, w, dy, strides, pads, spread, steps, groups):
    """dx and dw as `conv_bwd` derives them, in float32 or wider: x (n, *space, c), w (*kernel, c / groups, m), dy (n, *out, m)."""
    if dy.size == 0:  # no window fits: as a kernel, dy would have no entries
        return jnp.zeros_like(x), jnp.zeros_like(w)
    _, (x, w, dy) = one_dtype(x, w, dy)
    dx_pads, dw_pads = [], []
    for size, width, out, stride, (low, _), between, step in zip(
        x.shape[1:], w.shape, dy.shape[1:-1], strides, pads, spread, steps
    ):
        reach, window, length = step * (width - 1), stride * (out - 1) + 1, between * (size - 1) + 1
        dx_pads.append((reach - low, length - window + low))
        dw_pads.append((low, reach + window - length - low))
    dx = correlate(dy, _reversed(w, groups), spread, dx_pads, strides, steps, groups)
    dw = correlate_examples(_channels_first(x, groups), dy, steps, dw_pads, spread, strides, groups)
    return dx, dw


def _channels_first(x, groups):
    """x (n, *space, c) -> (c / groups, *space, groups n): within a group, channels and examples exchanged."""
    n, *space, channels = x.shape
    x = x.reshape(n, *space, groups, channels // groups)
    axes = range(1, len(space) + 1)
    return x.transpose(len(space) + 2, *axes, len(space) + 1, 0).reshape(channels // groups, *space, groups * n)


def _reversed(w, groups):
    """w mirrored in space, inputs and outputs exchanged within each group."""
    *kernel, inputs, outputs = w.shape
    rank = len(kernel)
    w = jnp.flip(w, range(rank)).reshape(*kernel, inputs, groups, outputs // groups)
    return w.transpose(*range(rank), rank + 2, rank + 1, rank).reshape(*kernel, outputs // groups, groups * inputs)


defvjp(conv, conv_fwd, conv_bwd)


def _kept(x, w, *options):
    return x.nbytes + w.nbytes


CASES = (
    Case(conv, (normal(2, 7, 3), normal(3, 3, 4)), residual_bytes=_kept, order=2),
    Case(conv, (normal(2, 6, 3), normal(4, 3, 2), 1, "CAUSAL", 1, 2), name="causal, dilated", residual_bytes=_kept),
    Case(conv, (normal(2, 8, 3), normal(3, 1, 6), 2, "CAUSAL", 1, 1, 3), name="causal, depthwise, strided"),
    Case(conv, (normal(1, 3, 4, 5, 2), normal(2, 1, 3, 2, 3), (1, 2, 2)), name="three axes", residual_bytes=_kept),
    Case(
        conv,
        (normal(2, 4, 2), normal(3, 2, 2), 2, ((2, 1),), 3, 2),
        name="all dilated: strides that do not divide",
        residual_bytes=_kept,
    ),
    Case(
        conv,
        (normal(1, 4, 3, 4), normal(2, 3, 2, 2), (2, 1), ((-1, 2), (3, 0)), (2, 3), (1, 2), 2),
        name="two axes, all options at once",
    ),
    Case(conv, (normal(3, 1, 3, 3, 2), normal(1, 2, 2, 2, 4), 1, "VALID", 1, 1, 1), name="axes of one"),
    Case(conv, (normal(5, 2), normal(2, 2, 3)), name="no batch axis"),
    Case(
        conv,
        (np.ones((1, 2, 1)), np.ones((3, 1, 1)), 1, "VALID"),
        name="no window fits",
        expect=(np.zeros((1, 2, 1)), np.zeros((3, 1, 1))),
    ),
)
