import dataclasses
import json
import platform
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench import collect, kit, memory
from bench.machine import slug

MIB = 2**20
CASES = collect.all_cases()


class Clock:
    """A clock that only the providers move, and what they were called with."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[str, int]] = []

    def provider(self, name: str, seconds: float) -> kit.Provider:
        def provide(x: list[Tensor]) -> Tensor:
            self.now += seconds
            self.calls.append((name, x[0].data_ptr()))
            return x[0].square().mean()

        return provide

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(kit.time, "perf_counter", lambda: clock.now)
    return clock


def toy(**providers: kit.Provider) -> kit.Case:
    """Forward alone, without the memory's extra call."""
    make: Callable[[], list[Tensor]] = lambda: [torch.arange(1.0, 5.0)]  # noqa: E731
    exact: kit.Provider = lambda x: x[0].square().mean()  # noqa: E731
    return kit.Case("toy", "squares", make, providers, ("forward",), exact, peak=lambda call: None)


def by_provider(rows: list[kit.Row]) -> dict[object, kit.Row]:
    return {row["provider"]: row for row in rows}


def test_times_are_percentiles_of_a_call_and_ratios_of_medians(clock: Clock) -> None:
    case = toy(eager=clock.provider("eager", 6e-3), ganfast=clock.provider("ganfast", 2e-3))
    rows = by_provider(kit.measure(case, "cpu", budget=0.04))
    assert [rows["ganfast"][key] for key in ("p20_us", "median_us", "p80_us")] == [2000.0] * 3
    assert rows["eager"]["median_us"] == 6000.0
    assert rows["eager"]["ratio"] == 3.0
    assert rows["ganfast"]["ratio"] == 1.0
    assert rows["eager"]["rounds"] == rows["ganfast"]["rounds"]


@given(st.lists(st.floats(1e-6, 10), min_size=1, max_size=50))
def test_percentiles_have_their_share_of_the_samples_on_each_side(seconds: list[float]) -> None:
    found = kit._percentiles(seconds)
    for share, key in ((0.2, "p20_us"), (0.5, "median_us"), (0.8, "p80_us")):
        value = float(found[key]) / 1e6  # type: ignore[arg-type]
        below = sum(s <= value * (1 + 1e-3) for s in seconds)
        above = sum(s >= value * (1 - 1e-3) for s in seconds)
        # Of n samples the percentile lies between the neighbours of position share (n - 1).
        assert below >= int(share * (len(seconds) - 1)) + 1
        assert above >= int((1 - share) * (len(seconds) - 1)) + 1


def test_providers_take_turns_in_changing_order(clock: Clock) -> None:
    case = toy(
        eager=clock.provider("eager", 2e-3),
        other=clock.provider("other", 2e-3),
        ganfast=clock.provider("ganfast", 2e-3),
    )
    rows = kit.measure(case, "cpu", budget=0.02)
    # Before: one call each to warm up, and one to size a block.
    order = clock.names()[6:]
    rounds = [tuple(order[i : i + 3]) for i in range(0, len(order), 3)]
    assert len(rounds) == rows[0]["rounds"] == 10
    assert all(sorted(turn) == ["eager", "ganfast", "other"] for turn in rounds)
    assert len(set(rounds[:3])) == 3


def test_a_case_has_its_own_least_number_of_rounds(clock: Clock) -> None:
    case = toy(ganfast=clock.provider("ganfast", 1.0))
    for rounds, made in ((case, 5), (dataclasses.replace(case, rounds=7), 7)):
        assert kit.measure(rounds, "cpu", budget=0.0)[0]["rounds"] == made


def test_inputs_rotate_over_the_whole_pool(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit, "copies", lambda size, device: 7)
    case = toy(eager=clock.provider("eager", 1e-4), ganfast=clock.provider("ganfast", 1e-4))
    kit.measure(case, "cpu", budget=0.01)
    timed = [pointer for _, pointer in clock.calls[2:]]
    assert len(timed) > 50
    assert len(set(timed)) == 7
    assert all(len(set(timed[i : i + 7])) == 7 for i in range(len(timed) - 6))


