"""setuptools' build backend, compiling against the torch that will load the result.

An isolated build would fetch the newest torch and compile against that, whatever the target
environment runs. Here torch is asked for only where the target environment has none; otherwise
setup.py takes that one.
"""

import importlib.util
import sys
import sysconfig

from setuptools.build_meta import *  # noqa: F403  (the backend is setuptools' own)


def use_target_torch() -> bool:
    """Make the target environment's torch importable; say whether it has one."""
    sys.path.append(sysconfig.get_path("purelib"))
    return importlib.util.find_spec("torch") is not None


def _torch(config_settings=None) -> list[str]:
    return [] if use_target_torch() else ["torch>=2.11"]


get_requires_for_build_wheel = _torch
get_requires_for_build_editable = _torch
