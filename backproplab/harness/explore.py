"""The rule at points and shapes that the harness chooses itself.

From a case without a name, which is an example; a case with a name is a chosen point and stands for itself.
"""

from collections.abc import Iterator
from dataclasses import replace

import jax
import numpy as np

from backproplab.harness.inside import judged
from backproplab.harness.neighbours import neighbours
from backproplab.harness.numerical import contradiction
from backproplab.harness.point import Point, point
from backproplab.harness.shapes import resized
from backproplab.harness.shrink import reproducer
from backproplab.harness.strip import strip
from backproplab.harness.verdict import Check
from backproplab.harness.view import view

_LARGE = 50_000  # numbers; above, other points cost more than they are likely to show
_FAR = 1e-6  # of the largest entry: more than float64 takes from a formula that does not cancel
_AGREE = 1e-12  # a relative difference per entry that no bound could call wrong


def other_points(p: Point, seed: int, notes: list[str], differences_apply: bool = False) -> Iterator[Check]:
    """The formula at every neighbour of the point where the stripped function is defined; the first that fails is told.

    Rule and oracle, compiled for the given point, are run at each; only where they are apart are their rounding
    errors analysed, and only where these cannot explain it is the whole judgement made, kinks included.
    differences_apply: finite differences agree with the rule at `p`, so where they do not at zeros, it is wrong there.
    """
    if p.case.by_design and p.case.reference is None:
        return
    if _size(p.args) > _LARGE:
        notes.append(f"no other points and shapes were tried: the arguments hold more than {_LARGE:,} numbers")
        return
    for n in neighbours(p, seed):
        at = p.moved(n.diff, n.rest)
        doubt = _doubt(at, seed)
        if doubt and (failed := _failing(at, seed, "other points", n.words)):
            notes += _reproduced(at, failed, seed)
            yield failed
            return
        if doubt is not None and n.zeros and differences_apply and (words := contradiction(at, seed)):
            cause = f"{n.words}: {words}, and so has autodiff of the function, which has a seam there but no kink"
            only = at.view.labels[0] if len(at.view.labels) == 1 else None
            yield Check("other points", "fail", only, cause=cause, estimated=True)
            return
    yield Check("other points", "pass")


def other_shapes(p: Point, seed: int, notes: list[str]) -> Iterator[Check]:
    """The formula at every other set of sizes that the function takes. A rule that raises there is told in a note."""
    if (p.case.by_design and p.case.reference is None) or _size(p.args) > _LARGE:
        return
    for words, args in resized(p.case, p.args, seed):
        case = replace(p.case, args=args, expect=None, residual_bytes=None)
        if not _accepts(case, args, p):
            continue
        try:
            at = point(case, seed, p.dtype, p.device, p.matmul)
            doubt = _apart(at, at.cotangents("random", seed))  # interpreted: compiling for one look would cost more
        except Exception as error:
            notes.append(f"{words}: the rule raises {type(error).__name__}, the function does not")
            continue
        if doubt and (failed := _failing(at, seed, "other shapes", words)):
            notes += _reproduced(at, failed, seed)
            yield failed
            return
    yield Check("other shapes", "pass")


def _size(args: tuple) -> int:
    return sum(np.size(x) for x in jax.tree.leaves(args))


def _accepts(case, args, p: Point) -> bool:
    """Whether the function itself, its rule aside, takes the arguments."""
    seen = view(case, args)
    try:
        with jax.enable_x64(p.wide):
            jax.eval_shape(strip(seen.call(case.reference or case.fn)), seen.diff, seen.rest)
            jax.eval_shape(seen.call(case.fn), seen.diff, seen.rest)
    except Exception:
        return False
    return True


def _failing(p: Point, seed: int, name: str, words: str) -> Check | None:
    """The first failing check of the whole judgement at `p`, if any fails."""
    failed = next((check for check in judged(p, seed, []) if check.status == "fail"), None)
    return failed and replace(failed, name=name, cause=f"{words}: {failed.cause}")


def _reproduced(p: Point, failed: Check, seed: int) -> list[str]:
    call = reproducer(p, failed.argument, seed) if failed.argument else None
    return [f"reproduce: {call}"] if call else []


def _doubt(p: Point, seed: int) -> bool | None:
    """Whether rule and oracle differ at `p` by more than rounding; None if the function is not defined there."""
    cotangents = p.cotangents("random", seed)
    inputs, count = p.inputs(cotangents), len(p.outputs)
    right = p.pair.oracle(inputs)
    if not all(np.isfinite(y).all() for y in right):
        return None
    found = p.pair.rule(inputs)
    with np.errstate(all="ignore"):
        if all(np.all(np.abs(g - a) <= _AGREE * np.abs(a)) for g, a in zip(found[count:], right[count:])):
            return False
    return _apart(p, cotangents)


def _apart(p: Point, cotangents: list[np.ndarray]) -> bool | None:
    """The same by the analyses of their rounding, which compile nothing where a program is small."""
    found, count = p.formulas(cotangents), len(p.outputs)
    if not all(np.isfinite(value.exact).all() for value in found[:count]):
        return None
    for x, d in zip(p.view.diff, found[count:]):
        far = d.wrong | (d.error > _FAR * d.scale)  # a bound so wide must not hide it: many digits decide
        # the slope at an infinite entry is a matter of taste, unless it is no number
        if np.any(far & (np.isfinite(x) | ~np.isfinite(d.got))):
            return True
    return False
