"""Runs that are killed, and runs that share a folder of finished features."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from ganfast import data

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_killed_runs_end_as_undisturbed_ones() -> None:
    """All commands, a few moments each; scripts/kill_runs.py tries more."""
    command = [sys.executable, "scripts/kill_runs.py", "24", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout


EVAL = """
import sys
from ganfast import cli
from ganfast.data import image_source
image_source._SMALLEST = 4
sys.stdin.readline()
sys.argv = ["ganfast", "fid", *sys.argv[1:], "--features", "digits", "--json", "--threads", "1"]
cli.main()
"""


def test_runs_at_the_same_time_share_a_state(tmp_path: Path) -> None:
    """Whichever writes a shard, each result is right and nothing but shards is left."""
    images = tmp_path / "images"
    images.mkdir()
    for i, image in enumerate(data.digits().images[:48]):
        Image.fromarray(image[0].numpy()).save(images / f"{i:02}.png")

    def start(state: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", EVAL, str(images), str(images), "--state", str(state)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    alone = start(tmp_path / "alone")
    together = [start(tmp_path / "shared") for _ in range(3)]
    found = []
    for process in (alone, *together):
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in (alone, *together):
        printed, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        assert "damaged" not in said
        found.append(json.loads(printed)["metrics"])
    assert found == found[:1] * 4
    shards = [sorted((tmp_path / name).glob("*.state")) for name in ("alone", "shared")]
    assert [path.name for path in shards[0]] == [path.name for path in shards[1]]
    for one, two in zip(*shards, strict=True):
        assert one.read_bytes() == two.read_bytes()
