"""One writer for each run folder."""

import json
import os
import subprocess
import sys
import time

import pytest

from ganfast import _lock
from ganfast._lock import hold

HOLDER = """
import sys
from ganfast._lock import hold
with hold(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_until_the_first_is_dead(holder, tmp_path):
    with (
        pytest.raises(BlockingIOError, match=f"process {holder.pid} on .* writes it"),
        hold(tmp_path),
    ):
        pass
    holder.kill()
    holder.wait()
    with hold(tmp_path):
        pass


def test_a_process_may_hold_a_folder_twice(tmp_path):
    with hold(tmp_path):
        with hold(tmp_path / "." / "x" / ".."):
            pass
        owner = json.loads((tmp_path / ".lock").read_text())
        assert owner["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())
    with hold(tmp_path):
        pass


@pytest.mark.parametrize(("age", "refused"), [(0, True), (59, True), (61, False)])
def test_another_machine_is_alive_for_a_minute(tmp_path, age, refused):
    """Where the file system keeps the kernel's locks to each machine."""
    path = tmp_path / ".lock"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 7}))
    os.utime(path, (time.time() - age,) * 2)
    if refused:
        with pytest.raises(BlockingIOError, match="process 7 on elsewhere"), hold(tmp_path):
            pass
    else:
        with hold(tmp_path):
            pass


def test_the_sign_of_life_is_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(_lock, "_BEAT", 0.01)
    with hold(tmp_path):
        path = tmp_path / ".lock"
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 60
        while path.stat().st_mtime == 0:
            assert time.monotonic() < deadline
        assert time.time() - path.stat().st_mtime < 60


def test_a_folder_that_stays_empty_goes_again(tmp_path):
    with hold(tmp_path / "a" / "run"):
        assert (tmp_path / "a" / "run").is_dir()
    assert not (tmp_path / "a" / "run").exists()
    with hold(tmp_path / "run"):
        (tmp_path / "run" / "file").touch()
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["file"]


def test_a_torn_file_blocks_nobody(tmp_path):
    (tmp_path / ".lock").write_text('{"host": ')
    with hold(tmp_path):
        pass


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="must be a folder, got a file"), hold(tmp_path / "file"):
        pass


RACER = """
import os, sys
from pathlib import Path
from ganfast._lock import hold
folder, rounds = Path(sys.argv[1]) / "made", 0
while rounds < 200:
    try:
        with hold(folder):
            (folder / "inside").touch(exist_ok=False)
            (folder / "inside").unlink()
            rounds += 1
    except BlockingIOError:
        pass
"""


def test_no_two_hold_a_folder_that_is_let_go_and_taken_again(tmp_path):
    command = [sys.executable, "-c", RACER, str(tmp_path)]
    racers = [subprocess.Popen(command) for _ in range(3)]
    assert [racer.wait(timeout=120) for racer in racers] == [0, 0, 0]
