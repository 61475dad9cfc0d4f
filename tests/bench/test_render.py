"""The tables and figures that are written from results files."""

import json
from pathlib import Path

import pytest
import typer

from bench import render
from bench.render import BEGIN, END, Ratio

PAGE = f"# Title\n{BEGIN}\noutworn\n{END}\nlast\n"
QUOTED = Ratio("my-cpu", "f", "c", "forward", "eager")


def row(provider: str, case: str = "c", mode: str = "forward", **more: object) -> render.Row:
    return {"family": "f", "case": case, "mode": mode, "provider": provider} | more


def result(*rows: render.Row, device: str = "cpu") -> render.Result:
    return {
        "machine": f"my-{device}",
        "device": device,
        "device_name": f"My {device}",
        "threads": 2,
        "versions": dict.fromkeys(("ganfast", "kernels", "compiler", "torch", "python"), "1"),
        "commit": "abc1234",
        "dirty": False,
        "date": "2030-01-02",
        "results": list(rows),
    }


def against_eager(ratio: float, device: str = "cpu") -> render.Result:
    measured = {"peak_bytes": 2048, "error": 1e-7}
    return result(
        row("eager", median_us=20.0 * ratio, ratio=ratio, **measured),
        row("compile", unavailable="it cannot"),
        row("ganfast", median_us=20.0, ratio=1.0, **measured),
        device=device,
    )


def test_the_pages_of_the_project_are_current() -> None:
    render.main(check=True)


def test_figures_and_tables_go_into_their_pages_and_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "HIGHLIGHTS", (("{} as fast as before.", (QUOTED,)),))
    (tmp_path / "docs").mkdir()
    (tmp_path / "results").mkdir()
    readme, page = tmp_path / "README.md", tmp_path / "docs" / "benchmarks.md"
    paths = {"root": tmp_path, "results": tmp_path / "results"}
    (tmp_path / "results" / "my-cpu.json").write_text(json.dumps(against_eager(3.14)))
    for path in (readme, page):
        path.write_text(PAGE)

    with pytest.raises(typer.Exit):
        render.main(check=True, **paths)
    assert readme.read_text() == page.read_text() == PAGE
    render.main(**paths)
    for path, written in ((readme, "- 3.1 times as fast as before."), (page, "## My cpu")):
        text = path.read_text()
        assert text.startswith(f"# Title\n{BEGIN}\n")
        assert text.endswith(f"{END}\nlast\n")
        assert "outworn" not in text
        assert written in text
    render.main(check=True, **paths)

    page.write_text(page.read_text().replace("20 µs", "19 µs"))  # one of the two is enough
    with pytest.raises(typer.Exit):
        render.main(check=True, **paths)


def test_a_figure_that_was_not_measured_is_not_quoted() -> None:
    for missing in ({"case": "other"}, {"provider": "compile"}, {"machine": "your-cpu"}):
        with pytest.raises(ValueError, match="README"):
            QUOTED._replace(**missing).of([against_eager(2.0)])
    assert QUOTED.of([against_eager(2.0)]) == "2.0 times"
    swapped = QUOTED._replace(provider="ganfast", subject="eager")
    assert swapped.of([against_eager(2.0)]) == "0.5 times"


@pytest.mark.parametrize(
    ("ratio", "cell"),
    [(0.5, "**0.50x ✗**"), (0.994, "**0.99x ✗**"), (1.04, "1.04x"), (3.14, "3.1x"), (27.2, "27x")],
)
def test_a_table_says_where_the_alternative_wins(ratio: float, cell: str) -> None:
    lines = render.tables([against_eager(ratio)]).splitlines()
    assert f"| c | 20 µs · {cell} / — | 2.05 kB / 2.05 kB / n/a | 1e-07 / 1e-07 / n/a |" in lines
    assert "—: compile, forward: it cannot." in lines


def steps(case: str = "c", **medians: float) -> list[render.Row]:
    """Rows of whole steps: times of the ways in ms, whose spread is a tenth to either side."""
    return [
        {
            **row(way, case, family="steps"),
            "median_us": 1e3 * t,
            "p20_us": 0.9e3 * t,
            "p80_us": 1.1e3 * t,
            "peak_bytes": 3_000_000 if way == "own" else 2_000_000,
        }
        for way, t in medians.items()
    ]


def test_steps_are_compared_with_the_project() -> None:
    lines = render.tables([result(*steps(own=99.0, **{"import": 100.0}, ganfast=66, floor=60))])
    head = "| steps | own | own / import | own / ganfast | own / floor | memory,<br>own / ganfast |"
    assert f"{head} aims |" in lines.splitlines()
    assert (
        "| c | 99 ms (89.1 ms to 109 ms) | **0.99x (0.90 to 1.10) ✗** | 1.50x (1.36 to 1.67) | "
        "1.65x (1.50 to 1.83) | 3 MB / 2 MB | missed: 10.0% above the floor |"
    ) in lines.splitlines()


