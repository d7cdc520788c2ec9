"""A verdict as a few lines of text."""

from backproplab.case import case_id
from backproplab.harness.verdict import Check, Verdict


def verdict_text(verdict: Verdict) -> str:
    """The head line, then what decided: for a failure the causes, for a pass the tightest evidence."""
    name = case_id(verdict.function, verdict.case)
    lines = [f"{verdict.status.upper()} {name} ({verdict.strength}, seed {verdict.seed}, {verdict.seconds:.1f} s)"]
    lines += _faults(verdict)
    if verdict.passed:
        lines.append(_evidence(verdict))
    lines += [f"  note: {note}" for note in dict.fromkeys(verdict.notes)]
    return "\n".join(lines)


def _faults(verdict: Verdict) -> list[str]:
    """One line per cause; what is found again in another dtype is the same fault."""
    faults: dict[tuple, list[Check]] = {}
    for check in verdict.checks:
        if check.status != "pass":
            kind = (check.status, check.argument, (check.cause or "").split(";")[0])
            faults.setdefault(kind, []).append(check)
    return [_fault(checks) for checks in faults.values()]


def _fault(checks: list[Check]) -> str:
    first = checks[0]
    names = ", ".join(dict.fromkeys(check.name for check in checks))
    place = f" ({first.where})" if first.where else ""
    measured = first.error is not None and first.bound is not None
    size = f" [error {first.error:.3g}, bound {first.bound:.3g}]" if measured else ""
    return f"  {first.status} in {names}: {first.cause}{place}{size}"


def _evidence(verdict: Verdict) -> str:
    measured = [c for c in verdict.checks if c.ratio is not None and c.name != "residual bytes"]
    resolved = [c.resolves for c in verdict.checks if c.resolves is not None and c.name in ("autodiff", "value")]
    worst = f"largest error {max(c.ratio or 0.0 for c in measured):.2g} of its bound" if measured else "no numbers"
    smallest = f"an error of {max(resolved):.1g} of the gradient" if any(resolved) else "any error"
    finest = f"; {smallest} would have been seen" if resolved else ""
    return f"  {len(verdict.checks)} checks: {worst}{finest}"
