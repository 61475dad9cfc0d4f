"""One writer for each run folder."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ganfast._files import lock, make_folder

_NAME = ".lock"
_BEAT = 10.0  # seconds between two signs of life
_DEAD = 60.0  # seconds without one after which another host's run is taken for dead

_held: dict[Path, int] = {}  # by this process, and how many times


@contextmanager
def hold(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Be the only process that writes a run folder, until the block ends.

    On one machine the kernel's lock on ``folder``/.lock decides, which ends with its process. File
    systems that several machines share may keep such locks to each machine: there the host's name
    in the file, and its time, renewed every ten seconds, show that another machine still writes. A
    process may hold a folder several times, as a workflow and its training do.

    Raises:
        BlockingIOError: another process writes the folder.
        OSError: the folder cannot be written.
    """
    root = Path(folder).resolve()
    if _held.get(root):
        _held[root] += 1
        try:
            yield
        finally:
            _held[root] -= 1
        return
    made, path = not root.exists(), root / _NAME
    descriptor, locked = _open(path)
    ended = threading.Event()
    try:
        if not locked or _writes_elsewhere(path):
            raise BlockingIOError(
                f"{folder} must not be written by two runs at the same time: {_owner(path)} "
                "writes it; wait for that run, stop it, or name another folder"
            )
        os.ftruncate(descriptor, 0)
        owner = {"host": socket.gethostname(), "pid": os.getpid()}
        os.pwrite(descriptor, json.dumps(owner).encode(), 0)
        threading.Thread(target=_beat, args=(path, ended), daemon=True).start()
        _held[root] = 1
        try:
            yield
        finally:
            del _held[root]
            path.unlink(missing_ok=True)
            if made and not any(root.iterdir()):  # the run was refused before it wrote anything
                with suppress(OSError):  # another run has come meanwhile
                    root.rmdir()
    finally:
        ended.set()
        os.close(descriptor)


def _open(path: Path) -> tuple[int, bool]:
    """Open the lock file; return its descriptor and whether this process got the lock."""
    while True:
        make_folder(path.parent)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # a run that ended has just removed the folder that it had made
            continue
        if lock(descriptor) is False:
            return descriptor, False
        try:
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor, True
        except FileNotFoundError:
            pass
        os.close(descriptor)  # its run ended, and removed it, between our two calls


def _writes_elsewhere(path: Path) -> bool:
    """Return whether another machine's run has renewed the file within a minute."""
    owner = _read(path)
    fresh = time.time() - path.stat().st_mtime < _DEAD
    return fresh and owner.get("host") not in (None, socket.gethostname())


def _owner(path: Path) -> str:
    owner = _read(path)
    if not owner:
        return "another process"
    return f"process {owner.get('pid')} on {owner.get('host')}"


def _read(path: Path) -> dict[str, object]:
    try:
        owner = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(_BEAT):
        try:
            os.utime(path)
        except OSError:  # the folder is gone: the run itself will say so
            return
