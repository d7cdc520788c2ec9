"""What helps the author of a wrong gradient: whether it is wrong each time, a change of the rule that mends it, a small call."""

from backproplab.harness.eager import eager
from backproplab.harness.point import Point
from backproplab.harness.repair import hint
from backproplab.harness.shrink import reproducer


def remedies(p: Point, argument: str | None, seed: int, example: Point | None = None) -> list[str]:
    """Notes on the wrong gradient of `argument` at `p`, as far as there is something to say.

    example: the point of the case itself, where the gradient is right.
    """
    if argument is None:
        return []
    found = {
        "state": _state(p, seed),
        "hint": hint(p, argument, seed, example),
        "reproduce": reproducer(p, argument, seed),
    }
    return [f"{name}: {text}" for name, text in found.items() if text]


def _state(p: Point, seed: int) -> str | None:
    try:
        other = next((check.cause for check in eager(p, seed) if check.status == "fail"), None)
    except Exception:  # outside jit it may not run at all, which another check says of rules that are right inside
        return None
    return other and f"{other}: the rule keeps something from call to call, or asks whether it is traced"
