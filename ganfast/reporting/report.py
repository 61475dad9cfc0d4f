"""A self-contained HTML page of titles, text, tables and pictures."""

import base64
import html
import os
from collections.abc import Mapping, Sequence

from ganfast._files import atomic_write
from ganfast.reporting import environment

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5d6876; --line: #dde2e8; --paper: #fff;
  --shade: #0005; }
@media (prefers-color-scheme: dark) { :root { --ink: #e5e9ee; --soft: #9aa5b1; --line: #343c46;
  --paper: #14181d; --shade: #fff5; } }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 68rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  overflow-wrap: break-word; }
h1 { margin: 0 0 .3rem; font-size: 1.8rem; line-height: 1.2; letter-spacing: -.01em; }
h2 { margin: 2.6rem 0 .8rem; padding-bottom: .3rem; font-size: 1.15rem;
  border-bottom: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 44rem; }
.lead, figcaption { color: var(--soft); }
/* A table wider than the page scrolls. The shades at both ends are fixed to the frame, the covers
   over them scroll with the content: a shade shows only while there is more on its side. */
.wide { overflow-x: auto; margin: .6rem 0; scrollbar-width: thin; background-repeat: no-repeat;
  background-image: linear-gradient(to right, var(--paper) 40%, transparent),
    linear-gradient(to left, var(--paper) 40%, transparent),
    linear-gradient(to right, var(--shade), transparent),
    linear-gradient(to left, var(--shade), transparent);
  background-position: left, right, left, right;
  background-attachment: local, local, scroll, scroll;
  background-size: 2rem calc(100% + 2px), 2rem calc(100% + 2px), .8rem 100%, .8rem 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .38rem 1.25rem .38rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { max-width: 7rem; text-wrap: balance; vertical-align: bottom; font-weight: 600;
  color: var(--soft); font-size: .875rem; }
td { white-space: nowrap; }
td.long { white-space: normal; overflow-wrap: anywhere; min-width: 14rem; }
@media (max-width: 40rem) {
  .pairs td:first-child, .pairs td.long { white-space: normal; min-width: 0; }
  .pairs td:first-child { overflow-wrap: break-word; } }
.number { text-align: right; }
figure { margin: 1rem 0; }
figure img { display: block; max-width: 100%; height: auto;
  border: 1px solid var(--line); border-radius: 4px; }
figcaption { margin-top: .4rem; font-size: .875rem; }
.row { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem; }
.row figure { margin: 0; }
.row img { width: 100%; }
""".strip()

# With tabindex the arrow keys scroll a focused table; a screen reader announces its label.
_SCROLLER = '<div class="wide" role="group" aria-label="Table" tabindex="0">'
_LONG = 32  # cells with more characters may break into several lines


def page(title: str, lead: str, *sections: str, settings: Mapping[str, object]) -> str:
    """Return a page that ends with the settings and the environment of the run.

    Args:
        title: heading, and title of the browser's tab.
        lead: line below the heading.
        *sections: results of ``section``.
        settings: name and value of each setting of the run.
    """
    rows = [(name, str(value)) for name, value in settings.items()]
    ending = section("Settings", table(rows)), section("Environment", table(environment.facts()))
    return (
        "<!doctype html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
        f'<h1>{html.escape(title)}</h1>\n<p class="lead">{html.escape(lead)}</p>\n'
        + "\n".join([*sections, *ending])
        + "\n</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """Return a section: a heading, then results of ``text``, ``table``, ``figure`` or ``row``."""
    return "\n".join([f"<section>\n<h2>{html.escape(title)}</h2>", *parts, "</section>"])


def text(words: str) -> str:
    """Return a paragraph."""
    return f"<p>{html.escape(words)}</p>"


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    """Return a table that scrolls if it does not fit.

    With a header, columns of numbers are aligned right. Without one, each row is a name and its
    value, and a narrow page breaks both into lines before it scrolls.
    """
    numeric = [bool(header) and all(map(_is_number, column)) for column in zip(*rows, strict=True)]
    lines = [_line("th", header, numeric)] if header else []
    lines += [_line("td", row, numeric) for row in rows]
    kind = "" if header else ' class="pairs"'
    return f"{_SCROLLER}<table{kind}>\n" + "\n".join(lines) + "\n</table></div>"


def figure(png: bytes, caption: str) -> str:
    """Return a PNG picture, embedded in the page, with its caption."""
    data = base64.b64encode(png).decode()
    words = html.escape(caption, quote=True)
    return (
        f'<figure><img alt="{words}" src="data:image/png;base64,{data}">'
        f"<figcaption>{words}</figcaption></figure>"
    )


def row(*figures: str) -> str:
    """Return small pictures side by side, as many as fit."""
    return '<div class="row">\n' + "\n".join(figures) + "\n</div>"


def write(path: str | os.PathLike[str], content: str) -> None:
    """Write a page, atomically."""
    with atomic_write(path) as file:
        file.write(content.encode(errors="backslashreplace"))  # names of files may be any bytes


def _line(tag: str, cells: Sequence[str], numeric: Sequence[bool]) -> str:
    parts = []
    for cell, number in zip(cells, numeric, strict=True):
        name = "number" if number else "long" if len(cell) > _LONG else ""
        kind = f' class="{name}"' if name else ""
        parts.append(f"<{tag}{kind}>{html.escape(cell)}</{tag}>")
    return "<tr>" + "".join(parts) + "</tr>"


def _is_number(cell: str) -> bool:
    """Return True for a number, a percentage, or a mean ± its standard deviation."""
    try:
        for part in cell.replace(",", "").split(" ± "):
            float(part.removesuffix("%"))
    except ValueError:
        return False
    return True
