"""Every command that a page names exists, with the options and settings it gives."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import markdown_pages
import pytest
import typer
from markdown_pages import PAGES, ROOT, Command
from typer.testing import CliRunner

from ganfast import cli
from ganfast.train import config
from ganfast.workflows import autoencoder, cyclegan, finetune, gan, pretrain, rank

GANFAST = typer.main.get_command(cli.app)
TARGETS = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
SETTINGS = {"pretrain": pretrain.Settings, "finetune": finetune.Settings, "rank": rank.Settings}


def _commands_of(page: Path) -> list[Command]:
    return [command for command in markdown_pages.commands(page) if command.words]


def _ganfast(words: Sequence[str]) -> list[str] | None:
    """The arguments of ganfast, if that is what the words call."""
    if words[0] == "ganfast" or words[0].endswith("/bin/ganfast"):
        return list(words[1:])
    for i, pair in enumerate(pairwise(words)):
        if pair == ("-m", "ganfast"):
            return list(words[i + 2 :])
    return None


def _check_ganfast(command: Command) -> None:
    arguments = _ganfast(command.words)
    if not arguments or arguments == ["..."]:
        return
    if arguments[0].startswith("-"):
        assert CliRunner().invoke(cli.app, arguments).exit_code == 0
        return
    name, *rest = arguments
    assert name in GANFAST.commands, f"there is no ganfast {name}"
    try:
        parsed = GANFAST.commands[name].make_context(name, rest).params
    except Exception as error:
        if type(error).__name__ == "MissingParameter" and not command.complete:
            return
        raise AssertionError(f"ganfast {name}: {error}") from error
    words = parsed.get("set_") or []
    if name == "train":
        values = config.values_of(None, words)
        model = parsed["model"] or values.pop("model", gan.Config.model)
        config.from_mapping(_settings_of(model), {**values, "model": model})
    elif name in SETTINGS:
        config.read(SETTINGS[name], None, words)


def _settings_of(model: str) -> type:
    if model == "cyclegan":
        return cyclegan.CycleConfig
    return autoencoder.AutoencoderConfig if model in autoencoder.MODELS else gan.Config


def _check_make(command: Command) -> None:
    if command.words[0] == "make" and len(command.words) > 1:
        assert command.words[1] in TARGETS, f"there is no make {command.words[1]}"


def _check_python(command: Command) -> None:
    if not command.words[0].endswith("python") or len(command.words) < 2:
        return
    first, *rest = command.words[1:]
    if first == "-m" and rest[0].startswith("bench"):  # others are those of other packages
        assert importlib.util.find_spec(rest[0]), f"there is no module {rest[0]}"
    elif first.endswith(".py"):
        assert (ROOT / first).is_file(), f"there is no {first}"


@pytest.mark.parametrize("check", [_check_ganfast, _check_make, _check_python])
@pytest.mark.parametrize("page", PAGES, ids=markdown_pages.name_of)
def test_commands_exist(page: Path, check: Callable[[Command], None]) -> None:
    for command in _commands_of(page):
        check(command)


@pytest.mark.parametrize(
    ("line", "check"),
    [
        ("ganfast judge A B", _check_ganfast),
        ("ganfast fid A", _check_ganfast),
        ("ganfast fid A B --sharpness 3", _check_ganfast),
        ("torchrun --nproc-per-node 4 -m ganfast fid A B --dims many", _check_ganfast),
        ("ganfast train --set stepz=3", _check_ganfast),
        ("ganfast train --model cyclegan --set loss=hinge", _check_ganfast),
        ("ganfast rank --set models=3,4 --set nothing=1", _check_ganfast),
        ("make coffee", _check_make),
        ("python scripts/coffee.py", _check_python),
        ("python -m bench.coffee", _check_python),
    ],
)
def test_a_command_that_does_not_exist_is_found(
    line: str, check: Callable[[Command], None]
) -> None:
    with pytest.raises((AssertionError, ValueError)):
        check(Command(line.split(), complete=True))


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_hooks_of_pre_commit_are_those_of_make_lint() -> None:
    import yaml

    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    done = subprocess.run(
        ["make", "--dry-run", "lint"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = [line for line in done.stdout.splitlines() if "/bin/" in line]
    # make names the files of clang-format, and maybe what it has to install first
    for hook in hooks:
        assert any(f"{line} ".startswith(f"{hook['entry']} ") for line in lines), hook["entry"]
    tools = {hook["entry"].split()[0] for hook in hooks}
    assert (
        tools
        == {line.split()[0] for line in lines if line.split()[0] in tools}
        >= {
            ".venv/bin/ruff",
            ".venv/bin/mypy",
            ".venv/bin/clang-format",
        }
    )
