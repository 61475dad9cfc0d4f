"""States: bytes and back, samples by hash, parts that are missing or there twice; commands."""

import io
import json
import os
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ganfast import cli, data, metrics
from ganfast.data import image_source, opening
from ganfast.evaluation import Settings, State, merged, ray_engine, score, statistics
from ganfast.evaluation.collect import Work, collect
from ganfast.evaluation.state import Part, of_features
from ganfast.features import load


def state_of(name: str, rows: np.ndarray, first: int = 0) -> State:
    """The state of a shard whose images have numbers from ``first`` on."""
    numbers = range(first, first + len(rows))
    found = of_features({"features": "x"}, name, range(len(rows)), {"features": tensor(rows)})
    return found.placed(numbers)


def tensor(rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(rows, np.float32))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(0, 40), st.randoms())
def test_merging_is_independent_of_order_and_split(sizes: list[int], limit: int, draw) -> None:
    random = np.random.default_rng(sum(sizes) + limit)
    shards, first = [], 0
    for i, size in enumerate(sizes):
        shards.append(state_of(str(i), random.normal(size=(size, 3)) + 5, first))
        shards[-1].problems.add({first + size: f"image {first + size} is broken"})
        shards[-1].unread.update({".txt": i})
        first += size + 1
    everything = merged(shards).limited(limit)
    # By limits first, in another order, through bytes, in two steps.
    parts = [State.from_bytes(s.limited(limit).to_bytes(), "x") for s in shards]
    draw.shuffle(parts)
    cut = draw.randrange(len(parts) + 1)
    steps = [merged(some) for some in (parts[:cut], parts[cut:]) if some]
    total = State.from_bytes(merged(steps).to_bytes(), "x")
    assert total.n == sum(sizes)
    assert total.problems.words == everything.problems.words
    assert total.unread == Counter({".txt": sum(range(len(sizes)))}) + Counter()
    assert total.limit == limit
    assert torch.equal(total.numbers, everything.numbers)
    assert len(total.numbers) == min(limit, sum(sizes))
    if sum(sizes) < 2:
        return
    found, want = total.statistics()["features"], everything.statistics()["features"]
    torch.testing.assert_close(found.mean, want.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.covariance(), want.covariance(), rtol=1e-12, atol=1e-12)
    if limit:
        assert torch.equal(total.rows["features"], everything.rows["features"])


def test_the_sample_does_not_favour_any_shard() -> None:
    shards = [state_of(f"{i} of 20", np.full((500, 1), i), 500 * i) for i in range(20)]
    sample = merged(shards).limited(2000)
    counts = torch.bincount(sample.rows["features"][:, 0].long(), minlength=20).double()
    chi_squared = float(((counts - 100) ** 2 / 95).sum())
    assert chi_squared < 43.8  # the quantile at 0.999 for 19 degrees of freedom
    # More images leave those that stay in the sample as they are.
    more = merged([*shards, state_of("20 of 20", np.full((500, 1), 20), 10_000)]).limited(2000)
    assert set(more.numbers.tolist()) - {*range(10_000, 10_500)} <= set(sample.numbers.tolist())


def test_states_that_do_not_fit() -> None:
    one, two = state_of("a", np.ones((3, 2))), state_of("b", np.ones((3, 2)), 3)
    with pytest.raises(ValueError, match="states must be given, got none"):
        merged([])
    with pytest.raises(ValueError, match=r"of one feature network, got several: \['features'\]"):
        merged([one, replace(two, settings={"features": "y"})])
    part = Part("images", 4, frozenset((2,)))
    with pytest.raises(ValueError, match="each shard once, got shard 2 of images twice"):
        merged([one.in_part("x", part), two.in_part("x", part)])
    with pytest.raises(ValueError, match="a must be a whole state file"):
        State.from_bytes(b"", "a")


