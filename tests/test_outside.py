"""Right functions that defeat other checkers, and the rules of other libraries: none of them may fail."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from backproplab import Case, away_from_zero, full, integers, normal, uniform, verify
from backproplab.layers.activations import relu, tanh
from backproplab.layers.losses import softmax_cross_entropy_with_integer_labels
from backproplab.layers.normalization import layer_norm

square_sum = jax.custom_vjp(lambda x: jnp.sum(x**2))
square_sum.defvjp(lambda x: (square_sum(x), x), lambda x, dy: (2 * x * dy,))

sine = jax.custom_vjp(jnp.sin)
sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, dy: (jnp.cos(x) * dy,))

HARD = {
    "sum of squares, n = 1e5": Case(square_sum, (normal(100_000),), dtypes=("float32",)),
    "sum of squares, scale 10": Case(square_sum, (normal(1000, scale=10.0),), dtypes=("float32",)),
    "cross-entropy, 64 x 1000": Case(
        softmax_cross_entropy_with_integer_labels, (normal(64, 1000), integers(0, 1000, 64)), dtypes=("float32",)
    ),
    "relu, n = 1e5": Case(relu, (normal(100_000),), dtypes=("float32",)),
    "tanh in 16 bits": Case(tanh, (normal(50, scale=2.0),), dtypes=("bfloat16", "float16")),
    "sin in 16 bits": Case(sine, (normal(50, scale=2.0),), dtypes=("bfloat16", "float16")),
    "layer norm of constant rows": Case(
        layer_norm, (full(3.0, 4, 8), normal(8), normal(8)), dtypes=("float32", "bfloat16")
    ),
}


@pytest.mark.parametrize("name", HARD)
def test_right_functions_that_defeat_others(name):
    """Large sums, large scales, kinks near every point, few digits, gradients that vanish."""
    verify(HARD[name]).assert_passed()


@jax.custom_vjp
def filtered(x, w):
    """What equinox makes of a rule: arrays and everything else kept apart."""
    return jnp.tanh(x @ w)


OTHERS = {
    "optax.safe_norm": Case(lambda x: optax.safe_norm(x, 1e-3), (normal(5),)),
    "optax.losses.softmax_cross_entropy": Case(
        optax.losses.softmax_cross_entropy, (normal(4, 6), uniform(0.0, 1.0, 4, 6))
    ),
    "optax.losses.sparsemax_loss": Case(optax.losses.sparsemax_loss, (normal(5), integers(0, 2, 5))),
    "optax.losses.poly_loss_cross_entropy": Case(
        optax.losses.poly_loss_cross_entropy, (normal(4, 6), uniform(0.1, 0.9, 4, 6))
    ),
    "optax.perturbations": Case(lambda x: optax.projections.projection_simplex(x), (normal(6),)),
    "jax.nn.relu": Case(jax.nn.relu, (away_from_zero(4, 5),)),
    "jax.nn.relu at 0": Case(jax.nn.relu, (full(0.0, 3),)),
    "jax.nn.silu": Case(jax.nn.silu, (normal(4, 5),)),
    "jax.nn.gelu": Case(jax.nn.gelu, (normal(4, 5),)),
    "jax.nn.logsumexp": Case(jax.nn.logsumexp, (normal(4, 5),)),
    "jax.nn.softmax": Case(jax.nn.softmax, (normal(4, 5),)),
    "jax.nn.log_softmax": Case(jax.nn.log_softmax, (normal(4, 5),)),
    "jax.numpy.sinc": Case(jnp.sinc, (normal(7),)),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in ("jax.nn.softmax", "optax.safe_norm") else [pytest.mark.slow]) for n in OTHERS],
)
def test_rules_inside_other_libraries(name):
    """Their `custom_vjp` and `custom_jvp` rules, as they stand in optax and jax.nn."""
    verify(OTHERS[name]).assert_passed()


def test_a_rule_inside_equinox():
    """`eqx.filter_custom_vjp` wraps `custom_vjp` in its own partitioning; the rule inside is found and judged."""

    @eqx.filter_custom_vjp
    def squashed(x, name):
        return jnp.tanh(x)

    squashed.def_fwd(lambda perturbed, x, name: (jnp.tanh(x), jnp.tanh(x)))
    squashed.def_bwd(lambda y, dy, perturbed, x, name: dy * (1 - y * y))
    verdict = verify(lambda x: squashed(x, "an option"), normal(4, 5))
    verdict.assert_passed()
    assert not any("no hand-written rule" in note for note in verdict.notes)

    squashed.def_bwd(lambda y, dy, perturbed, x, name: dy * (1 - y))
    assert verify(lambda x: squashed(x, "an option"), normal(4, 5)).status == "fail"


def test_a_layer_inside_an_equinox_module():
    """Parameters in a module, one of our layers inside: a module is a pytree like any other."""

    class Model(eqx.Module):
        scale: jax.Array
        bias: jax.Array

        def __call__(self, x):
            return layer_norm(x, self.scale, self.bias)

    model = Model(np.ones(5, np.float32), np.zeros(5, np.float32))
    verdict = verify(lambda model, x: model(x), model, normal(3, 5))
    verdict.assert_passed()
    assert {"model.scale", "model.bias", "x"} <= {check.argument for check in verdict.checks}
