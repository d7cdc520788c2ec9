"""Powers: of a variable exponent, x^p, and of a constant one. Lecture L13, catalogue #6.

Where the exponent is known when the program is written, `static_power` is the better gate: it keeps one array, and a
negative x is no trouble.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal, uniform
from backproplab.layers.gates.add import sum_to
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def power(x, exponent):
    """x^exponent, elementwise; 0^0 is 1. Shapes are any that broadcast; x is floating, the exponent may be integer.

    A negative x has a value only where the exponent is a whole number; elsewhere it is NaN.
    """
    return jnp.power(_off_the_corner(x, exponent), exponent)


def _off_the_corner(x, exponent):
    """x, but 1 where x = exponent = 0: the same value, 1, at a point where it is smooth."""
    return jnp.where((x == 0) & (exponent == 0), 1, x)


def power_fwd(x, exponent):
    """Keeps x and the exponent, which the caller holds anyway."""
    x, exponent = jnp.asarray(x), jnp.asarray(exponent)
    return jnp.power(x, exponent), (x, exponent)


def power_bwd(residuals, dz):
    """z = x^p = exp(p log x). For x: dz/dx = p x^(p-1). For p: dz/dp = z log x.

    Three points need a word.
    x = 0, p = 0: p x^(p-1) would be 0 times infinity; but x^0 is 1 for every x, so dx is exactly 0. For p there is no
    limit (0^p is 0 to the right of p = 0, infinite to the left); declared is 0, as autodiff with the corner cut out.
    x = 0, p > 0: z log x tends to 0 and is 0. With p < 1, dx is infinite, the true slope.
    x < 0: whole exponents give a value but no interval of exponents does; dexponent is NaN, as log x is. An exponent
    of an integer dtype has no gradient at all, and so no such trouble.
    """
    x, exponent = residuals
    base, dz = widened(x), widened(dz)
    p = widened(exponent) if jnp.issubdtype(exponent.dtype, jnp.floating) else exponent
    slope = p * jnp.power(_off_the_corner(base, p), p - 1)
    dx = sum_to(x.shape, dz * slope)
    if not jnp.issubdtype(exponent.dtype, jnp.floating):
        return dx, None
    log_base = jnp.log(jnp.where((base == 0) & (p >= 0), 1, base))
    return dx, sum_to(exponent.shape, dz * jnp.power(base, p) * log_base)


defvjp(power, power_fwd, power_bwd)


@partial(jax.custom_vjp, nondiff_argnames=("exponent",))
def static_power(x, exponent):
    """x^exponent, elementwise, in the dtype of x; 0^0 is 1. exponent is a Python number."""
    return _static_value(x, exponent)


def _static_value(x, exponent):
    x = jnp.asarray(x)
    if exponent == 0:
        return jnp.ones_like(x)
    # in bfloat16 the exponent 2.3 would be 2.297
    return jnp.power(widened(x), exponent).astype(x.dtype)


def static_power_fwd(x, exponent):
    """Keeps x; nothing for the exponents 0 and 1, whose slope is a constant."""
    return _static_value(x, exponent), None if exponent in (0, 1) else jnp.asarray(x)


def static_power_bwd(exponent, x, dy):
    """dy/dx = p x^(p-1), which is 0 everywhere for p = 0, at x = 0 too, and 1 everywhere for p = 1."""
    if exponent == 0:
        return (jnp.zeros_like(dy),)
    if exponent == 1:
        return (dy,)
    return (widened(dy) * exponent * jnp.power(widened(x), exponent - 1),)


defvjp(static_power, static_power_fwd, static_power_bwd)


def _kept(x, exponent):
    return x.nbytes + exponent.nbytes


_positive = {0: (0.0, np.inf)}
CASES = (
    Case(power, (uniform(0.5, 3, 4, 5), normal(4, 5)), residual_bytes=_kept, order=2, domain=_positive),
    Case(power, (uniform(0.5, 3, 3, 1), normal(4)), name="both repeated", residual_bytes=_kept, domain=_positive),
    Case(power, (uniform(0.5, 3, 3), normal()), name="one exponent for all", residual_bytes=_kept, domain=_positive),
    Case(
        power,
        (np.array([-1.5, -2.0, -0.5, 2.0]), np.array([3, 2, -1, 0])),
        name="integer exponents",
        expect=(np.array([6.75, -4.0, -4.0, 0.0]),),
    ),
    Case(
        power,
        (np.array([-1.5, -2.0, -0.5]), np.array([3.0, 2.0, -1.0])),
        name="negative base, whole exponents of a float dtype",
        argnums=(0,),
        expect=(np.array([6.75, -4.0, -4.0]),),
    ),
    Case(
        power,
        (full(0.0, 3), np.array([0.0, 1.0, 2.0])),
        name="base zero: exact zeros",
        expect=(np.array([0.0, 1.0, 0.0]), np.zeros(3)),
    ),
    Case(power, (uniform(0.5, 3, 3), full(0.0, 3)), name="exponent zero", domain=_positive),
    Case(static_power, (uniform(0.5, 3, 4, 5), 2.3), residual_bytes=lambda x, exponent: x.nbytes, order=2),
    Case(static_power, (normal(4, 5), 3), name="cube", residual_bytes=lambda x, exponent: x.nbytes, order=2),
    Case(static_power, (uniform(0.5, 3, 5), -0.5), name="negative exponent", domain=_positive),
    Case(static_power, (np.array([0.0, -2.0]), 0), name="exponent 0", residual_bytes=0, expect=(np.zeros(2),)),
    Case(static_power, (np.array([0.0, -2.0]), 0.0), name="exponent 0.0", residual_bytes=0, expect=(np.zeros(2),)),
    Case(static_power, (np.array([0.0, -2.0]), 1.0), name="exponent 1", residual_bytes=0, expect=(np.ones(2),)),
    Case(static_power, (np.array([0.0, -2.0]), 2.0), name="float exponent 2", expect=(np.array([0.0, -4.0]),)),
)
