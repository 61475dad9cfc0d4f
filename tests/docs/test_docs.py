"""The Python blocks of every guide run, one after the other, as a reader would type them."""

import re
import warnings
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)

guides = sorted(DOCS.rglob("*.md"))


def test_there_are_guides() -> None:
    assert guides


@pytest.mark.parametrize("guide", guides, ids=lambda path: path.stem)
def test_the_blocks_run(guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = guide.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)  # what a block writes is gone afterwards
    torch.manual_seed(0)
    names: dict[str, object] = {"__name__": "guide"}
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start(1))
        # Errors name the guide and its line.
        code = compile("\n" * line + match[1], str(guide), "exec")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            exec(code, names)