@given(size=st.integers(4, 2**33))
def test_pool_exceeds_the_cache_within_its_bounds(size: int) -> None:
    cache = memory.last_cache_bytes("cpu")
    copies = kit.copies(size, "cpu")
    assert cache >= 2**18
    assert copies >= 2
    assert copies == 2 or copies * size <= 2**30
    assert copies * size > cache or copies == 2**14 or size * (copies + 1) > 2**30


def test_a_slow_provider_is_measured_by_its_first_call(clock: Clock) -> None:
    case = toy(eager=clock.provider("eager", 9.0), ganfast=clock.provider("ganfast", 2e-3))
    case = dataclasses.replace(case, once=("eager",))
    rows = by_provider(kit.measure(case, "cpu", budget=0.01))
    assert clock.names().count("eager") == 1
    assert (rows["eager"]["median_us"], rows["eager"]["rounds"]) == (9e6, 1)


def refuse(x: list[Tensor]) -> Tensor:
    raise RuntimeError("no second derivative\nat this line")


def test_an_alternative_that_fails_is_said_to_and_the_subject_may_not(clock: Clock) -> None:
    eager = clock.provider("eager", 1e-3)
    rows = by_provider(kit.measure(toy(eager=eager, compile=refuse, ganfast=eager), "cpu", 0.01))
    assert rows["compile"]["unavailable"] == "no second derivative"
    assert "median_us" not in rows["compile"]
    with pytest.raises(RuntimeError, match="no second derivative"):
        kit.measure(toy(eager=eager, ganfast=refuse), "cpu", 0.01)


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=5))
def test_modes_give_the_value_and_both_gradients(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    v = torch.linspace(-1, 2, len(values), dtype=torch.float64)
    outputs = kit.call(lambda x: x[0].pow(3).sum(), "double_backward", kit.Inputs([x], [v]))
    expected = [x.detach() ** 3, 3 * x.detach() ** 2, 6 * x.detach() * v]
    torch.testing.assert_close(outputs[0], expected[0].sum())
    torch.testing.assert_close(outputs[1:], expected[1:])
    first = kit.call(lambda x: x[0].pow(3).sum(), "forward_backward", kit.Inputs([x], []))
    torch.testing.assert_close(first, outputs[:2])


def test_what_is_no_scalar_gets_the_last_input_back() -> None:
    x, back = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, -1.0])
    inputs = kit.Inputs([x, back], [])
    value, gradient = kit.call(lambda x: x[0].square(), "forward_backward", inputs)
    torch.testing.assert_close(value.detach(), torch.tensor([1.0, 4.0]))
    torch.testing.assert_close(gradient, torch.tensor([6.0, -4.0]))


def test_error_is_relative_to_the_largest_of_each_output() -> None:
    exact = [torch.tensor([0.0, -8.0]).double(), torch.tensor(2.0).double()]
    assert kit.relative_error([torch.tensor([0.5, -8.0]), torch.tensor(2.0)], exact) == 1 / 16
    assert kit.relative_error([torch.tensor([0.0, -8.0]), torch.tensor(1.0)], exact) == 1 / 2
    assert kit.relative_error([torch.tensor([0.25])], [torch.zeros(1).double()]) == 0.25


def test_torch_peak_counts_what_is_held_at_one_time() -> None:
    def call() -> Tensor:
        first = torch.empty(3 * MIB, dtype=torch.uint8)
        del first
        second = torch.empty(2 * MIB, dtype=torch.uint8)
        return second + second  # 4 MiB together, more than the first

    assert memory.torch_peak(call) == 4 * MIB
    assert memory.torch_peak(lambda: None) == 0


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs Linux with glibc")
def test_process_peak_sees_numpy_and_not_small_things() -> None:
    peak = memory.process_peak(lambda: np.ones(64 * MIB, dtype=np.uint8))
    assert peak == pytest.approx(64 * MIB, rel=0.05)
    assert memory.process_peak(lambda: None) is None


