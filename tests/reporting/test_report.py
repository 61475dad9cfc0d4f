"""Pages are well formed, show what they were given, load nothing, and fit their window."""

import base64
import html
import json
import re
import shutil
import subprocess
from dataclasses import asdict
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganfast import data
from ganfast.evaluation import page as eval_page
from ganfast.evaluation import run, scores
from ganfast.reporting import environment, images, report
from ganfast.workflows import (
    autoencoder,
    cyclegan,
    demo,
    finetune,
    gan,
    pretrain,
    rank,
    synthesize,
    train,
)
from ganfast.workflows.correlation import Correlation
from ganfast.workflows.dataset_card import write_card
from ganfast.workflows.judge import Judge
from ganfast.workflows.pretext import TakenWeight
from ganfast.workflows.quality import Quality

VOID = {"meta", "img"}


class Page(HTMLParser):
    def __init__(self, content):
        super().__init__()
        self.open, self.cells, self.images, self.links, self.words = [], [], [], [], []
        self.frames, self.tables, self._around = [], [], {}
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.links += [v for k, v in attrs if k in ("src", "href")]
        if tag == "img":
            self.images.append((values["src"], values["alt"]))
        if tag == "table":
            self.frames.append(self._around)
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.cells.append("")
            self.tables[-1][-1].append("")
        self._around = values
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data
            self.tables[-1][-1][-1] += data
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
            settings=dict(rows),
        )
    )
    shown = [("name", "value"), *rows, *dict(rows).items(), *environment.facts()]
    assert page.cells == [cell for row in shown for cell in row]
    [(source, alt)] = page.images
    assert alt == caption
    assert base64.b64decode(source.removeprefix("data:image/png;base64,")) == png
    assert all(link.startswith("data:") for link in page.links)
    assert page.words.count(title) >= (2 if title else 0)


def test_write(tmp_path):
    report.write(tmp_path / "a" / "report.html", report.page("Fréchet", "", settings={}))
    assert "<h1>Fréchet</h1>" in (tmp_path / "a" / "report.html").read_text(encoding="utf-8")


def test_columns_of_numbers_are_flush_right():
    page = report.table(
        [("a", "1,000", "3", "9.5 ± 0.3"), ("b", "2.5%", "x", "87 ± 1")], header=("name", *"nmk")
    )
    assert page.count('class="number"') == 6
    assert '<th class="number">n</th>' in page
    assert '<td class="number">9.5 ± 0.3</td>' in page
    assert "number" not in report.table([("steps", "2"), ("lr", "0.1")])  # not of one kind


def test_only_long_cells_take_several_lines():
    page = report.table([("30 images, width 2", "word " * 7)], header=("a", "b"))
    assert "<td>30 images, width 2</td>" in page
    assert f'<td class="long">{"word " * 7}</td>' in page


def test_the_style_has_a_rule_for_every_class_and_asks_for_what_pages_need():
    tables = report.table([("a", "b" * 40)]), report.table([("1",)], ("n",))
    page = report.page("", "", *tables, settings={})
    style = re.search("<style>(.*?)</style>", page, re.S).group(1)
    for name in set(" ".join(re.findall('class="(.*?)"', page)).split()):
        assert re.search(rf"\.{name}\b", style), name
    assert style.count("{") == style.count("}")

    def rule(selector):
        return re.search(rf"^{re.escape(selector)} {{(.*?)}}", style, re.S | re.M).group(1)

    assert "overflow-x: auto" in rule(".wide")
    assert "local, local, scroll, scroll" in rule(".wide")  # shades while there is more to see
    assert "white-space: nowrap" in rule("td")
    assert "white-space: normal" in rule("td.long")
    assert "overflow-wrap: break-word" in rule("body")
    assert "max-width: 100%" in rule("figure img")


# Pages of all kinds, of made-up results.

FOLDER = "/home/somebody/photographs/" + "a-folder-with-a-long-name/" * 4
LADDER = tuple(f"{n} images, width {width}" for n, width in rank._DEFAULT_SIZES)
LONG = tuple(f"experiments.of_2024.resnet{i}_with_dropout:make_classifier" for i in range(12))


def ranked(names):
    """Accuracies rise, so that the last name stands first; models i and j agree on (i + j) %."""
    found = {
        name: (rank.Standing(0.5 + i / 100, 0.9, 0.041), rank.Standing(0.6 + i / 100, 0.88, 0.031))
        for i, name in enumerate(names)
    }
    places = torch.arange(len(names), dtype=torch.float64)
    alike = (places[:, None] + places) / 100
    one = Correlation(0.93, 0.81, 0.98)
    return rank.Result(found, one, one, alike, alike)


def rank_page(out, names):
    rank.write_report(out, rank.Settings(models=names), ranked(names))


