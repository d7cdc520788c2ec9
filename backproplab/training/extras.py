"""Libraries that only training needs: found when used, and asked for in one line when they are not there."""

import importlib
from types import ModuleType


class MissingExtra(ImportError):
    """A library of the extra `train` is not installed; the message says what to type."""


def optional(module: str) -> ModuleType:
    """The module, imported. Raises MissingExtra where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{error.name} is not installed: pip install 'backproplab[train]'", name=error.name
        ) from error
