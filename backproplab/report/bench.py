"""Costs as a table: for each function its rule, and below it the other ways to the same gradient."""

from collections.abc import Callable, Sequence

from rich.table import Table

from backproplab.bench import Bench, geometric_mean

_HEADINGS = ("function", "way", "kept", "temporary", "instructions", "compiled in", "time of hand / its (quartiles)", "worst error")  # fmt: skip


def bench_table(found: Sequence[Bench]) -> Table:
    """Bytes kept from forward to backward, temporary bytes, instructions, seconds, ratio of times, float32 accuracy."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading in ("function", "way") else "right", no_wrap=True)
    for b in found:
        for name, cost in b.costs.items():
            sizes = (cost.residual_bytes, cost.temporary_bytes, cost.instructions)
            numbers = [f"{size:,}" for size in sizes]
            first = f"{b.function} ({b.numbers:,} numbers)" if name == "hand" else ""
            table.add_row(first, name, *numbers, f"{cost.compile_seconds:.2f} s", _ratio(b, name), _error(b, name))
    return table


def _ratio(b: Bench, name: str) -> str:
    if b.ratios is None or name not in b.ratios:
        return ""
    low, middle, high = b.ratios[name]
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _error(b: Bench, name: str) -> str:
    place = {"hand": 0, "plain": 1}.get(name)
    return "" if b.errors is None or place is None else f"{b.errors[place]:.0e}"


def bench_summary(found: Sequence[Bench]) -> str:
    """Geometric means of hand over plain, of bytes over the functions where neither is 0; and where another way is leaner."""
    kept, temporary, instructions = (
        _mean(found, lambda c, field=field: getattr(c, field))
        for field in ("residual_bytes", "temporary_bytes", "instructions")
    )
    means = (
        f"hand / plain, geometric means: bytes kept {kept}, temporary bytes {temporary}, instructions {instructions}"
    )
    greedy = [
        f"{b.function} {b.costs['hand'].temporary_bytes:,} ({b.leanest('temporary_bytes'):,})"
        for b in found
        if b.greedy
    ]
    return "\n".join(
        [means, f"more temporary bytes than the leanest other way: {', '.join(greedy)}"] if greedy else [means]
    )


def _mean(found: Sequence[Bench], of: Callable) -> str:
    pairs = [(of(b.costs["hand"]), of(b.costs["plain"])) for b in found]
    ratios = [hand / plain for hand, plain in pairs if hand and plain]
    return f"{geometric_mean(ratios):.2f} (of {len(ratios)})" if ratios else "-"