@pytest.fixture
def ganfast(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ganfast", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return (int(stop.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Digits, of which one is broken, in shards of 16."""
    monkeypatch.setattr(image_source, "_SMALLEST", 16)
    root = tmp_path / "images"
    root.mkdir()
    for i, image in enumerate(data.digits().images[:120]):
        Image.fromarray(image[0].numpy()).save(root / f"{i:03}.png")
    (root / "broken.png").write_bytes(b"broken")
    (root / "notes.txt").write_text("no image")
    return root


def test_parts_of_a_folder(ganfast, folder: Path, tmp_path: Path) -> None:
    digits, skip = ("--features", "digits"), ("--on-error", "skip")
    parts = [tmp_path / f"part-{i}.state" for i in range(3)]
    for i, part in enumerate(parts):
        words = ("stats", folder, "--shard", f"{i}/3", "-o", part, *digits, *skip)
        assert ganfast(*words, "--sample", 50)[0] == 0
    code, printed, _ = ganfast("merge", *reversed(parts), "-o", tmp_path / "merged.npz")
    assert code == 0
    assert "FD (digits), 120 images, 64 features, a sample of 50" in printed
    assert "1 image was left out:\n  broken.png must be a readable" in printed
    ganfast("stats", folder, "-o", tmp_path / "whole.npz", *digits, *skip)
    one, two = (metrics.load_moments(tmp_path / f"{n}.npz") for n in ("merged", "whole"))
    torch.testing.assert_close(one.mean, two.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(one.covariance, two.covariance, rtol=1e-12, atol=1e-12)
    other, last = tmp_path / "other.state", ("--shard", "1/3", "-o", tmp_path / "other.state")
    assert ganfast("stats", folder, *last, *digits, *skip, "--resize", "torch")[0] == 0
    code, _, said = ganfast("stats", folder, "--shard", "8/9", "-o", parts[0], *digits, *skip)
    assert code == 1
    assert "must have a shard for each part, got 8 for 9 parts" in said
    # States of merged parts merge on.
    ganfast("merge", *parts, "-o", tmp_path / "all.state")
    code, printed, _ = ganfast("merge", tmp_path / "all.state", "-o", tmp_path / "again.npz")
    assert "120 images" in printed
    for wrong, words in (
        (parts[:2], "states must hold all 8 shards of "),
        ((parts[0], parts[0], *parts[1:]), "states must hold each shard once, got some of"),
        ((parts[0], other), f"{other} must have resize clean as {parts[0]} has, got torch"),
        ((tmp_path / "whole.npz",), "whole.npz must be a whole state file"),
    ):
        code, _, said = ganfast("merge", *wrong, "-o", tmp_path / "none.npz")
        assert code == 1
        assert words in said
    (folder / "one more.png").write_bytes((folder / "000.png").read_bytes())
    for i in range(120, 130):
        Image.fromarray(data.digits().images[i, 0].numpy()).save(folder / f"{i:03}.png")
    ganfast("stats", folder, "--shard", "0/3", "-o", parts[0], *digits, *skip)
    code, _, said = ganfast("merge", *parts, "-o", tmp_path / "none.npz")
    assert "states must be of one listing of" in said


def test_a_sample_serves_the_other_metrics(ganfast, folder: Path, tmp_path: Path) -> None:
    words = ("--features", "digits", "--on-error", "skip")
    ganfast("stats", folder, "-o", tmp_path / "some.npz", "--sample", 60, *words)
    ganfast("stats", folder, "-o", tmp_path / "all.npz", "--sample", 1000, *words)
    wanted = ("--metrics", "fid,kid,prdc", "--kid-subset-size", "50", "--json", *words)
    code, printed, _ = ganfast("eval", tmp_path / "some.npz", "digits", *wanted)
    assert code == 0
    notes = json.loads(printed)["notes"]
    assert any("see 60 of the 120 images of" in note and "by hash" in note for note in notes)
    code, printed, _ = ganfast("eval", tmp_path / "all.npz", "digits", *wanted)
    from_file = json.loads(printed)
    assert not any("by hash" in note for note in from_file["notes"])
    _, printed, _ = ganfast("eval", folder, "digits", *wanted)
    assert from_file["metrics"] == pytest.approx(json.loads(printed)["metrics"], rel=1e-6)


def test_features_are_scored_without_a_network(ganfast, tmp_path: Path, monkeypatch) -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(700, 5)), draw.normal(size=(900, 5)) + 1
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "y.npz", features=y.astype(np.float32))
    for i, part in enumerate(np.array_split(y, 3)):
        np.save(tmp_path / f"y-{i}.npy", part)
    monkeypatch.setattr("ganfast.features.load", None)
    expected = float(metrics.frechet_distance_from_features(x, y))
    for fake in ("y.npz", "y-{0..2}.npy", "y-*.npy"):
        code, printed, _ = ganfast("eval", tmp_path / "x.npy", tmp_path / fake, "--json")
        assert code == 0
        found = json.loads(printed)
        assert found["metrics"]["fid"] == pytest.approx(expected, rel=1e-9 if "-" in fake else 1e-6)
        assert found["metrics"]["precision"] == metrics.prdc(x, y).precision
        assert found["names"]["fid"] == "FD (given features)"
    ganfast("stats", tmp_path / "x.npy", "-o", tmp_path / "x.npz")
    code, printed, _ = ganfast("fid", tmp_path / "x.npz", tmp_path / "y.npz", "--json")
    assert json.loads(printed)["metrics"]["fid"] == pytest.approx(expected, rel=1e-6)
    np.save(tmp_path / "z.npy", y[:, :4])
    code, _, said = ganfast("fid", tmp_path / "x.npy", tmp_path / "z.npy")
    assert code == 1
    assert "has 5 features and" in said
    code, _, said = ganfast("fid", tmp_path / "x.npy", "digits")
    assert "REAL and FAKE must both be images or both features, got images in digits" in said


