"""Affine quantisation and back, as a network meets it while it is trained for integers (Jacob et al., 2018, arXiv
1712.05877), with gradients for scale and zero point (Bhalgat et al., 2020, arXiv 2004.09576). Catalogue #127.

The rule keeps its arguments. Entries that are exactly on a bound of the integers pass their gradient: a rule that gives
them 0 stops the training of all that saturates (pytorch/ao#4806), one that counts a bound twice gives 2 (tensorflow#22977).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal, uniform
from backproplab.layers.gates.add import sum_to
from backproplab.layers.quantization.round_ste import straight_through
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("quant_min", "quant_max"))
def fake_quantize(x, scale, zero_point=0.0, quant_min=-128, quant_max=127):
    """(q - z) scale with the integer q = round(x / scale) + z cut to quant_min .. quant_max, and z = round(zero_point).

    x (...) -> y (...), in the dtype of x. scale > 0 and zero_point are of shapes that broadcast to that of x: () for one
    per tensor, (channels,) or (channels, 1) for one per channel. zero_point may be integer. Order of the arguments as in
    torch.fake_quantize_per_tensor_affine.
    """
    whole, z = jnp.round(widened(x) / widened(scale)), jnp.round(widened(zero_point))
    return ((jnp.clip(whole + z, quant_min, quant_max) - z) * widened(scale)).astype(floating_dtype(x))


def fake_quantize_fwd(x, scale, zero_point, quant_min, quant_max):
    """Keeps its arguments, which the caller holds anyway."""
    y = fake_quantize(x, scale, zero_point, quant_min, quant_max)
    return y, (x, jnp.asarray(scale), jnp.asarray(zero_point))


def fake_quantize_bwd(quant_min, quant_max, residuals, dy):
    """With v = x / s and both roundings declared to have slope 1:

        inside, quant_min <= round(v) + z <= quant_max:  y = round(v) s
            dy/dx = 1        dy/ds = round(v) - s x / s^2 = round(v) - v        dy/dz = 0
        outside:                                         y = (bound - z) s
            dy/dx = 0        dy/ds = bound - z                                  dy/dz = -s

    The bounds belong to the inside. ds and dz are summed over everything that shares one scale or one zero point; an
    integer zero point has no gradient.
    """
    x, scale, zero_point = residuals
    s, z = widened(scale), jnp.round(widened(zero_point))
    v = widened(x) / s
    q = jnp.round(v) + z
    inside = _is_inside(q, quant_min, quant_max)
    dscale = sum_to(scale.shape, dy * jnp.where(inside, jnp.round(v) - v, jnp.clip(q, quant_min, quant_max) - z))
    if not jnp.issubdtype(zero_point.dtype, jnp.floating):
        return jnp.where(inside, dy, 0), dscale, None
    return jnp.where(inside, dy, 0), dscale, sum_to(zero_point.shape, jnp.where(inside, 0, -dy * s))


def _is_inside(q, quant_min, quant_max):
    """q is whole: compared half way between whole numbers, nothing hangs on its last digit."""
    return (q > quant_min - 0.5) & (q < quant_max + 0.5)


defvjp(fake_quantize, fake_quantize_fwd, fake_quantize_bwd)


def _declared(x, scale, zero_point=0.0, quant_min=-128, quant_max=127):
    """The same with roundings of slope 1, for autodiff."""
    v, zero_point = widened(x) / widened(scale), widened(zero_point)
    z = straight_through(jnp.round(zero_point), zero_point)
    q = jax.lax.stop_gradient(jnp.round(v) + z)
    outside = jnp.clip(q, quant_min, quant_max) - z
    steps = jnp.where(_is_inside(q, quant_min, quant_max), straight_through(jnp.round(v), v), outside)
    return (steps * widened(scale)).astype(floating_dtype(x))


def _kept(x, scale, zero_point=0.0, *bounds):
    return x.nbytes + scale.nbytes + np.asarray(zero_point).nbytes


_declares = {"by_design": True, "reference": _declared, "domain": {1: (0.0, np.inf)}}
_positive = uniform(0.1, 0.3, 4)
CASES = (
    Case(
        fake_quantize,
        (normal(4, 5), np.asarray(0.17), np.asarray(1.0), -8, 7),
        residual_bytes=_kept,
        **_declares,
    ),
    Case(
        fake_quantize,
        (normal(2, 3, 4), _positive, uniform(-2.0, 2.0, 4), -8, 7),
        name="per channel",
        residual_bytes=_kept,
        **_declares,
    ),
    Case(
        fake_quantize,
        (normal(4, 5), uniform(0.1, 0.3, 4, 1), np.array(3), 0, 15),
        name="integer zero point, unsigned",
        residual_bytes=_kept,
        **_declares,
    ),
    Case(
        fake_quantize,
        # v + z: on both bounds, half a step outside and rounded to them, beyond
        (np.array([-2.5, 1.0, -2.625, 1.125, -3.0, 1.5]), np.asarray(0.5), np.asarray(1.0), -4, 3),
        name="on the bounds: inside",
        by_design=True,
        expect=(
            np.array([1.0, 1, 1, 1, 0, 0]),
            np.asarray(0.25 - 0.25 - 5 + 2),
            np.asarray(-1.0),
        ),
    ),
)
