"""Staged computation: a circuit of gates, evaluated forward and then backward. Lecture L13, rows S1-S6, catalogue #10.

A gate knows its own function and its own local gradients and nothing of the circuit. The driver knows the circuit and
no calculus: it visits the gates in topological order, then in reverse, and adds up where wires branch. Any page of this
library can be a gate. For teaching, and to see every number of a small expression; autodiff does all else better.
"""

from dataclasses import dataclass
from functools import partial
from graphlib import TopologicalSorter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.gates.add import add
from backproplab.layers.gates.exp import exp
from backproplab.layers.gates.maximum import maximum
from backproplab.layers.gates.multiply import multiply
from backproplab.layers.gates.reciprocal import reciprocal
from backproplab.layers.gates.scale_shift import scale_shift
from backproplab.rule import defvjp


@dataclass(frozen=True)
class Gate:
    """One gate of a circuit: `layer` reads the wires `inputs` and drives the wire `output`.

    layer: a page of this library, or any `jax.custom_vjp` with one output. options: its static arguments, all of them.
    """

    output: str
    layer: Any
    inputs: tuple[str, ...]
    options: tuple = ()

    def forward(self, *values):
        """The output, and a cache: what the gate has to remember until the gradient comes back."""
        return self.layer.fwd(*values, *self.options)

    def backward(self, cache, upstream):
        """The gradient of the loss at each input: the local gradient times the one upstream, at the output."""
        return self.layer.bwd(*self.options, cache, upstream)


def topological_order(gates, values):
    """The gates, each after those that it reads from; `values` holds the wires that no gate drives.

    Raises ValueError for a loop, a wire that two gates drive, and one that is read and has neither gate nor value.
    """
    by_output = {gate.output: gate for gate in gates}
    if len(by_output) < len(gates):
        raise ValueError("two gates drive the same wire")
    for gate in gates:
        for wire in gate.inputs:
            if wire not in by_output and wire not in values:
                raise ValueError(f"the gate of {gate.output!r} reads {wire!r}, which has neither gate nor value")
    order = TopologicalSorter({gate.output: gate.inputs for gate in gates}).static_order()
    return tuple(by_output[wire] for wire in order if wire in by_output)


def forward(values, gates):
    """Evaluates a circuit. values: {wire: array} for the wires that no gate drives.

    Returns {wire: value} for all wires, and {wire: cache} for those that a gate drives. Raises ValueError as
    `topological_order` does.
    """
    values, caches = dict(values), {}
    for gate in topological_order(gates, values):
        values[gate.output], caches[gate.output] = gate.forward(*(values[wire] for wire in gate.inputs))
    return values, caches


def backward(values, caches, gates, upstream: Any = 1.0):
    """The gradient on every wire, {wire: gradient}, from what `forward` returned.

    `upstream` is the gradient at the output, the wire of the last gate listed. A wire that several gates read gets a
    gradient from each, and they add: that is all there is to a fork.
    """
    gradients = {wire: jnp.zeros_like(value) for wire, value in values.items()}
    output = gates[-1].output
    gradients[output] += upstream
    for gate in reversed(topological_order(gates, values)):
        for wire, gradient in zip(gate.inputs, gate.backward(caches[gate.output], gradients[gate.output])):
            gradients[wire] += gradient
    return gradients


@partial(jax.custom_vjp, nondiff_argnames=("gates",))
def staged(values, gates):
    """The value of a circuit: that of the wire that the last gate listed drives.

    values: {wire: array} for the wires that no gate drives; gates: a tuple of `Gate`, in any order but for the last.
    Raises ValueError as `topological_order` does.
    """
    values = dict(values)
    for gate in topological_order(gates, values):
        values[gate.output] = gate.layer(*(values[wire] for wire in gate.inputs), *gate.options)
    return values[gates[-1].output]


def staged_fwd(values, gates):
    """Keeps the caches of all gates, and the values on the wires, of which only the shapes are used."""
    wires, caches = forward(values, gates)
    return wires[gates[-1].output], (wires, caches)


