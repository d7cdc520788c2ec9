"""What each command does once its arguments are parsed: select, judge, report."""

import contextlib
import functools
import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from backproplab import cli
from backproplab.case import Case, function_name, parameter_names, static_argnums
from backproplab.harness.platform import PLATFORMS, devices
from backproplab.harness.undisturbed import undisturbed
from backproplab.harness.verdict import Check, Verdict
from backproplab.harness.verify import verify as verify_case
from backproplab.harness.view import NothingToDifferentiate
from backproplab.report.files import write_bench, write_json, write_junit
from backproplab.report.table import verdict_table
from backproplab.targets import UsageError, cases_of, cases_with_id, only_function, some_arguments

_CAUGHT = 0.95  # of planted bugs
_BUDGET = "budget"  # the check of a case that was not reached
_CASES_PER_PROCESS = 6  # fewer, and starting another process costs more than it saves


def verify(command: cli.Verify) -> int:
    """Selects the cases, judges each, reports; returns the exit code."""
    if command.mutate:
        return mutate(command)
    verdicts: dict[str, list[Verdict]] = {}
    interrupted = False
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the functions print is no part of the report
            cases = _selected(command)
            platforms = _platforms(command.platform)
            if command.json is not None and command.json == command.junit:
                raise UsageError("--json and --junit want a file each")
            _check_writable(command.json, command.junit)
            deadline = time.time() + command.budget
            try:
                for platform in platforms:
                    verdicts[platform] = []
                    _judge(command, cases, platform, deadline, verdicts[platform])
            except KeyboardInterrupt:
                interrupted = True
        _report(command, verdicts, interrupted)
    except UsageError as error:
        return _complain(error)
    if interrupted:
        print("backproplab: interrupted", file=sys.stderr)
        return 130
    found = {verdict.status for group in verdicts.values() for verdict in group}
    return 1 if "fail" in found else 3 if "inconclusive" in found else 0


def mutate(command: cli.Verify) -> int:
    """Prints what became of planted bugs, a function at a time; 0 if the cases of each catch enough of them, 3 if time did
    not allow even one of some."""
    from backproplab.harness.mutation import WrongRule, mutations
    from backproplab.harness.refused import Refused

    scores: list[float | None] = []
    too_slow = False
    try:
        with contextlib.redirect_stdout(sys.stderr):
            reports = mutations(_selected(command), command.seed)
            for report in reports:
                print(report, file=sys.__stdout__, flush=True)
                scores.append(report.score)
                too_slow = too_slow or (not report.mutants and report.untried > 0)
        if not scores:
            raise UsageError("none of these has a hand-written rule of its own to plant bugs in", 5)
    except UsageError as error:
        return _complain(error)
    except (WrongRule, Refused) as error:
        return _complain(UsageError(str(error), 1))
    if any(score is not None and score < _CAUGHT for score in scores):
        return 1
    return 3 if too_slow else 0


def graph(command: cli.Graph) -> int:
    """Prints the graph of one function at one point."""
    from backproplab.graph import trace

    try:
        with contextlib.redirect_stdout(sys.stderr):
            _check_seed(command.seed)
            _default_platform()
            cases = cases_of([command.target], command.args)
            only_function(cases, command.target, "graph draws")
            try:
                drawn = trace(*_bound(cases[0], command.seed))
            except (Exception, SystemExit) as error:  # whatever the function raises, or `trace` says of it
                hint = "" if command.args else f": say at which numbers, as in {some_arguments(cases[0].fn, 'f32')}"
                raise UsageError(f"no graph of {cases[0].id}: {_words(error)}{hint}") from error
    except UsageError as error:
        return _complain(error)
    print(drawn)
    return 0


