"""The report of a GPU: whatever happens, one whole file says what is known and what is not."""

import itertools
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import report_parts
from report_parts import ROW, part

from bench import render
from bench.report import runner, table
from bench.report.record import Record

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "gpu_report.py"


def report(tmp_path, *functions, device="cpu", **options):
    """The exit code and the file of a report of these parts."""
    out = tmp_path / "report.json"
    code = runner.run([part(f) for f in functions], device=device, out=out, seconds=600, **options)
    return code, json.loads(out.read_text())


def test_a_part_that_fails_is_recorded_and_the_others_go_on(tmp_path):
    failing, missing, dying = (
        report_parts.failing,
        report_parts.missing,
        report_parts.dying,
    )
    code, found = report(tmp_path, failing, missing, dying, report_parts.quick)
    assert code == 1
    states = {name: (part["state"], part.get("reason")) for name, part in found["parts"].items()}
    assert states == {
        "failing": ("failed", "ValueError: x must be small, got 7"),
        "missing": ("skipped", "abacus is not installed"),
        "dying": ("failed", "the process ended by SIGSEGV"),
        "quick": ("done", None),
    }
    assert found["results"] == [ROW]
    assert found["parts"]["quick"]["facts"] == {"answer": 7}


def test_jobs_of_a_part_fail_alone_and_by_name(tmp_path):
    code, found = report(tmp_path, report_parts.mixed)
    mixed = found["parts"]["mixed"]
    assert code == 1
    assert mixed["failed"] == {
        "two": "ValueError: invalid literal for int() with base 10: 'x'",
    }
    assert mixed["missing"] == {"three": "abacus is not installed"}
    assert (mixed["state"], mixed["reason"]) == ("failed", "failed: two")
    assert "not_reached" not in mixed


@pytest.mark.parametrize(
    ("function", "device", "reason"),
    [
        (report_parts.crashing, "cpu", "the process ended by SIGKILL"),
        (report_parts.losing, "cuda", "ValueError: invalid literal for int() with base 10: 'x'"),
    ],
)
def test_jobs_after_a_lost_process_run_in_a_new_one(tmp_path, function, device, reason):
    _, found = report(tmp_path, function, device=device)
    (lost,) = found["parts"].values()
    assert lost["failed"] == {"two": reason}
    assert "not_reached" not in lost
    processes = lost["facts"]
    assert processes["one"] == processes["two"] != processes["three"]


def test_nothing_is_missing_and_nothing_failed(tmp_path):
    code, found = report(tmp_path, report_parts.quick, small=True)
    assert code == 0
    assert (found["device"], found["small"]) == ("cpu", True)


