"""The metrics that take images: whatever the batches, they are the functions of all features.

`test_without_torchmetrics` runs the tests of this file once more without torchmetrics.
"""

import copy
import importlib.util
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import processes
import pytest
import torch
from torch import nn

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
    "fid": (FrechetInceptionDistance, {}, frechet_distance_from_features),
    "kid": (
        KernelInceptionDistance,
        {"subsets": 4, "subset_size": 50, "seed": 3},
        lambda r, f: kid(r, f, subsets=4, subset_size=50, seed=3, draws="torch"),
    ),
    "prdc": (
        PrecisionRecall, {"k": 3, "inclusive": True},
        lambda r, f: prdc(r, f, k=3, inclusive=True),
    ),
    "mifid": (MemorizationInformedFrechetInceptionDistance, {}, mifid),
}  # fmt: skip
everywhere = pytest.mark.parametrize("name", CASES)


@pytest.fixture(scope="module")
def encoder():
    return features.load("digits")


class Mean(nn.Module):
    """Features (N, 3, 1, 1) that also tell what the module was given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x)
        return x.double().mean((2, 3), keepdim=True) ** torch.tensor([1.0, 2.0, 0.5]).view(3, 1, 1)


def filled(kind, encoder, options, real=REAL, fake=FAKE, batch=70):
    metric = kind(encoder, **options)
    for part in real.split(batch):
        metric.update(part, real=True)
    for part in fake.split(batch):
        metric.update(part, real=False)
    return metric


def values(result):
    """The numbers of a result, all of which are tensors."""
    if isinstance(result, dict):
        result = tuple(result.values())
    result = result if isinstance(result, tuple) else (result,)
    assert all(isinstance(x, torch.Tensor) and x.ndim == 0 for x in result)
    return [float(x) for x in result]


def expected(name, encoder, real=REAL, fake=FAKE):
    found = CASES[name][2](encoder(real)["features"], encoder(fake)["features"])
    return list(found) if isinstance(found, tuple) else [float(found)]


@everywhere
def test_batches_make_no_difference(encoder, name):
    kind, options, _ = CASES[name]
    found = filled(kind, encoder, options).compute()
    assert values(found) == pytest.approx(expected(name, encoder), rel=1e-5)
    parts = found.values() if isinstance(found, dict) else torch.atleast_1d(found)
    assert all(x.dtype == torch.float32 for x in parts)


@everywhere
def test_merge_pickle_clone_and_reset(encoder, name):
    kind, options, _ = CASES[name]
    whole = pytest.approx(expected(name, encoder), rel=1e-5)
    first = filled(kind, encoder, options, REAL[:100], FAKE[:50])
    second = filled(kind, encoder, options, REAL[100:], FAKE[50:])
    by_state, again = first.clone(), pickle.loads(pickle.dumps(first))
    assert first.merge_state(second) is None
    by_state.merge_state(second.metric_state)
    again.merge_state(copy.deepcopy(second))
    for metric in (first, by_state, again):
        assert values(metric.compute()) == whole
    first.update(FAKE[:20], real=False)
    assert values(by_state.compute()) == whole  # nothing is shared
    first.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics' own
        with pytest.raises(RuntimeError, match="or more real images, got 0"):
            first.compute()


@everywhere
def test_state_dict(encoder, name, tmp_path):
    kind, options, _ = CASES[name]
    metric = filled(kind, encoder, options)
    assert not metric.state_dict()
    metric.persistent(True)
    torch.save({"model." + k: v for k, v in metric.state_dict().items()}, tmp_path / "state.pt")
    other = nn.ModuleDict({"model": kind(encoder, **options)})
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert values(other["model"].compute()) == values(metric.compute())


@everywhere
def test_real_features_can_be_kept(encoder, name):
    kind, options, _ = CASES[name]
    metric = filled(kind, encoder, options | {"reset_real_features": False})
    metric.reset()
    with pytest.raises(RuntimeError, match="or more fake images, got 0"):
        metric.compute()
    metric.update(FAKE, real=False)
    whole = pytest.approx(expected(name, encoder), rel=1e-5)
    assert values(metric.compute()) == whole
    # The value of a batch, which is then a part of the whole like any other.
    metric.reset()
    part = pytest.approx(expected(name, encoder, fake=FAKE[:90]), rel=1e-5)
    assert values(metric(FAKE[:90], real=False)) == part
    metric(FAKE[90:], real=False)
    assert values(metric.compute()) == whole


@everywhere
def test_real_images_of_each_epoch_count_once(encoder, name):
    kind, options, _ = CASES[name]
    metric = filled(kind, encoder, options | {"reset_real_features": False}, REAL[:110], FAKE[:9])
    for _ in range(2):
        metric.reset()
        for part in REAL.split(70):
            metric.update(part, real=True)
        metric.update(REAL[:0], real=True)
        metric.update(FAKE, real=False)
        assert values(metric.compute()) == pytest.approx(expected(name, encoder), rel=1e-5)


@everywhere
def test_a_batch_of_one_side_has_no_score_and_is_not_added(encoder, name):
    kind, options, _ = CASES[name]
    metric = filled(kind, encoder, options)
    with pytest.raises(RuntimeError, match="forward scores a batch alone: call update"):
        metric(FAKE, real=False)
    assert values(metric.compute()) == pytest.approx(expected(name, encoder), rel=1e-5)
    assert metric.update_count == 8


def test_inception_score(encoder):
    metric = InceptionScore(encoder, splits=4, seed=1)
    for part in FAKE.split(33):
        metric.update(part)
    logits = encoder(FAKE, ("logits",))["logits"]
    options = {"chunks": "ceil", "draws": "torch"}
    whole = inception_score(logits, splits=4, seed=1, ddof=1, **options)
    assert values(metric.compute()) == pytest.approx(whole, rel=1e-5)
    alone = inception_score(logits[:40], splits=4, seed=1, ddof=1, **options)
    assert values(metric(FAKE[:40])) == pytest.approx(alone, rel=1e-5)
    assert metric.update_count == 8
    one = InceptionScore(encoder, splits=1)
    one.update(FAKE)
    mean, std = one.compute()
    assert float(mean) == pytest.approx(inception_score(logits, splits=1).mean, rel=1e-5)
    assert std.isnan()


def test_subsets_come_from_the_global_generator(encoder):
    metric = filled(KernelInceptionDistance, encoder, {"subsets": 2, "subset_size": 40})
    torch.manual_seed(5)
    found = values(metric.compute())
    x, y = encoder(REAL)["features"], encoder(FAKE)["features"]
    drawn = kid(x, y, subsets=2, subset_size=40, draws="torch", seed=5)
    assert found == pytest.approx(list(drawn), rel=1e-4)


def test_floats():
    """Bytes for a network of this package, the images themselves for a module of one's own."""
    images = REAL.expand(-1, 3, -1, -1).double() / 255 + 1e-9
    net = Mean()
    metric = FrechetInceptionDistance(net, normalize=True)
    metric.update(images, real=True)
    assert net.seen[0] is images
    found = metric._features(images)
    assert torch.equal(found, net(images).flatten(1))
    encoder = features.load("digits")
    with_floats = FrechetInceptionDistance(encoder, normalize=True)
    assert torch.equal(with_floats._features(images[:, :1]), encoder(REAL)["features"])
    for wrong in (REAL, images * 255):
        with pytest.raises((TypeError, ValueError), match="imgs must be"):
            with_floats.update(wrong, real=True)


