"""A matrix per group of rows: what the experts of a mixture compute. Catalogue #16.

Both passes are ragged products, for which accelerators have kernels; autodiff of `jax.lax.ragged_dot` keeps and does the
same. The rule adds that sums are kept in float32 for narrower numbers, that rows of no group are out of both passes
whatever they hold, second derivatives, and `jax.vmap` over any of the arguments.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.precision import wide_dtype
from backproplab.rule import defvjp


@jax.custom_vjp
def ragged_dot(lhs, rhs, group_sizes):
    """The first group_sizes[0] rows of lhs times rhs[0], the next group_sizes[1] rows times rhs[1], and so on.

    lhs (m, k), rhs (g, k, n), group_sizes (g,) of an integer dtype -> y (m, n) in the dtype of lhs, as
    `jax.lax.ragged_dot`; accumulated in float32 or wider. Sizes may be 0. Rows beyond their sum give exact zeros.
    """
    return _times(_in_groups(lhs, group_sizes), rhs, group_sizes).astype(lhs.dtype)


def _in_groups(rows, group_sizes):
    """Rows beyond the groups as zeros."""
    return jnp.where((jnp.arange(len(rows)) < jnp.sum(group_sizes))[:, None], rows, 0)


def _vmapped(product):
    """`jax.vmap` of a ragged product, which JAX has only where all arguments are mapped: the others are repeated."""

    def rule(size, mapped, *args):
        args = [a if is_mapped else jnp.broadcast_to(a, (size, *a.shape)) for a, is_mapped in zip(args, mapped)]
        return jax.vmap(product)(*args), True

    mappable = jax.custom_batching.custom_vmap(product)
    mappable.def_vmap(rule)
    return mappable


@_vmapped
def _times(lhs, rhs, group_sizes):
    return jax.lax.ragged_dot(lhs, rhs, group_sizes, preferred_element_type=wide_dtype(lhs))


@_vmapped
def _sums_over_rows(lhs, dy, group_sizes):
    over_rows = jax.lax.RaggedDotDimensionNumbers(
        dot_dimension_numbers=(((0,), (0,)), ((), ())), lhs_ragged_dimensions=[0], rhs_group_dimensions=[]
    )
    return jax.lax.ragged_dot_general(lhs, dy, group_sizes, over_rows, preferred_element_type=wide_dtype(lhs))


def ragged_dot_fwd(lhs, rhs, group_sizes):
    """Keeps its arguments, which the caller holds anyway."""
    return ragged_dot(lhs, rhs, group_sizes), (lhs, rhs, group_sizes)


def ragged_dot_bwd(residuals, dy):
    """Row i of group g is the affine map y_i = x_i w_g without a bias. So dx_i = dy_i w_g^T, which is a ragged product
    again, and dw_g adds up over the rows of its own group: the page's other layer, `ragged_outer`.

    Rows of no group get exactly 0 and add to nothing.
    """
    lhs, rhs, group_sizes = residuals
    return ragged_dot(dy, rhs.swapaxes(1, 2), group_sizes), ragged_outer(lhs, dy, group_sizes), None


defvjp(ragged_dot, ragged_dot_fwd, ragged_dot_bwd)


@jax.custom_vjp
def ragged_outer(lhs, rhs, group_sizes):
    """For each group the sum over its rows i of the products lhs_i^T rhs_i: the weight gradient of `ragged_dot`.

    lhs (m, k), rhs (m, n), group_sizes (g,) of an integer dtype -> y (g, k, n) in float32 or wider. An empty group has an
    empty sum: exactly 0.
    """
    lhs, rhs = (_in_groups(rows, group_sizes).astype(wide_dtype(lhs)) for rows in (lhs, rhs))
    return _sums_over_rows(lhs, rhs, group_sizes)


def ragged_outer_fwd(lhs, rhs, group_sizes):
    """Keeps its arguments, which the caller holds anyway."""
    return ragged_outer(lhs, rhs, group_sizes), (lhs, rhs, group_sizes)


def ragged_outer_bwd(residuals, dy):
    """y_g = sum over i in g of a_i^T b_i, so da_i = b_i dy_g^T and db_i = a_i dy_g, both ragged products."""
    lhs, rhs, group_sizes = residuals
    return ragged_dot(rhs, dy.swapaxes(1, 2), group_sizes), ragged_dot(lhs, dy, group_sizes), None


defvjp(ragged_outer, ragged_outer_fwd, ragged_outer_bwd)


def _mask(rows, group_sizes):
    """(m, g): 1 where row i is in group g."""
    ends = jnp.cumsum(group_sizes)
    place = jnp.arange(len(rows))[:, None]
    return ((place >= ends - group_sizes) & (place < ends)).astype(rows.dtype)


def _textbook(lhs, rhs, group_sizes):
    return jnp.einsum("ig,ik,gkn->in", _mask(lhs, group_sizes), lhs, rhs)


def _textbook_outer(lhs, rhs, group_sizes):
    return jnp.einsum("ig,ik,in->gkn", _mask(lhs, group_sizes), lhs, rhs, preferred_element_type=wide_dtype(lhs))


def _kept(lhs, rhs, group_sizes):
    return lhs.nbytes + rhs.nbytes + group_sizes.nbytes


def _case(fn, rows, *shape, sizes, name="", **fields):
    reference = _textbook if fn is ragged_dot else _textbook_outer
    args = (normal(*rows), normal(*shape), np.array(sizes, np.int32))
    return Case(fn, args, name=name, reference=reference, residual_bytes=_kept, **fields)


CASES = (
    _case(ragged_dot, (6, 3), 3, 3, 4, sizes=(1, 2, 3), order=2),
    # tokamax #887: empty groups got gradients, and others wrong ones
    _case(ragged_dot, (5, 2), 4, 2, 3, sizes=(0, 3, 0, 2), name="empty groups"),
    _case(ragged_dot, (5, 2), 2, 2, 3, sizes=(2, 1), name="rows of no group"),
    _case(ragged_dot, (4, 2), 1, 2, 3, sizes=(4,), name="one group"),
    _case(ragged_dot, (3, 2), 2, 2, 2, sizes=(0, 0), name="all empty", expect=(np.zeros((3, 2)), np.zeros((2, 2, 2)))),
    _case(ragged_outer, (6, 3), 6, 4, sizes=(1, 2, 3), order=2),
    _case(ragged_outer, (5, 2), 5, 3, sizes=(0, 2, 0, 1), name="empty groups, rows of none"),
)