@pytest.fixture
def fifo(tmp_path):
    """A pipe that a waiting part's program holds open: what comes out of it, or that it ended."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)

    def read():
        ready, _, _ = select.select([reader], [], [], 120)
        assert ready, "nothing was written and the writer lives on"
        return os.read(reader, 1)

    yield SimpleNamespace(path=path, read=read)
    os.close(reader)


def test_a_part_over_its_budget_is_cut_with_all_it_started(tmp_path, monkeypatch, fifo):
    monkeypatch.setenv("FIFO", str(fifo.path))
    clock = itertools.count(0, 1e-6)
    monkeypatch.setattr(runner, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    take = Record.take

    def take_and_wait(record, part, kind, *content):
        nonlocal clock
        take(record, part, kind, *content)
        if (kind, *content) == ("begin", "two"):
            assert fifo.read() == b"\n"  # it runs, and so does what it has started
            clock = itertools.count(400, 1e-6)

    monkeypatch.setattr(Record, "take", take_and_wait)
    code, found = report(tmp_path, report_parts.waiting, report_parts.quick)
    assert fifo.read() == b""
    waiting = found["parts"]["waiting"]
    assert (waiting["state"], waiting["not_reached"]) == ("stopped by its budget", ["two", "three"])
    assert found["parts"]["quick"]["state"] == "done"
    assert code == 0


def test_what_a_part_leaves_goes_to_the_others(tmp_path, monkeypatch):
    shares = []
    monkeypatch.setattr(runner, "time", SimpleNamespace(monotonic=lambda: 0.0))
    monkeypatch.setattr(runner, "_run_part", lambda part, *_: shares.append(_[-1]))
    parts = [part(report_parts.quick, seconds) for seconds in (30, 60, 10)]
    runner.run(parts, device="cpu", out=tmp_path / "r.json", seconds=200)
    assert shares == pytest.approx([200 * 30 / 100, 200 * 60 / 70, 200])


@pytest.mark.parametrize(
    ("number", "code", "state"),
    [
        (signal.SIGKILL, -signal.SIGKILL, "running"),
        (signal.SIGTERM, 128 + signal.SIGTERM, "interrupted"),
        (signal.SIGINT, 128 + signal.SIGINT, "interrupted"),
    ],
)
def test_a_kill_in_the_middle_leaves_the_parts_behind_it(tmp_path, fifo, number, code, state):
    out = tmp_path / "report.json"
    command = [sys.executable, report_parts.__file__, str(out), str(fifo.path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        assert fifo.read() == b"\n"
        process.send_signal(number)
        assert process.wait(120) == code
    assert fifo.read() == b""  # nothing that it started lives on
    found = json.loads(out.read_text())
    parts = found["parts"]
    assert {name: part["state"] for name, part in parts.items()} == {
        "quick": "done",
        "waiting": state,
        "failing": "not started",
    }
    assert parts["waiting"]["not_reached"] == ["two", "three"]
    assert found["results"] == [ROW]


def test_rows_of_a_case_are_joined(tmp_path):
    record = Record(tmp_path / "r.json", {}, ["bench"])
    record.begin("bench")
    record.take("bench", "rows", [ROW, {**ROW, "provider": "eager"}])
    key = {name: ROW[name] for name in ("family", "case", "mode", "provider")}
    record.take("bench", "rows", [{**key, "launches": 3}])
    found = json.loads((tmp_path / "r.json").read_text())["results"]
    assert found == [{**ROW, "launches": 3}, {**ROW, "provider": "eager"}]


def script(*arguments):
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "300"}
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--parts", "build,nonsense"], [*(p.name for p in table.PARTS), "old", "got nonsense"]),
        (["--parts", "old"], ["--old"]),
        (["--device", "abacus"], ["cpu or cuda", "abacus"]),
    ],
)
def test_a_wrong_command_line_is_refused(tmp_path, arguments, words):
    out = tmp_path / "report.json"
    done = script("--out", str(out), *arguments)
    assert done.returncode == 2
    assert all(word in done.stderr for word in words), done.stderr
    assert not out.exists()


def test_a_file_that_cannot_be_written_is_said_in_a_sentence(tmp_path):
    done = script("--out", str(tmp_path), "--parts", "build", "--device", "cpu")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("gpu_report: the report cannot be written: ")


@pytest.mark.slow
@pytest.mark.compiled
def test_the_parts_run_without_a_gpu(tmp_path):
    out = tmp_path / "report.json"
    parts = "build,bandwidth,frechet,launches"
    options = ["--small", "--device", "cpu", "--seconds", "3000"]  # a busy machine may take long
    done = script(*options, "--parts", parts, "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    states = {name: part["state"] for name, part in found["parts"].items()}
    assert states.pop("build") in ("done", "skipped")  # skipped where a source is newer
    assert states == {"bandwidth": "done", "frechet": "done", "launches": "skipped"}
    assert {"float32", "bfloat16"} < set(found["parts"]["bandwidth"]["facts"])
    assert {row["provider"] for row in found["results"]} == {"sqrtm", "ganfast"}
    assert "d = 64" in render.tables([found])
