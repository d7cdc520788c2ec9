"""A rule split over devices yields what it yields on one, the sum over them where an argument is on each."""

import jax
import numpy as np
from by_hand import at

from backproplab import defvjp, verify
from backproplab.harness.parallel import parallel
from backproplab.rule import _varying

random = np.random.default_rng(0)
X, W = random.normal(size=(4, 5)), random.normal(size=(5, 3))


def product(register, dw):
    layer = jax.custom_vjp(lambda x, w: x @ w)
    register(layer, lambda x, w: (x @ w, (x, w)), lambda r, dy: (dy @ r[1].T, dw(r[0], dy)))
    return layer


def as_jax_does(layer, fwd, bwd):
    layer.defvjp(fwd, bwd)


def averaged(x, dy):
    """The mean over the devices in place of the sum."""
    dw = x.T @ dy
    axes = tuple(_varying(jax.typeof(dw)))
    return jax.lax.pmean(dw, axes) if axes else dw


def asked(layer, *args):
    p, notes = at(layer, *args), []
    runs = [p.inputs(p.cotangents("random", seed)) for seed in (0, 1)]
    runs[1][0] = 2 * runs[1][0]
    return list(parallel(p, runs, notes)), notes


def test_a_registered_rule():
    """With the check of varying axes and without it; over Auto axes and Explicit ones."""
    checks, notes = asked(product(defvjp, lambda x, dy: x.T @ dy), X, W)
    assert [(c.name, c.status) for c in checks] == [("shard_map", "pass")] * 2 + [("sharding", "pass")] * 2
    assert notes == []


def test_what_jax_refuses_is_told():
    """A textbook rule registered with JAX alone does not sum over the devices: it raises with the check, and a note says so."""
    checks, notes = asked(product(as_jax_does, lambda x, dy: x.T @ dy), X, W)
    assert [(c.name, c.status) for c in checks] == [("shard_map", "pass"), ("sharding", "pass")]
    assert len(notes) == 2
    assert "inside shard_map the rule raises ValueError" in notes[0]
    assert "laid out over two devices under jit (Explicit axes) the rule raises" in notes[1]


def test_the_check_is_needed():
    """A wrong sum over devices is seen by nothing else: on one device the rule is right."""
    layer = product(defvjp, averaged)
    verdict = verify(layer, X, W, dtypes=("float64",))
    failing = {c.name for c in verdict.checks if c.status == "fail"}
    assert failing == {"shard_map"}
    assert verdict.argument == "w"
    assert "inside shard_map the gradient of w is" in verdict.cause
    assert verify(layer, X, W, dtypes=("float64",), name="a chosen point").passed


def test_a_layout_that_a_rule_gets_wrong():
    """A rule that reads where its cotangent lies and counts the devices twice: wrong over Explicit axes and nowhere else."""
    square = jax.custom_vjp(lambda x: x * x)
    square.defvjp(
        lambda x: (x * x, x),
        lambda x, dy: (x * dy * (4 if "shards" in str(jax.typeof(dy).sharding.spec) else 2),),
    )
    checks, notes = asked(square, X)
    assert [(c.name, c.status) for c in checks][2:] == [("sharding", "pass"), ("sharding", "fail")]
    assert checks[-1].argument == "x"
    assert "laid out over two devices under jit (Explicit axes) the gradient of x is" in checks[-1].cause
    assert notes == []


def test_the_mesh_is_nobody_elses():
    """Between two checks there is none."""
    p = at(product(defvjp, lambda x, dy: x.T @ dy), X, W)
    for _ in parallel(p, [p.inputs(p.cotangents("random", seed)) for seed in (0, 1)], []):
        assert jax.sharding.get_abstract_mesh().empty


def test_an_odd_size_is_not_laid_out():
    """Nothing that two devices can share evenly: in shard_map each has its own, under jit nothing is asked."""
    checks, _ = asked(lambda x: x * x, np.ones((3, 5)))
    assert [c.name for c in checks] == ["shard_map"] * 2


def test_a_scalar_output():
    """It is split as well: each device has its own."""
    checks, notes = asked(lambda x, w: (x * w).sum(), X, X)
    assert [c.status for c in checks] == ["pass"] * 4
    assert notes == []


def test_a_function_that_refuses_by_itself():
    """Of what is not the rule's fault nothing is said."""

    def nowhere_split(x):
        if _varying(jax.typeof(x)):
            raise ValueError("not in data-parallel code")
        return x

    checks, notes = asked(nowhere_split, X)
    assert [c.name for c in checks] == [
        "shard_map",
        "sharding",
        "sharding",
    ]  # without the check JAX does not say what varies
    assert notes == []


def test_one_device_is_not_enough():
    """As many are needed as there are points."""
    p = at(lambda x: x, X)
    assert list(parallel(p, [p.inputs(p.cotangents("random", 0))] * (len(jax.devices()) + 1), [])) == []
