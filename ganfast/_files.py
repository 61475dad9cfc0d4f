"""Files that are whole or absent."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"path must name a file, got the folder {str(path)!r}")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files are private (0600) and would stay so after the rename.
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)  # a full disk does not say which file it was
        raise
    _fsync_folder(target.parent)


def cache_folder() -> Path:
    """Return ``$GANFAST_CACHE``, or ``ganfast`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if "GANFAST_CACHE" in os.environ:
        return Path(os.environ["GANFAST_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "ganfast"


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise as `atomic_write` would, before the work that ends with it; nothing is left there."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"path must name a file, got the folder {str(path)!r}")
    target.parent.mkdir(parents=True, exist_ok=True)
    probe = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    probe.touch(exist_ok=False)
    probe.unlink()


def _fsync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there, and renames are journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
