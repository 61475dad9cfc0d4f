"""What a result was measured on: hardware and versions, never names or places."""

import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import torch

import ganfast
from ganfast.reporting import environment


def facts(device: str) -> dict[str, object]:
    """The head of a results file."""
    known = dict(environment.facts())
    build = ganfast.build_info()
    name = torch.cuda.get_device_name() if device == "cuda" else known["CPU"].rpartition(",")[0]
    commit, dirty = _commit()
    return {
        "machine": slug(name),
        "device": device,
        "device_name": name,
        "threads": torch.get_num_threads(),
        "versions": {
            "ganfast": ganfast.__version__,
            "kernels": build["kind"],
            "compiler": build.get("compiler"),
            "torch": torch.__version__,
            "python": known["Python"],
        },
        "commit": commit,
        "dirty": dirty,
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def slug(name: str) -> str:
    """The name in lower case, with one hyphen for whatever is neither letter nor digit."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _commit() -> tuple[str | None, bool | None]:
    """Short name of the checkout's commit, and whether tracked files differ from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD"), bool(
            git("status", "--porcelain", "--untracked-files=no")
        )
    except (OSError, subprocess.CalledProcessError):  # a copy without its history
        return None, None
