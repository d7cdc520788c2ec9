"""From a function and its arguments to the circuit that the lecture draws: gates, and wires with two numbers each.

The gates are the equations of the function's jaxpr. A layer with a hand-written rule is one gate, named after the layer,
and its rule is what runs backward. Lecture L13.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var, jaxpr_as_fun

from backproplab.case import parameter_names
from backproplab.harness.strip import forward_body


@dataclass(frozen=True, eq=False)
class Node:
    """A gate, an argument or a constant.

    name: of the wire that leaves it. inputs: names of the wires that it reads, and numbers that are part of the gate.
    gradient: of the graph's output with respect to `value`, the sum of what its edges bring back; None for integers.
    function: what a gate makes of its inputs' values; None for arguments and constants.
    """

    name: str
    operation: str
    inputs: tuple[Any, ...]
    value: Any
    gradient: Any = None
    function: Callable | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Edge:
    """One use of a wire: `target` reads `source`. Its gradient is what comes back through this use alone."""

    source: str
    target: str
    value: Any
    gradient: Any


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes and edges in topological order. `graph["x"]` is a node, `str(graph)` a table with a line for each edge.

    output: the name of the node that holds the function's value.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    output: str

    def __getitem__(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def __str__(self) -> str:
        rows = [("wire", "gate", "value", "gradient")]
        for node in self.nodes:
            reads = ", ".join(wire if isinstance(wire, str) else _text(wire) for wire in node.inputs)
            rows.append(
                (node.name, node.operation + (f"({reads})" if reads else ""), _text(node.value), _text(node.gradient))
            )
            branches = [edge for edge in self.edges if edge.source == node.name]
            if len(branches) > 1:
                rows += [("", f"  to {edge.target}", _text(edge.value), _text(edge.gradient)) for edge in branches]
        wire, gate, value, gradient = (max(map(len, column)) for column in zip(*rows))
        return "\n".join(f"{a:<{wire}}  {b:<{gate}}  {c:>{value}}  {d:>{gradient}}".rstrip() for a, b, c, d in rows)


def trace(f: Callable, *args: Any) -> Graph:
    """The computational graph of `f` at `args`, with the value and the gradient of the output on every edge.

    f: returns one floating number. args: numbers, arrays, pytrees of them; anything else `f` must close over.
    Jitted functions are opened; a layer (custom_vjp, custom_jvp), a loop or a branch is one gate, as it has one rule.
    Raises ValueError if `f` returns anything but one floating number.
    """
    args = jax.tree.map(jnp.asarray, args)
    jaxpr, out = jax.make_jaxpr(f, return_shape=True)(*args)
    _check_output(jax.tree.leaves(out))
    nodes = {name: Node(name, "argument", (), leaf) for name, leaf in _named_leaves(f, args)}
    (output,) = _forward(jaxpr, list(nodes), nodes)
    if not isinstance(output, str):  # `f` returns a number whatever its arguments
        nodes["output"] = Node("output", "constant", (), jnp.asarray(output))
        output = "output"
    gradients, edges = _backward(nodes, output)
    return Graph(tuple(replace(node, gradient=gradients[name]) for name, node in nodes.items()), tuple(edges), output)


def _forward(jaxpr, inputs, nodes):
    """Adds to `nodes` one for every result of every equation, evaluated. Returns the inputs' like of the outputs."""
    wires = dict(zip(jaxpr.jaxpr.invars, inputs))
    read = lambda atom: np.asarray(atom.val) if isinstance(atom, Literal) else wires[atom]

    def add(variable, operation, sources, function, value):
        wires[variable] = name = _new_name(nodes)
        nodes[name] = Node(name, operation, sources, value, function=function)

    for variable, value in zip(jaxpr.jaxpr.constvars, jaxpr.consts):
        add(variable, "constant", (), None, jnp.asarray(value))
    for eqn in jaxpr.jaxpr.eqns:
        sources = tuple(read(atom) for atom in eqn.invars)
        body = _opened(eqn)
        if body is not None:
            wires.update(zip(eqn.outvars, _forward(body, sources, nodes)))
            continue
        for i, variable in enumerate(eqn.outvars):
            function = _alone(eqn, i)
            operation = _operation(eqn) + (f".{i}" if len(eqn.outvars) > 1 else "")
            add(variable, operation, sources, function, function(*_values(sources, nodes)))
    return [read(atom) for atom in jaxpr.jaxpr.outvars]


