"""The transformer and the mixture of experts: loops in numpy, dependence, unknown targets, what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled

from backproplab.networks import moe, transformer

KEY = jax.random.key(3)
SMALL = {"vocabulary": 7, "features": 8, "blocks": 2, "heads": 2, "key_heads": 1, "hidden": 5}
FULL = {"rtol": 1e-11, "atol": 1e-12}  # float64, two blocks deep


def start(**changes):
    """What a small transformer starts with."""
    return compiled(lambda: transformer.init(KEY, **(SMALL | changes)))()


def model(**changes):
    """Parameters in float64, the norms' scales not all one."""
    random = np.random.default_rng(0)
    params = start(**changes)
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64) + random.normal(0, 0.1, leaf.shape), params)


# The transformer, position by position


def normalised(x, scale):
    return x / np.sqrt(np.mean(x**2, -1, keepdims=True) + 1e-6) * scale


def turned(x, position):
    """Features i and i + half as a complex number, times exp(i angle)."""
    half = len(x) // 2
    pairs = (x[:half] + 1j * x[half:]) * np.exp(1j * position * 10_000.0 ** (-np.arange(half) / half))
    return np.concatenate([pairs.real, pairs.imag])


def attention_by_loops(params, x):
    heads, width, features = params["output"].shape
    groups = heads // params["key"].shape[1]
    y = np.zeros((len(x), features))
    for t, h in np.ndindex(len(x), heads):
        query = turned(x[t] @ params["query"][:, h], t)
        keys = [turned(x[s] @ params["key"][:, h // groups], s) for s in range(t + 1)]
        weights = np.exp([query @ key / np.sqrt(width) for key in keys])
        mixed = sum(w * (x[s] @ params["value"][:, h // groups]) for s, w in enumerate(weights / weights.sum()))
        y[t] += mixed @ params["output"][h]
    return y


def hidden_by_loops(params, x):
    gate = x @ params["gate"]
    return (gate / (1 + np.exp(-gate)) * (x @ params["up"])) @ params["down"]


def probabilities_by_loops(params, tokens, post_norm):
    x = params["embedding"][tokens]
    for block in params["blocks"]:
        for layer, norm in ((attention_by_loops, "attention_norm"), (hidden_by_loops, "hidden_norm")):
            scale = block[norm]
            x = normalised(x + layer(block, x), scale) if post_norm else x + layer(block, normalised(x, scale))
    exponentials = np.exp(normalised(x, params["norm"]) @ params["output"])
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.mark.parametrize("post_norm", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_transformer_by_loops(post_norm):
    """Probabilities and loss against numpy, position by position and head by head; a target below 0 does not count."""
    params, tokens, target = model(), np.array([3, 0, 6, 3]), np.array([0, 6, -1, 2])
    y = probabilities_by_loops(params, tokens, post_norm)
    with jax.enable_x64(True):
        np.testing.assert_allclose(jax.jit(transformer.apply, static_argnums=2)(params, tokens, post_norm), y, **FULL)
        loss = jax.jit(transformer.loss, static_argnums=3)(params, tokens, target, post_norm)
        known = target >= 0
        np.testing.assert_allclose(loss, -np.log(y[known, target[known]]).mean(), **FULL)


def test_no_token_depends_on_a_later_one():
    """Another last token changes the last probabilities alone; a sequence in a batch is what it is alone."""
    params = start()
    tokens = np.array([[3, 0, 6, 3], [3, 0, 6, 1]])
    y = np.asarray(jax.jit(transformer.apply)(params, tokens))
    np.testing.assert_array_equal(y[0, :3], y[1, :3])
    assert (y[0, 3] != y[1, 3]).any()


def test_unknown_targets_have_no_gradient():
    """All unknown: loss 0 and gradients 0, not NaN; the mean is over those that are known."""
    params, tokens = start(blocks=0), np.array([[3, 0], [6, 3]])
    run = jax.jit(jax.value_and_grad(transformer.loss))
    loss, gradient = run(params, tokens, np.full((2, 2), -1))
    assert loss == 0 and not any(leaf.any() for leaf in jax.tree.leaves(gradient))
    once, _ = run(params, tokens, np.array([[1, -1], [-1, -1]]))
    twice, _ = run(params, np.array([[3, 3], [3, 3]]), np.array([[1, 1], [-1, -1]]))
    np.testing.assert_allclose(once, twice, rtol=1e-6)


def test_the_loss_never_holds_the_logits():
    """No array of all tokens by all words in the program of the gradient, nor of all tokens by all tokens."""
    params = jax.eval_shape(lambda: transformer.init(KEY, 3001, 8, 1, 2, 1, 5))
    tokens = jax.ShapeDtypeStruct((1021,), jnp.int32)
    program = str(jax.make_jaxpr(jax.grad(transformer.loss))(params, tokens, tokens))
    assert "1021,8]" in program
    assert "1021,3001]" not in program and "1021,1021]" not in program


def test_no_autodiff_where_a_rule_should_be():
    """Products and transcendental functions are inside pages, but for the mean over the known targets."""
    params, tokens = start(), np.zeros((2, 3), np.int32)
    jaxpr = jax.make_jaxpr(transformer.loss)(params, tokens, tokens).jaxpr
    outside = {equation.primitive.name for equation in jaxpr.eqns}
    assert any(name.startswith("custom_vjp_call") for name in outside)
    assert not outside & {"dot_general", "exp", "log", "logistic", "mul", "sin", "cos", "gather", "scan"}


@pytest.mark.slow
def test_it_learns_to_count():
    """Thirty steps of descent on 0 1 2 3 0 1 2 3 ...: the loss goes from that of guessing to below a tenth."""
    tokens = np.arange(17) % 4
    params = transformer.init(KEY, **(SMALL | {"features": 16}))

    @jax.jit
    def train(params):
        def step(params, _):
            loss, gradient = jax.value_and_grad(transformer.loss)(params, tokens[:-1], tokens[1:])
            return jax.tree.map(lambda p, g: p - 0.3 * g, params, gradient), loss

        return jax.lax.scan(step, params, length=30)[1]

    losses = np.asarray(train(params))
    assert losses[0] > 1 and losses[-1] < 0.1


@pytest.mark.slow
def test_shapes_of_the_start():
    """Query heads, fewer key heads, and scales of one; additions to the stream start smaller the more there are."""
    params = transformer.init(KEY, 300, 64, 2, 4, 2, 128)
    assert len(params["blocks"]) == 2
    shapes = jax.tree.map(jnp.shape, params["blocks"][1], is_leaf=lambda leaf: hasattr(leaf, "shape"))
    assert shapes["query"] == (64, 4, 16) and shapes["key"] == shapes["value"] == (64, 2, 16)
    assert shapes["output"] == (4, 16, 64) and shapes["down"] == (128, 64)
    # the mean of n squares of normal numbers has a relative standard error of sqrt(2 / n)
    assert abs(np.mean(params["blocks"][1]["down"] ** 2) * 128 * 4 - 1) < 5 * np.sqrt(2 / (128 * 64))
    assert (params["norm"] == 1).all() and (params["blocks"][0]["hidden_norm"] == 1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": 0}, "vocabulary must be 1 or more, not 0"),
        ({"heads": 3}, "not 8, 3 and 1"),
        ({"heads": 8}, "not 8, 8 and 1"),  # one feature per head makes no pair
        ({"heads": 4, "key_heads": 3}, "not 8, 4 and 3"),
        ({"blocks": -1}, "blocks must be 0 or more, not -1"),
    ],
)
def test_sizes_that_make_no_transformer(options, message):
    """A ValueError that names the numbers."""
    with pytest.raises(ValueError, match=message):
        transformer.init(KEY, **(SMALL | options))


def test_tokens_and_targets_that_do_not_fit():
    """Tokens that are no integers, and targets of another shape, are refused by name."""
    params, tokens = start(blocks=0), jnp.zeros((2, 3), int)
    with pytest.raises(ValueError, match=r"tokens must be integers \(\.\.\., T\), not float32\[2, 3\]"):
        transformer.apply(params, tokens.astype(float))
    with pytest.raises(ValueError, match=r"target must have shape \(2, 3\), not \(3,\)"):
        transformer.loss(params, tokens, tokens[0])


# The mixture of experts


def experts():
    """Parameters of four experts and six rows."""
    random = np.random.default_rng(1)
    return compiled(lambda: moe.init(KEY, 3, 5, 4))(), random.normal(size=(6, 3)).astype(np.float32)


def mixture_by_loops(params, x, k):
    y = []
    for row in x.astype(float):
        logits = row @ params["router"]
        best = np.argsort(-logits)[:k]
        gates = np.exp(logits[best]) / np.exp(logits[best]).sum()
        parts = [hidden_by_loops({name: params[name][e] for name in ("gate", "up", "down")}, row) for e in best]
        y.append(row + gates @ np.array(parts))
    return np.array(y)


@pytest.mark.parametrize("k", [1, 2, pytest.param(4, marks=pytest.mark.slow)])
def test_the_mixture_by_loops(k):
    """Row by row and expert by expert in numpy; rows in another order, and in two batch axes, are the same."""
    params, x = experts()
    apply = jax.jit(moe.apply, static_argnums=2)
    y = apply(params, x, k)
    np.testing.assert_allclose(y, mixture_by_loops(params, x, k), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(apply(params, x[::-1], k), y[::-1], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(apply(params, x.reshape(2, 3, 3), k), y.reshape(2, 3, 3), rtol=1e-6, atol=1e-6)


def test_an_idle_expert_has_gradient_zero():
    """One row to one expert: exact zeros for the others; the router still hears of them by its own two losses."""
    params, x = experts()
    best = int(np.argmax(x[0] @ params["router"]))
    gradient = jax.jit(jax.grad(lambda p: moe.loss(p, x[:1], 0 * x[:1], k=1)))(params)
    for name in ("gate", "up", "down"):
        assert [bool(expert.any()) for expert in gradient[name]] == [e == best for e in range(4)]
    assert gradient["router"].any(0).all()


def test_what_makes_no_mixture():
    """Counts below 1, more experts per row than there are, a width that does not fit."""
    params, x = experts()
    with pytest.raises(ValueError, match="must be 1 or more, not 3, 0 and 4"):
        moe.init(KEY, 3, 0, 4)
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"number of experts, 4, not {k}"):
            moe.apply(params, x, k)
    with pytest.raises(ValueError, match=r"x must have shape \(\.\.\., 3\), not \(6, 2\)"):
        moe.apply(params, x[:, :2])
    with pytest.raises(ValueError, match=r"target must have shape \(6, 3\), not \(3,\)"):
        moe.loss(params, x, x[0])
