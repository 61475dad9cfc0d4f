"""Files that are whole or absent, and no larger than they say."""

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from torch import Tensor

_RATIO = 100  # deflated images and numbers shrink by a tenth of that
_FREE = 1 << 26  # bytes that may come from any file


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Give a binary file that becomes ``path`` when the block ends, or nothing when it raises.

    The file is written beside ``path`` under a temporary name, fsynced, renamed over ``path``, and
    the folder is fsynced, so that a crash at any moment leaves the old file or the new one. A
    missing folder is made; a symbolic link is written through.

    Raises:
        IsADirectoryError: ``path`` is a folder.
        OSError: the folder cannot be written.
    """
    target = _target(path)
    remove_abandoned(target.parent, target.name)
    file, temporary = _temporary(target)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if os.name == "nt":  # where open files cannot be renamed, and there are no locks
                file.close()
            os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)  # a full disk does not say which file it was
        raise
    _fsync_folder(target.parent)


def _target(path: str | os.PathLike[str]) -> Path:
    """Return which file is written, in a folder that is made if it is missing."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"path must name a file, got the folder {str(path)!r}")
    make_folder(target.parent)
    return target


def cache_folder() -> Path:
    """Return ``$GANFAST_CACHE``, or ``ganfast`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if "GANFAST_CACHE" in os.environ:
        return Path(os.environ["GANFAST_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "ganfast"


def parse_tensors(raw: bytes) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Return the tensors and the metadata of a safetensors file; ValueError if it is damaged.

    It takes bytes, as the name of a file may have any.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(raw)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    return tensors, header.get("__metadata__") or {}


def make_folder(path: Path) -> None:
    """Make a folder, and those that it lies in, unless it is there.

    Raises:
        NotADirectoryError: it, or one that it would lie in, is a file.
        OSError: it cannot be made.
    """
    while True:
        try:
            return path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            wrong = next(p for p in (path, *path.parents) if os.path.lexists(p))
            if not wrong.is_dir():
                raise NotADirectoryError(f"{wrong} must be a folder, got a file") from None
            # Another process has removed the folder between two calls of mkdir.


def remove_abandoned(folder: Path, name: str | None = None) -> None:
    """Remove the temporary files of writers that were killed: of one file, or of all in a folder.

    A writer locks its temporary file, so that those of running ones stay.
    """
    stem = ".+" if name is None else re.escape(_short(name))
    pattern = re.compile(rf"\.{stem}\.[0-9a-f]{{8}}\.tmp", re.DOTALL)
    try:
        found = [entry.path for entry in os.scandir(folder) if pattern.fullmatch(entry.name)]
    except OSError:
        return
    for path in found:
        try:
            with open(path, "rb") as file:
                if lock(file.fileno()):
                    os.unlink(path)
        except OSError:  # its writer has finished, or it is another user's
            continue


def lock(descriptor: int) -> bool | None:
    """Take the kernel's lock of an open file, which ends with its process.

    Returns:
        Whether this process has it; None where there are no locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # file systems without locks
        return None
    return True


def refuse_bomb(name: str, size: int, stored: int) -> None:
    """Raise ValueError for a file of ``stored`` bytes that expands to far more than it can mean."""
    if size > max(_FREE, _RATIO * stored):
        raise ValueError(
            f"{name} must not expand to more than {_RATIO} times its size, got {size:,} bytes from "
            f"{stored:,}; if you trust it, store it without compression"
        )


def _temporary(target: Path) -> tuple[BinaryIO, Path]:
    """Open and lock a new file beside ``target``."""
    while True:
        # Not tempfile: its files are private (0600) and would stay so after the rename.
        path = target.with_name(f".{_short(target.name)}.{secrets.token_hex(4)}.tmp")
        try:
            file = open(path, "xb")  # noqa: SIM115  the caller closes it
        except OSError as error:
            error.filename = str(target)
            raise
        lock(file.fileno())
        if path.exists():
            return file, path
        file.close()  # taken for an abandoned one before it was locked


def _short(name: str) -> str:
    """The start of a name that leaves room for an ending: names have up to 255 bytes."""
    return os.fsdecode(os.fsencode(name)[:200])


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise as `atomic_write` would, before the work that ends with it; nothing is left there."""
    file, probe = _temporary(_target(path))
    with file:
        probe.unlink()


def _fsync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there, and renames are journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unloaded(error: Exception) -> str:
    """Say in one line why `torch.load` refused a file: torch's own words take a page."""
    words = str(error)
    if "Weights only load failed" not in words:
        return words or type(error).__name__
    found = re.search(r"GLOBAL ([\w.]+)", words)
    if found is None:
        return "it is damaged, or holds other things than tensors"
    return f"it holds {found[1]}, which may run code when it is loaded"