def _backward(nodes, output):
    """Each gate turns the gradient of its value into one per input; where a wire forks, they add."""
    gradients = {name: jnp.zeros_like(node.value) if _floating(node.value) else None for name, node in nodes.items()}
    gradients[output] = jnp.ones_like(nodes[output].value)
    edges = []
    for node in reversed(nodes.values()):
        parts = [None] * len(node.inputs)
        if node.inputs and gradients[node.name] is not None:
            parts = jax.vjp(node.function, *_values(node.inputs, nodes))[1](gradients[node.name])
        reads = [(wire, part) for wire, part in zip(node.inputs, parts) if isinstance(wire, str)]
        for wire, part in reads:
            if part is not None and gradients[wire] is not None:
                gradients[wire] += part
        edges[:0] = [
            Edge(wire, node.name, nodes[wire].value, part if gradients[wire] is not None else None)
            for wire, part in reads
        ]
    return gradients, edges


def _alone(eqn, result):
    """One result of an equation as a function of its operands, each its own variable: x * x has two edges from x."""
    operands = [Var(atom.aval) for atom in eqn.invars]
    results = [Var(variable.aval) for variable in eqn.outvars]
    jaxpr = Jaxpr([], operands, [results[result]], [eqn.replace(invars=operands, outvars=results)], eqn.effects)
    return lambda *values: jaxpr_as_fun(ClosedJaxpr(jaxpr, []))(*values)[0]


def _opened(eqn):
    """The jaxpr of a call that is no gate of its own; None for a gate."""
    if eqn.primitive.name in ("jit", "pjit"):
        return eqn.params["jaxpr"]
    return eqn.params["call_jaxpr"] if eqn.primitive.name in ("closed_call", "eval_jaxpr") else None


def _operation(eqn):
    """The name of the layer, or of the primitive with the numbers that belong to it: integer_pow[y=3]."""
    layer = eqn.params["call_jaxpr"] if eqn.primitive.name == "custom_jvp_call" else forward_body(eqn)
    if layer is not None:
        return layer.jaxpr.debug_info.func_name
    numbers = [f"{name}={value}" for name, value in eqn.params.items() if type(value) in (int, float)]
    return eqn.primitive.name + (f"[{', '.join(numbers)}]" if numbers else "")


def _values(wires, nodes):
    return [nodes[wire].value if isinstance(wire, str) else wire for wire in wires]


def _new_name(nodes):
    """v1, v2, ... as the literature has it, without those that arguments are called."""
    return next(name for i in itertools.count(1) if (name := f"v{i}") not in nodes)


def _named_leaves(f, args):
    for name, arg in zip(parameter_names(f, len(args)), args):
        for path, leaf in jax.tree_util.tree_flatten_with_path(arg)[0]:
            yield name + jax.tree_util.keystr(path), leaf


def _floating(value):
    return jnp.issubdtype(value.dtype, jnp.inexact)


def _check_output(leaves):
    if len(leaves) != 1:
        raise ValueError(f"the function returns {len(leaves)} arrays; trace a function that returns one number")
    if leaves[0].shape != ():
        raise ValueError(
            f"the function returns shape {leaves[0].shape}; trace one number, such as its sum or one entry"
        )
    if not jnp.issubdtype(leaves[0].dtype, jnp.floating):
        raise ValueError(f"the function returns {leaves[0].dtype}, which has no gradient; trace a floating number")


def _text(value):
    """A number, a small array on one line, the type of a large one; nothing for a gradient that does not exist."""
    if value is None:
        return ""
    if value.size > 12:
        return f"{value.dtype}{list(value.shape)}"
    return " ".join(np.array2string(np.asarray(value), formatter={"float_kind": "{:.6g}".format}).split())
