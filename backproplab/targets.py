"""From what a user names on the command line to the cases that are meant."""

import contextlib
import difflib
import functools
import importlib
import importlib.util
import inspect
import operator
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import jax

from backproplab.arguments import parameters_of, parse_arguments
from backproplab.case import Case, function_name, module_of


class UsageError(Exception):
    """One line that says what is wrong and what to type instead, and the exit code that goes with it."""

    def __init__(self, message: str, exit_code: int = 2):
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code


def cases_with_id(cases: Sequence[Case], id: str) -> list[Case]:
    """The case that reports call `id`; all that do, if a user's cases share their names. Raises UsageError."""
    found = [case for case in cases if case.id == id]
    if not found:
        ids = list(dict.fromkeys(case.id for case in cases))
        near = difflib.get_close_matches(id, ids, 3) or ids[:3]
        raise UsageError(f"no case has the id {id!r}: did you mean {' or '.join(map(repr, near))}?", 5)
    return found


def cases_of(targets: Sequence[str], arguments: str | None = None) -> list[Case]:
    """The cases of all targets, in order: nothing named means everything built in. Raises UsageError.

    targets: a layer, network or room by name, `package.module`, `package.module:function`, `file.py` or `file.py::name`.
    arguments: `name=f32[8,5], ...` for one function, in place of its cases.
    """
    if arguments is not None:
        return [_with_arguments(targets, arguments)]
    if not targets:
        return list(built_in())
    return [case for target in targets for case in _cases(target)]


def built_in() -> tuple[Case, ...]:
    from backproplab import layers, networks

    return (*layers.CASES, *networks.CASES)


def _cases(target: str) -> list[Case]:
    selection = _select(target)
    if selection.cases:
        return selection.cases
    if selection.fn is None:
        raise UsageError(f"{target} has no CASES: name a function of it, as in {_example(target, selection.module)}", 5)
    raise UsageError(f"{target} has no cases: say at what arguments, as in {some_arguments(selection.fn)}")


