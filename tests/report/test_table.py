"""The table of verdicts: a row per function."""

from rich.console import Console

from backproplab import Verdict
from backproplab.harness.verdict import Check
from backproplab.report.table import verdict_table


def rows(verdicts):
    """The table's cells, as a terminal of 200 columns shows them."""
    console = Console(width=200, highlight=False)
    with console.capture() as shown:
        console.print(verdict_table(verdicts))
    return [line.rstrip() for line in shown.get().splitlines()]


def verdict(function, *checks, kept=None, case=""):
    return Verdict(function, case, checks, residual_bytes=kept)


def test_a_row_per_function():
    """The cases of a function share a row, whatever lies between them, under the worst of their verdicts."""
    fine, bad, open_ = (Check("autodiff", status, "x") for status in ("pass", "fail", "inconclusive"))
    table = rows([verdict("f", fine), verdict("g", fine), verdict("f", bad), verdict("f", open_), verdict("g", open_)])
    assert [line.split() for line in table[1:]] == [["f", "3", "fail"], ["g", "2", "inconclusive"]]


def test_numbers():
    """Error over bound of the nearest arguments, resolving power and residual bytes, the latter of the first case."""
    checks = (
        Check("value", "pass", "the value", 9.0, 10.0),
        Check("autodiff", "pass", "x", 1.0, 4.0, 1e-15),
        Check("float32", "pass", "x", 1.0, 2.0, 1e-3),
        Check("autodiff", "pass", "params['w']", 1.0, 8.0, 3e-15),
        Check("autodiff", "pass", "params['b'][0]", 3.0, 4.0, 2e-15),
    )
    (_, row) = rows([verdict("layer", *checks, kept=(12345, 67)), verdict("layer", kept=(1, 2))])
    assert row.split() == ["layer", "2", "params", "0.75", "x", "0.5", "3e-15", "12,345", "67", "inconclusive"]


def test_three_arguments_and_no_more():
    """The three that came nearest to their bounds; that there are more is shown."""
    checks = [Check("autodiff", "pass", name, float(i), 10.0) for i, name in enumerate("abcd")]
    assert "d 0.3  c 0.2  b 0.1  ..." in rows([verdict("f", *checks)])[1]


def test_no_resolution_without_an_error():
    """A check that sees any error shows 0, a function without such a check nothing."""
    assert rows([verdict("f", Check("autodiff", "pass", "x", 0.0, 0.0, 0.0))])[1].split() == ["f", "1", "x", "0", "0", "pass"]  # fmt: skip
    assert rows([verdict("f", Check("runs", "fail"))])[1].split() == ["f", "1", "fail"]


def test_names_are_shown_as_they_are():
    """Brackets in names are no markup."""
    assert rows([verdict("[bold]f[/]", Check("runs", "fail"))])[1].startswith("[bold]f[/]")
