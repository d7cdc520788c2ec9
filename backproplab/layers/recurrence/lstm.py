"""Long short-term memory (Hochreiter & Schmidhuber, 1997, with the forget gate of Gers et al., 2000). Catalogue #102.

Autodiff keeps the gates, the memory and their tanh, eight arrays of the size of h and more. This rule keeps h alone, the
output: given all h, the gates of all steps are one matrix product and the memory is a linear recurrence. That product more
(of nine) is what it costs. The gradients of the weights are one product over all steps, not a sum step by step.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, integers, normal
from backproplab.layers.activations.sigmoid import sigmoid_bwd
from backproplab.layers.activations.tanh import tanh_bwd
from backproplab.layers.gates.add import sum_to
from backproplab.layers.recurrence.elman_rnn import (
    chosen,
    first_state,
    over_time,
    product,
    real_steps,
    summed,
    weighted,
)
from backproplab.layers.recurrence.linear_recurrence import delayed, linear_recurrence
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("reverse",))
def lstm(x, w, u, b, lengths=None, initial=None, reverse=False):
    """A memory c that is partly kept and partly written at each step, and a state h that shows part of it:

        i, f, g, o = x_t w + h_{t-1} u + b,  cut into four
        c_t = s(f) c_{t-1} + s(i) tanh(g)        h_t = s(o) tanh(c_t)        s: the logistic function

    x (..., time, n), w (n, 4d), u (d, 4d), b (4d,) -> h (..., time, d), all states, and c (..., d), the last memory, in the
    dtype of x. lengths: integers (...), the number of steps that are real; what x holds beyond them is not read, be it NaN,
    and h and c stay as they were, so that h[..., -1, :] is the last state of each sequence. initial: (h_{-1}, c_{-1}), each
    broadcasts to (..., d); None: zeros. reverse: from the last real step to the first; then the last state is h[..., 0, :].
    Two layers, one of them in reverse, side by side are a bidirectional one. Computed in float32 or wider.
    """
    h_0, c_0 = (None, None) if initial is None else initial
    real = real_steps(lengths, x)

    def step(state, inputs):
        h, c = state
        here, z = inputs
        i, f, g, o = jnp.split(z + product(h, u), 4, -1)
        c = chosen(here, jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g), c)
        h = chosen(here, jax.nn.sigmoid(o) * jnp.tanh(c), h)
        return (h, c), h

    start = first_state(h_0, x, u), first_state(c_0, x, u)
    (_, c), h = over_time(step, start, (real, weighted(real, x, w, b)), reverse)
    return h.astype(x.dtype), c.astype(x.dtype)


def lstm_fwd(x, w, u, b, lengths, initial, reverse):
    """Keeps the arguments, which the caller holds anyway, and h, the output."""
    outputs: Any = lstm(x, w, u, b, lengths, initial, reverse)
    return outputs, (x, w, u, b, lengths, initial, outputs[0])


def lstm_bwd(reverse, residuals, cotangents):
    """First the forward pass again, all steps at once: z = x w + h_{t-1} u + b, and c_t = s(f) c_{t-1} + s(i) tanh(g).

    Then backwards in time. Let l be the cotangent of h_t, from the output and the next step, and m that of c_t from the
    next step alone. h_t = s(o) tanh(c_t) uses c_t too, so

        m' = m + l s(o) tanh'(c_t)

    and one step apart, by c_t = s(f) c_{t-1} + s(i) tanh(g),

        di = m' tanh(g) s'(i)    df = m' c_{t-1} s'(f)    dg = m' s(i) tanh'(g)    do = l tanh(c_t) s'(o)
        m_{t-1} = m' s(f)        l_{t-1} = (output's cotangent) + dz u^T        with dz = (di, df, dg, do)

    m starts as the cotangent of the last c. All else is linear in dz, one product over all steps:

        dx_t = dz_t w^T    dw = sum_t x_t^T dz_t    du = sum_t h_{t-1}^T dz_t    db = sum_t dz_t

    At a step beyond the length h and c stay: dz is 0 by selection, l and m pass as they are. The slopes come from the rules
    of `sigmoid` and `tanh`, which are right where a gate is saturated; a forget gate at 1 hands m on undiminished.
    """
    x, w, u, b, lengths, initial, h = residuals
    dh, dc = cotangents
    h_0, c_0 = (None, None) if initial is None else initial
    real = real_steps(lengths, x)
    before = delayed(h, h_0, reverse)
    z = weighted(real, x, w, b) + product(before, u)
    i, f, g, _ = jnp.split(z, 4, -1)
    kept = chosen(real, jax.nn.sigmoid(f), 1)
    written = chosen(real, jax.nn.sigmoid(i) * jnp.tanh(g), 0)
    c: Any = linear_recurrence(kept, written, first_state(c_0, x, u), reverse)

    def step(later, inputs):
        l, m = later
        here, z, c, c_before, output = inputs
        i, f, g, o = jnp.split(z, 4, -1)
        l = l + output
        total = m + tanh_bwd(c, l * jax.nn.sigmoid(o))[0]
        parts = (
            *sigmoid_bwd(i, total * jnp.tanh(g)),
            *sigmoid_bwd(f, total * c_before),
            *tanh_bwd(g, total * jax.nn.sigmoid(i)),
            *sigmoid_bwd(o, l * jnp.tanh(c)),
        )
        dz = chosen(here, jnp.concatenate(parts, -1), 0)
        return (product(dz, u.T) + chosen(here, 0, l), chosen(here, total * jax.nn.sigmoid(f), m)), dz

    start = jnp.zeros_like(dc, z.dtype), dc.astype(z.dtype)
    last, dz = over_time(step, start, (real, z, c, delayed(c, c_0, reverse), dh), not reverse)
    dw = summed(chosen(real, x, jnp.zeros((), x.dtype)), dz)
    rows = tuple(range(dz.ndim - 1))
    dinitial = None if initial is None else tuple(sum_to(s.shape, d) for s, d in zip(initial, last))
    return product(dz, w.T), dw, summed(before, dz), dz.sum(rows), None, dinitial


defvjp(lstm, lstm_fwd, lstm_bwd)


def _kept(x, w, u, b, lengths=None, initial=None, reverse=False):
    """The arguments and h."""
    states = x.itemsize * (x.size // x.shape[-1]) * u.shape[0]
    return states + sum(leaf.nbytes for leaf in jax.tree.leaves((x, w, u, b, lengths, initial)))


_WEIGHTS = (normal(3, 8), normal(2, 8), normal(8))
_START = (normal(2, 2), normal(2, 2))
CASES = (
    Case(lstm, (normal(2, 4, 3), *_WEIGHTS), residual_bytes=_kept, order=2),
    Case(
        lstm,
        (normal(3, 4, 3), *_WEIGHTS, np.array([4, 0, 2]), (normal(3, 2), normal(2))),
        name="lengths, one of them 0",
        residual_bytes=_kept,
    ),
    Case(
        lstm,
        (normal(2, 4, 3), *_WEIGHTS, integers(1, 4, 2), _START, True),
        name="in reverse",
        residual_bytes=_kept,
        order=2,
    ),
    Case(lstm, (normal(4, 3), *_WEIGHTS), name="no batch axis"),
    # s(-20) = 2e-9 to four digits is what each of c's ways back is multiplied with; s'(20) is not 0
    Case(
        lstm,
        (normal(2, 4, 3), normal(3, 8), normal(2, 8), np.repeat([-20.0, 20.0, 1.0, 20.0], 2), None, _START),
        name="saturated gates",
    ),
    Case(
        lstm,
        (
            full(0.0, 3, 1),
            full(0.0, 1, 4),
            full(0.0, 1, 4),
            np.array([0.0, 40.0, 0.0, 0.0]),
            None,
            (normal(1), full(0.0, 1)),
        ),
        name="an open forget gate hands the gradient on",
        argnums=(5,),
        expect=((np.zeros(1), np.array([2.5])),),
        dtypes=("float64", "float32"),
    ),
)
