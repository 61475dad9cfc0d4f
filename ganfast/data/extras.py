"""Packages that some kinds of files need, and that come with the extras of this one."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def needed(module: str, extra: str, place: str) -> Any:
    """Import a module that the file at ``place`` needs, and that an extra of this package brings.

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


@contextmanager
def readable(name: str, kind: str) -> Iterator[None]:
    """Turn what packages raise for damaged files, which has many types, into one sentence."""
    try:
        yield
    except (FileNotFoundError, PermissionError, ConnectionError):  # which say nothing of the file
        raise
    except Exception as error:
        if str(error).startswith(name):
            raise
        words = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{name} must be a readable {kind}: {words[:300]}") from error