def _with_arguments(targets: Sequence[str], arguments: str) -> Case:
    """The target's function at `arguments`, with what its first case says of the function itself."""
    if len(targets) != 1:
        raise UsageError("--args goes with exactly one function: backproplab verify file.py::name --args 'x=f32[8,5]'")
    selection = _select(targets[0])
    fn = selection.fn or only_function(selection.cases, targets[0], "--args goes with")
    if fn is None:
        raise UsageError(f"--args goes with exactly one function, as in {_example(targets[0], selection.module)}")
    try:
        case = parse_arguments(fn, arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error
    for known in selection.cases[:1]:
        fields = {name: getattr(known, name) for name in ("reference", "by_design", "order", "domain")}
        return replace(case, argnums=known.argnums or case.argnums, **fields)
    return case


def only_function(cases: Sequence[Case], target: str, what: str) -> Callable | None:
    """The one function that the cases are of, None if there are no cases. Raises UsageError, which begins with `what`."""
    functions = list(dict.fromkeys(case.fn for case in cases))
    if len(functions) > 1:
        names = ", ".join(map(function_name, functions[:4])) + ", ..." * (len(functions) > 4)
        raise UsageError(f"{what} exactly one function, and {target} holds {names}")
    return functions[0] if functions else None


@dataclass(frozen=True)
class _Selection:
    """What a target names. module: None for what is built in. fn: if it names one function of a module."""

    module: ModuleType | None
    fn: Callable | None
    cases: list[Case]


def _select(target: str) -> _Selection:
    source, _, name = target.partition(":")
    name = name.lstrip(":")
    if source.endswith(".py") or "/" in source:
        module = _file(os.path.realpath(source), source)
    elif not name and (found := [case for case in built_in() if source in _names(case)]):
        return _Selection(None, None, found)
    elif os.path.isdir(source) and not os.path.exists(os.path.join(source, "__init__.py")):
        raise _directory(source)
    elif name or _importable(source):
        module = _module(source)
    else:
        raise _unknown(source)
    cases = _cases_in(module, source)
    if not name:
        return _Selection(module, None, cases)
    fn = _function(module, name, source)
    return _Selection(module, fn, [case for case in cases if case.fn is fn])


def _names(case: Case) -> set[str]:
    """What a built-in case goes by: tanh, activations, layers; mlp.loss, mlp, networks."""
    return {function_name(case.fn), *module_of(case.fn)[1:]}


def _unknown(name: str) -> UsageError:
    known = set().union(*map(_names, built_in()))
    near = difflib.get_close_matches(name, sorted(known), 3)
    hint = (
        f"did you mean {' or '.join(near)}?" if near else "a function of yours is file.py::name or package.module:name"
    )
    return UsageError(f"no layer, network, room or module is called {name!r}: {hint}", 4)


def _importable(name: str) -> bool:
    top = name.partition(".")[0]
    _find_from_here()
    return top.isidentifier() and importlib.util.find_spec(top) is not None


def _module(name: str) -> ModuleType:
    _find_from_here()
    with _importing(name):
        return importlib.import_module(name)


def _find_from_here() -> None:
    """Modules in the working directory can be imported, as with `python -m`."""
    if "" not in sys.path:
        sys.path.append("")


def _directory(written: str) -> UsageError:
    return UsageError(f"{written} is a directory: name a file in it", 4)


@functools.cache
def _file(path: str, written: str) -> ModuleType:
    """A file as a module: under its full name if it is in a package, so that its relative imports work."""
    if not os.path.isfile(path):
        raise _directory(written) if os.path.isdir(path) else UsageError(f"no file {written}", 4)
    root, name = Path(path).parent, Path(path).stem
    while (root / "__init__.py").exists():
        root, name = root.parent, f"{root.name}.{name}"
    if str(root) not in sys.path:
        sys.path.append(str(root))
    with _importing(written):
        return importlib.import_module(name) if "." in name else _alone(Path(path))


def _alone(path: Path) -> ModuleType:
    name = path.stem
    while name in sys.modules:  # a user's random.py is not Python's
        name += "_"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("not a Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # as `import` does: half a module is none
        raise
    return module


@contextlib.contextmanager
def _importing(name: str) -> Iterator[None]:
    """Whatever a module does when it is imported, short of an interrupt, is told in one line."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a script without a main guard
        raise UsageError(f"{name} could not be imported: {type(error).__name__}: {str(error)[:200]}", 4) from error


def _cases_in(module: ModuleType, source: str) -> list[Case]:
    cases = getattr(module, "CASES", ())
    if not isinstance(cases, tuple | list) or not all(isinstance(case, Case) for case in cases):
        raise UsageError(f"CASES of {source} is not a tuple of backproplab.Case", 4)
    return list(cases)


def _function(module: ModuleType, name: str, source: str) -> Callable:
    try:
        fn = operator.attrgetter(name)(module)
    except AttributeError:
        near = difflib.get_close_matches(name, _functions(module), 3)
        hint = f": did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"{source} has no {name!r}{hint}", 4) from None
    if not callable(fn):
        raise UsageError(f"{name} of {source} is no function but of type {type(fn).__name__}", 4)
    return fn


def _functions(module: ModuleType) -> list[str]:
    """The names of a module's functions, those with hand-written rules first."""
    named = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    functions = [name for name, value in named.items() if callable(value) and not inspect.isclass(value)]
    return sorted(functions, key=lambda name: not isinstance(named[name], jax.custom_vjp))


def _example(target: str, module: ModuleType | None) -> str:
    """What to type to verify one function of a module."""
    target = target.rstrip(":")
    separator = "::" if target.endswith(".py") else ":"
    for name in _functions(module)[:1] if module else ():
        return f"{target}{separator}{name} {some_arguments(vars(module)[name])}"
    return f"{target}{separator}NAME --args 'x=f32[8,5]'"


def some_arguments(fn: Callable, each: str = "f32[8,5]") -> str:
    """What to type after the function: `--args` with the arguments that have no default."""
    needed = [name for name, parameter in parameters_of(fn).items() if parameter.default is parameter.empty]
    return f"--args '{', '.join(f'{name}={each}' for name in needed or ['x'])}'"
