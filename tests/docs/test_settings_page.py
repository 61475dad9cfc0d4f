"""The page of settings is the one that its script writes, and says something of each."""

import importlib.util

from markdown_pages import ROOT


def _script():
    spec = importlib.util.spec_from_file_location("page", ROOT / "scripts/settings_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current() -> None:
    script = _script()
    assert script.PAGE.read_text() == script.page(), "run scripts/settings_page.py"


def test_every_setting_has_a_meaning() -> None:
    for kind in _script().KINDS.values():
        meanings = _script().meanings_of(kind)
        fields = {name for name, field in kind.__dataclass_fields__.items() if field.init}
        assert all(len(meanings.get(name, "")) > 8 for name in fields), fields - set(meanings)
