"""What the command prints, and how it fails."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

import ganfast
from ganfast import cli


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["ganfast", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    printed, said = capsys.readouterr()
    return stop.value.code, printed, said


def test_info_says_what_is_here(monkeypatch, capsys):
    code, printed, said = run(monkeypatch, capsys, "info")
    assert (code, said) == (0, "")
    build = ganfast.build_info()
    lines = dict(line.split("  ", 1) for line in printed.splitlines())
    found = {name.strip(): value.strip() for name, value in lines.items()}
    assert found["ganfast"] == ganfast.__version__
    assert found["kernels"] == f"{build['kind']} ({build['reason']})"
    assert "threads used" in found["CPU"]
    assert found["data digits"] == "5000 images, 1 x 28 x 28, found"
    assert found["weights digits"] == "64 features, found"


def test_info_names_what_is_broken(monkeypatch, capsys):
    from ganfast import features

    def broken():
        raise FileNotFoundError("no weights")

    monkeypatch.setattr(features, "digits", broken)
    code, printed, _ = run(monkeypatch, capsys, "info")
    assert code == 0
    assert "not usable: no weights" in printed


def test_version_and_module_run():
    done = subprocess.run(
        [sys.executable, "-m", "ganfast", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"ganfast {ganfast.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "wanted", "sentence"),
    [
        (["--resume"], 1, "there is no checkpoint"),
        (["--steps", "0"], 2, "steps must be at least 1, got 0"),
        (["--seed", "-1"], 2, "seed"),
        (["--device", "abacus"], 2, "device must be cpu"),
    ],
)
def test_a_users_error_is_one_sentence(monkeypatch, capsys, tmp_path, arguments, wanted, sentence):
    code, printed, said = run(monkeypatch, capsys, "demo", "--out", str(tmp_path / "a"), *arguments)
    assert (code, printed) == (wanted, "")
    assert said.startswith("ganfast: ")
    assert sentence in said
    assert said.count("\n") == 1


def test_an_earlier_run_is_not_overwritten(monkeypatch, capsys, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"precious")
    code, _, said = run(monkeypatch, capsys, "demo", "--out", str(tmp_path))
    assert code == 1
    assert said.startswith(f"ganfast: {tmp_path} holds a run: --resume continues it")
    assert (tmp_path / "checkpoint.pt").read_bytes() == b"precious"


@pytest.mark.parametrize("place", [0, 1, 3])
def test_debug_shows_the_traceback(monkeypatch, tmp_path, place):
    arguments = ["demo", "--resume", "--out", str(tmp_path / "a")]
    arguments.insert(place, "--debug")
    monkeypatch.setattr(sys, "argv", ["ganfast", *arguments])
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        cli.main()


def test_an_unknown_option_is_a_usage_error(monkeypatch, capsys):
    code, _, said = run(monkeypatch, capsys, "demo", "--stepz", "3")
    assert code == 2
    assert "--stepz" in said


def test_help_names_every_command():
    result = CliRunner().invoke(cli.app, ["--help"])
    assert result.exit_code == 0
    for name in ("demo", "info", "train", "pretrain", "synthesize", "finetune", "rank"):
        assert name in result.output
