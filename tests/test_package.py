"""What importing ganfast costs, what it says of itself, and that its imports point one way."""

import ast
import graphlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ganfast

PACKAGE = Path(ganfast.__file__).parent

# The floors, lowest first: a module imports from its own floor and from those below.
FLOORS = (
    ("_ext", "_files", "_lock", "_names", "_npz", "_numbers", "_precision", "_C"),
    ("_checks", "reference"),
    ("ops", "distributed"),
    ("losses", "penalties", "regularizers", "augment", "stylegan", "models", "data"),
    ("features",),
    ("metrics",),
    ("reporting",),
    ("evaluation",),
    ("train", "compat"),
    ("workflows",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
FLOOR = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}


def test_importing_needs_torch_and_numpy_alone() -> None:
    program = """
import sys, json, numpy, torch
before = set(sys.modules)
import ganfast
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps([sorted(new - sys.stdlib_module_names), torch.cuda.is_initialized()]))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    modules, cuda = json.loads(run.stdout)
    assert modules == ["ganfast"]
    assert not cuda
    assert run.stdout.count("\n") == 1


def test_parts_are_reached_from_the_package() -> None:
    program = """
import sys, ganfast
assert not {"ganfast.losses", "ganfast.metrics", "ganfast.train"} & sys.modules.keys()
assert set(ganfast.__all__) <= set(dir(ganfast))
for name in ganfast.__all__:
    getattr(ganfast, name)
print(ganfast.metrics.kid.__name__, ganfast.DiffAugment.__name__, ganfast.evaluate.__name__)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout == "kid DiffAugment evaluate\n"


def test_other_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="module 'ganfast' has no attribute 'loses'"):
        _ = ganfast.loses


def test_fid_loads_what_it_runs() -> None:
    """No trainer, no workflow, no generator, no page, and none of the libraries that draw one."""
    program = """
import sys, json
from ganfast.cli import main
sys.argv = ["ganfast", "fid", "digits", "digits", "--features", "digits", "--threads", "1"]
main()
"""
    report = "import atexit; atexit.register(lambda: print(json.dumps(sorted(sys.modules))))"
    run = subprocess.run(
        [sys.executable, "-c", program.replace("import sys, json", f"import sys, json; {report}")],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    loaded = json.loads(run.stdout.splitlines()[-1])
    ours = [name for name in loaded if name.partition(".")[0] == "ganfast"]
    parts = {name.split(".")[1] for name in ours if "." in name}
    assert parts - {"_C"} == {
        "_checks", "_ext", "_files", "_names", "_npz", "_precision", "cli", "commands", "data",
        "distributed", "evaluation", "features", "metrics", "ops", "reference",
    }  # fmt: skip
    assert "ganfast.evaluation.generators" not in ours
    assert len(ours) <= 90
    assert not {"matplotlib", "scipy", "sympy", "yaml", "tensorboard", "transformers"} & set(loaded)


def test_build_info() -> None:
    info = ganfast.build_info()
    assert info["kind"] in ("cuda", "cpu", "none")
    assert info["reason"]
    if info["kind"] != "none":
        assert torch.__version__.startswith(info["torch"].partition("+")[0])
        assert info["compiler"]
    if info["kind"] == "cuda":
        assert torch.version.cuda
        assert info["cuda_archs"]
    info["kind"] = "changed by its reader"
    assert ganfast.build_info()["kind"] != "changed by its reader"


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem)


def part_of(path: Path) -> str:
    """The part of the package that a module is in: losses, ops, ..."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_parts(path: Path) -> set[str]:
    """The parts of ganfast that a module imports, anywhere in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            # `from ganfast import ops` names a part, `from ganfast.ops import f` one more
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    split = [name.split(".") for name in names]
    return {name[1] for name in split if name[0] == "ganfast" and len(name) > 1}


def test_every_part_has_a_floor() -> None:
    unplaced = {part_of(path) for path in modules()} - FLOOR.keys() - {"__init__"}
    assert not unplaced, f"say in FLOORS where {unplaced} belong"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":  # the front door
        return
    for imported in imported_parts(path) & FLOOR.keys():
        assert FLOOR[imported] <= FLOOR[part], f"{part} must not import {imported}"


def imported_modules(path: Path) -> set[str]:
    """The modules of ganfast that a module imports, anywhere in it, by their dotted names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def test_no_module_imports_one_that_imports_it() -> None:
    """Not at its first import, not later, and not for a type."""
    names = {}
    for path in modules():
        parts = ("ganfast", *path.relative_to(PACKAGE).with_suffix("").parts)
        names[".".join(parts).removesuffix(".__init__")] = path
    graph = {
        name: (imported_modules(path) & names.keys()) - {"ganfast", name}
        for name, path in names.items()
        if name != "ganfast"
    }
    # A package's own name stands for all that it offers; its modules import each other by theirs.
    for name in graph:
        graph[name] -= {p for p in graph[name] if name.startswith(f"{p}.")}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises where there is a circle
    assert order.index("ganfast._ext") < order.index("ganfast.ops")
