"""The page is well formed, shows what it was given, and loads nothing from elsewhere."""

import base64
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from ganfast.recipes import report

VOID = {"meta", "img"}


class Page(HTMLParser):
    def __init__(self, content):
        super().__init__()
        self.open, self.cells, self.images, self.links, self.words = [], [], [], [], []
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.links += [v for k, v in attrs if k in ("src", "href")]
        if tag == "img":
            self.images.append((values["src"], values["alt"]))
        if tag in ("td", "th"):
            self.cells.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data
        self.words.append(data)


# Browsers read a NUL as U+FFFD and a carriage return as a newline, so neither can come back.
words = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)


@given(
    title=words,
    lead=words,
    rows=st.lists(st.tuples(words, words), min_size=1),
    caption=words,
    png=st.binary(),
)
def test_everything_given_is_shown_as_it_is(title, lead, rows, caption, png):
    page = Page(
        report.page(
            title,
            lead,
            report.section("first", report.table(rows, header=("name", "value"))),
            report.section(title, report.row(report.figure(png, caption)), report.text(lead)),
        )
    )
    assert page.cells == ["name", "value", *(cell for row in rows for cell in row)]
    [(source, alt)] = page.images
    assert alt == caption
    assert base64.b64decode(source.removeprefix("data:image/png;base64,")) == png
    assert all(link.startswith("data:") for link in page.links)
    assert page.words.count(title) >= (2 if title else 0)


def test_write(tmp_path):
    report.write(tmp_path / "a" / "report.html", report.page("Fréchet", ""))
    assert "<h1>Fréchet</h1>" in (tmp_path / "a" / "report.html").read_text(encoding="utf-8")


def test_columns_of_numbers_are_flush_right():
    page = report.table([("a", "1,000", "3"), ("b", "2.5%", "x")], header=("name", "n", "m"))
    assert page.count('class="number"') == 3
    assert '<th class="number">n</th>' in page
