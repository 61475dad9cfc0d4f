"""Write docs/names.md: every public name, and the first sentence of its docstring.

python scripts/names_page.py
"""

import importlib
import pkgutil
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from ganfast import compat

PAGE = Path(__file__).parent.parent / "docs" / "names.md"

#: Each module, and the guide that explains it.
MODULES = {
    "losses": "losses.md",
    "penalties": "penalties.md",
    "regularizers": "penalties.md",
    "augment": "augment.md",
    "stylegan": "stylegan.md",
    "metrics": "evaluate.md",
    "features": "evaluate.md",
    "evaluation": "scaling.md",
    "data": "train.md",
    "models": "train.md",
    "train": "train.md",
}
HEAD = """# Public names

Written by `scripts/names_page.py`: what each public module holds, in the words of the docstrings.
`help(NAME)` shows arguments, shapes, equations and sources.
"""
COMPAT = """## `ganfast.compat`

Modules with the names and signatures of public projects; [the guide](drop-in.md) says which line to
change.

| module | names |
|---|---|
"""


def page() -> str:
    parts = [HEAD]
    for short, guide in MODULES.items():
        module = importlib.import_module(f"ganfast.{short}")
        rows = [f"| `{name}` | {_meaning(getattr(module, name))} |" for name in names(module)]
        head = f"## `ganfast.{short}`\n\n{_meaning(module)} [Guide]({guide}).\n"
        parts.append(f"{head}\n| name | |\n|---|---|\n" + "\n".join(rows) + "\n")
    rows = [
        f"| `{module.__name__.removeprefix('ganfast.compat.')}` | {_listed(names(module))} |"
        for module in drop_ins()
    ]
    return "\n".join(parts) + "\n" + COMPAT + "\n".join(rows) + "\n"


def drop_ins() -> Iterable[ModuleType]:
    """Return the modules that stand for public projects."""
    for found in pkgutil.iter_modules(compat.__path__):
        if not found.name.startswith("_"):
            yield importlib.import_module(f"ganfast.compat.{found.name}")


def names(module: ModuleType) -> list[str]:
    """Return the public names of a module: those of ``__all__``, or what it defines."""
    own = [
        name
        for name, x in vars(module).items()
        if callable(x) and x.__module__ == module.__name__ and not name.startswith("_")
    ]
    return sorted(getattr(module, "__all__", own), key=str.lower)


def _listed(found: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in found)


def _meaning(x: Any) -> str:
    """Return the first sentence of a docstring, or the values of a constant or of a type."""
    values = get_args(x)
    if values or (not callable(x) and not isinstance(x, ModuleType)):
        return _listed(map(str, values or x))
    text = " ".join((x.__doc__ or "").partition("\n\n")[0].split())
    text = re.sub(r":math:`([^`]*)`", r"$\1$", text)
    text = re.sub(r":\w+:`[~!]?([^`]*)`", r"`\1`", text).replace("``", "`")
    return re.sub(r"(?<!\\)\|", "&#124;", text)


if __name__ == "__main__":
    PAGE.write_text(page())
