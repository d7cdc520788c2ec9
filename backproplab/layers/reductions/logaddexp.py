"""The logarithm of a sum of two exponentials, log(exp(x1) + exp(x2)). Catalogue #85.

Autodiff of `jnp.logaddexp` takes the weights from the rounded result: at 1000 in float32 they are off by 3e-5.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.gates.add import sum_to
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def logaddexp(x1, x2):
    """log(exp(x1) + exp(x2)), elementwise, as `jnp.logaddexp`; x1 and x2 are of any shapes that broadcast.

    -inf counts as absent: where both are, y = -inf. An entry at +inf gives y = +inf.
    """
    a, b = widened(x1), widened(x2)
    largest = jnp.maximum(a, b)
    gap = jnp.where(jnp.isinf(largest), -jnp.inf, jnp.minimum(a, b) - largest)
    # log1p: next to y = 0 the smaller one is all there is
    return (largest + jnp.log1p(jnp.exp(gap))).astype(jnp.promote_types(floating_dtype(x1), floating_dtype(x2)))


def _weight(a, b):
    """exp(a) / (exp(a) + exp(b)); 1/2 where both are +inf, and 0 where both are -inf."""
    return jnp.where(a == -jnp.inf, 0, jax.nn.sigmoid(jnp.where(jnp.isinf(a) & (a == b), 0, a - b)))


def logaddexp_fwd(x1, x2):
    """Keeps its arguments, which the caller holds anyway."""
    return logaddexp(x1, x2), (jnp.asarray(x1), jnp.asarray(x2))


def logaddexp_bwd(residuals, dy):
    """With a = x1 and b = x2:

        dy / da = exp(a) / (exp(a) + exp(b)) = sigmoid(a - b)

    and dy / db likewise: nothing overflows, and the smaller weight keeps its digits. As exp(a - y) it would inherit the
    rounding of y, a relative error of 3e-5 at y = 1000 in float32.
    Conventions: where both are -inf both weights are 0 by selection; entries at +inf share the weight equally.
    """
    x1, x2 = residuals
    a, b, dy = widened(x1), widened(x2), widened(dy)
    return sum_to(x1.shape, dy * _weight(a, b)), sum_to(x2.shape, dy * _weight(b, a))


defvjp(logaddexp, logaddexp_fwd, logaddexp_bwd)


def _textbook(x1, x2):
    """log of the sum, without the kinks that autodiff sees in the larger and the smaller of the two."""
    largest = jax.lax.stop_gradient(jnp.maximum(x1, x2))
    exact = lambda x: jnp.where(jnp.isinf(largest), jnp.where(x == jnp.inf, 0, -jnp.inf), x - largest)
    total = jnp.exp(exact(x1)) + jnp.exp(exact(x2))
    return jnp.where(total == 0, -jnp.inf, largest + jnp.log(jnp.where(total == 0, 1, total)))


def _kept(x1, x2):
    return x1.nbytes + x2.nbytes


_INF = float("inf")


def _case(x1, x2, name="", **fields):
    return Case(logaddexp, (x1, x2), name=name, reference=_textbook, **fields)


CASES = (
    _case(normal(4, 5), normal(4, 5), residual_bytes=_kept, order=2),
    _case(normal(3, 1), normal(4), "both repeated", residual_bytes=_kept),
    _case(full(2.0, 3), full(2.0, 3), "tie: halves", order=2, expect=(np.full(3, 0.5), np.full(3, 0.5))),
    _case(np.array([0.0, 40.0, -20.0]), np.array([-40.0, 0.0, 20.0]), "tails"),
    _case(normal(4, mean=1e3), normal(4, mean=1e3), "far from 0: no overflow", dtypes=("float64", "float32")),
    _case(
        np.array([-_INF, -_INF, 1.0]),
        np.array([-_INF, 1.0, -_INF]),
        "absent entries",
        expect=(np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])),
    ),
)