def staged_bwd(gates, residuals, dy):
    """The chain rule, wire by wire. If the loss depends on wire v only through the gates that read it, then

        dloss/dv = sum over those gates of (dloss / d their output) (d their output / dv)

    so the gradient of v is complete once every gate that reads v has been visited: hence the reverse topological order.
    The second factor is a gate's own affair, and the sum is the `+=`.
    """
    wires, caches = residuals
    gradients = backward(wires, caches, gates, dy)
    return ({wire: gradient for wire, gradient in gradients.items() if wire not in caches},)


defvjp(staged, staged_fwd, staged_bwd)

# The lecture's circuits. (x + y) z, row S3:
SUM_TIMES = (Gate("q", add, ("x", "y")), Gate("f", multiply, ("q", "z")))

# 2 (x y + max(z, w)), row S4, in which each kind of gate has its pattern: switch, route, distribute
PATTERNS = (
    Gate("xy", multiply, ("x", "y")),
    Gate("max", maximum, ("z", "w"), ("split",)),
    Gate("sum", add, ("xy", "max")),
    Gate("f", scale_shift, ("sum",), (2.0, 0.0)),
)


def sigmoid_gates(source, output):
    """1 / (1 + exp(-source)) as four gates: a x, e^x, c + x, 1/x."""
    minus, power, denominator = f"-{source}", f"exp(-{source})", f"1+exp(-{source})"
    return (
        Gate(minus, scale_shift, (source,), (-1.0, 0.0)),
        Gate(power, exp, (minus,)),
        Gate(denominator, scale_shift, (power,), (1.0, 1.0)),
        Gate(output, reciprocal, (denominator,)),
    )


# sigmoid(w0 x0 + w1 x1 + w2), row S5
SIGMOID_CIRCUIT = (
    Gate("w0x0", multiply, ("w0", "x0")),
    Gate("w1x1", multiply, ("w1", "x1")),
    Gate("sum", add, ("w0x0", "w1x1")),
    Gate("dot", add, ("sum", "w2")),
    *sigmoid_gates("dot", "f"),
)

# (x + sigmoid(y)) / (sigmoid(x) + (x + y)^2), row S6: x and y branch, and so does x + y
STAGED_EXPRESSION = (
    *sigmoid_gates("y", "sigy"),
    Gate("num", add, ("x", "sigy")),
    *sigmoid_gates("x", "sigx"),
    Gate("xpy", add, ("x", "y")),
    Gate("xpysqr", multiply, ("xpy", "xpy")),
    Gate("den", add, ("sigx", "xpysqr")),
    Gate("invden", reciprocal, ("den",)),
    Gate("f", multiply, ("num", "invden")),
)


def _scalars(**values):
    return {wire: np.array(float(value)) for wire, value in values.items()}


CASES = (
    Case(staged, (_scalars(x=-2, y=5, z=-4), SUM_TIMES), name="(x+y)z", expect=(_scalars(x=-4, y=-4, z=3),)),
    Case(staged, (_scalars(x=3, y=-4, z=2, w=-1), PATTERNS), name="patterns", expect=(_scalars(x=-8, y=6, z=2, w=0),)),
    Case(staged, (_scalars(x=3, y=-4, z=-2, w=-1), PATTERNS), name="w wins", expect=(_scalars(x=-8, y=6, z=0, w=2),)),
    Case(
        staged,
        (_scalars(x=3, y=-4, z=2, w=2), PATTERNS),
        name="a tie",
        kink=True,
        expect=(_scalars(x=-8, y=6, z=1, w=1),),
    ),
    Case(staged, (_scalars(w0=2, x0=-1, w1=-3, x1=-2, w2=-3), SIGMOID_CIRCUIT), name="sigmoid circuit", order=2),
    Case(staged, (_scalars(x=3, y=-4), STAGED_EXPRESSION), name="forks", order=2),
    Case(staged, ({"x": normal(4, 5), "y": normal(5)}, STAGED_EXPRESSION), name="arrays that broadcast"),
    Case(
        staged,
        ({"x": normal(3), "unread": normal(2)}, (Gate("square", multiply, ("x", "x")),)),
        name="a gate that reads one wire twice, and a wire that nothing reads",
    ),
)
