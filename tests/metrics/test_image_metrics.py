"""The metrics that take images: whatever the batches, they are the functions of all features."""

import processes
import pytest
import torch

from ganfast import data, features
from ganfast.metrics import (
    FrechetInceptionDistance,
    InceptionScore,
    KernelInceptionDistance,
    MemorizationInformedFrechetInceptionDistance,
    PrecisionRecall,
    frechet_distance_from_features,
    inception_score,
    kid,
    mifid,
    prdc,
)

REAL = data.digits().images[:300]
FAKE = (data.digits().images[300:500] // 2 + 20).to(torch.uint8)
CASES = {
    "fid": (
        FrechetInceptionDistance, {}, lambda r, f: float(frechet_distance_from_features(r, f))
    ),
    "kid": (
        KernelInceptionDistance,
        {"subsets": 4, "subset_size": 50},
        lambda r, f: kid(r, f, subsets=4, subset_size=50),
    ),
    "prdc": (
        PrecisionRecall, {"k": 3, "inclusive": True}, lambda r, f: prdc(r, f, k=3, inclusive=True)
    ),
    "mifid": (MemorizationInformedFrechetInceptionDistance, {}, mifid),
}  # fmt: skip


@pytest.fixture(scope="module")
def encoder():
    return features.load("digits")


def filled(kind, encoder, options, real=REAL, fake=FAKE, batch=70):
    metric = kind(encoder, **options)
    for part in real.split(batch):
        metric.update(part, real=True)
    for part in fake.split(batch):
        metric.update(part, real=False)
    return metric


@pytest.mark.parametrize("name", CASES)
def test_batches_make_no_difference(encoder, name):
    kind, options, function = CASES[name]
    expected = function(encoder(REAL)["features"], encoder(FAKE)["features"])
    assert filled(kind, encoder, options).compute() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_merge_state_dict_and_reset(encoder, name):
    kind, options, _ = CASES[name]
    whole = filled(kind, encoder, options).compute()
    first = filled(kind, encoder, options, REAL[:100], FAKE[:50])
    second = filled(kind, encoder, options, REAL[100:], FAKE[50:])
    loaded = kind(encoder, **options)
    loaded.load_state_dict(first.merge_state([second]).state_dict())
    assert loaded.compute() == pytest.approx(whole, rel=1e-5)
    loaded.reset()
    with pytest.raises(ValueError, match="needs real images, got none"):
        loaded.compute()


@pytest.mark.parametrize("name", CASES)
def test_real_features_can_be_kept(encoder, name):
    kind, options, _ = CASES[name]
    metric = filled(kind, encoder, options | {"reset_real_features": False})
    whole = metric.compute()
    metric.reset()
    with pytest.raises(ValueError, match="needs fake images, got none"):
        metric.compute()
    metric.update(FAKE, real=False)
    assert metric.compute() == pytest.approx(whole, rel=1e-5)


def test_inception_score_is_of_the_logits_of_fakes(encoder):
    metric = InceptionScore(encoder, splits=4)
    metric.update(REAL, real=True)
    for part in FAKE.split(33):
        metric.update(part)
    expected = inception_score(encoder(FAKE, ("logits",))["logits"], splits=4)
    assert metric.compute() == pytest.approx(expected, rel=1e-5)


def test_floats_and_callables():
    metric = FrechetInceptionDistance(lambda x: x.double().mean((2, 3)), normalize=True)
    whole = FrechetInceptionDistance(lambda x: x.double().mean((2, 3)))
    for real, images in ((True, REAL), (False, FAKE)):
        metric.update(images.double() / 255 + 1e-9, real=real)
        whole.update(images, real=real)
    assert metric.compute() == pytest.approx(whole.compute(), rel=1e-12)


def test_statistics_survive_safetensors(encoder, tmp_path):
    from safetensors.torch import load_file, save_file

    metric = filled(FrechetInceptionDistance, encoder, {})
    save_file(metric.state_dict(), tmp_path / "state.safetensors")
    other = FrechetInceptionDistance(encoder)
    other.load_state_dict(load_file(tmp_path / "state.safetensors"))
    assert other.compute() == metric.compute()


def _score_a_part(rank, name, folder):
    kind, options, _ = CASES[name]
    metric = filled(kind, features.load("digits"), options, REAL[rank::2], FAKE[rank::2])
    value = torch.tensor(metric.compute(), dtype=torch.float64)
    torch.save(value, folder / f"{rank}.pt")


@pytest.mark.parametrize("name", ["fid", "prdc"])
def test_processes_score_together(encoder, name, tmp_path):
    processes.run(2, tmp_path, _score_a_part, name, tmp_path)
    kind, options, _ = CASES[name]
    expected = filled(kind, encoder, options).compute()
    for rank in range(2):
        value = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert value.tolist() == pytest.approx(expected, rel=1e-5)


def test_features_are_callable():
    with pytest.raises(TypeError, match="features must be an Encoder or a callable"):
        FrechetInceptionDistance(2048)


@pytest.mark.parametrize("state", [{"x": torch.ones(1, 1)}])
def test_unknown_state(encoder, state):
    with pytest.raises(ValueError, match="must have the keys real and fake"):
        PrecisionRecall(encoder).load_state_dict(state)
    with pytest.raises(ValueError, match="must hold tensors of shapes"):
        FrechetInceptionDistance(encoder).load_state_dict({"real.mean": torch.ones(3)})
