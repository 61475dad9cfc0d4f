"""What the parts of the GPU's report do, each alone and without a GPU."""

import dataclasses
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import bench.launches
from bench import bandwidth, collect, kit
from bench.report import build, cases, fid, gpu_tests, old, stages
from bench.report.child import Context, Missing, Settings


class Told:
    """A connection that keeps what is sent."""

    def __init__(self) -> None:
        self.messages: list[tuple[object, ...]] = []

    def send(self, message: tuple[object, ...]) -> None:
        self.messages.append(message)

    def of(self, kind: str) -> list[tuple[object, ...]]:
        return [content for found, *content in self.messages if found == kind]  # type: ignore[misc]

    def rows(self) -> list[kit.Row]:
        return [row for (rows,) in self.of("rows") for row in rows]  # type: ignore[attr-defined]


def context(folder: Path, device: str = "cpu", **options: object) -> tuple[Context, Told]:
    told = Told()
    settings = Settings(device, folder / "report.json", folder, **options)  # type: ignore[arg-type]
    return Context(settings, 60.0, frozenset(), told), told  # type: ignore[arg-type]


def large(value: object, n: int) -> Iterator[Tensor]:
    """Tensors of n elements in nested arguments or results."""
    if isinstance(value, Tensor):
        yield from [value] * (value.numel() == n)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from large(part, n)


