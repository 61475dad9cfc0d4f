"""`ganfast.evaluate`: one number for one set of images, whatever they come as."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import ganfast
from ganfast import data, features, metrics

REAL = data.digits().images[:120]
FAKE = (data.digits().images[300:400] // 2 + 20).to(torch.uint8)


class Table:
    """Rows as Hugging Face's data sets give them."""

    def __init__(self, images, column):
        self.images, self.column = images, column

    def __len__(self):
        return len(self.images)

    def __getitem__(self, number):
        return {"label": 1, self.column: Image.fromarray(self.images[number, 0].numpy())}


class Stream(IterableDataset):
    def __init__(self, images):
        self.images = images

    def __iter__(self):
        return iter(self.images)


class Networks(nn.Module):
    """Uint8 images to features that are exact in float64."""

    def forward(self, x):
        return nn.functional.avg_pool2d(x[:, :1].double(), 7).flatten(1)


def write(folder, images):
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image[0].numpy()).save(folder / f"{number:03}.png")
    return folder


FORMS = {
    "tensor": lambda x, _: x,
    "floats": lambda x, _: x / 255,
    "halves": lambda x, _: (x / 255).double(),
    "array": lambda x, _: x.permute(0, 2, 3, 1).numpy(),
    "image data": lambda x, _: data.ImageData(x, None, "digits"),
    "folder": lambda x, path: write(path, x),
    "text": lambda x, path: str(write(path, x)),
    "data set": lambda x, _: TensorDataset(x, torch.zeros(len(x))),
    "data set of floats": lambda x, _: TensorDataset(x / 255),
    "table": lambda x, _: Table(x, "image"),
    "other table": lambda x, _: Table(x, "img"),
    "list of images": lambda x, _: [Image.fromarray(image[0].numpy()) for image in x],
    "list of arrays": lambda x, _: [image[0].numpy()[:, :, None] for image in x],
    "loader": lambda x, _: DataLoader(TensorDataset(x, torch.zeros(len(x))), batch_size=32),
    "loader of a stream": lambda x, _: DataLoader(Stream(x / 255), batch_size=50),
    "loader of dicts": lambda x, _: DataLoader(
        [{"pixel_values": image, "label": 0} for image in x], batch_size=7
    ),
    "stream": lambda x, _: Stream(x),
    "iterator of batches": lambda x, _: iter(x.split(33)),
}
SCORES = {"metrics": "fid,kid,prdc", "kid_subset_size": 40, "kid_subsets": 5, "progress": False}


@pytest.fixture(scope="module")
def expected():
    """The scores of the features themselves."""
    encoder = features.load("digits")
    one, two = encoder(REAL)["features"], encoder(FAKE)["features"]
    drawn = metrics.kid(two, one, subsets=5, subset_size=40)
    shares = metrics.prdc(one, two)._asdict()
    fid = float(metrics.frechet_distance_from_features(one, two))
    return {"fid": fid, "kid": drawn.mean, "kid_std": drawn.std, **shares}


@pytest.mark.parametrize("form", FORMS)
def test_one_number(form, expected, tmp_path):
    real = FORMS[form](REAL, tmp_path / "real")
    fake = FORMS[form](FAKE, tmp_path / "fake")
    found = ganfast.evaluate(real, fake, features="digits", **SCORES).values
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("form", ["tensor", "loader", "table", "folder", "iterator of batches"])
def test_one_number_of_exact_features(form, tmp_path):
    """On a network without rounding all forms, and the features themselves, agree."""
    net = Networks()
    one, two = net(REAL), net(FAKE)
    whole = ganfast.evaluate(one, two, **SCORES).values
    exact = float(metrics.frechet_distance_from_features(one, two))
    assert whole["fid"] == pytest.approx(exact, rel=1e-9)
    real = FORMS[form](REAL, tmp_path / "real")
    found = ganfast.evaluate(
        real, FORMS[form](FAKE, tmp_path / "fake"), features=net, **SCORES
    ).values
    # Features of images are float32 within the evaluation.
    assert found == pytest.approx(whole, rel=1e-6)
    arrays = ganfast.evaluate(one.numpy(), two.numpy(), **SCORES).values
    assert arrays == pytest.approx(whole, rel=1e-9)


def test_generators(tmp_path):
    def draw(n):
        return torch.rand(n, 1, 28, 28) * 2 - 1

    class Generator(nn.Module):
        latent_dim = 3

        def forward(self, z):
            return z[:, :1, None, None].tanh().expand(-1, 1, 28, 28)

    for generator, extra in ((draw, {}), (Generator(), {}), (draw, {"samples": 70})):
        found = ganfast.evaluate(REAL, generator, "fid", "digits", progress=False, **extra)
        assert found.fake.n == extra.get("samples", len(REAL))
        again = ganfast.evaluate(REAL, generator, "fid", "digits", progress=False, **extra)
        assert again["fid"] == found["fid"]
    folder = write(tmp_path / "real", REAL)
    found = ganfast.evaluate(folder, draw, "fid", "digits", progress=False)
    assert found.fake.n == len(REAL)
    assert found["fid"] == pytest.approx(again["fid"], rel=0.1)
    # The same images, whatever their range is called.
    shifted = ganfast.evaluate(
        REAL, lambda n: (draw(n) + 1) / 2, "fid", "digits", value_range=(0, 1), progress=False
    )
    plain = ganfast.evaluate(REAL, draw, "fid", "digits", progress=False)
    assert shifted["fid"] == pytest.approx(plain["fid"], rel=1e-3)


