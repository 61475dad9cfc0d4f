"""Figures of many small runs, kept as they come, so that a workflow goes on where it stopped."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from ganfast._files import atomic_write

Key = tuple[str | int, ...]


class Rounds:
    """A file of figures by key, under settings that may not change.

    Raises:
        FileExistsError: the file was made with other settings, and ``overwrite`` is not set.
        ValueError: the file cannot be read.
    """

    def __init__(self, path: Path, settings: Mapping[str, object], overwrite: bool) -> None:
        self._path, self._settings = path, json.loads(json.dumps(settings))
        self._figures: dict[Key, dict[str, float]] = {}
        if path.exists() and not overwrite:
            self._read()

    def __call__(self, key: Key, make: Callable[[], dict[str, float]]) -> dict[str, float]:
        """The figures of a key: those in the file, or made, and written at once."""
        if key not in self._figures:
            self._figures[key] = make()
            rows = [[list(k), v] for k, v in self._figures.items()]
            with atomic_write(self._path) as file:
                file.write(json.dumps({"settings": self._settings, "rounds": rows}).encode())
        return self._figures[key]

    def _read(self) -> None:
        try:
            saved = json.loads(self._path.read_text())
            self._figures = {tuple(key): figures for key, figures in saved["rounds"]}
            settings = saved["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self._path} cannot be read: {error}") from error
        differ = [k for k in self._settings if settings.get(k) != self._settings[k]]
        if differ:
            raise FileExistsError(
                f"{self._path.parent} holds a run with another {differ[0]}: --overwrite starts "
                "again, --out names another folder"
            )
