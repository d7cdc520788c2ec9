"""What helps the author of a wrong gradient: a change of the rule that mends it, and a small call that shows it."""

from backproplab.harness.point import Point
from backproplab.harness.repair import hint
from backproplab.harness.shrink import reproducer


def remedies(p: Point, argument: str | None, seed: int) -> list[str]:
    """Notes on the wrong gradient of `argument` at `p`, as far as there is something to say."""
    if argument is None:
        return []
    found = {"hint": hint(p, argument, seed), "reproduce": reproducer(p, argument, seed)}
    return [f"{name}: {text}" for name, text in found.items() if text]
