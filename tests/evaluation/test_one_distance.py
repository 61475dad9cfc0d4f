"""One set of images, however it is stored, split and shared out, has one distance."""

import json
import os
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from scipy import linalg

from ganfast.data import image_source
from ganfast.evaluation import Settings, State, merge_files, merged, score, statistics
from ganfast.metrics import frechet_distance
from tests.data import image_formats as formats

COUNT = 2000
SETTINGS = Settings(features="exact_net:corner", batch_size=32)
HERE = str(Path(__file__).parent)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return formats.pictures(COUNT)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    """A statistics file, and what is in it."""
    other = corner(formats.pictures(500)) / 2
    path = tmp_path_factory.mktemp("reference") / "reference.npz"
    moments = other.mean(0), np.cov(other, rowvar=False)
    np.savez(path, mu=moments[0], sigma=moments[1])
    return path, *moments


def corner(images: np.ndarray) -> np.ndarray:
    return images[:, :2, :2].transpose(0, 3, 1, 2).reshape(len(images), -1).astype(np.float64)


@pytest.fixture(scope="module")
def distance(images: np.ndarray, reference: tuple[Path, np.ndarray, np.ndarray]) -> float:
    """By the textbook's equation, from all features at once."""
    _, mean, covariance = reference
    x = corner(images)
    own = np.cov(x, rowvar=False)
    root = linalg.sqrtm(own @ covariance).real
    return float(((x.mean(0) - mean) ** 2).sum() + np.trace(own + covariance - 2 * root))


def scored(spec: object, reference: Path, settings: Settings = SETTINGS) -> float:
    result = score(str(reference), str(spec), ["fid"], settings, quiet=True)
    assert result.fake.n == COUNT
    assert result.left_out == 0
    return result.rows[0].value


@pytest.mark.slow
@pytest.mark.parametrize("name", formats.FORMATS)
def test_formats(images, reference, distance, tmp_path: Path, name: str) -> None:
    spec = formats.FORMATS[name][0](images, tmp_path)
    assert scored(spec, reference[0]) == pytest.approx(distance, rel=1e-9)


@pytest.mark.slow
def test_formats_through_a_network(tmp_path: Path) -> None:
    """Batches of 32 fall differently in each format, and so do the network's roundings."""
    few, settings = formats.pictures(400), Settings(features="digits", batch_size=32)
    real = formats.FORMATS["npz"][0](formats.pictures(300), tmp_path)
    found = {}
    for name, (make, *_) in formats.FORMATS.items():
        place = tmp_path / name
        place.mkdir()
        result = score(str(real), str(make(few, place)), ["fid"], settings, quiet=True)
        assert result.fake.n == 400
        found[name] = result.rows[0].value
    assert found == pytest.approx(dict.fromkeys(found, found["folder"]), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "tars", "zip", "parquet", "webdataset", "npz"])
def test_a_store(images, reference, distance, tmp_path: Path, bucket: str, kind: str) -> None:
    path = getattr(formats, "zip_file" if kind == "zip" else kind)(images, tmp_path)
    store = fsspec.filesystem("s3")
    url = f"{bucket}/{kind}"
    for file in sorted(tmp_path.rglob("*")):
        if file.is_file():
            store.put_file(str(file), f"{url}/{file.relative_to(tmp_path)}")
    spec = f"{url}/{path.relative_to(tmp_path)}"
    state = tmp_path / "state"
    for _ in range(2):  # the second time from the state, known by the ETags
        settings = Settings(features=SETTINGS.features, state=state)
        assert scored(spec, reference[0], settings) == pytest.approx(distance, rel=1e-9)


