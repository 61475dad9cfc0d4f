"""Files are whole or absent."""

import os
import stat
import subprocess
import sys

import pytest

from ganfast._files import atomic_write, remove_abandoned


def test_writes_into_a_new_folder_with_ordinary_permissions(tmp_path):
    path = tmp_path / "a" / "b"
    with atomic_write(path) as file:
        file.write(b"12")
        assert not path.exists()
        file.write(b"3")
    assert path.read_bytes() == b"123"
    (tmp_path / "ordinary").write_bytes(b"")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "ordinary").stat().st_mode)
    assert os.listdir(path.parent) == ["b"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def write_half():
        with atomic_write(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        calls.append((kind, os.fstat(descriptor).st_size if kind == "file" else None))
        fsync(descriptor)

    def renamed(source, target):
        calls.append(("rename", None))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    with atomic_write(tmp_path / "a") as file:
        file.write(b"12345")
    assert calls == [("file", 5), ("rename", None), ("folder", None)]


def test_writes_through_a_symbolic_link(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with atomic_write(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_refuses_a_folder(tmp_path):
    with pytest.raises(IsADirectoryError, match="got the folder"), atomic_write(tmp_path):
        pass


ABANDONING = """
import os, signal, sys
from ganfast._files import atomic_write, remove_abandoned
with atomic_write(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("name", ["a.npz", "ü" * 120, ("n" * 255), "line\nbreak", "-o", "[*]?.pt"])
def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path, name):
    path = tmp_path / name
    other = tmp_path / ".other.0123abcd.tmp"
    other.write_bytes(b"of another file")
    for _ in range(2):
        subprocess.run([sys.executable, "-c", ABANDONING, str(path)], check=False, timeout=120)
        assert not path.exists()
        assert len(os.listdir(tmp_path)) == 2
    with atomic_write(path) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"
    assert sorted(os.listdir(tmp_path)) == sorted([name, other.name])


def test_a_folder_is_cleared_of_all_that_killed_writers_left(tmp_path):
    for name in (".a.pt.0123abcd.tmp", ".b.safetensors.89abcdef.tmp"):
        (tmp_path / name).touch()
    kept = [".a.pt.0123abcd", ".x.tmp", "a.pt.0123abcd.tmp", ".lock"]
    for name in kept:
        (tmp_path / name).touch()
    remove_abandoned(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(kept)
    remove_abandoned(tmp_path / "nowhere")


def test_two_writers_of_one_file_leave_each_other_alone(tmp_path):
    path = tmp_path / "a"
    with atomic_write(path) as one:
        one.write(b"one")
        with atomic_write(path) as two:
            two.write(b"two")
        assert path.read_bytes() == b"two"
        remove_abandoned(tmp_path)
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["a"]