@pytest.mark.parametrize("spec", ["a.npy", "bitmaps", "bitmaps/list.txt", "a.tar", "{a,b}.tar"])
def test_files_of_one_size_and_time_are_told_apart(tmp_path: Path, monkeypatch, spec: str) -> None:
    """As where REAL and FAKE were unpacked from one archive."""
    monkeypatch.setattr(opening, "_FEW", 1)
    images = data.digits().images[:20, 0].numpy()
    for side, pixels in (("real", images), ("fake", 255 - images)):
        root = tmp_path / side
        (root / "bitmaps").mkdir(parents=True)
        np.save(root / "a.npy", pixels[..., None])
        with tarfile.open(root / "a.tar", "w") as a, tarfile.open(root / "b.tar", "w") as b:
            for i, image in enumerate(pixels):
                path = root / "bitmaps" / f"{i:02}.bmp"
                Image.fromarray(image).save(path)
                member = tarfile.TarInfo(path.name)  # without a time
                member.size = path.stat().st_size
                (a if i % 2 else b).addfile(member, io.BytesIO(path.read_bytes()))
        names = sorted(path.name for path in root.glob("bitmaps/*"))
        (root / "bitmaps" / "list.txt").write_text("\n".join(names))
        for path in root.rglob("*.*"):
            os.utime(path, (1, 1))
    specs = [f"{tmp_path / side}/{spec}" for side in ("real", "fake")]
    plain = score(*specs, ["fid"], Settings(features="digits"), quiet=True).rows[0].value
    kept = Settings(features="digits", state=tmp_path / "state")
    for _ in range(2):
        found = score(*specs, ["fid"], kept, quiet=True)
        assert found.rows[0].value == pytest.approx(plain, rel=1e-6)
        assert "REAL and FAKE are the same images" not in found.notes
    assert plain > 1


def test_workers_find_the_shards_of_a_folder_that_shrank(folder: Path, tmp_path: Path) -> None:
    """Its shards are as many as at first, but for those without images."""
    settings = Settings(features="digits")
    work, kept = Work(load("digits"), on_error="skip"), tmp_path / "state"
    collect(opening.open_images(folder, 1), work, state=kept, quiet=True)
    for path in sorted(folder.glob("*.png"))[3:]:
        path.unlink()
    plain = {"limit": None, "batch_size": 32, "on_error": "skip"}

    def engine(
        positions: Sequence[int], count: int, buckets: int | None
    ) -> Iterator[tuple[int, State]]:
        order = ray_engine._Order(str(folder), settings, plain, (count, buckets), os.getcwd(), None)
        worker = ray_engine._Mapper()
        for i in positions:
            yield i, State.from_bytes(worker.map(order, i), str(i))

    source = opening.open_images(folder, 1)
    found = collect(source, work, state=kept, engine=engine, quiet=True)
    assert 1 < len(found.parts[next(iter(found.parts))].positions) <= 3
    expected = collect(source, work, quiet=True)
    torch.testing.assert_close(found.rows["features"], expected.rows["features"])


def test_opened_sources_are_inputs(folder: Path) -> None:
    images = data.digits().images
    encoder = load("digits")
    one, fake = (
        image_source.Arrays(images[part], name, 1)
        for part, name in ((slice(200), "one"), (slice(200, 300), "an array"))
    )
    found = score(one, fake, ["fid"], Settings(features="digits"), quiet=True)
    real = encoder(images[:200])["features"]
    expected = metrics.frechet_distance_from_features(real, encoder(images[200:300])["features"])
    assert found.rows[0].value == pytest.approx(float(expected), rel=1e-5)
    assert (found.fake.name, found.fake.n) == ("an array", 100)
    state = statistics(fake, Settings(features="digits"), sample=10, quiet=True).state
    assert (state.n, len(state.numbers)) == (100, 10)
    with pytest.raises(ValueError, match="engine must be 'here' for an opened source, got 'ray'"):
        score(one, fake, ["fid"], Settings(features="digits", engine="ray"), quiet=True)


def test_shards_keep_processes_busy() -> None:
    """Of 5,000 images each of eight processes has 12 to 14 hundredths."""
    images = torch.zeros(5000, 1, 1, 1, dtype=torch.uint8)
    shards = image_source.Arrays(images, "x", 1).shards()
    sizes = [sum(len(shard.numbers) for shard in shards[rank::8]) for rank in range(8)]
    assert sum(sizes) == 5000
    assert max(sizes) <= 0.14 * 5000