@pytest.mark.compiled
@pytest.mark.parametrize("kernel", [bandwidth.COPY, *bandwidth.KERNELS], ids=lambda k: k.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bandwidth_counts_what_a_kernel_reads_and_writes(
    kernel: bandwidth.Kernel, dtype: torch.dtype
) -> None:
    n = 64 * 256
    x, y = bandwidth.tensors(n, dtype, "cpu")
    run = kernel.prepare(x, y)
    read = len(list(large(run.args, n)))  # type: ignore[attr-defined]
    assert kernel.tensors == read + len(list(large(run(), n)))
    assert bandwidth.bytes_per_second(kernel, x, y) > 0


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_wherever_a_run_is_cut_each_family_has_its_share(sizes: list[int]) -> None:
    made = [(f"family {f}", f"case {i}") for f, size in enumerate(sizes) for i in range(size)]
    ordered = cases.by_value(made, lambda case: case[0], lambda case: case[1])
    assert sorted(ordered) == sorted(made)
    for end in range(len(made) + 1):
        reached = [case[0] for case in ordered[:end]]
        shares = [reached.count(f"family {f}") / size for f, size in enumerate(sizes)]
        assert max(shares) - min(shares) <= 2 / min(sizes)


def test_cases_of_a_family_come_by_value() -> None:
    names = ["d = 3", "x, 64k", "hinge, 4M", "2 x (64, 1)", "2 x 8 maps", "d = 4"]
    ordered = cases.by_value(names, lambda name: "one", lambda name: name)
    assert ordered == ["2 x 8 maps", "2 x (64, 1)", "hinge, 4M", "x, 64k", "d = 3", "d = 4"]


def test_a_small_run_has_a_case_of_each_family(tmp_path: Path) -> None:
    small, _ = context(tmp_path, small=True)
    found = cases._cases(small, lambda case: True)
    here = {case.family for case in collect.all_cases() if "cpu" in case.devices}
    assert {case.family for case in found} == here - {"eval"}  # whose cases take minutes
    assert len(found) == len(here) - 1
    for case in found:
        assert set(case.once) == set(case.providers)
        assert kit.SUBJECT in case.providers


def test_replays_are_providers_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Recorded:
        def __init__(self, call: Callable[[kit.Inputs], list[Tensor]]) -> None:
            self.call = call

        def __call__(self, inputs: list[kit.Inputs]) -> Callable[[], object]:
            return lambda: [self.call(x) for x in inputs]

        def outputs(self, x: kit.Inputs) -> list[Tensor]:
            if recorded_first.pop() == "eager":
                raise RuntimeError("called a synchronizing operation\nat this line")
            return self.call(x)

    recorded_first = [kit.SUBJECT, "eager"]
    monkeypatch.setattr(kit.graphs, "Recorded", Recorded)
    monkeypatch.setattr(kit, "copies", lambda size, device: 2)
    square: kit.Provider = lambda x: x[0].square().mean()  # noqa: E731
    providers = {"eager": square, "other": square, kit.SUBJECT: square}
    case = kit.Case("toy", "squares", lambda: [torch.arange(1.0, 5.0)], providers, ("forward",))
    rows = {row["provider"]: row for row in kit.measure(case, "cpu", 0.001, replays=True)}
    assert set(rows) == {"eager", "eager graphs", "other", "ganfast", "ganfast graphs"}
    assert rows["eager graphs"]["unavailable"] == "called a synchronizing operation"
    assert rows["ganfast graphs"]["error"] == 0.0
    assert rows["ganfast graphs"]["rounds"] == rows["ganfast"]["rounds"]
    once = dataclasses.replace(case, providers={"eager": square, kit.SUBJECT: square})
    assert len(kit.measure(once, "cpu", 0.001)) == 2


def test_launches_are_of_what_has_been_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(case for case in collect.all_cases() if case.family == "augment")
    copier = kit.copier
    monkeypatch.setattr(kit, "copier", lambda case, mode, device: copier(case, mode, "cpu"))
    monkeypatch.setattr(bench.launches, "launches", lambda call: len(call()))
    on_gpu, told = context(tmp_path, "cuda")
    key = {"family": case.family, "case": case.name, "mode": "forward_backward"}
    rows = [{**key, "provider": kit.SUBJECT, "median_us": 1.0},
            {**key, "provider": "eager", "unavailable": "it cannot"},
            {**key, "provider": "compile", "median_us": 1.0}]  # fmt: skip
    collect.write(on_gpu.settings.out, {"device": "cuda"}, rows)
    cases.launches(on_gpu)
    assert told.rows() == [{**key, "provider": kit.SUBJECT, "launches": 2}]
    assert told.of("reached") == [[f"augment: {case.name}"]]


def test_launches_need_a_gpu_and_a_measured_case(tmp_path: Path) -> None:
    collect.write(tmp_path / "report.json", {"device": "cuda"}, [])
    with pytest.raises(Missing, match="has measured no case"):
        cases.launches(context(tmp_path, "cuda")[0])
    with pytest.raises(Missing, match="on a GPU alone"):
        cases.launches(context(tmp_path)[0])


def test_kernels_are_outdated_for_a_reason(tmp_path: Path) -> None:
    for folder in ("csrc/cuda", "ganfast"):
        (tmp_path / folder).mkdir(parents=True)
    source, library = tmp_path / "csrc/cuda/x.cu", tmp_path / "ganfast/_C.abi3.so"
    for path in (source, tmp_path / "setup.py"):
        path.touch()
        os.utime(path, (1000, 1000))
    assert build.outdated(tmp_path, "cpu") == "there are no compiled kernels"
    decision = {"kind": "cpu", "torch": torch.__version__}
    (tmp_path / "ganfast/_build.json").write_text(json.dumps(decision))
    library.touch()
    os.utime(library, (2000, 2000))
    assert build.outdated(tmp_path, "cpu") is None
    assert build.outdated(tmp_path, "cuda") == "the kernels were built for cpu"
    os.utime(source, (3000, 3000))
    assert build.outdated(tmp_path, "cpu") == "csrc/cuda/x.cu is newer than the kernels"
    decision["torch"] = "1.0"
    (tmp_path / "ganfast/_build.json").write_text(json.dumps(decision))
    assert "built for torch 1.0" in str(build.outdated(tmp_path, "cpu"))


def test_a_build_that_fails_is_told_by_its_error(tmp_path: Path) -> None:
    lines = ("compiling", "x.cu(3): error: no such type", "1 error detected")
    (tmp_path / "setup.py").write_text(
        "\n".join(f"print({line!r})" for line in lines) + "\n1 / 0\n"
    )
    with pytest.raises(RuntimeError, match=r"the build failed: x\.cu\(3\): error: no such type"):
        build.build(tmp_path, "cpu")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def test_tests_are_counted_and_failures_named(tmp_path: Path) -> None:
    file = write(
        tmp_path / "test_toy.py",
        """
        import pytest
        @pytest.fixture
        def broken():
            raise ValueError("cannot be set up")
        @pytest.mark.parametrize("n", [1, 2, 3])
        def test_small(n):
            assert n < 3, "too large"
        def test_skipped():
            pytest.skip("not here")
        def test_broken(broken):
            pass
        """,
    )
    counts, failures = gpu_tests.run_file(file, tmp_path)
    assert counts == {"passed": 2, "failed": 2, "skipped": 1}
    assert set(failures) == {"test_toy::test_small[3]", "test_toy::test_broken"}
    assert failures["test_toy::test_small[3]"].startswith("AssertionError: too large")


def test_tests_are_told_as_they_end_and_failures_fail_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_tests, "_SMALL", ("tests/slow.py", "tests/bad.py"))
    monkeypatch.setattr(gpu_tests, "_workers", lambda: 2)
    bad_is_told = threading.Event()

    def run_file(file: Path, folder: Path) -> gpu_tests.Outcome:
        if file.stem == "slow":
            assert bad_is_told.wait(60)
            return gpu_tests.Outcome({"passed": 3, "failed": 0, "skipped": 1}, {})
        return gpu_tests.Outcome({"passed": 2, "failed": 1, "skipped": 0}, {"bad::test": "no"})

    def send(message: tuple[object, ...]) -> None:
        told.messages.append(message)
        if message[:2] == ("failed", "tests/bad.py"):
            bad_is_told.set()

    monkeypatch.setattr(gpu_tests, "run_file", run_file)
    here, told = context(tmp_path)
    monkeypatch.setattr(told, "send", send)
    gpu_tests.run(here)
    assert told.of("plan") == [[["tests/slow.py", "tests/bad.py"]]]
    assert told.of("failed") == [["tests/bad.py", "1 of 3 tests failed", False]]
    assert told.of("reached") == [["tests/slow.py"]]
    notes = {path: value for path, value in told.of("note")}
    assert notes == {
        ("passed",): 5,
        ("failed",): 1,
        ("skipped",): 1,
        ("failures", "bad::test"): "no",
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "import os\ndef test_a(): pass\ndef test_b(): os.kill(os.getpid(), 9)\n",
            "pytest ended by SIGKILL in test_b",
        ),
        ("def test_a(:\n", "pytest ended with code 2"),
    ],
    ids=["killed", "not Python"],
)
def test_tests_that_end_early_are_said_to(tmp_path: Path, body: str, message: str) -> None:
    file = tmp_path / "test_toy.py"
    file.write_text(body)
    with pytest.raises(RuntimeError, match=message):
        gpu_tests.run_file(file, tmp_path)


