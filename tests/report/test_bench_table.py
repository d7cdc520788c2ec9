"""The table of costs says what was measured, and leaves out what was not."""

from rich.console import Console

from backproplab.bench import Bench
from backproplab.bench.cost import Cost
from backproplab.report.bench import bench_summary, bench_table

LEAN, PLAIN = Cost(1000, 0, 10, 0.1), Cost(4000, 2000, 20, 0.2)


def text(*found):
    console = Console(width=200)
    with console.capture() as table:
        console.print(bench_table(found))
    return table.get()


def test_rows():
    """Numbers with separators, times as median and quartiles, errors of the rule and of plain autodiff."""
    b = Bench("f", 256, {"hand": LEAN, "plain": PLAIN}, {"plain": (0.4, 0.5, 0.625)}, (1e-7, 1.0))
    head, hand, plain = text(b).splitlines()
    assert hand.split() == ["f", "(256", "numbers)", "hand", "1,000", "0", "10", "0.10", "s", "1e-07"]
    assert plain.split() == ["plain", "4,000", "2,000", "20", "0.20", "s", "0.50", "(0.40", "to", "0.62)", "1e+00"]
    assert "time of hand / its" in head


def test_what_was_not_measured():
    """No times and no accuracy: empty cells."""
    _, hand, plain = text(Bench("f", 256, {"hand": LEAN, "plain": PLAIN}, None, None)).splitlines()
    assert hand.split()[-2:] == ["0.10", "s"]
    assert plain.split()[-2:] == ["0.20", "s"]


def test_summary():
    """Geometric means; a function that keeps nothing has no ratio."""
    found = [Bench("f", 1, {"hand": c, "plain": PLAIN}, None, None) for c in (LEAN, PLAIN, Cost(0, 500, 20, 0.1))]
    words = bench_summary(found)
    assert "bytes kept 0.50 (of 2)" in words
    assert "temporary bytes 0.50 (of 2)" in words
    assert "instructions 0.79 (of 3)" in words
    assert "bytes kept - " in bench_summary([]).replace(",", " ")


def test_what_is_leaner_another_way_is_named():
    """With both figures; a tenth more, or less than a page of memory, is not told."""
    greedy, fair = Cost(1000, 30_000, 10, 0.1), Cost(1000, 5_000, 10, 0.1)
    found = [Bench(name, 1, {"hand": c, "plain": PLAIN}, None, None) for name, c in (("f", greedy), ("g", fair))]
    assert bench_summary(found).endswith("more temporary bytes than the leanest other way: f 30,000 (2,000)")
