"""The gated recurrent unit (Cho et al., 2014). Catalogue #103.

Autodiff keeps the gates and more, six arrays of the size of h. This rule keeps h alone, the output: given all h, the gates
of all steps are one matrix product, and so are the gradients of the weights.
"""

from functools import partial

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
from backproplab.layers.recurrence.linear_recurrence import delayed
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("reset_after", "reverse"))
def gru(x, w, u, b, recurrent_bias=None, lengths=None, initial=None, reset_after=True, reverse=False):
    """A state that is a mean of itself and a candidate n, weighted by z; r decides how much of the state n sees.

        r = s(x_t w_r + h u_r + b_r)        z = s(x_t w_z + h u_z + b_z)        h: the state before, h_{t-1}
        n = tanh(x_t w_n + r (h u_n + c) + b_n)        or, with reset_after=False,  tanh(x_t w_n + (r h) u_n + b_n)
        h_t = (1 - z) n + z h

    x (..., time, i), w (i, 3d), u (d, 3d), b (3d,), each in the order r, z, n; c = recurrent_bias (d,), None: zeros
    -> h (..., time, d), all states, in the dtype of x. reset_after: where the gate stands, as in cuDNN and flax or as in the
    first paper, where c would be a second b_n: a ValueError. lengths: integers (...), the number of steps that are real;
    what x holds beyond them is not read, be it NaN, and h stays as it was, so that h[..., -1, :] is the last state of each
    sequence. initial: h_{-1}, broadcasts to (..., d); None: zeros. reverse: from the last real step to the first; then the
    last state is h[..., 0, :]. Computed in float32 or wider.
    """
    if recurrent_bias is not None and not reset_after:
        raise ValueError("gru: with reset_after=False a recurrent_bias would do what b does")
    real = real_steps(lengths, x)

    def step(h, inputs):
        here, a = inputs
        (_, z, n), _ = _pre_activations(a, h, u, recurrent_bias, reset_after)
        # 1 - s(z) = s(-z): the difference would lose the tail
        new = jax.nn.sigmoid(-z) * jnp.tanh(n) + jax.nn.sigmoid(z) * h
        h = chosen(here, new, h)
        return h, h

    inputs = real, weighted(real, x, w, b)
    return over_time(step, first_state(initial, x, u), inputs, reverse)[1].astype(x.dtype)


def _pre_activations(a, h, u, recurrent_bias, reset_after):
    """What s, s and tanh are taken of, given a = x w + b and the state before; and what r is multiplied with."""
    d = h.shape[-1]
    a_r, a_z, a_n = jnp.split(a, 3, -1)
    p_r, p_z = jnp.split(product(h, u[:, : 2 * d]), 2, -1)
    r, z, u_n = a_r + p_r, a_z + p_z, u[:, 2 * d :]
    if reset_after:
        seen = product(h, u_n) + (0 if recurrent_bias is None else recurrent_bias)
        return (r, z, a_n + jax.nn.sigmoid(r) * seen), seen
    return (r, z, a_n + product(jax.nn.sigmoid(r) * h, u_n)), h


def gru_fwd(x, w, u, b, recurrent_bias, lengths, initial, reset_after, reverse):
    """Keeps the arguments, which the caller holds anyway, and h, the output."""
    h = gru(x, w, u, b, recurrent_bias, lengths, initial, reset_after, reverse)
    return h, (x, w, u, b, recurrent_bias, lengths, initial, h)


