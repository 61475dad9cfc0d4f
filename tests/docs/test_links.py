"""Links lead somewhere, and files that a page names are there."""

import re
from pathlib import Path

import markdown_pages
import pytest
from markdown_pages import GUIDES, PAGES, ROOT

IN_REPOSITORY = re.compile(r"(csrc|ganfast|tests|bench|docs|examples|scripts)/[\w./-]*\w")
# The guide to the drop-in modules names files of other projects.
OWN_FILES = [page for page in PAGES if page.name != "drop-in.md"]
MACHINE_PATH = re.compile(r"(?<![\w.])/(home|root|tmp|work|mnt|opt|Users)/")


@pytest.mark.parametrize("page", PAGES, ids=markdown_pages.name_of)
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    for target in markdown_pages.links(page):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_relative_to(ROOT), target
        assert file.exists(), target
        if anchor:
            assert anchor in markdown_pages.anchors(file), target


@pytest.mark.parametrize("page", OWN_FILES, ids=markdown_pages.name_of)
def test_files_that_are_named_are_there(page: Path) -> None:
    for words in markdown_pages.code(page):
        if IN_REPOSITORY.fullmatch(words):
            assert (ROOT / words).exists(), words


@pytest.mark.parametrize("page", PAGES, ids=markdown_pages.name_of)
def test_no_page_names_a_place_on_one_machine(page: Path) -> None:
    assert not MACHINE_PATH.search(page.read_text(encoding="utf-8"))


def test_the_table_of_contents_has_every_guide() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target).resolve() for target in markdown_pages.links(index)}
    assert linked >= set(GUIDES) - {index}
    assert linked >= set((ROOT / "examples").glob("*.py"))


def test_anchors_are_those_of_github(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Scoring `two` folders, & more\n\n## Same\n\n## Same\n\n```\n# none\n```\n")
    assert markdown_pages.anchors(page) == {"scoring-two-folders--more", "same", "same-1"}
