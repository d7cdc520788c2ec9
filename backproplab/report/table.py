"""Verdicts as a table, one row per function."""

import re
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from backproplab.harness.verdict import Verdict

_STYLE = {"fail": "bold red", "inconclusive": "yellow", "pass": "green"}  # the worst first
_NAMED = 3


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """Cases, worst error in units of its bound by argument, resolving power, residual bytes (first case) and verdict."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("function", "cases", "error/bound by argument", "resolves", "kept", "autodiff keeps", "verdict"):
        right = heading in ("cases", "resolves", "kept", "autodiff keeps")
        table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    for function, group in _by_function(verdicts).items():
        status = next(status for status in _STYLE if any(v.status == status for v in group))
        kept = next((v.residual_bytes for v in group if v.residual_bytes), None)
        cells = [function, str(len(group)), _errors(group), _resolves(group)]
        cells += [f"{size:,}" for size in kept] if kept else ["", ""]
        table.add_row(*map(Text, cells), Text(status, _STYLE[status]))
    return table


def _by_function(verdicts: Sequence[Verdict]) -> dict[str, list[Verdict]]:
    groups: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault(verdict.function, []).append(verdict)
    return groups


def _errors(group: Sequence[Verdict]) -> str:
    """The arguments whose gradients came nearest to their bounds, nearest first; a pytree by its worst leaf."""
    worst: dict[str, float] = {}
    for check in (check for verdict in group for check in verdict.checks):
        if check.ratio is not None and check.argument not in (None, "the value", "the cotangent"):
            name = re.split(r"[.\[]", check.argument)[0]
            worst[name] = max(worst.get(name, 0.0), check.ratio)
    nearest = sorted(worst.items(), key=lambda item: -item[1])
    return "  ".join(f"{name} {ratio:.2g}" for name, ratio in nearest[:_NAMED]) + "  ..." * (len(worst) > _NAMED)


def _resolves(group: Sequence[Verdict]) -> str:
    """The relative error that the formula checks of the first case, an ordinary point, could not have seen."""
    found = [check.resolves for check in group[0].checks if check.name == "autodiff" and check.resolves is not None]
    return f"{max(found):.0e}" if any(found) else "0" * bool(found)
