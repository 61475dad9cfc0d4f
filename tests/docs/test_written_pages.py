"""The pages that scripts write are as these write them now, and say something of each name."""

import importlib.util
import re

import pytest
from markdown_pages import ROOT


def _script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"scripts/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["settings_page", "names_page"])
def test_a_page_is_current(name: str) -> None:
    script = _script(name)
    assert script.PAGE.read_text() == script.page(), f"run scripts/{name}.py"


def test_every_setting_has_a_meaning() -> None:
    script = _script("settings_page")
    for kind in script.KINDS.values():
        meanings = script.meanings_of(kind)
        fields = {name for name, field in kind.__dataclass_fields__.items() if field.init}
        assert all(len(meanings.get(name, "")) > 8 for name in fields), fields - set(meanings)


def test_every_public_name_has_a_meaning() -> None:
    rows = re.findall(r"^\| `(.+?)` \| (.*) \|$", _script("names_page").page(), re.MULTILINE)
    assert len(rows) > 150
    assert [name for name, meaning in rows if len(meaning) < 8] == []
