"""What the pages of the project say: their code blocks, links, headings and commands."""

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
GUIDES = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *GUIDES]


class Block(NamedTuple):
    """A fenced block; ``line`` is that of its first line of code, from 1."""

    language: str
    code: str
    line: int


class Command(NamedTuple):
    """A line of a shell; complete in a block, and in running text maybe the start of one."""

    words: list[str]
    complete: bool


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    return [
        Block(token.info, token.content, token.map[0] + 2)
        for token in _tokens(page)
        if token.type == "fence" and token.map
    ]


def links(page: Path) -> list[str]:
    """The targets of links and images."""
    found = (token.attrGet("href") or token.attrGet("src") for token in _inline(page))
    return [str(target) for target in found if target]


def code(page: Path) -> list[str]:
    """What is set as code in running text."""
    return [token.content for token in _inline(page) if token.type == "code_inline"]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings."""
    found: set[str] = set()
    tokens = _tokens(page)
    for opening, content in pairwise(tokens):
        if opening.type == "heading_open":
            words = "".join(token.content for token in content.children or ())
            slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            repeats = (f"{slug}-{i}" for i in range(1, 100))
            found.add(slug if slug not in found else next(s for s in repeats if s not in found))
    return found


def commands(page: Path) -> Iterator[Command]:
    """Every line of the blocks without a language, and everything set as code in running text."""
    for block in blocks(page):
        if block.language == "":
            for line in block.code.replace("\\\n", " ").splitlines():
                yield Command(shlex.split(line, comments=True), complete=True)
    for words in code(page):
        if "'" not in words or words.count("'") % 2 == 0:
            yield Command(shlex.split(words), complete=False)


def _tokens(page: Path) -> list[Token]:
    return MarkdownIt("gfm-like", {"linkify": False}).parse(page.read_text(encoding="utf-8"))


def _inline(page: Path) -> list[Token]:
    return [token for parent in _tokens(page) for token in parent.children or ()]