@pytest.mark.parametrize("kind", ["zip_file", "npz"])
def test_a_part_of_a_file_in_s3_asks_for_this_part(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    s3fs = pytest.importorskip("s3fs")
    path = getattr(formats, kind)(formats.pictures(300, 32), tmp_path)
    url, size = f"{bucket}/part/{path.name}", path.stat().st_size
    fsspec.filesystem("s3").put_file(str(path), url)
    asked = []
    cat = s3fs.S3FileSystem._cat_file

    async def counted(*arguments, **options):
        found = await cat(*arguments, **options)
        asked.append(len(found))
        return found

    monkeypatch.setattr(s3fs.S3FileSystem, "_cat_file", counted)
    states, read = [], []
    for i in range(3):
        states.append(statistics(url, SETTINGS, part=(i, 3), quiet=True).state)
        read.append(sum(asked))
        asked.clear()
    assert sum(read) < 1.3 * size
    assert max(read) < 0.6 * size
    whole = statistics(str(path), SETTINGS, quiet=True).state
    found, want = (x.statistics()["features"] for x in (merged(states), whole))
    torch.testing.assert_close(found.mean, want.mean, rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(found.covariance(), want.covariance(), rtol=1e-12, atol=1e-9)


def parts(path: Path, count: int, sample: int = 100) -> list[State]:
    return [
        State.from_bytes(
            statistics(str(path), SETTINGS, part=(i, count), sample=sample, quiet=True)
            .state.to_bytes(), str(i),
        )
        for i in range(count)
    ]  # fmt: skip


@pytest.mark.slow
def test_parts_in_any_order(images, reference, distance, tmp_path: Path) -> None:
    path = formats.folder(images, tmp_path)
    five = parts(path, 5)
    whole = statistics(str(path), SETTINGS, sample=100, quiet=True).state
    draw = np.random.default_rng(0)
    for _ in range(6):
        order = draw.permutation(5)
        by_twos = merged([merged(five[i] for i in order[:2]), merged(five[i] for i in order[2:])])
        for total in (merged(five[i] for i in order), by_twos):
            found, want = total.statistics()["features"], whole.statistics()["features"]
            torch.testing.assert_close(found.mean, want.mean, rtol=1e-12, atol=1e-10)
            torch.testing.assert_close(found.covariance(), want.covariance(), rtol=1e-12, atol=1e-9)
            assert torch.equal(total.rows["features"], whole.rows["features"])
            assert torch.equal(total.numbers, whole.numbers)
            value = frechet_distance(
                found.mean, found.covariance(), *map(torch.from_numpy, reference[1:])
            )
            assert float(value) == pytest.approx(distance, rel=1e-9)


@pytest.mark.slow
def test_processes(images, reference, distance, tmp_path: Path) -> None:
    path = formats.folder(images, tmp_path)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "ganfast", "fid", str(reference[0]), str(path), "--features", SETTINGS.features,
        "--json", "--threads", "1",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([HERE, *sys.path])}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["metrics"]["fid"] == pytest.approx(distance, rel=1e-9)
    assert found["fake"]["n"] == COUNT


@pytest.mark.slow
def test_ray_loses_a_worker_and_no_image(
    images, reference, distance, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ray = pytest.importorskip("ray")
    path = formats.webdataset(images, tmp_path)
    (tmp_path / "marks").mkdir()
    environment = {
        "GANFAST_TEST_MARKS": str(tmp_path / "marks"), "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled", "PYTHONPATH": os.pathsep.join([HERE, *sys.path]),
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        ray.init(
            num_cpus=2, include_dashboard=False, log_to_driver=False,
            object_store_memory=80 * 2**20,
        )  # fmt: skip
        try:
            settings = Settings(features="exact_net:deadly", engine="ray", workers=2)
            assert scored(path, reference[0], settings) == pytest.approx(distance, rel=1e-9)
            assert len(list((tmp_path / "marks").glob("died-*"))) == 1
            assert "constructor arguments" not in capfd.readouterr().err
            # An error of a shard is that of the command.
            with open(str(path).replace("{0000..0002}", "0001"), "r+b") as file:
                file.truncate(10_000)
            with pytest.raises(ValueError, match=r"train-0001\.tar must be a tar file"):
                scored(path, reference[0], settings)
        finally:
            ray.shutdown()


def test_few_images_in_some_formats(reference, tmp_path: Path, monkeypatch) -> None:
    """The quick form of the tests above: in shards, in parts, and from a folder of states."""
    monkeypatch.setattr(image_source, "_SMALLEST", 16)
    few = formats.pictures(120)
    expected = None
    for name in ("folder", "WebDataset", "parquet", "npz"):
        place = tmp_path / name
        place.mkdir()
        spec = formats.FORMATS[name][0](few, place)
        result = score(str(reference[0]), str(spec), ["fid"], SETTINGS, quiet=True)
        expected = expected or result.rows[0].value
        assert result.rows[0].value == pytest.approx(expected, rel=1e-9)
    states = []
    for i in (2, 0, 1):
        path = tmp_path / f"{i}.state"
        statistics(str(tmp_path / "folder" / "images"), SETTINGS, part=(i, 3)).state.save(path)
        states.append(path)
    joined = merge_files(states)
    assert joined.remarks == []
    total = joined.state.statistics()["features"]
    x = corner(few)
    assert total.mean.numpy() == pytest.approx(x.mean(0), rel=1e-12)
    assert total.covariance().numpy() == pytest.approx(np.cov(x, rowvar=False), rel=1e-12, abs=1e-9)
    statistics(str(tmp_path / "npz" / "samples.npz"), SETTINGS).state.save(tmp_path / "other.state")
    both = merge_files([*states, tmp_path / "other.state"])
    assert both.state.n == 240
    assert both.remarks == [
        f"note: images of 2 sources: {tmp_path}/folder/images, {tmp_path}/npz/samples.npz"
    ]