@pytest.mark.parametrize(
    ("case", "own", "swap", "floor", "aims"),
    [
        ("c", 120.0, 102.0, 100.0, "reached"),  # 90 % of what the floor saves
        ("c", 120.0, 102.1, 100.0, "missed: 2.1% above the floor"),
        ("c", 102.0, 101.0, 100.0, "reached"),  # within 1 %
        ("c", 116.0, 101.6, 100.0, "reached"),  # the floor is below 1.17
        ("c", 117.1, 101.9, 100.0, "missed: 1.9% above the floor, below 1.15x"),
        ("c", 100.0, 101.0, 102.0, "reached"),  # a slower floor is noise
        ("HiFi-GAN v3", 129.0, 100.0, 100.0, "missed: below 1.3x"),
        ("HiFi-GAN v3", 131.0, 100.0, 100.0, "reached"),
    ],
)
def test_the_aims_of_a_step(case: str, own: float, swap: float, floor: float, aims: str) -> None:
    rows = steps(case, own=own, ganfast=swap, floor=floor)
    assert render.tables([result(*rows)]).splitlines()[-3].endswith(f"| {aims} |")


def test_a_step_without_a_floor_has_no_aims() -> None:
    line = render.tables([result(*steps(own=2.0, ganfast=1.0))]).splitlines()[-3]
    assert line.endswith("| 2.00x (1.82 to 2.22) | 3 MB / 2 MB | n/a |")


def test_files_of_one_machine_share_a_heading() -> None:
    text = render.tables([against_eager(2.0), result(*steps(own=2.0, ganfast=1.0))])
    assert text.count("## My cpu") == 1
    assert text.count("commit abc1234") == 2


def test_a_column_that_nothing_is_known_of_is_left_out() -> None:
    times = {"median_us": 20.0, "ratio": 1.0}
    rows = [
        row("eager", **times, peak_bytes=None, launches=7),
        row("ganfast", **times, peak_bytes=None, launches=2),
        row("eager", case="d", **times),
        row("ganfast", case="d", **times),
    ]
    lines = render.tables([result(*rows)]).splitlines()
    assert "| f | forward<br>vs eager | kernels |" in lines
    assert "| c | 20 µs · 1.00x | 2 / 7 |" in lines
    assert "| d | 20 µs · 1.00x | n/a / n/a |" in lines


def test_ratios_stay_with_their_providers_where_a_mode_lacks_one() -> None:
    rows = [
        row("eager", mode=mode, median_us=40.0, ratio=2.0)
        for mode in ("forward", "double_backward")
    ]
    rows.append(row("compile", median_us=60.0, ratio=3.0))
    rows += [
        row("ganfast", mode=mode, median_us=20.0, ratio=1.0)
        for mode in ("forward", "double_backward")
    ]
    lines = render.tables([result(*rows)]).splitlines()
    assert "| c | 20 µs · 2.0x / 3.0x | 20 µs · 2.0x / n/a |" in lines


def test_a_case_that_ganfast_failed_in_is_shown() -> None:
    rows = [row("eager", median_us=40.0, error=1e-3), row("eager", mode="forward_backward")]
    lines = render.tables([result(*rows)]).splitlines()
    assert "| c | n/a | n/a |" in lines


def test_cases_with_other_alternatives_have_a_table_of_their_own() -> None:
    rows = [row("eager", case=case, median_us=40.0, ratio=2.0) for case in ("first", "third")] + [
        row("sqrtm", case="second", median_us=40.0, ratio=2.0)
    ]
    rows += [
        row("ganfast", case=case, median_us=20.0, ratio=1.0)
        for case in ("first", "second", "third")
    ]
    text = render.tables([result(*rows)])
    tables = [part for part in text.split("\n\n") if part.startswith("| f |")]
    assert [table.count("\n") - 1 for table in tables] == [2, 1]
    assert ["vs eager" in table for table in tables] == [True, False]


def test_a_missing_cuda_result_is_said_and_a_present_one_shown() -> None:
    assert "no CUDA result yet" in render.tables([against_eager(2.0)])
    both = render.tables([against_eager(2.0, "cuda"), against_eager(2.0)])
    assert "no CUDA result yet" not in both
    assert both.index("## My cpu") < both.index("## My cuda")
    assert "no result yet" in render.tables([])


@pytest.mark.parametrize("page", ["# Title\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n"])
def test_a_page_without_markers_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="must hold"):
        render.updated(page, "tables")