def test_a_missing_pytorch_fid_is_said_and_ganfast_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights.pth").touch()
    monkeypatch.setattr(fid, "_prepare", lambda *_: ["real.npz", "generated"])
    monkeypatch.setattr(fid, "_value", lambda command: 25.0)
    monkeypatch.setattr(fid.importlib.util, "find_spec", lambda name: None)
    here, told = context(tmp_path)
    fid.run(here)
    assert told.of("missing") == [["pytorch-fid", "pytorch_fid is not installed"]]
    ours, peer = told.rows()
    assert (ours["provider"], ours["ratio"], "error" in ours) == ("ganfast", 1.0, False)
    assert (peer["provider"], peer["unavailable"]) == (
        "pytorch-fid",
        "pytorch_fid is not installed",
    )


def test_errors_and_ratios_of_fid_are_of_pytorch_fid_and_of_ganfast() -> None:
    seconds = {"ganfast": 2.0, "pytorch-fid": 8.0}
    rows = fid._rows("c", seconds, {"ganfast": 101.0, "pytorch-fid": 100.0})
    found = [(row["provider"], row["error"], row["ratio"], row["median_us"]) for row in rows]
    assert found == [("ganfast", 0.01, 1.0, 2e6), ("pytorch-fid", 0.0, 4.0, 8e6)]


def test_the_value_of_a_tool_is_read_from_what_it_prints() -> None:
    def tool(code: str) -> list[str]:
        return [sys.executable, "-c", code]

    assert fid._value(tool("print('50%'); print('FID:  12.5')")) == 12.5
    assert fid._value(tool("""print('{"metrics": {"fid": 3.5}}')""")) == 3.5
    with pytest.raises(RuntimeError, match=r"^ganfast: no such weights$"):
        fid._value(tool("import sys; sys.exit('some words\\nganfast: no such weights')"))


def test_cases_of_two_trees_are_matched_by_their_names_of_today() -> None:
    before = [
        ["losses", "hinge D, 64", ["forward", "forward_backward"]],
        ["unary_reduce", "hinge D loss, 2 x 8 maps", ["forward"]],
        ["unary_reduce", "hinge, 1", ["forward"]],
        ["pair_reduce", "hinge, 1", ["forward_backward"]],
        ["gone", "gone", ["forward"]],
    ]
    now = [
        ["losses", "hinge D, 64", ["forward_backward", "double_backward"]],
        ["losses", "new, 64", ["forward"]],
        ["flat", "hinge D loss, 2 x 8 maps", ["forward"]],
        ["flat", "hinge, 1", ["forward"]],
        ["flat", "hinge of differences, 1", ["forward", "forward_backward"]],
    ]
    found = {pair.new: (pair.old, pair.modes) for pair in old.common(before, now)}
    assert found == {
        ("losses", "hinge D, 64"): (("losses", "hinge D, 64"), ["forward_backward"]),
        ("flat", "hinge D loss, 2 x 8 maps"): (
            ("unary_reduce", "hinge D loss, 2 x 8 maps"),
            ["forward"],
        ),
        ("flat", "hinge, 1"): (("unary_reduce", "hinge, 1"), ["forward"]),
        ("flat", "hinge of differences, 1"): (("pair_reduce", "hinge, 1"), ["forward_backward"]),
    }


