"""The simple recurrent network (Elman, 1990): a layer of tanh units that reads its own last output. Catalogue #101.

Autodiff keeps two arrays of the size of h, and adds up the gradients of the weights step by step. This rule keeps h, the
output; only the state's own gradient runs step by step, the weights' are one product each over all steps at once.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, integers, normal
from backproplab.layers.activations.tanh import tanh_bwd
from backproplab.layers.gates.add import sum_to
from backproplab.layers.recurrence.linear_recurrence import delayed
from backproplab.precision import wide_dtype
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("reverse",))
def elman_rnn(x, w, u, b, lengths=None, initial=None, reverse=False):
    """h_t = tanh(x_t w + h_{t-1} u + b).

    x (..., time, i), w (i, d), u (d, d), b (d,) -> h (..., time, d), the states, in the dtype of x. lengths: integers (...),
    the number of steps that are real; what x holds beyond them is not read, be it NaN, and the state stays as it was, so
    that h[..., -1, :] is the last one of each sequence. initial: h_{-1}, broadcasts to (..., d); None: zeros.
    reverse: from the last real step to the first; then the last state is h[..., 0, :]. Computed in float32 or wider.
    """
    real = real_steps(lengths, x)
    z = weighted(real, x, w, b)

    def step(h, inputs):
        here, z_t = inputs
        h = chosen(here, jnp.tanh(z_t + product(h, u)), h)
        return h, h

    return over_time(step, first_state(initial, x, u), (real, z), reverse)[1].astype(x.dtype)


def real_steps(lengths, x):
    """(..., time, 1): whether a step is one of the sequence's own; None if all are."""
    return None if lengths is None else (jnp.arange(x.shape[-2]) < jnp.expand_dims(lengths, -1))[..., None]


def chosen(here, one, other):
    """`one` at real steps, `other` elsewhere."""
    return one if here is None else jnp.where(here, one, other)


def product(x, w):
    """The matrix product, accumulated in float32 or wider."""
    return jnp.matmul(x, w, preferred_element_type=wide_dtype(x))


def weighted(real, x, w, b):
    """x w + b for all steps at once, in float32 or wider: of 0 where x is not real, and no NaN of the padding gets through."""
    return product(chosen(real, x, jnp.zeros((), x.dtype)), w) + b


def first_state(initial, x, u):
    """(..., d) in float32 or wider."""
    return jnp.broadcast_to(0 if initial is None else initial, (*x.shape[:-2], u.shape[0])).astype(wide_dtype(x))


def over_time(step, state, inputs, reverse):
    """`jax.lax.scan` along the last axis but one: the last state, and the outputs of all steps."""
    ahead = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -2, 0), inputs)
    state, outputs = jax.lax.scan(step, state, ahead, reverse=reverse)
    return state, jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -2), outputs)


def summed(x, dy):
    """x^T dy, the gradient of a weight, over all steps of all sequences; accumulated in float32 or wider."""
    rows = tuple(range(dy.ndim - 1))
    return jnp.tensordot(jnp.broadcast_to(x, (*dy.shape[:-1], x.shape[-1])), dy, (rows, rows))


def elman_rnn_fwd(x, w, u, b, lengths, initial, reverse):
    """Keeps the arguments, which the caller holds anyway, and h, the output: with it all steps can be seen at once."""
    h = elman_rnn(x, w, u, b, lengths, initial, reverse)
    return h, (x, w, u, b, lengths, initial, h)


def elman_rnn_bwd(reverse, residuals, dh):
    """With z_t = x_t w + h_{t-1} u + b: a state reaches the loss as output, with cotangent g_t, and through the next step.
    Let l_t be the sum of both and e_t the cotangent of z_t:

        e_t = l_t tanh'(z_t)        l_{t-1} = g_{t-1} + e_t u^T        (backwards in time, from l = g at the last step)

    That alone runs step by step. Since every h_{t-1} is known, all z_t are one product, and so are the rest:

        dx_t = e_t w^T    dw = sum_t x_t^T e_t    du = sum_t h_{t-1}^T e_t    db = sum_t e_t    dh_{-1} = l_{-1}

    z is needed for its tail: tanh' as 1 - h^2 is 0 in float32 from z = 9 on, in bfloat16 from 4 on.
    At a step beyond the length, h_t = h_{t-1}: e_t is 0 by selection and l passes as it is.
    """
    x, w, u, b, lengths, initial, h = residuals
    real = real_steps(lengths, x)
    before = delayed(h, initial, reverse)
    z = weighted(real, x, w, b) + product(before, u)

    def step(later, inputs):
        here, z_t, g = inputs
        state = later + g
        (e,) = tanh_bwd(z_t, state)
        e = chosen(here, e, 0)
        return product(e, u.T) + chosen(here, 0, state), e

    start = jnp.zeros((*h.shape[:-2], h.shape[-1]), z.dtype)
    dinitial, e = over_time(step, start, (real, z, dh), not reverse)
    dx = product(e, w.T)
    dw = summed(chosen(real, x, jnp.zeros((), x.dtype)), e)
    rows = tuple(range(e.ndim - 1))
    return dx, dw, summed(before, e), e.sum(rows), None, None if initial is None else sum_to(initial.shape, dinitial)


defvjp(elman_rnn, elman_rnn_fwd, elman_rnn_bwd)


def _kept(x, w, u, b, lengths=None, initial=None, reverse=False):
    """The arguments and h."""
    states = x.itemsize * (x.size // x.shape[-1]) * u.shape[0]
    return states + sum(a.nbytes for a in (x, w, u, b, lengths, initial) if a is not None)


def nan_beyond(*lengths):
    """Sequences of at most five steps, whose padding holds NaN."""

    def sample(key, dtype):
        real = np.arange(5) < np.array(lengths)[:, None]
        return np.where(real[..., None], normal(len(lengths), 5, 3)(key, dtype), np.array(np.nan, dtype))

    return sample


_WEIGHTS = (normal(3, 4), normal(4, 4, scale=0.5), normal(4))
CASES = (
    Case(elman_rnn, (normal(2, 5, 3), *_WEIGHTS), residual_bytes=_kept, order=2),
    Case(
        elman_rnn,
        (nan_beyond(5, 0, 2), *_WEIGHTS, np.array([5, 0, 2]), normal(3, 4)),
        name="lengths, one of them 0, and padding of NaN",
        residual_bytes=_kept,
    ),
    Case(
        elman_rnn,
        (normal(3, 5, 3), *_WEIGHTS, integers(0, 6, 3), normal(4), True),
        name="in reverse",
        residual_bytes=_kept,
    ),
    Case(elman_rnn, (normal(5, 3), *_WEIGHTS), name="no batch axis"),
    Case(
        elman_rnn,
        (full(0.0, 2, 1, 1), full(0.0, 1, 1), full(0.0, 1, 1), full(12.0, 1)),
        name="saturated: the slope is not 0",
        expect=(np.zeros((2, 1, 1)), np.zeros((1, 1)), np.zeros((1, 1)), np.array([2 / np.cosh(12.0) ** 2])),
    ),
    Case(
        elman_rnn,
        (normal(2, 0, 3), *_WEIGHTS, None, normal(2, 4)),
        name="no step",
        expect=(np.zeros((2, 0, 3)), np.zeros((3, 4)), np.zeros((4, 4)), np.zeros(4), np.zeros((2, 4))),
    ),
)