def gru_bwd(reset_after, reverse, residuals, dh):
    """First r, z and n of all steps at once (below they stand for what s, s and tanh are taken of), then backwards in time.
    Let l be the cotangent of h_t, from the output and the next step. From h_t = s(-z) tanh(n) + s(z) h:

        dn = l s(-z) tanh'(n)        dz = l (h - tanh(n)) s'(z)        directly to h:  l s(z)

    reset_after, n = x w_n + s(r) q + b_n with q = h u_n + c:

        dr = dn q s'(r)        dq = dn s(r)        l_{t-1} = (output's) + l s(z) + (dr, dz, dq) u^T
        du = sum_t h^T (dr, dz, dq)        dc = sum_t dq

    Before, n = x w_n + (s(r) h) u_n + b_n, let k = dn u_n^T, the cotangent of s(r) h:

        dr = k h s'(r)        l_{t-1} = (output's) + l s(z) + k s(r) + (dr, dz) (u_r, u_z)^T
        du = sum_t of h^T (dr, dz) and (s(r) h)^T dn, side by side

    Either way dx_t = (dr, dz, dn) w^T, dw = sum_t x_t^T (dr, dz, dn), db = sum_t (dr, dz, dn). At a step beyond the length
    these are 0 by selection and l passes as it is.
    """
    x, w, u, b, recurrent_bias, lengths, initial, h = residuals
    d = u.shape[0]
    real = real_steps(lengths, x)
    before = delayed(h, initial, reverse)
    (r, z, n), seen = _pre_activations(weighted(real, x, w, b), before, u, recurrent_bias, reset_after)

    def step(later, inputs):
        here, r, z, n, seen, h, output = inputs
        l = later + output
        (dn,) = tanh_bwd(n, l * jax.nn.sigmoid(-z))
        (dz,) = sigmoid_bwd(z, l * (h - jnp.tanh(n)))
        dn, dz = chosen(here, dn, 0), chosen(here, dz, 0)
        direct = chosen(here, l * jax.nn.sigmoid(z), l)
        back = dn if reset_after else product(dn, u[:, 2 * d :].T)
        (dr,) = sigmoid_bwd(r, back * seen)
        through = back * jax.nn.sigmoid(r)
        if reset_after:
            earlier = product(jnp.concatenate([dr, dz, through], -1), u.T)
        else:
            earlier = through + product(jnp.concatenate([dr, dz], -1), u[:, : 2 * d].T)
        return direct + earlier, jnp.concatenate([dr, dz, dn], -1)

    start = jnp.zeros((*h.shape[:-2], d), z.dtype)
    dinitial, da = over_time(step, start, (real, r, z, n, seen, before, dh), not reverse)
    rows = tuple(range(da.ndim - 1))
    gate, dn = jax.nn.sigmoid(r), da[..., 2 * d :]
    du_n = summed(before, dn * gate) if reset_after else summed(before * gate, dn)
    return (
        product(da, w.T),
        summed(chosen(real, x, jnp.zeros((), x.dtype)), da),
        jnp.concatenate([summed(before, da[..., : 2 * d]), du_n], -1),
        da.sum(rows),
        None if recurrent_bias is None else (dn * gate).sum(rows),
        None,
        None if initial is None else sum_to(initial.shape, dinitial),
    )


defvjp(gru, gru_fwd, gru_bwd)


def _kept(x, w, u, b, recurrent_bias=None, lengths=None, initial=None, reset_after=True, reverse=False):
    """The arguments and h."""
    states = x.itemsize * (x.size // x.shape[-1]) * u.shape[0]
    return states + sum(a.nbytes for a in (x, w, u, b, recurrent_bias, lengths, initial) if a is not None)


_WEIGHTS = (normal(3, 6), normal(2, 6), normal(6))
CASES = (
    Case(gru, (normal(2, 4, 3), *_WEIGHTS, normal(2)), residual_bytes=_kept, order=2),
    Case(
        gru,
        (normal(2, 4, 3), *_WEIGHTS, None, None, normal(2), False),
        name="reset before the product",
        residual_bytes=_kept,
        order=2,
    ),
    Case(
        gru,
        (normal(3, 4, 3), *_WEIGHTS, normal(2), np.array([4, 0, 2]), normal(3, 2)),
        name="lengths, one of them 0",
        residual_bytes=_kept,
    ),
    Case(
        gru,
        (normal(2, 4, 3), *_WEIGHTS, None, integers(1, 4, 2), None, True, True),
        name="in reverse",
        residual_bytes=_kept,
    ),
    Case(gru, (normal(4, 3), *_WEIGHTS, None, np.array(3), normal(2), False, True), name="reset before, in reverse"),
    # 1 - s(20) is 2e-9: of the candidate's gradient nothing would be left in float32
    Case(
        gru,
        (full(0.0, 1, 1, 1), full(0.0, 1, 3), full(0.0, 1, 3), np.array([0.0, 20.0, 0.0]), None, None, full(0.0, 1)),
        name="the state is all but kept",
        argnums=(3, 6),
        expect=(np.array([0.0, 0.0, 1 / (1 + np.exp(20.0))]), np.array([1 / (1 + np.exp(-20.0))])),
    ),
)