def test_every_case_has_its_own_name() -> None:
    assert len({(case.family, case.name) for case in CASES}) == len(CASES)
    assert {case.family for case in CASES} >= {"flat", "rows", "frechet"}


SMALL = r"2 x (\(64, 1\)|8 maps|64$)|, (1|1k) |d = 64$"


@pytest.mark.parametrize(
    "case", [case for case in CASES if re.search(SMALL, case.name)], ids=lambda case: case.name
)
def test_all_providers_compute_the_same(case: kit.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit, "copies", lambda size, device: 2)
    for mode in case.modes:
        inputs, _ = kit.inputs(case, mode, "cpu")
        exact = kit._exact(case, mode, inputs)
        for name, provider in case.providers.items():
            if name != "compile":  # the eager formula again
                outputs = kit.call(provider, mode, inputs)
                assert kit.relative_error(outputs, exact) < 2e-6, (mode, name)


def collected(folder: Path, device: str = "cpu") -> dict[str, object]:
    case = next(case for case in CASES if case.name == "hinge D loss, 2 x 8 maps")
    providers = {name: case.providers[name] for name in ("eager", "ganfast")}
    path = collect.collect([dataclasses.replace(case, providers=providers)], device, 0.002, folder)
    result: dict[str, object] = json.loads(path.read_text())
    assert path.stem == result["machine"]
    return result


@pytest.mark.parametrize("device", ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
def test_results_name_the_machine_the_versions_and_every_row(tmp_path: Path, device: str) -> None:
    result = collected(tmp_path, device)
    assert result["device"] == device
    assert result["machine"] == slug(str(result["device_name"]))
    assert result["threads"] == torch.get_num_threads()
    assert result["versions"]["torch"] == torch.__version__  # type: ignore[index]
    assert (platform.node() or "-") not in json.dumps(result["device_name"])
    rows = result["results"]
    assert isinstance(rows, list)
    assert [(row["mode"], row["provider"]) for row in rows] == [
        (mode, name) for mode in kit.BACKWARD_MODES for name in ("eager", "ganfast")
    ]
    for row in rows:
        assert 0 < row["p20_us"] <= row["median_us"] <= row["p80_us"]
        assert row["rounds"] >= 5
        assert row["error"] < 1e-6
        assert row["peak_bytes"] > 0


def test_the_command_runs_a_part_of_the_cases(tmp_path: Path) -> None:
    collect.main(only="frechet: d = 64$", device="cpu", seconds=0.0, out=tmp_path)
    (path,) = tmp_path.glob("*.json")
    rows = json.loads(path.read_text())["results"]
    assert [row["provider"] for row in rows] == ["sqrtm", "eigvals", "ganfast"]
    assert all(row["error"] < 1e-12 for row in rows)


def test_a_stopped_run_leaves_a_part_and_the_full_results(clock: Clock, tmp_path: Path) -> None:
    def stop(x: list[Tensor]) -> Tensor:
        raise KeyboardInterrupt

    sound = toy(ganfast=clock.provider("ganfast", 2e-3))
    path = collect.collect([sound], "cpu", 0.01, tmp_path)
    full = path.read_text()
    with pytest.raises(KeyboardInterrupt):
        collect.collect([sound, toy(ganfast=stop)], "cpu", 0.01, tmp_path)
    assert path.read_text() == full
    (part,) = tmp_path.glob("*.part")
    (row,) = json.loads(part.read_text())["results"]
    assert (row["provider"], row["median_us"]) == ("ganfast", 2000.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only": "hinge"}, "--out"),
        ({"only": "no such case", "out": Path("x")}, "no such case"),
        ({"device": "abacus"}, "abacus"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(options: dict[str, str], message: str) -> None:
    with pytest.raises(typer.BadParameter, match=message):
        collect.main(**options)  # type: ignore[arg-type]
