"""Verdicts and costs as files: JSON with a schema version, and JUnit for continuous integration."""

import json
import platform
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax

from backproplab.bench import Bench
from backproplab.case import case_id
from backproplab.harness.platform import matmul_setting
from backproplab.harness.verdict import Verdict

SCHEMA = 1


def write_json(verdicts: Mapping[str, Sequence[Verdict]], path: str, interrupted: bool = False) -> None:
    """Verdicts by platform, to `path`, or to standard output for `-`. Raises OSError.

    interrupted: whether the run was ended before all cases were judged.
    """
    rows = [
        {"platform": name, "id": case_id(verdict.function, verdict.case), **verdict.to_dict()}
        for name, group in verdicts.items()
        for verdict in group
    ]
    report = {"schema": SCHEMA, "environment": environment(), "interrupted": interrupted, "verdicts": rows}
    _write(json.dumps(report, indent=1), path)


def write_bench(found: Sequence[Bench], speed: str | None, path: str) -> None:
    """Costs, and what the machine reached in the same run, to `path`, or to standard output for `-`. Raises OSError."""
    rows = [b.to_dict() for b in found]
    _write(
        json.dumps({"schema": SCHEMA, "environment": environment(), "machine": speed, "costs": rows}, indent=1), path
    )


def environment() -> dict[str, str]:
    """What the verdicts depend on besides the code."""
    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "devices": ", ".join(sorted({device.device_kind for device in jax.devices()})),
        "matmul_precision": matmul_setting(),
    }


def write_junit(verdicts: Mapping[str, Sequence[Verdict]], path: str, interrupted: bool = False) -> None:
    """A test suite per platform, a test case per verdict; an inconclusive one counts as skipped. Raises OSError.

    interrupted: whether the run was ended before all cases were judged; a property of every suite.
    """
    suites = ElementTree.Element("testsuites")
    for name, group in verdicts.items():
        counts = {status: str(sum(v.status == status for v in group)) for status in ("fail", "inconclusive")}
        suite = ElementTree.SubElement(
            suites, "testsuite", name=f"backproplab on {name}", tests=str(len(group)), failures=counts["fail"],
            errors="0", skipped=counts["inconclusive"], time=f"{sum(v.seconds for v in group):.3f}",
        )  # fmt: skip
        if interrupted:
            properties = ElementTree.SubElement(suite, "properties")
            ElementTree.SubElement(properties, "property", name="interrupted", value="true")
        for verdict in group:
            _add(suite, verdict)
    _write(ElementTree.tostring(suites, encoding="unicode", xml_declaration=True), path)


def _add(suite: ElementTree.Element, verdict: Verdict) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=verdict.function, name=verdict.case or verdict.function,
        time=f"{verdict.seconds:.3f}",
    )  # fmt: skip
    if not verdict.passed:
        tag = "failure" if verdict.status == "fail" else "skipped"
        element = ElementTree.SubElement(case, tag, message=_printable(verdict.cause or verdict.status))
        element.text = _printable(str(verdict))


def _printable(text: str) -> str:
    """Without control characters, which the messages of exceptions may hold and XML may not."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")


def _write(text: str, path: str) -> None:
    if path == "-":
        sys.stdout.write(text + "\n")
    else:
        Path(path).write_text(text + "\n", encoding="utf-8")
