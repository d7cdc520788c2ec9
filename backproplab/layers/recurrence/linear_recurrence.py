"""The linear recurrence h_t = a_t h_{t-1} + b_t: moving averages, diagonal state space models, gated linear units of memory.

Catalogue #104. Backwards it is a linear recurrence again. Step by step autodiff is as good: it keeps as much. In parallel
(`jax.lax.associative_scan`) it keeps every level of the tree; this rule keeps a and h either way.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal, uniform
from backproplab.layers.gates.add import Shape, sum_to
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("reverse", "parallel"))
def linear_recurrence(a, b, initial=None, reverse=False, parallel=False):
    """h_t = a_t h_{t-1} + b_t along the last axis but one, elementwise in all others.

    a and b: of shapes that broadcast to (..., time, d), so that a may be one number for each feature, (d,). initial: h_{-1},
    broadcasts to (..., d); None: zeros -> h (..., time, d), in the dtype of a and b together; all real or all complex.
    reverse: from the last step to the first, h_t = a_t h_{t+1} + b_t. parallel: in log2(time) rounds over the whole array
    in place of one step after the other, for devices with many cores; products of many a must not overflow.
    An exponential moving average with weight s for what is new is a = 1 - s, b = s x. Raises ValueError without a time axis
    and where real and complex meet.
    """
    arrays = jax.tree.leaves((a, b, initial))
    dtype = jnp.result_type(*arrays)
    shape = jnp.broadcast_shapes(jnp.shape(a), jnp.shape(b))
    if len(shape) < 2:
        raise ValueError(f"linear_recurrence takes a and b that broadcast to (..., time, d), not {shape}")
    if len({jnp.iscomplexobj(array) for array in arrays}) > 1:
        raise ValueError(f"linear_recurrence takes real or complex arrays, not both: {[x.dtype for x in arrays]}")
    wide = jnp.promote_types(dtype, jnp.float32)
    a, b = (jnp.broadcast_to(array, shape).astype(wide) for array in (a, b))
    state = jnp.broadcast_to(0 if initial is None else initial, (*shape[:-2], shape[-1])).astype(wide)
    return (_in_parallel if parallel else _step_by_step)(a, b, state, reverse).astype(dtype)


def _step_by_step(a, b, state, reverse):
    def step(h, inputs):
        h = inputs[0] * h + inputs[1]
        return h, h

    _, h = jax.lax.scan(step, state, (jnp.moveaxis(a, -2, 0), jnp.moveaxis(b, -2, 0)), reverse=reverse)
    return jnp.moveaxis(h, 0, -2)


def _in_parallel(a, b, state, reverse):
    """Two steps in a row are one: h -> a2 (a1 h + b1) + b2 = (a2 a1) h + (a2 b1 + b2)."""
    if a.shape[-2] == 0:
        return b
    first = -1 if reverse else 0
    b = b.at[..., first, :].add(a[..., first, :] * state)
    both = lambda one, two: (one[0] * two[0], two[0] * one[1] + two[1])
    return jax.lax.associative_scan(both, (a, b), reverse, a.ndim - 2)[1]


def delayed(h, initial, reverse):
    """What each step of a recurrence found: h (..., time, d) one step later, `initial` (..., d) in front (zeros if None)."""
    state = jnp.broadcast_to(0 if initial is None else initial, (*h.shape[:-2], h.shape[-1])).astype(h.dtype)
    parts = [h[..., 1:, :], state[..., None, :]] if reverse else [state[..., None, :], h[..., :-1, :]]
    return jnp.concatenate(parts, -2)[..., : h.shape[-2], :]


def linear_recurrence_fwd(a, b, initial, reverse, parallel):
    """Keeps a, which the caller holds anyway, and h, the output; b and all products follow, or are not needed."""
    h = linear_recurrence(a, b, initial, reverse, parallel)
    return h, (a, Shape(b.shape), initial, h)


def linear_recurrence_bwd(reverse, parallel, residuals, dh):
    """Let g_t be the cotangent of the output h_t, and l_t that of the state h_t as a whole: what the output wants of it and
    what the next step does, which multiplies it by a_{t+1}:

        l_t = g_t + a_{t+1} l_{t+1}

    the same recurrence, run the other way from zero. From it each step, being a product and a sum, gives

        da_t = l_t h_{t-1}        db_t = l_t        dh_{-1} = a_0 l_0

    Nothing is divided by a_t, so a_t = 0, which forgets, is an ordinary point. What was broadcast adds up over its copies.
    JAX's cotangents of complex numbers are multiplied without conjugation: the lines are the same for them.
    """
    a, b_shape, initial, h = residuals
    wide = jnp.promote_types(h.dtype, jnp.float32)
    factors = jnp.broadcast_to(a, h.shape).astype(wide)
    after = delayed(factors, None, not reverse)
    state: Any = linear_recurrence(after, dh.astype(wide), None, not reverse, parallel)
    da = state * delayed(h, initial, reverse)
    dinitial = None
    if initial is not None:
        first = slice(-1, None) if reverse else slice(0, 1)
        dinitial = sum_to(initial.shape, jnp.sum((factors * state)[..., first, :], -2))  # 0 if there is no step
    return sum_to(a.shape, da), sum_to(b_shape, state), dinitial


defvjp(linear_recurrence, linear_recurrence_fwd, linear_recurrence_bwd)


def _kept(a, b, initial=None, reverse=False, parallel=False):
    """a, the initial state, and h."""
    states = np.broadcast_shapes(a.shape, b.shape)
    return a.nbytes + (0 if initial is None else initial.nbytes) + a.itemsize * int(np.prod(states))


def _complex(*shape):
    """Numbers in the unit disc's outer half: the oscillating decays of state space models."""

    def sample(key, dtype):
        size = uniform(0.5, 1.0, *shape)(key, np.dtype(float))
        return size * np.exp(1j * normal(*shape)(key, np.dtype(float)))

    return sample


