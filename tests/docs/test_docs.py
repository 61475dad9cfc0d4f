"""The Python blocks of every page run, one after the other, as a reader would type them."""

import warnings
from pathlib import Path

import markdown_pages
import pytest
import torch
from markdown_pages import GUIDES, PAGES


def test_there_are_guides() -> None:
    assert len(GUIDES) > 10
    with_code = [page for page in PAGES if _python(page)]
    assert markdown_pages.ROOT / "README.md" in with_code


def _python(page: Path) -> list[markdown_pages.Block]:
    return [block for block in markdown_pages.blocks(page) if block.language == "python"]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if _python(page)], ids=markdown_pages.name_of
)
def test_the_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # what a block writes is gone afterwards
    torch.manual_seed(0)
    names: dict[str, object] = {"__name__": "guide"}
    for block in _python(page):
        # Errors name the page and its line.
        program = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            exec(program, names)