def test_a_commit_needs_a_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(old, "ROOT", tmp_path)
    with pytest.raises(Missing, match=r"a copy without \.git has none\), got abc1234"):
        old.unpack("abc1234", tmp_path / "old")


def test_a_commit_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "repository"
    file = write(repository / "ganfast/a.py", "1\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *arguments], cwd=repository, check=True)
    file.write_text("2\n")
    monkeypatch.setattr(old, "ROOT", repository)
    assert old.unpack("HEAD", tmp_path / "old").startswith("commit ")
    assert (tmp_path / "old/ganfast/a.py").read_text() == "1\n"


def test_a_folder_is_copied_without_what_was_built_there(tmp_path: Path) -> None:
    tree = tmp_path / "version 1"
    for name in ("setup.py", "ganfast/_C.abi3.so", "ganfast/_build.json", "ganfast/a.py"):
        write(tree / name, "1\n")
    assert old.unpack(str(tree), tmp_path / "old") == "version 1"
    copied = {str(p.relative_to(tmp_path / "old")) for p in (tmp_path / "old").rglob("*.*")}
    assert copied == {"setup.py", "ganfast/a.py"}


KIT = """
SUBJECT = "ganfast"
now = 0.0
def inputs(case, mode, device):
    return 0, iter(int, 1)
def call(run, mode, x):
    run()
"""
COLLECT = """
import time
from types import SimpleNamespace
from bench import kit
def all_cases():
    def run():
        kit.now += {seconds}
    def crash():
        raise SystemExit(3)
    time.perf_counter = lambda: kit.now
    modes = ["forward"]
    providers = {{"a": {{"ganfast": run}}, "b": {{"ganfast": crash}}, "c": {{"eager": run}}}}
    return [SimpleNamespace(family="f", name=name, modes=modes, devices=["cpu"], providers=found)
            for name, found in providers.items()]
"""


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[dict[str, old.Process]]:
    """Two trees whose calls take 3 ms and 2 ms by their own clocks."""
    processes = {}
    for name, seconds in (("old", 3e-3), ("new", 2e-3)):
        tree = tmp_path / name
        write(tree / "ganfast/__init__.py", "def build_info():\n    return {'kind': 'cpu'}\n")
        write(tree / "bench/__init__.py", "")
        write(tree / "bench/kit.py", KIT)
        write(tree / "bench/collect.py", COLLECT.format(seconds=seconds))
        processes[name] = old.Process(name, tree, "cpu")
    yield processes
    for process in processes.values():
        process.stop()


def test_two_trees_are_timed_in_turns(workers: dict[str, old.Process]) -> None:
    assert workers["old"].ask("info") == {"kind": "cpu"}
    found = [worker.ask("cases") for worker in workers.values()]
    assert found == [[["f", "a", ["forward"]], ["f", "b", ["forward"]]]] * 2
    pair = old.Pair(("f", "a"), ("f", "a"), ["forward"])
    assert old._compare(workers, pair, "forward") == {
        "old_us": 3000.0,
        "new_us": 2000.0,
        "ratio": 1.5,
    }


def test_a_tree_that_fails_is_named_and_starts_again(workers: dict[str, old.Process]) -> None:
    with pytest.raises(RuntimeError, match=r"^the old tree: KeyError: "):
        workers["old"].ask("prepare", "f", "no such case", "forward")
    with pytest.raises(RuntimeError, match=r"^the old process ended with code 3$"):
        workers["old"].ask("prepare", "f", "b", "forward")
    assert workers["old"].ask("prepare", "f", "a", "forward") == pytest.approx(3e-3)


@pytest.mark.compiled
def test_stages_of_a_small_loss_and_of_a_distance(tmp_path: Path) -> None:
    part, told = context(tmp_path, small=True)
    stages.run(part)
    assert not told.of("failed")
    found = {tuple(path): value for path, value in told.of("note")}  # type: ignore[arg-type]
    host = {path[1:]: value for path, value in found.items() if path[0] == "host, us"}
    assert {name for name, _ in host} == set(stages._LOSSES)
    assert {mode for _, mode in host} == {"forward", "forward + backward"}
    stage = {path[1]: value for path, value in found.items() if path[0] == "Fréchet, d = 64, ms"}
    assert len(stage) == 7
    assert all(value > 0 for value in (*host.values(), *stage.values()))  # type: ignore[operator]
    (operations,) = (v for path, v in found.items() if path == ("Fréchet, d = 64, operations",))
    assert any("aten::" in name for name in operations)  # type: ignore[attr-defined]
