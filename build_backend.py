"""setuptools' build backend, compiling against the torch that will load the result.

An isolated build would fetch the newest torch and compile against that, whatever the target
environment runs. Here torch is asked for only where it is needed and the target environment has
none; otherwise setup.py takes that one.
"""

import importlib.util
import os
import subprocess
import sys

from setuptools.build_meta import *  # noqa: F403  (the backend is setuptools' own)


def use_target_torch() -> bool:
    """Make the target environment's torch importable; say whether it has one."""
    if importlib.util.find_spec("torch") is None:
        # pip hides the target's packages from its isolated builds by variables of Python's.
        program = "import sys; print(*sys.path[1:], sep='\\n')"
        run = subprocess.run(
            [sys.executable, "-E", "-c", program], capture_output=True, text=True, check=True
        )
        sys.path += run.stdout.splitlines()
        importlib.invalidate_caches()
    return importlib.util.find_spec("torch") is not None


def _torch(config_settings=None) -> list[str]:
    nothing = os.environ.get("GANFAST_BUILD") == "none"
    return [] if nothing or use_target_torch() else ["torch>=2.11"]


get_requires_for_build_wheel = _torch
get_requires_for_build_editable = _torch
