"""Samples by seed, filters that do what they say, resumed shards, and figures with known values."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load, save
from scipy import stats
from torch import nn

from ganfast import data, features
from ganfast.workflows import gan
from ganfast.workflows import synthesize as recipe
from ganfast.workflows.gan import Config
from ganfast.workflows.judge import judge_of
from ganfast.workflows.quality import quality
from ganfast.workflows.sampler import Filters, Sampler, shuffled_labels
from ganfast.workflows.synthesize import Order, load_dataset, synthesize
from ganfast.workflows.train import train


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    out = tmp_path_factory.mktemp("conditional")
    train(Config(model="cdcgan", limit=20, steps=3, score_every=0, sample_every=0), out)
    return out / "checkpoint.pt"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    out = tmp_path_factory.mktemp("plain")
    train(Config(model="mlp-128", limit=20, steps=3, score_every=0, sample_every=0), out)
    return out / "checkpoint.pt"


class Digits(nn.Module):
    """A generator of real digits: the first latent says which."""

    def __init__(self):
        super().__init__()
        self.images = data.to_float(data.digits().images[::5])

    def forward(self, latents):
        share = torch.special.ndtr(latents[:, 0].double())
        return self.images[(share * len(self.images)).long().clamp_max(len(self.images) - 1)]


JUDGE = judge_of(data.digits(), Path())


def sampler_of(checkpoint, **filters):
    return Sampler(*gan.from_checkpoint(checkpoint), JUDGE, Filters(**filters))


def real_sampler(checkpoint, **filters):
    sampler = sampler_of(checkpoint, **filters)
    sampler._generator = Digits()
    return sampler


@given(
    count=st.integers(1, 300),
    shares=st.lists(st.floats(0, 9), min_size=1, max_size=6).filter(lambda x: sum(x) > 0.1),
    seed=st.integers(0, 9),
)
def test_labels_have_their_shares_to_one(count, shares, seed):
    labels = shuffled_labels(count, shares, seed)
    assert len(labels) == count
    counts = labels.bincount(minlength=len(shares))
    exact = np.array(shares) / sum(shares) * count
    assert (np.abs(counts.numpy() - exact) < 1 + 1e-9).all()
    assert torch.equal(labels, shuffled_labels(count, shares, seed))


def test_a_seed_gives_the_same_images_in_any_order(conditional):
    sampler = sampler_of(conditional)
    labels = shuffled_labels(30, [1.0] * 10, 0)
    first, other = sampler.draw(labels, (3, 1)), sampler.draw(labels, (3, 2))
    assert torch.equal(sampler_of(conditional).draw(labels, (3, 1)), first)
    assert not torch.equal(first, other)


def test_an_unconditional_generator_is_read_by_the_classifier(plain):
    labels = shuffled_labels(60, [5, 1, 0, 0, 0, 0, 0, 0, 0, 4], 0)
    made = real_sampler(plain).draw(labels, (1,))
    read = features.digits().classify(data.to_float(made)).argmax(1)
    assert torch.equal(read, labels)


def test_confidence_is_a_floor(plain):
    labels = shuffled_labels(100, [1.0] * 10, 0)
    least = []
    for confidence in (0.0, 0.9999):
        sampler = real_sampler(plain, confidence=confidence)
        made = sampler.draw(labels, (1,))
        p = features.digits().classify(data.to_float(made)).softmax(1)
        least.append(p[torch.arange(100), labels].min())
    assert least[0] < 0.9999 <= least[1] + 1e-6


def test_rejection_leaves_out_its_share(plain):
    everything = sampler_of(plain)
    best = sampler_of(plain, reject=0.6)
    random = torch.Generator().manual_seed(0)
    z = torch.randn(4000, 100, generator=random)
    with torch.no_grad():
        logits = everything._discriminator(everything._generator(z))
    taken = float((logits >= best._threshold).float().mean())
    assert taken == pytest.approx(0.4, abs=5 * (0.24 / 1000 + 0.24 / 4000) ** 0.5)
    _, kept, _ = best._candidates(torch.zeros(250).long(), torch.Generator().manual_seed(3))
    assert 0 < kept.sum() < 250


def test_truncated_latents_are_those_of_the_truncated_normal(plain):
    sampler = sampler_of(plain, truncation=0.7)
    z = sampler._latents(200, torch.Generator().manual_seed(0)).flatten().double()
    assert z.abs().max() <= 0.7 + 1e-6
    assert stats.kstest(z.numpy(), stats.truncnorm(-0.7, 0.7).cdf).pvalue > 0.01


def test_filters_that_nothing_passes_are_named(plain, monkeypatch):
    monkeypatch.setattr("ganfast.workflows.sampler._MAX_BATCHES", 3)
    sampler = sampler_of(plain, confidence=0.999999)
    with pytest.raises(ValueError, match=r"of 10 samples could not be drawn.*confidence=0\.999999"):
        sampler.draw(torch.arange(10), (0,))
    with pytest.raises(ValueError, match=r"reject must be in \[0, 1\), got 1"):
        Filters(reject=1)
    with pytest.raises(ValueError, match="truncation must be at least 0"):
        Filters(truncation=-1)


def test_shards_are_resumed_not_made_again(conditional, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "SHARD", 16)
    order = Order(samples=50, seed=4)
    synthesize(conditional, tmp_path / "whole", order)
    whole = load_dataset(tmp_path / "whole")
    assert whole[0].shape == (50, 1, 28, 28)
    assert torch.equal(whole[1].bincount(), torch.full((10,), 5))

    drawn, draw = [], Sampler.draw

    def stops(self, labels, seed):
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(seed)
        return draw(self, labels, seed)

    monkeypatch.setattr(Sampler, "draw", stops)
    with pytest.raises(KeyboardInterrupt):
        synthesize(conditional, tmp_path / "parts", order)
    drawn.clear()
    monkeypatch.setattr(Sampler, "draw", lambda s, y, seed: drawn.append(seed) or draw(s, y, seed))
    synthesize(conditional, tmp_path / "parts", order)
    assert [seed[-1] for seed in drawn] == [2, 3]
    for a, b in zip(whole, load_dataset(tmp_path / "parts"), strict=True):
        assert torch.equal(a, b)
    shard = load((tmp_path / "parts/shards/shard-00001.safetensors").read_bytes())
    assert torch.equal(shard["images"], whole[0][16:32])
    assert torch.equal(shard["labels"], whole[1][16:32])

    with pytest.raises(FileExistsError, match="another seed"):
        synthesize(conditional, tmp_path / "parts", dataclasses.replace(order, seed=5))
    synthesize(conditional, tmp_path / "parts", dataclasses.replace(order, seed=5), overwrite=True)
    assert not torch.equal(load_dataset(tmp_path / "parts")[0], whole[0])


def test_a_folder_of_pictures_and_the_card(conditional, tmp_path):
    found, judge = synthesize(conditional, tmp_path, Order(samples=20, format="folder"))
    files = sorted((tmp_path / "images").rglob("*.png"))
    assert sorted(p.parent.name for p in files) == sorted(str(y) for y in range(10) for _ in "ab")
    shard = load((tmp_path / "shards/shard-00000.safetensors").read_bytes())
    for path in files:
        with Image.open(path) as picture:
            assert np.array_equal(np.asarray(picture), shard["images"][int(path.stem), 0].numpy())
        assert int(path.parent.name) == shard["labels"][int(path.stem)]
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["figures"]["fd"] == found.fd
    assert card["judge"] == judge.words
    assert card["model"]["model"] == "cdcgan"
    page = (tmp_path / "card.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    for name in ("samples.png", "nearest.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert "20 images by cdcgan, trained on digits" in page


def test_another_order_leaves_nothing_of_the_one_before(conditional, tmp_path):
    synthesize(conditional, tmp_path, Order(samples=30, format="folder"))
    synthesize(conditional, tmp_path, Order(samples=20, seed=1, format="folder"), overwrite=True)
    files = list((tmp_path / "images").rglob("*.png"))
    made = load((tmp_path / "shards/shard-00000.safetensors").read_bytes())["images"]
    assert sorted(int(path.stem) for path in files) == list(range(20))
    for path in files:
        with Image.open(path) as picture:
            assert np.array_equal(np.asarray(picture), made[int(path.stem), 0].numpy())
    synthesize(conditional, tmp_path, Order(samples=20, format="npz"), overwrite=True)
    assert not (tmp_path / "images").exists()


def test_figures_of_known_sets():
    digits = data.digits()
    real, new = digits.images[:2500:5], digits.images[2500::5]
    same = quality(real, real, JUDGE)
    assert same.fd == pytest.approx(0, abs=1e-6)
    assert (same.precision, same.recall, same.closer) == (1.0, 1.0, 1.0)
    assert torch.equal(same.nearest, torch.arange(500))
    fresh = quality(real, new, JUDGE)
    assert fresh.closer < 0.7
    gray = quality(real, torch.full_like(real, 127), JUDGE)
    assert gray.inception_score == pytest.approx(1, abs=1e-5)
    assert gray.precision == 0
    # One clear digit of each class, as often: the most that ten classes can give.
    p = features.digits().classify(data.to_float(digits.images)).softmax(1)
    clear = [
        torch.where(digits.labels == y)[0][p[digits.labels == y, y].argmax()] for y in range(10)
    ]
    best = quality(real, digits.images[torch.stack(clear * 3)], JUDGE)
    assert best.inception_score == pytest.approx(10, rel=1e-2)
    with pytest.raises(ValueError, match="fake must have 14 images or more, got 6"):
        quality(real, new[:6], JUDGE)


def test_half_of_new_images_are_nearer_than_the_median():
    digits = data.digits().images
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
    found = quality(digits[order[:2500]], digits[order[2500:4500]], JUDGE)
    assert found.closer == pytest.approx(0.5, abs=5 * (0.25 / 2000 + 0.25 / 2500) ** 0.5)
    assert found.precision == pytest.approx(found.recall, abs=0.05)


def test_brute_force_precision_and_recall():
    digits = data.digits().images
    real, fake = digits[:40], digits[480:530]
    x, y = (features.extract(features.digits(), part).numpy() for part in (real, fake))

    def covered(points, centres):
        radii = [sorted(np.linalg.norm(centres - c, axis=1))[5] for c in centres]
        inside = [
            any(np.linalg.norm(p - c) <= r for c, r in zip(centres, radii, strict=True))
            for p in points
        ]
        return np.mean(inside)

    found = quality(real, fake, JUDGE)
    assert found.precision == pytest.approx(covered(y, x))
    assert found.recall == pytest.approx(covered(x, y))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 9}, "samples must be at least 14"),
        ({"format": "zip"}, "format must be one of npz, folder, parquet, safetensors, got 'zip'"),
    ],
)
def test_orders_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        Order(**changes)


def test_other_files_are_refused(conditional, plain, tmp_path):
    with pytest.raises(ValueError, match="shares must be 10, one for each class, got 2"):
        synthesize(conditional, tmp_path, Order(shares=(1.0, 2.0)))
    with pytest.raises(FileNotFoundError, match=r"no checkpoint none\.pt"):
        synthesize(Path("none.pt"), tmp_path, Order())
    with pytest.raises(FileNotFoundError, match="there is no data set"):
        load_dataset(tmp_path / "x.npz")
    (tmp_path / "x.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"must be a \.npz file of arrays"):
        load_dataset(tmp_path / "x.npz")


def shard_of(folder):
    from safetensors import safe_open

    path = folder / "shards" / "shard-00000.safetensors"
    with safe_open(path, "pt") as file:
        return path, {name: file.get_tensor(name) for name in ("images", "labels")}, file.metadata()


def cut(path, tensors, metadata):
    path.write_bytes(path.read_bytes()[:-100])


def change_a_byte(path, tensors, metadata):
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)


def fewer_images(path, tensors, metadata):
    path.write_bytes(save({k: v[:-1].contiguous() for k, v in tensors.items()}, metadata))


def other_labels(path, tensors, metadata):
    tensors["labels"] = tensors["labels"].roll(1)
    path.write_bytes(save(tensors))


def other_dtype(path, tensors, metadata):
    path.write_bytes(save(tensors | {"images": tensors["images"].float()}))


def no_images(path, tensors, metadata):
    path.write_bytes(save({"labels": tensors["labels"]}))


@pytest.mark.parametrize(
    "damage", [cut, change_a_byte, fewer_images, other_labels, other_dtype, no_images]
)
def test_a_damaged_shard_is_named_and_drawn_again(conditional, tmp_path, damage):
    order = Order(samples=20)
    synthesize(conditional, tmp_path, order)
    whole = (tmp_path / "data.npz").read_bytes()
    path, tensors, metadata = shard_of(tmp_path)
    intact = path.read_bytes()
    damage(path, tensors, metadata)
    with pytest.warns(UserWarning, match=r"shard-00000\.safetensors is damaged and drawn again"):
        synthesize(conditional, tmp_path, order)
    assert path.read_bytes() == intact
    assert (tmp_path / "data.npz").read_bytes() == whole


IMAGES, LABELS = np.zeros((3, 1, 4, 4), "uint8"), np.zeros(3, "int64")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES}, "labels"),
        ({"images": IMAGES[:, 0], "labels": LABELS}, "images must be uint8"),
        ({"images": IMAGES.astype("float32"), "labels": LABELS}, "images must be uint8"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "images must be uint8"),
        ({"images": IMAGES, "labels": LABELS[:2]}, "labels must be int64"),
        ({"images": IMAGES, "labels": LABELS.astype("float64")}, "labels must be int64"),
        ({"images": IMAGES, "labels": LABELS - 1}, "labels must be int64"),
        ({"images": np.array([None] * 3), "labels": LABELS}, "must hold numbers or text"),
    ],
)
def test_data_sets_of_another_kind_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(ValueError, match=rf"data\.npz.*{message}"):
        load_dataset(tmp_path)


@given(data=st.data())
def test_a_damaged_data_set_is_one_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "data.npz"
    images = np.arange(3 * 16, dtype="uint8").reshape(3, 1, 4, 4)
    np.savez_compressed(path, images=images, labels=np.arange(3))
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        found, labels = load_dataset(path)
    except ValueError:
        return
    assert np.array_equal(found.numpy(), images)
    assert np.array_equal(labels.numpy(), np.arange(3))