def finetune_page(out):
    settings = finetune.Settings(adapt=True).fitted(5000)
    accuracies = {
        (n, mode): [0.5 + n / 10000, 0.52 + n / 10000]
        for n in settings.sizes
        for mode in settings.modes
    }
    names = [f"{FOLDER}{i}" for i in range(3)]
    by_class = {key: [0.1, 0.9, 0.5] for key in accuracies}
    found = finetune.Result(settings, accuracies, by_class, names, [400, 600, 0])
    finetune.write_report(out, found)


def pretrain_page(out):
    curves = [[(100, 30.0), (200, 20.0)], [(100, 31.0), (200, 22.0)]]
    status = "(64, 1, 3, 3) in the source, (64, 3, 3, 3) here: not taken"
    taken = {
        "generator": [
            TakenWeight("layers.0.conv.weight", "taken"),
            TakenWeight("layers.1.weight", status),
        ]
    }
    pretrain.write_report(
        out, pretrain.Settings(), pretrain.Result("SWD x 1000", curves, curves, taken)
    )


def demo_page(out):
    result = demo.Result(True, 500, 158.6, 2.1, 0.8, 300.0, [1.0] * 10, 142.0, 238.0, 37.0)
    demo.write_report(out, result, RECORDS, {**asdict(demo.options(500, 0)), "device": "cpu"})


def train_page(out):
    result = train.Result(True, 500, 1234.0, [(0, 100.0), (500, 2.0)], "FD (inception)", 0.8)
    train._write(out, gan.Config(data=FOLDER, score="inception"), result, RECORDS)


def cycle_page(out):
    result = cyclegan.Result(True, 500, 120.0, [(100, 0.2), (500, 0.1)], 0.05, 0.9)
    cyclegan._write(out, cyclegan.CycleConfig(), result)


def autoencode_page(out):
    result = autoencoder.Result(0.01, 0.2, "SWD x 1000", 1.0, 2.0, 0.8, 4000)
    autoencoder._write(out, autoencoder.AutoencoderConfig(), result)


def synthesize_page(out):
    made = torch.zeros(80, 1, 28, 28, dtype=torch.uint8)
    found = Quality(1.2, 0.3, 9.0, 3.0, 8.0, 0.9, 0.8, 0.5, torch.arange(80))
    config = gan.Config(data=FOLDER, model="cdcgan", labels=10, size=28, channels=1)
    sampler = SimpleNamespace(config=config, classes=10)
    real = data.ImageData(made, torch.arange(80) % 10, FOLDER)
    judge = Judge(SimpleNamespace(label=f"FD (classifier of {FOLDER})"), "a classifier", 10)
    order = asdict(synthesize.Order())
    write_card(out, order, sampler, judge, found, made, real.labels, real)


def evaluate_page(out):
    picture = torch.zeros(3, 64, 64, dtype=torch.uint8)
    result = run.Result(
        rows=[
            scores.Row("fid", "FD (dinov2_vitl14)", 12.345678),
            scores.Row("kid", "KD (dinov2_vitl14), 100 x 1000", 0.00123, 0.0002),
        ],
        label="FD (dinov2_vitl14)",
        real=scores.FeatureSet(FOLDER, 50000, {}),
        fake=scores.FeatureSet("runs/a/checkpoint.pt", 50000, {}),
        settings={"features": "dinov2_vitl14", "weights": "a3" * 32},
        problems=[f"{FOLDER}{'x' * 200}.png: broken"],
        left_out=1,
        notes=[f"{FOLDER} has images of several sizes"],
        seconds=12.0,
        images=100000,
        real_images=[picture] * 24,
        fake_images=[picture] * 24,
        neighbours=[(picture, [picture] * 5)] * 6,
        curve=[(1, 0.5, 0.4), (5, 0.7, 0.6)],
    )
    command = f"ganfast eval {FOLDER} runs/a/checkpoint.pt --report out.html"
    report.write(out / "report.html", eval_page.page(result, command))


