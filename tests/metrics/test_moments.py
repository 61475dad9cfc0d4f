import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from ganfast.metrics import FrechetStatistics, Moments, load_moments, save_moments


def statistics(n: int = 40, dim: int = 5, seed: int = 0) -> FrechetStatistics:
    found = FrechetStatistics(dim)
    g = torch.Generator().manual_seed(seed)
    found.update(torch.randn(n, dim, generator=g) + 7)
    return found


def test_a_saved_file_is_read_by_numpy_and_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "real.npz"
    before = statistics()
    before.save(path)
    with np.load(path, allow_pickle=False) as file:
        assert set(file.files) == {"mu", "sigma", "n"}
        np.testing.assert_array_equal(file["mu"], before.mean)
        np.testing.assert_array_equal(file["sigma"], before.covariance())
        assert file["mu"].dtype == file["sigma"].dtype == np.float64
        assert file["n"] == 40
    moments = load_moments(path)
    assert torch.equal(moments.mean, before.mean)
    assert torch.equal(moments.covariance, before.covariance())
    assert moments.n == 40
    assert os.listdir(path.parent) == ["real.npz"]


def test_more_can_be_added_to_what_was_loaded(tmp_path: Path) -> None:
    statistics(40, seed=0).save(tmp_path / "part.npz")
    together, whole = FrechetStatistics.load(tmp_path / "part.npz"), statistics(40, seed=0)
    for each in (together, whole):
        each.merge(statistics(30, seed=1))
    assert together.n == whole.n == 70
    torch.testing.assert_close(together.mean, whole.mean, rtol=1e-14, atol=0)
    torch.testing.assert_close(together.covariance(0), whole.covariance(0), rtol=1e-12, atol=1e-14)


def test_weights_survive(tmp_path: Path) -> None:
    before = statistics(40)
    before.update(torch.randn(3, 5), weights=torch.tensor([0.5, 0.0, 3.0]))
    before.save(tmp_path / "weighted.npz")
    after = FrechetStatistics.load(tmp_path / "weighted.npz")
    for ddof in (0, 1):
        torch.testing.assert_close(
            after.covariance(ddof), before.covariance(ddof), rtol=1e-13, atol=1e-15
        )
    assert after.n == 43


def test_files_of_other_projects(tmp_path: Path) -> None:
    g = np.random.default_rng(0)
    mu, mu_s = g.normal(size=4), g.normal(size=3)
    sigma, sigma_s = np.diag(g.uniform(size=4)), np.diag(g.uniform(size=3)).astype(np.float32)
    path = tmp_path / "VIRTUAL.npz"
    np.savez_compressed(
        path, mu=mu, sigma=sigma, mu_s=mu_s, sigma_s=sigma_s, arr_0=np.zeros((2, 2))
    )
    moments, spatial = load_moments(path), load_moments(path, spatial=True)
    np.testing.assert_array_equal(moments.mean, mu)
    np.testing.assert_array_equal(moments.covariance, sigma)
    np.testing.assert_array_equal(spatial.mean, mu_s)
    np.testing.assert_array_equal(spatial.covariance, sigma_s)
    assert spatial.covariance.dtype == torch.float64
    assert moments.n is spatial.n is None
    with pytest.raises(ValueError, match="holds no number of samples n"):
        FrechetStatistics.load(path)
    save_moments(tmp_path / "copy.npz", moments)
    assert load_moments(tmp_path / "copy.npz").n is None


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


def test_pickles_are_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stats.pkl").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"a pickle can run code.*convert it once: import pickle"):
        load_moments("stats.pkl")
    Path("renamed.npz").write_bytes(pickle.dumps(Bomb()))
    bombs = np.empty(1, dtype=object)
    bombs[0] = Bomb()
    np.savez("inside.npz", mu=bombs, sigma=np.eye(1))
    for name in ("renamed.npz", "inside.npz"):
        with pytest.raises(ValueError, match=rf"{name} must be a \.npz file of arrays"):
            load_moments(name)
    assert not Path("exploded").exists()


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(FileNotFoundError):
        load_moments(path)
    statistics().save(path)
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"x\.npz must be a \.npz file of arrays"):
            load_moments(path)
    np.save(tmp_path / "x.npy", np.eye(2))
    with pytest.raises(ValueError, match=r"must be a \.npz file of arrays"):
        load_moments(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(2)}, r"must hold an array 'sigma', got \['mu'\]"),
        ({"mu": np.zeros((1, 2)), "sigma": np.eye(2)}, r"must hold mu of shape \(D,\)"),
        ({"mu": np.zeros(2), "sigma": np.eye(3)}, r"sigma must have shape \(\.\.\., 2, 2\)"),
        ({"mu": np.zeros(2), "sigma": np.full((2, 2), np.inf)}, "sigma must be finite"),
        ({"mu": np.zeros(2), "sigma": np.triu(np.ones((2, 2)))}, "sigma must be a symmetric"),
        ({"mu": np.zeros(2), "sigma": np.eye(2), "n": 1.5}, "n must be a whole number"),
        ({"mu": np.zeros(2), "sigma": np.eye(2), "n": 0}, "n must be a whole number"),
        (
            {"mu": np.zeros(2), "sigma": np.eye(2), "n": 5, "weights": np.array([-1.0, 1.0])},
            "weights must be",
        ),
    ],
)
def test_arrays_that_are_no_moments(
    arrays: dict[str, object], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_moments(tmp_path / "x.npz")


def test_names_and_failures_leave_the_old_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"path must end in \.npz"):
        statistics().save(tmp_path / "x.pkl")
    path = tmp_path / "x.npz"
    statistics().save(path)
    old = path.read_bytes()
    with pytest.raises(AttributeError):
        save_moments(path, Moments(torch.zeros(2), "no matrix"))
    assert path.read_bytes() == old
