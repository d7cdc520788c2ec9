"""Loops and branches gone through as they come, by whatever runs the programs in them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from backproplab.harness.control import MOST_STEPS, scan_sizes, solver, split, stacked

Run = Callable[[Any, list], list]  # from a program and its inputs to its outputs


def _scan(eqn: Any, inputs: list, run: Run) -> list:
    p = eqn.params
    num_consts, num_carry = scan_sizes(p)
    consts, carry, xs = split(inputs, num_consts, num_carry)
    steps = range(p["length"])
    made = []
    for i in reversed(steps) if p["reverse"] else steps:
        out = run(p["jaxpr"], [*consts, *carry, *(x[i] for x in xs)])
        carry = out[:num_carry]
        made.append(out[num_carry:])
    if not made:
        return [*carry, *(np.zeros(v.aval.shape, v.aval.dtype) for v in eqn.outvars[num_carry:])]
    return [*carry, *map(stacked, zip(*(made[::-1] if p["reverse"] else made)))]


def _while(eqn: Any, inputs: list, run: Run) -> list:
    p = eqn.params
    asks, does, carry = split(inputs, p["cond_nconsts"], p["body_nconsts"])
    for _ in range(MOST_STEPS):
        if not run(p["cond_jaxpr"], [*asks, *carry])[0]:
            return carry
        carry = run(p["body_jaxpr"], [*does, *carry])
    raise RuntimeError("a loop that ends in the precision of the device need not end in float64")


def _cond(eqn: Any, inputs: list, run: Run) -> list:
    branches = eqn.params["branches"]
    return run(branches[int(np.clip(inputs[0], 0, len(branches) - 1))], inputs[1:])


UNROLLED: dict[str, Callable[[Any, list, Run], list]] = {"scan": _scan, "while": _while, "cond": _cond,
             "custom_linear_solve": lambda eqn, inputs, run: run(*solver(eqn, inputs))}  # fmt: skip