def bench(command: cli.Bench) -> int:
    """Prints, or writes, what each function's rule costs."""
    from backproplab.bench import bench as measure
    from backproplab.bench.cost import floor
    from backproplab.report.bench import bench_summary, bench_table

    try:
        with contextlib.redirect_stdout(sys.stderr):
            if command.numbers < 1 or command.rounds < 0:
                raise UsageError("--numbers wants a number from 1 on, --rounds one from 0 on")
            platform = _default_platform()
            cases = cases_of(command.targets, command.args)
            _check_writable(command.json)
            groups = [list(group) for _, group in itertools.groupby(cases, lambda case: case.fn)]
            found = []
            with _progress(len(groups), f"measuring on {platform}") as advance:
                for group in groups:
                    try:
                        found.append(measure(group, command.numbers, command.rounds))
                    except Exception as error:  # whatever the function raises
                        raise UsageError(f"{group[0].id}: {_words(error)}", 1) from error
                    advance(found[-1].function)
            speed = floor() if command.rounds else None
        if command.json is not None:
            with _writing(command.json):
                write_bench(found, speed, command.json)
    except UsageError as error:
        return _complain(error)
    if command.json != "-":
        console = Console(width=200, highlight=False)
        with console.capture() as table:
            console.print(bench_table(found))
        print(table.get() + bench_summary(found) + (f"\nthis machine: {speed}" if speed else ""))
    return 0


def _complain(error: UsageError) -> int:
    print(f"backproplab: {error}", file=sys.stderr)
    return error.exit_code


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"


def _selected(command: cli.Verify) -> list[Case]:
    if command.jobs < 0:
        raise UsageError("--jobs wants a number of processes, or 0 for one per core")
    _check_seed(command.seed)
    if not command.budget >= 0:
        raise UsageError("--budget wants a number of seconds")
    _default_platform()
    cases = cases_of(command.targets, command.args)
    if command.rerun is not None:
        cases = cases_with_id(cases, command.rerun)
    return [replace(case, dtypes=command.dtypes) for case in cases] if command.dtypes else cases


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**31:
        raise UsageError("--seed wants a whole number from 0 to 2147483647")


def _check_writable(*paths: str | None) -> None:
    """Says so before the work, not after."""
    for path in paths:
        if path is not None and path != "-":
            with _writing(path), open(path, "a"):
                pass


@contextlib.contextmanager
def _writing(path: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"cannot write {path or 'a file without a name'}: {error.strerror}") from error
    except ValueError as error:  # a null byte
        raise UsageError(f"cannot write {path!r}: {error}") from error


def _bound(case: Case, seed: int) -> tuple:
    """The function with its static arguments set, and the others at the point."""
    static, args = static_argnums(case.fn), case.arguments(seed)
    names = parameter_names(case.fn, len(args))
    options = {names[i]: args[i] for i in static if i < len(args)}
    return functools.partial(case.fn, **options) if options else case.fn, *[a for i, a in enumerate(args) if i not in static]  # fmt: skip


def _default_platform() -> str:
    """Where JAX runs unless told otherwise; first of all, that it runs at all."""
    try:
        platform = jax.default_backend()
    except (RuntimeError, AssertionError) as error:
        reason = str(error) or f"JAX finds no {os.environ.get('JAX_PLATFORMS')} here (JAX_PLATFORMS)"
        raise UsageError(reason) from error
    if not devices("cpu"):
        raise UsageError(f"oracles run on the CPU, which JAX_PLATFORMS leaves out: set JAX_PLATFORMS={platform},cpu")
    return platform


def _platforms(chosen: str) -> list[str]:
    """The platforms to run on."""
    if chosen == "default":
        return [_default_platform()]
    here = [platform for platform in (PLATFORMS if chosen == "all" else (chosen,)) if devices(platform)]
    if not here:
        raise UsageError(f"JAX sees no {chosen} here: --platform all verifies on what there is")
    return here


def _judge(command: cli.Verify, cases: Sequence[Case], platform: str, deadline: float, verdicts: list[Verdict]) -> None:
    """Adds the verdicts in the order of the cases; those that there are, if interrupted."""
    jobs = command.jobs or _sensible_jobs(len(cases), platform)
    judged = _in_parallel(command, cases, platform, deadline, jobs) if jobs > 1 else _in_turn(command, cases, platform, deadline)  # fmt: skip
    found: dict[int, Verdict] = {}
    try:
        with _progress(len(cases), f"verifying on {platform}") as advance:
            for index, verdict in judged:
                found[index] = verdict
                advance(verdict.function)
    finally:
        verdicts += [found[i] for i in sorted(found)]


