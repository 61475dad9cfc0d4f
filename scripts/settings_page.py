"""Write docs/settings.md: every setting of every workflow, with its default and its meaning.

python scripts/settings_page.py
"""

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from ganfast.train.config import meanings_of
from ganfast.workflows import autoencoder, classifiers, cyclegan, finetune, gan, pretrain, rank

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"

KINDS = {
    "`ganfast train`": gan.Config,
    "`ganfast train --model cyclegan`": cyclegan.CycleConfig,
    "`ganfast train --model autoencoder`": autoencoder.AutoencoderConfig,
    "`ganfast pretrain`": pretrain.Settings,
    "`ganfast finetune`": finetune.Settings,
    "`ganfast rank`": rank.Settings,
    "`fit` of finetune and rank": classifiers.Fit,
}
HEAD = """# Settings

Written by `scripts/settings_page.py`. Set a field with `--set FIELD=VALUE`, or in a YAML file that
the command gets in place of images. `--print-config` prints all fields as such a file.
"""


def page() -> str:
    parts = [HEAD]
    for title, kind in KINDS.items():
        meanings = {k: v.replace("|", "&#124;") for k, v in meanings_of(kind).items()}
        rows = [
            f"| `{field.name}` | {_default(field)} | {meanings[field.name]} |"
            for field in fields(kind)
            if field.init
        ]
        parts.append(
            f"## {title}\n\n| field | default | meaning |\n|---|---|---|\n" + "\n".join(rows)
        )
    return "\n".join(parts) + "\n"


def _default(field: Any) -> str:
    if field.default is MISSING:
        return "" if field.default_factory is MISSING else "see below"
    value = field.default
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`" if value else ""
    return f"`{value}`".lower() if isinstance(value, bool) else f"`{value}`" if value != "" else ""


if __name__ == "__main__":
    PAGE.write_text(page())
