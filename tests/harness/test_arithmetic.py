"""The rule in fewer digits: what is lost beside autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
from by_hand import X, by_hand
from rules import with_rule

from backproplab import verify


def test_sums_carried_in_few_digits():
    """A thousand terms added up one by one in bfloat16 lose five bits, no entry so many that a bound would tell: they fail.

    In float32 the same loop is what everybody writes, and autodiff's own sum is no better than a last digit: both pass.
    """

    def rule(dtype):
        def bwd(residuals, dy):
            x, w = residuals
            step = lambda total, rows: ((total + jnp.outer(*rows)).astype(dtype), None)
            return dy @ w.T, jax.lax.scan(step, jnp.zeros(w.shape, dtype), (x, dy))[0].astype(w.dtype)

        return by_hand(lambda x, w: x @ w, bwd)

    x, w = np.random.default_rng(0).normal(size=(1500, 4)), np.ones((4, 3))
    for dtype in (jnp.float32, jnp.bfloat16):
        verdict = verify(rule(dtype), x, w, dtypes=("bfloat16",), transforms="none")
        assert verdict.passed == (dtype == jnp.float32), str(verdict)
    assert "sums are carried in bfloat16" in verdict.cause and verdict.argument == "w"


def test_a_function_that_computes_in_fewer_digits_than_it_is_given():
    """Noise in float32 below an argument in float64: the rule is as good as autodiff, and neither has more digits."""
    noisy = lambda x, key: jnp.exp(x + jax.random.gumbel(key, x.shape, jnp.float32))
    fn = by_hand(noisy, lambda r, dy: (dy * noisy(*r), None))
    assert verify(fn, X, jax.random.key(0), dtypes=("float64",)).status == "pass"


def test_a_sum_that_is_small_beside_its_terms():
    """Random signs leave little of a thousand terms: the digits lost are counted in units of what is left."""
    one_by_one = lambda terms: jax.lax.scan(lambda sum, term: (sum + term, None), jnp.zeros((), terms.dtype), terms)[0]
    scaled = lambda sum: by_hand(lambda x, w: x * w, lambda args, dy: (dy * args[1], sum(dy * args[0])))
    x, w = 100 + np.random.default_rng(0).normal(size=2000), np.array(0.5)
    right, wrong = (verify(scaled(sum), x, w, dtypes=("bfloat16",), transforms="none") for sum in (jnp.sum, one_by_one))
    assert right.passed, str(right)
    assert wrong.status == "fail" and wrong.argument == "w"


def test_float32_by_name():
    """To a user whose JAX has nothing wider, a rule may say float32; who asks for float64 is told that it loses digits there."""
    rule = with_rule(lambda x: x * x, lambda x, dy: ((2 * x * dy).astype(jnp.float32).astype(x.dtype),))
    x = np.array([0.3, -1.7], np.float32)
    assert verify(rule, x).status == "pass"
    asked = verify(rule, x, dtypes=("float64", "float32"))
    assert asked.status == "fail" and "loses digits in float64" in asked.cause
