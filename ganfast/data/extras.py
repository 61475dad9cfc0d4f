"""Packages that some kinds of files need, and that come with the extras of this one."""

import importlib
from typing import Any


def needed(module: str, extra: str, place: str) -> Any:
    """Import a module that a file needs.

    Args:
        module: its name.
        extra: of this package, which brings it.
        place: the file.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ModuleNotFoundError(
            f"{place} needs {package}: pip install 'ganfast[{extra}]'", name=package
        ) from error
