"""What a visitor reads first is short, current and says the same everywhere."""

import ast
import re
import sys

import pytest
import yaml
from markdown_pages import ROOT

import ganfast


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_version_stands_in_one_place() -> None:
    tree = ast.parse((ROOT / "ganfast" / "__init__.py").read_text())
    literals = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
    ]
    assert literals == [ganfast.__version__]
    for name in ("pyproject.toml", "CITATION.cff", "setup.py"):
        assert ganfast.__version__ not in re.findall(
            r"""^version\W+(.+?)["']?$""", (ROOT / name).read_text(), re.MULTILINE
        )


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs tomllib")
def test_packaging_reads_the_version_without_importing(monkeypatch: pytest.MonkeyPatch) -> None:
    pyprojecttoml = pytest.importorskip("setuptools.config.pyprojecttoml")
    monkeypatch.chdir(ROOT)
    project = pyprojecttoml.read_configuration("pyproject.toml", expand=True)["project"]
    assert project["version"] == ganfast.__version__


def test_the_changelog_has_this_version_after_what_is_unreleased() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[:2] == ["Unreleased", ganfast.__version__]


def test_the_citation_can_be_read() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation.keys() >= {"message", "title", "authors"}
    assert citation["license"] == "Apache-2.0"
