"""pytest: a module's `CASES` are collected as tests, and the fixture `verify` judges a rule inside a test.

Loaded by pytest wherever backproplab is installed, so it imports nothing heavy before it is used. Each verdict travels
with its test's report, so that the files are whole under pytest-xdist too.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

_PROPERTY = "backproplab"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("backproplab", "verification of hand-written gradients")
    group.addoption("--backprop-dtypes", metavar="NAMES", help="dtypes to verify in, such as float64,bfloat16")
    group.addoption("--backprop-seeds", type=int, default=1, metavar="N", help="verify each case at N seeds")
    group.addoption(
        "--backprop-transforms",
        choices=("examples", "all", "none"),
        default="examples",
        help="at which cases to verify under JAX's transformations",
    )
    group.addoption("--backprop-strict", action="store_true", help="an inconclusive verdict fails (it is skipped else)")
    group.addoption("--backprop-json", metavar="FILE", help="write the verdicts as JSON")
    group.addoption("--backprop-junit", metavar="FILE", help="write the verdicts as JUnit XML")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Report(config), "backproplab-report")


@pytest.fixture
def verify(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`backproplab.verify` that fails the test, without a traceback, unless the verdict is pass."""

    def judge(case_or_fn: Any, *args: Any, **fields: Any) -> Any:
        from backproplab import Case

        case = case_or_fn if isinstance(case_or_fn, Case) else Case(case_or_fn, args)
        return _judge(request.node, case, fields)

    return judge


def pytest_pycollect_makeitem(collector: Any, name: str, obj: Any) -> Any:
    if name != "CASES" or not isinstance(obj, tuple | list) or not isinstance(collector, pytest.Module):
        return None
    from backproplab import Case

    if not obj or not all(isinstance(case, Case) for case in obj):
        return None
    return _Cases.from_parent(collector, name="CASES", cases=tuple(obj))


class _Cases(pytest.Collector):
    """The `CASES` of a module."""

    def __init__(self, *, cases, **kwargs):
        super().__init__(**kwargs)
        self.cases = cases

    def collect(self) -> Iterator[pytest.Item]:
        for case in self.cases:
            yield _CaseItem.from_parent(self, name=case.id, case=case)


class _CaseItem(pytest.Item):
    """One case as a test."""

    def __init__(self, *, case, **kwargs):
        super().__init__(**kwargs)
        self.case = case

    def runtest(self) -> None:
        _judge(self, self.case, {})

    def reportinfo(self):
        return self.path, None, self.name


def _judge(item: pytest.Item, case: Any, fields: dict[str, Any]) -> Any:
    """The verdict at each seed; the first that does not pass ends the test."""
    from backproplab import verify as verify_case

    dtypes = item.config.getoption("--backprop-dtypes")
    chosen: dict[str, Any] = {"dtypes": tuple(dtypes.split(","))} if dtypes else {}
    chosen["transforms"] = item.config.getoption("--backprop-transforms")
    first = fields.pop("seed", 0)
    verdict = None
    for seed in range(first, first + item.config.getoption("--backprop-seeds")):
        verdict = verify_case(case, seed=seed, **{**chosen, **fields})
        item.user_properties.append((_PROPERTY, json.dumps(verdict.to_dict())))
        if verdict.status == "fail" or (
            verdict.status == "inconclusive" and item.config.getoption("--backprop-strict")
        ):
            pytest.fail("\n".join(str(verdict).splitlines()[:5]), pytrace=False)
        if verdict.status == "inconclusive":
            pytest.skip(f"inconclusive: {verdict.cause}")
    return verdict


class _Report:
    """Writes the files, from what it hears of every test, its own process's or a worker's."""

    def __init__(self, config: pytest.Config):
        self.config = config
        self.verdicts: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.verdicts += [json.loads(str(value)) for name, value in report.user_properties if name == _PROPERTY]

    def pytest_sessionfinish(self) -> None:
        paths = [self.config.getoption(name) for name in ("--backprop-json", "--backprop-junit")]
        if hasattr(self.config, "workerinput") or not any(paths):
            return
        import jax

        from backproplab.harness.verdict import Verdict
        from backproplab.report.files import write_json, write_junit

        verdicts = {jax.default_backend(): [Verdict.from_dict(data) for data in self.verdicts]}
        for path, write in zip(paths, (write_json, write_junit)):
            if path:
                write(verdicts, path)