def test_empty_batches_single_images_and_maps():
    images = torch.rand(41, 3, 6, 5)
    flat = images.mean((2, 3)).double()
    for net in (Mean(), lambda x: Mean()(x).flatten(1), lambda x: Mean()(x).squeeze()):
        metric = FrechetInceptionDistance(net)
        for part in (*images.split(20), images[:0]):
            metric.update(part, real=True)
        metric.update(images[:0], real=False)
        metric.update(images * 0.9, real=False)
        found = metric.compute()
        powers = torch.tensor([1.0, 2.0, 0.5])
        exact = frechet_distance_from_features(flat**powers, (0.9 * flat) ** powers)
        assert found.dtype == torch.float64
        assert float(found) == pytest.approx(float(exact), rel=1e-6)
    with pytest.raises(ValueError, match=r"features must be \(N, D\) for 41 images, got shape"):
        FrechetInceptionDistance(lambda x: x.mean((1, 2, 3))).update(images, real=True)
    with pytest.raises(TypeError, match="features must be a tensor"):
        FrechetInceptionDistance(lambda x: [x]).update(images, real=True)


@pytest.mark.parametrize("real", [True, 1, torch.tensor(True), 0.5])
def test_sides_by_truth(encoder, real):
    metric = KernelInceptionDistance(encoder)
    metric.update(REAL, real=real)
    metric.update(FAKE, not real)
    assert (len(metric.real_features[0]), len(metric.fake_features[0])) == (300, 200)