CASES = (
    Case(linear_recurrence, (normal(2, 5, 3), normal(2, 5, 3)), residual_bytes=_kept, order=2),
    Case(
        linear_recurrence,
        (normal(4, 3), normal(4, 3), normal(3)),
        name="initial state",
        residual_bytes=_kept,
        order=2,
    ),
    Case(
        linear_recurrence, (normal(2, 4, 3), normal(2, 4, 3), normal(3), True), name="in reverse", residual_bytes=_kept
    ),
    Case(
        linear_recurrence,
        (normal(2, 6, 3), normal(2, 6, 3), normal(2, 3), False, True),
        name="in parallel",
        residual_bytes=_kept,
    ),
    Case(linear_recurrence, (normal(5, 2), normal(5, 2), normal(2), True, True), name="in parallel and in reverse"),
    Case(
        linear_recurrence,
        (uniform(0.5, 1, 3), normal(2, 4, 3), normal(3)),
        name="one factor for each feature",
        residual_bytes=_kept,
    ),
    Case(
        linear_recurrence,
        (full(0.5, 1), full(1.0, 3, 1), full(0.0, 1)),
        name="moving average",
        expect=(np.array([3.0]), np.array([[1.75], [1.5], [1.0]]), np.array([0.875])),
    ),
    Case(
        linear_recurrence,
        (full(0.0, 3, 1), normal(3, 1), normal(1)),
        name="factors 0 forget",
        argnums=(1, 2),
        expect=(np.ones((3, 1)), np.zeros(1)),
    ),
    Case(linear_recurrence, (_complex(5, 2), _complex(5, 2)), name="complex", dtypes=("float64", "float32")),
    Case(
        linear_recurrence,
        (normal(0, 2), normal(0, 2), normal(2)),
        name="no step",
        expect=(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(2)),
    ),
)
