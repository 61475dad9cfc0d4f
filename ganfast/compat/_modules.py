"""Serving modules under the names of a project's own."""

import sys
from collections.abc import Mapping
from types import ModuleType


def serve(package: str, modules: Mapping[str, ModuleType]) -> None:
    """Make imports of a package's modules give these; the package itself stays the project's.

    The name "" is that of the package itself. Where the project's own module is imported already,
    what has been taken from it would stay in use: a RuntimeError.
    """
    names = {f"{package}.{name}".rstrip("."): module for name, module in modules.items()}
    for name, module in names.items():
        if sys.modules.get(name, module) is not module:
            raise RuntimeError(
                f"install must be called before {name} is imported, got an imported one; call it "
                "at the top of the script"
            )
    sys.modules.update(names)
    for name, module in names.items():
        parent, _, child = name.rpartition(".")
        if parent in sys.modules and parent not in names:
            setattr(sys.modules[parent], child, module)
