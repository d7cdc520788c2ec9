"""What `verify` answers: a `Verdict`, made of `Check`s. Both are plain data, to and from JSON."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True)
class Check:
    """One question that was asked of the rule, and its answer.

    name: which check, with the dtype it ran in where there are several.
    argument: the argument concerned, as a parameter name and pytree path (`params['hidden'][0]`).
    error: the largest difference found, at the entry where it is largest in units of its bound.
    bound: how large rounding alone could have made the difference there.
    resolves: the relative error of a whole leaf that this check could not have seen.
    cause: in words, why it failed or could not decide.
    where: `file:line` of the rule, if known.
    estimated: the bound was measured, not computed.
    """

    name: str
    status: Status
    argument: str | None = None
    error: float | None = None
    bound: float | None = None
    resolves: float | None = None
    cause: str | None = None
    where: str | None = None
    estimated: bool = False

    @property
    def ratio(self) -> float | None:
        """error / bound: at most 1 in a check that passed."""
        if self.error is None or self.bound is None:
            return None
        return self.error / self.bound if self.bound > 0 else (0.0 if self.error == 0 else math.inf)


@dataclass(frozen=True)
class Verdict:
    """The answer for one case: pass, fail or inconclusive, with the evidence.

    residual_bytes: what the forward pass keeps, by hand and by autodiff, in the first dtype verified.
    notes: what a reader should know that is no fault: a kink and the slope chosen, a platform that is not there.
    """

    function: str
    case: str
    checks: tuple[Check, ...]
    seed: int = 0
    residual_bytes: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    @property
    def status(self) -> Status:
        found = {check.status for check in self.checks}
        return "fail" if "fail" in found else "inconclusive" if "inconclusive" in found or not found else "pass"

    @property
    def passed(self) -> bool:
        return self.status == "pass"

    @property
    def strength(self) -> str:
        """`proved`: every bound was computed. `estimated`: some were measured, or finite differences alone could serve."""
        return "estimated" if any(check.estimated for check in self.checks) else "proved"

    @property
    def decisive(self) -> Check | None:
        """The first check with the verdict's own status, if that is not pass."""
        return next((c for c in self.checks if c.status == self.status and c.status != "pass"), None)

    @property
    def argument(self) -> str | None:
        return self.decisive.argument if self.decisive else None

    @property
    def cause(self) -> str | None:
        return self.decisive.cause if self.decisive else None

    @property
    def where(self) -> str | None:
        return self.decisive.where if self.decisive else None

    def assert_passed(self) -> None:
        """Raises AssertionError with the verdict's text unless it passed."""
        if not self.passed:
            raise AssertionError(str(self))

    def to_dict(self) -> dict[str, Any]:
        """The form that `--json` writes; numbers that JSON has no word for (inf, nan) become strings."""
        data = asdict(self)
        data |= {"status": self.status, "strength": self.strength, "argument": self.argument, "cause": self.cause}
        return _plain(data)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Verdict":
        """The inverse of `to_dict`."""
        number: Any = lambda k, v: float(v) if k in ("error", "bound", "resolves") and isinstance(v, str) else v
        checks = tuple(Check(**{k: number(k, v) for k, v in check.items()}) for check in data["checks"])
        kept = data["residual_bytes"]
        return cls(data["function"], data["case"], checks, data["seed"], tuple(kept) if kept else None,
                   tuple(data["notes"]), data["seconds"])  # fmt: skip

    def __str__(self) -> str:
        from backproplab.report.text import verdict_text

        return verdict_text(self)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