def _sensible_jobs(count: int, platform: str) -> int:
    """Compiling dominates and takes one core: a process for each, but an accelerator's memory is for one alone."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, count // _CASES_PER_PROCESS)) if platform == "cpu" else 1


def _in_turn(
    command: cli.Verify, cases: Sequence[Case], platform: str, deadline: float
) -> Iterator[tuple[int, Verdict]]:
    with undisturbed():
        for i, case in enumerate(cases):
            yield i, _verdict(command, case, platform, deadline)


def _in_parallel(
    command: cli.Verify, cases: Sequence[Case], platform: str, deadline: float, jobs: int
) -> Iterator[tuple[int, Verdict]]:
    """A task for each function: its cases share what is compiled. The longest tasks first, so that none is left over."""
    groups = [tuple(group) for _, group in itertools.groupby(range(len(cases)), lambda i: cases[i].fn)]
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        try:
            with _uninterrupted():  # processes that are started now leave Ctrl-C to this one
                tasks = {pool.submit(_task, command, group, platform, deadline): group for group in sorted(groups, key=len, reverse=True)}  # fmt: skip
            for task in as_completed(tasks):
                yield from zip(tasks[task], task.result())
        except BrokenProcessPool as error:
            raise UsageError("a process died, perhaps for lack of memory: again with --jobs 1", 3) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _task(command: cli.Verify, indices: Sequence[int], platform: str, deadline: float) -> list[Verdict]:
    with contextlib.redirect_stdout(sys.stderr), undisturbed():
        return [_verdict(command, _selected_once(command)[i], platform, deadline) for i in indices]


@functools.cache
def _selected_once(command: cli.Verify) -> list[Case]:
    """In a process of the pool: cases hold functions and cannot be sent, so each process selects them again."""
    return _selected(command)


def _verdict(command: cli.Verify, case: Case, platform: str, deadline: float) -> Verdict:
    if time.time() >= deadline:
        return _without_checks(case, command.seed, Check(_BUDGET, "inconclusive", cause=f"not reached within --budget {command.budget:g}"))  # fmt: skip
    try:
        return verify_case(case, seed=command.seed, under=devices(platform)[0], transforms=command.transforms)
    except NothingToDifferentiate as error:
        raise UsageError(f"{case.id}: {error}") from error
    except SystemExit as error:  # the function under test would end us
        return _without_checks(case, command.seed, Check("runs", "fail", cause=_words(error)))


def _without_checks(case: Case, seed: int, instead: Check) -> Verdict:
    return Verdict(function_name(case.fn), case.name, (instead,), seed)


@contextlib.contextmanager
def _progress(count: int, doing: str) -> Iterator[Callable[[str], Any]]:
    """A line on standard error: of the progress on a terminal, of its end elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(doing, total=count)
        yield lambda function: progress.update(task, advance=1, description=f"{doing}: {function}")
    if not console.is_terminal:
        print(f"{doing}: {count} of {count} done", file=sys.stderr)


def _report(command: cli.Verify, verdicts: dict[str, list[Verdict]], interrupted: bool) -> None:
    """Files first: whoever reads the table may close the pipe."""
    if command.junit is not None:
        with _writing(command.junit):
            write_junit(verdicts, command.junit, interrupted)
    if command.json is not None:
        with _writing(command.json):
            write_json(verdicts, command.json, interrupted)
    if "-" not in (command.json, command.junit):
        for platform, group in verdicts.items():
            _print(group, f"on {platform}:\n" if len(verdicts) > 1 else "")
    for platform in PLATFORMS if command.platform == "all" and not interrupted else ():
        if platform not in verdicts:
            print(f"backproplab: no {platform} here, not verified on it", file=sys.stderr)


def _print(verdicts: Sequence[Verdict], heading: str) -> None:
    """A table and, in full, what did not pass; a verdict that is alone is told in full."""
    print(heading, end="")
    if len(verdicts) == 1:
        print(verdicts[0])
        return
    console = Console(width=200, highlight=False)  # rows are not broken; few are wider than a terminal
    with console.capture() as table:
        console.print(verdict_table(verdicts))
    print(table.get())
    not_reached = [verdict for verdict in verdicts if any(check.name == _BUDGET for check in verdict.checks)]
    for verdict in verdicts:
        if not verdict.passed and verdict not in not_reached:
            print(f"{verdict}\n")
    tally = {status: sum(v.status == status for v in verdicts) for status in ("pass", "fail", "inconclusive")}
    left = f" ({len(not_reached)} {not_reached[0].cause})" if not_reached else ""
    print(f"{tally['pass']} passed, {tally['fail']} failed, {tally['inconclusive']} inconclusive{left}")