@pytest.mark.parametrize("side", ["fake", "real", b"real"])
def test_a_word_is_no_side(encoder, side):
    with pytest.raises(TypeError, match="real must be True or False"):
        FrechetInceptionDistance(encoder).update(REAL, real=side)


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        (KernelInceptionDistance, "subsets", -1),
        (KernelInceptionDistance, "subset_size", 0),
        (KernelInceptionDistance, "subset_size", 2.5),
        (KernelInceptionDistance, "degree", 0),
        (KernelInceptionDistance, "gamma", -1.0),
        (KernelInceptionDistance, "coef", "1"),
        (InceptionScore, "splits", 0),
        (PrecisionRecall, "k", True),
        (MemorizationInformedFrechetInceptionDistance, "cosine_distance_eps", 1.5),
        (FrechetInceptionDistance, "normalize", 1),
        (FrechetInceptionDistance, "reset_real_features", None),
        (FrechetInceptionDistance, "input_img_size", (299, 299)),
        (FrechetInceptionDistance, "antialias", "yes"),
        (FrechetInceptionDistance, "sync_on_compute", "no"),
        (FrechetInceptionDistance, "feature_extractor_weights_path", "weights.pth"),
        (FrechetInceptionDistance, "ddof", 2),
    ],
)
def test_values_are_checked_at_construction(encoder, kind, option, value):
    with pytest.raises((TypeError, ValueError), match=f"^{option} must be"):
        kind(encoder, **{option: value})


@everywhere
def test_unknown_options(encoder, name):
    with pytest.raises(TypeError, match="typo"):
        CASES[name][0](encoder, typo=1)


@pytest.mark.parametrize("feature", [100, True, "logits", None, ["x"]])
def test_feature(feature):
    with pytest.raises((TypeError, ValueError), match=r"^feature must be"):
        FrechetInceptionDistance(feature)
    with pytest.raises(ValueError, match=r"feature must be one of \(64, 192, 768, 2048\)"):
        FrechetInceptionDistance("logits_unbiased")


def test_foreign_states(encoder):
    metrics = [CASES[name][0](encoder) for name in ("fid", "kid")]
    for metric in metrics:
        metric.update(REAL, real=True)
        metric.persistent(True)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        metrics[0].load_state_dict(metrics[1].state_dict())
    with pytest.raises(RuntimeError, match="Unexpected key"):
        metrics[1].load_state_dict({"x": torch.ones(1, 1)})
    with pytest.raises(RuntimeError, match="real_features must be a list of tensors"):
        metrics[1].load_state_dict({"real_features": torch.ones(3, 3)})
    other = {"real_features": [torch.ones(3, 64)], "fake_features": [torch.ones(3, 5)]}
    with pytest.raises(RuntimeError, match="states must be of one network"):
        metrics[1].load_state_dict(other)
    with pytest.raises(RuntimeError, match="moments must be packed"):
        metrics[0].load_state_dict({"real_moments": [torch.ones(1, 5)], "fake_moments": []})
    resized = features.load("digits", resize="torch")
    with pytest.raises(ValueError, match="states must be of the same feature network"):
        KernelInceptionDistance(resized).merge_state(metrics[1])
    with pytest.raises(TypeError, match="incoming_state must be a Kernel"):
        metrics[1].merge_state(metrics[0])
    with pytest.raises(ValueError, match="incoming_state must hold real_features and fake"):
        metrics[1].merge_state({})


