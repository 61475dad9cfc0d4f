"""The folder of a run: one writer, the settings it was made with, and cached results."""

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ganfast._files import atomic_write
from ganfast._lock import hold
from ganfast.distributed import is_first
from ganfast.train.config import as_yaml
from ganfast.train.loop import Loop

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

P = ParamSpec("P")
T = TypeVar("T")

Key = tuple[str | int, ...]


def one_writer(workflow: Callable[P, T]) -> Callable[P, T]:
    """Decorate a workflow so that it is the only run that writes its argument ``out``.

    The workflow raises BlockingIOError if another run writes the folder.
    """
    signature = inspect.signature(workflow)

    @functools.wraps(workflow)
    def locked(*args: P.args, **kwargs: P.kwargs) -> T:
        out = signature.bind(*args, **kwargs).arguments["out"]
        with hold(out) if is_first() else nullcontext():
            return workflow(*args, **kwargs)

    return locked


CONFIG = "config.yaml"


def refuse_no_run(out: Path) -> None:
    """Raise FileNotFoundError unless ``out`` holds a run, before its data are read."""
    if not any(out.glob("checkpoint*.pt")):
        raise FileNotFoundError(f"there is no checkpoint in {out} to resume")


def run_or_resume(
    loop: Loop,
    overwrite: bool,
    resume: bool = False,
    resume_from: Path | None = None,
    config: "DataclassInstance | None" = None,
) -> bool:
    """Resume a run or start a new one, and train; return False if it was stopped early.

    The folder's ``config.yaml`` holds the settings, if they are given.

    Raises:
        FileExistsError: the folder holds a run, and neither ``resume`` nor ``overwrite`` is set.
        FileNotFoundError: there is no run to resume.
        ValueError: the run to resume has other settings.
    """
    if resume or resume_from is not None:
        loop.resume(resume_from)
    elif loop.writes:
        if loop.checkpoint_path.exists() and not overwrite:
            raise FileExistsError(
                f"{loop.out} holds a run: --resume continues it, --overwrite starts it again, "
                "--out names another folder"
            )
        for pattern in ("*.pt", "wandb-run", "samples/step_*.png"):
            for old in list(loop.out.glob(pattern)):
                old.unlink(missing_ok=True)
    if config is not None and loop.writes:
        with atomic_write(loop.out / CONFIG) as file:
            file.write(as_yaml(config).encode())
    return loop.run()


def run_to_end(loop: Loop, overwrite: bool) -> None:
    """Train to the end, continuing a run in the folder unless ``overwrite`` is set.

    Raises:
        KeyboardInterrupt: the run was stopped and saved.
    """
    if not run_or_resume(loop, overwrite, resume=loop.checkpoint_path.exists() and not overwrite):
        raise KeyboardInterrupt


def claim(path: Path, settings: Mapping[str, object], overwrite: bool) -> None:
    """Write the settings of a run to ``path``, or check that it holds the same ones.

    Raises:
        FileExistsError: ``path`` has other settings and ``overwrite`` is False.
        ValueError: ``path`` cannot be read.
    """
    if not path.exists() or overwrite:
        with atomic_write(path) as file:
            file.write(json.dumps({"settings": settings}).encode())
    else:
        _refuse_other(path, _read(path), settings)


class ResultCache:
    """Results by key in one JSON file, written as they come, so that a workflow can resume.

    The file also holds the settings of the workflow; with ``overwrite`` what it holds is ignored.

    Raises:
        FileExistsError: ``path`` has other settings and ``overwrite`` is False.
        ValueError: ``path`` cannot be read.
    """

    def __init__(self, path: Path, settings: Mapping[str, object], overwrite: bool) -> None:
        self._path, self._settings = path, settings
        self._results: dict[Key, dict[str, float]] = {}
        if path.exists() and not overwrite:
            saved = _read(path)
            try:
                self._results = {tuple(key): result for key, result in saved["rounds"]}
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path} cannot be read: {error}") from error
            _refuse_other(path, saved, settings)

    def __call__(self, key: Key, compute: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Return the result of a key from the file, or compute and write it."""
        if key not in self._results:
            self._results[key] = compute()
            rows = [[list(k), v] for k, v in self._results.items()]
            with atomic_write(self._path) as file:
                file.write(json.dumps({"settings": self._settings, "rounds": rows}).encode())
        return self._results[key]


def _read(path: Path) -> dict[str, Any]:
    try:
        saved = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(saved, dict):
        raise ValueError(f"{path} cannot be read: it must hold an object, got {saved!r}")
    return saved


def _refuse_other(path: Path, saved: Mapping[str, object], settings: Mapping[str, object]) -> None:
    found = saved.get("settings", saved)  # the first version of synthesize had no such key
    if not isinstance(found, dict):
        raise ValueError(f"{path} cannot be read: it must hold settings, got {found!r}")
    wanted = json.loads(json.dumps(settings))  # tuples become lists, as in the file
    differ = [name for name in wanted if found.get(name) != wanted[name]]
    if differ:
        raise FileExistsError(
            f"{path.parent} was made with another {differ[0]}: --overwrite starts again, "
            "--out names another folder"
        )