def test_moments(expected):
    encoder = features.load("digits")
    both = []
    for images in (REAL, FAKE):
        both.append(metrics.FrechetStatistics(64))
        both[-1].update(encoder(images)["features"])
    options = {"metrics": ["fid"], "progress": False}
    for real in (both[0], both[0].moments):
        for fake in (both[1], FAKE):
            found = ganfast.evaluate(real, fake, features=encoder, **options)
            assert found["fid"] == pytest.approx(expected["fid"], rel=1e-6)
    # No network, and no weights, are needed.
    found = ganfast.evaluate(both[0], both[1].moments, **options)
    assert found["fid"] == pytest.approx(expected["fid"], rel=1e-6)
    with pytest.raises(ValueError, match="kid needs the images of real"):
        ganfast.evaluate(both[0], FAKE, "kid", encoder, progress=False)


def test_result(tmp_path):
    found = ganfast.evaluate(REAL, FAKE, features="digits", pictures=True, **SCORES)
    assert f"FD (digits)                {found['fid']:.6g}" in str(found)
    found.save(tmp_path / "scores.json")
    saved = json.loads((tmp_path / "scores.json").read_text())
    assert saved["metrics"] == found.values
    found.save(tmp_path / "scores.html")
    page = (tmp_path / "scores.html").read_text()
    assert f"{found['fid']:.6g}" in page
    assert "Nearest neighbours" in page
    drawn = [x for axis in found.plot().axes for x in axis.lines[0].get_xdata()]
    assert drawn[:3] == pytest.approx([found["fid"], found["kid"], found["precision"]])
    with pytest.raises(ValueError, match=r"path must end in \.json or \.html"):
        found.save(tmp_path / "scores.txt")


def test_protocol(tmp_path, monkeypatch):
    """On Inception's features the result says whose resizing it is."""
    from tests.features import public_inception

    weights = tmp_path / "weights.pth"
    torch.save(public_inception.random_state(), weights)
    from ganfast.features.weight_files import sha256_of

    images = REAL[:3].expand(-1, 3, -1, -1)
    for mode, name in (("clean", "clean-fid"), ("tf1", "torch-fidelity"), ("torch", "pytorch-fid")):
        found = ganfast.evaluate(
            images, images.flip(3), "fid", resize=mode, dims=64, weights=str(weights),
            sha256=sha256_of(weights), device="cpu", progress=False,
        )  # fmt: skip
        assert found.settings["protocol"].startswith(name)
        assert f"resize {mode}" in str(found)


@pytest.mark.parametrize(
    ("fake", "kind", "message"),
    [
        ("nowhere", FileNotFoundError, "nowhere must be a folder or a file of images"),
        (3, TypeError, "fake must be a path, images, features, moments, a data set, a loader or"),
        (FAKE * 1.0, ValueError, r"images of fake must be in \[0, 1\], got values from 20"),
        (FAKE[0], ValueError, "fake must be images .N, C, H, W. or float features"),
        (FAKE[:1], ValueError, "fake must hold at least 2 images, got 1"),
        (iter([]), ValueError, "fake must hold at least 2 images, got 0"),
        (np.ones((2, 2), int), ValueError, "fake must be images"),
        ([{"label": 1}, {"label": 2}], ValueError, "fake must have one of image, img"),
        (["a", "b"], TypeError, "fake must hold images, got str: join paths with '::'"),
        (nn.Linear(2, 2), ValueError, "fake must be a module with an int latent_dim, got None"),
        (FAKE.double().flatten(1), ValueError, "must both be images or both features"),
    ],
)
def test_what_is_no_set_of_images(fake, kind, message):
    with pytest.raises(kind, match=message):
        ganfast.evaluate(REAL, fake, "fid", "digits", progress=False)


def test_state_is_a_path_of_any_kind(tmp_path):
    for state in (tmp_path, str(tmp_path)):
        found = ganfast.evaluate(REAL, FAKE, "fid", "digits", state=state, progress=False)
        assert len(list(tmp_path.glob("*.state"))) == 2
    assert found["fid"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": "fid,typo"}, "metrics must be some of .* got typo"),
        ({"metrics": []}, "got none"),
        ({"metrics": ["fid", 3]}, "metrics must be some of .* got 3"),
        ({"features": 3}, "features must be a name, an Encoder, a module or a callable, got int"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"device": "cuda:99"}, "device must be"),
    ],
)
def test_options(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ganfast.evaluate(REAL, FAKE, **{"features": "digits", "progress": False} | options)


def test_hugging_face_data_sets(expected):
    datasets = pytest.importorskip("datasets")
    sides = []
    for images in (REAL, FAKE):
        rows = {"image": [Image.fromarray(image[0].numpy()) for image in images]}
        sides.append(datasets.Dataset.from_dict(rows))
    for real, fake in (sides, [side.to_iterable_dataset() for side in sides]):
        found = ganfast.evaluate(real, fake, features="digits", **SCORES).values
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6)