RECORDS = [
    {"step": step, "loss_d": 1.0, "loss_g": 1.0, "d_real": 0.6, "d_fake": 0.4, "fd": 100 - step / 9}
    for step in (0.0, 250.0, 500.0)
]
KINDS = {
    "rank": lambda out: rank_page(out, LADDER),
    "rank, long names": lambda out: rank_page(out, LONG),
    "finetune": finetune_page,
    "pretrain": pretrain_page,
    "demo": demo_page,
    "train": train_page,
    "cycle": cycle_page,
    "autoencode": autoencode_page,
    "synthesize": synthesize_page,
    "eval": evaluate_page,
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """HTML by kind."""
    found = {}
    sheet = images.grid(torch.zeros(64, 1, 28, 28), scale=2)
    for kind, write in KINDS.items():
        out = tmp_path_factory.mktemp("page")
        for name in ("samples/step_000000", "samples/step_000500", "samples", "interpolation",
                     "reconstructions"):  # fmt: skip
            images.write_png(sheet, out / f"{name}.png")
        write(out)
        [path] = out.glob("*.html")
        found[kind] = path.read_text(encoding="utf-8")
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_tables_lie_in_scrollers_and_pictures_have_words(pages, kind):
    page = Page(pages[kind])
    assert len(page.tables) >= 3
    for frame in page.frames:
        assert frame["class"] == "wide"
        assert frame["tabindex"] == "0"
        assert frame["role"] == "group"
        assert frame["aria-label"]
    for table in page.tables:
        assert len({len(row) for row in table}) == 1
    assert page.images
    assert all(alt for _, alt in page.images)
    assert all(link.startswith("data:") for link in page.links)


def test_rank_numbers_classifiers_as_they_stand_in_all_its_tables(pages):
    standings, _, agreement, *_ = Page(pages["rank"]).tables
    expected = [f"{i}.\xa0{name}" for i, name in enumerate(reversed(LADDER), 1)]
    assert [row[0] for row in standings[1:]] == [row[0] for row in agreement[1:]] == expected
    assert standings[1][1:] == ["57.00", "67.00", "90.0", "88.0", "0.041", "0.031"]
    assert len(set(standings[0])) == 7  # every head says which images it is of
    assert agreement[0] == ["classifier", *"12345678"]
    n = len(LADDER)
    for i, row in enumerate(agreement[1:]):
        assert row[1:] == [f"{n - 1 - i + n - 1 - j:.1f}" for j in range(n)]


# What a browser makes of a page in a window: whether it is wider than the window; of each table its
# width, that of its frame, the most lines in a cell that is not long, and whether it gets the focus
# and then scrolls; and whether a picture is wider than the page.
MEASURE = """
function measure(frame) {
  const page = frame.contentDocument, root = page.documentElement;
  const lines = cell => {
    const range = page.createRange();
    range.selectNodeContents(cell);
    return new Set([...range.getClientRects()].map(r => Math.round(r.top))).size;
  };
  const tables = [...page.querySelectorAll("table")].map(table => {
    const box = table.parentElement, short = [...table.querySelectorAll("td:not(.long)")];
    box.focus();
    const focus = page.activeElement === box;
    box.scrollLeft = 1e6;
    return {
      head: table.rows[0].cells[0].innerText, inner: box.scrollWidth, outer: box.clientWidth,
      reached: Math.ceil(box.scrollLeft + box.clientWidth) >= box.scrollWidth, focus: focus,
      scrolls: frame.contentWindow.getComputedStyle(box).overflowX,
      lines: Math.max(0, ...short.map(lines)),
    };
  });
  const pictures = [...page.images].map(i => i.getBoundingClientRect().right);
  return {
    overflow: root.scrollWidth - root.clientWidth, tables: tables,
    picture: Math.max(...pictures) - page.body.getBoundingClientRect().right,
  };
}
onload = () => {
  const found = [...document.querySelectorAll("iframe")].map(measure);
  document.body.innerText = JSON.stringify(found);
};
"""
WIDTHS = (1280, 1024, 400)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_pages_fit_their_window_in_a_browser(pages, kind, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    frames = "".join(
        f'<iframe style="width:{width}px;height:900px" srcdoc="{html.escape(pages[kind])}">'
        "</iframe>"
        for width in WIDTHS
    )
    harness = tmp_path / "harness.html"
    harness.write_text(f'<meta charset="utf-8"><script>{MEASURE}</script>{frames}')
    ended = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000",
            "--dump-dom", harness.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    written = re.search("<body>(.*)</body>", ended.stdout, re.S)
    found = json.loads(html.unescape(written.group(1)))
    for width, page in zip(WIDTHS, found, strict=True):
        assert page["overflow"] == 0, width
        assert page["picture"] <= 0, width
        assert len(page["tables"]) >= 3
        for table in page["tables"]:
            assert table["focus"], (width, table)
            assert table["reached"], (width, table)
            assert table["scrolls"] == "auto", (width, table)
            if width > 1000:  # all of it is seen, and no name breaks
                assert table["inner"] == table["outer"], (width, table)
                assert table["lines"] == 1, (width, table)


@pytest.mark.parametrize(
    ("step", "words"), [(0.05, "rank the classifiers alike:"), (0.0001, "hardly tell them apart:")]
)
def test_a_ranking_needs_accuracies_that_differ(tmp_path, step, words):
    found = {
        str(i): (rank.Standing(0.1 + i * step, 0.9, 0.04), rank.Standing(0.6 + i / 100, 0.9, 0.03))
        for i in range(4)
    }
    one, alike = Correlation(0.93, 0.81, 0.98), torch.eye(4, dtype=torch.float64)
    rank.write_report(tmp_path, rank.Settings(), rank.Result(found, one, one, alike, alike))
    assert words in (tmp_path / "report.html").read_text()