def test_devices_and_dtypes(encoder):
    """On a device without data only the places can be looked at."""
    module = nn.Module()
    module.fid = filled(FrechetInceptionDistance, encoder, {})
    module.kid = KernelInceptionDistance(nn.Linear(4, 2))
    exact = module.fid.compute()
    module.half()
    assert module.fid.real_moments[0].dtype == torch.float64
    assert module.fid.compute() == exact
    assert module.kid.inception.weight.dtype == torch.float16  # as torchmetrics leaves it
    assert module.fid.set_dtype(torch.float64).compute().dtype == torch.float64
    assert not list(module.fid.parameters())
    module.to("meta")
    assert module.fid.device.type == module.kid.device.type == "meta"
    assert {x.device.type for x in (*module.fid.fake_moments, module.kid.network)} == {"meta"}
    assert module.fid.inception.encoder.device.type == "meta"
    assert encoder.device.type == "cpu"
    with pytest.raises(TypeError, match="dst_type must be a floating-point dtype"):
        module.kid.set_dtype(torch.int32)


def test_training_leaves_the_network_alone():
    net = nn.BatchNorm2d(3).eval()
    module = nn.ModuleDict({"fid": FrechetInceptionDistance(net)})
    module.train()
    assert not net.training


def test_former_names(encoder):
    with pytest.warns(DeprecationWarning, match="features is now called feature"):
        first = FrechetInceptionDistance(features=encoder)
    first.update(REAL[:100], real=True)
    first.update(FAKE, real=False)
    second = FrechetInceptionDistance(encoder)
    second.update(REAL[100:], real=True)
    with pytest.warns(DeprecationWarning, match="one metric at a time"):
        merged = first.merge_state([second])
    assert values(merged.compute()) == pytest.approx(expected("fid", encoder), rel=1e-5)


def test_plot(encoder):
    pytest.importorskip("matplotlib")
    for name, (kind, options, _) in CASES.items():
        metric = filled(kind, encoder, options)
        figure, axis = metric.plot()
        drawn = [float(line.get_ydata()[0]) for line in axis.lines]
        want = values(metric.compute())[: 1 if name == "kid" else None]
        assert drawn == pytest.approx(want)
        _, again = metric.plot([metric.compute()] * 3 if name == "fid" else None, ax=axis)
        assert again is axis
        figure.clear()


def _score_shards(rank, name, folder):
    """Uneven shards: the last process has a fake image more, and the first no image at all."""
    kind, options, _ = CASES[name]
    metric = kind(features.load("digits"), **options)
    if rank:
        shares = (REAL[: rank * 150], FAKE[:80]) if rank == 1 else (REAL[150:], FAKE[80:])
        metric = filled(kind, features.load("digits"), options, *shares, batch=50)
    torch.save(values(metric.compute()), folder / f"{rank}.pt")


@pytest.mark.parametrize("name", ["fid", "prdc", "mifid"])
def test_processes_score_together(encoder, name, tmp_path):
    processes.run(3, tmp_path, _score_shards, name, tmp_path)
    for rank in range(3):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found == pytest.approx(expected(name, encoder), rel=1e-5)


@pytest.mark.slow
def test_without_torchmetrics():
    """These tests once more, with the interface of this package instead of torchmetrics' class."""
    if importlib.util.find_spec("torchmetrics") is None:
        return  # they have just run so
    program = """
import sys, pytest
sys.modules["torchmetrics"] = None
sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", *sys.argv[1:]]))
"""
    run = subprocess.run(
        [sys.executable, "-c", program, __file__], capture_output=True, text=True, timeout=600,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:]
