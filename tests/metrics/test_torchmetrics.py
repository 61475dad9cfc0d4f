"""The metrics of images where torchmetrics' are expected: collections, Lightning, ignite."""

import json
from pathlib import Path

import processes
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ganfast import data, features, metrics
from ganfast.metrics import (
    FrechetInceptionDistance,
    InceptionScore,
    KernelInceptionDistance,
    MemorizationInformedFrechetInceptionDistance,
    frechet_distance_from_features,
    kid,
    mifid,
)
from tests.features import public_inception

torchmetrics = pytest.importorskip("torchmetrics")
wrappers = pytest.importorskip("torchmetrics.wrappers")

PEER = json.loads(Path(__file__).with_name("torchmetrics_examples.json").read_text())["numbers"]
REAL = data.digits().images[:120]
FAKE = (data.digits().images[300:400] // 2 + 20).to(torch.uint8)


def distance(real, fake):
    encoder = features.load("digits")
    return float(
        frechet_distance_from_features(encoder(real)["features"], encoder(fake)["features"])
    )


def test_they_are_torchmetrics_metrics():
    for name in metrics.image_metrics.__dict__:
        kind = getattr(metrics.image_metrics, name)
        if isinstance(kind, type) and issubclass(kind, nn.Module) and name[0] != "_":
            assert issubclass(kind, torchmetrics.Metric)


def collection():
    net = features.load("digits")
    return torchmetrics.MetricCollection(
        {
            "fid": FrechetInceptionDistance(net),
            "kid": KernelInceptionDistance(net, subsets=1, subset_size=60),
            "mifid": MemorizationInformedFrechetInceptionDistance(net),
            "prdc": metrics.PrecisionRecall(net),
        }
    )


def test_collection():
    all_of_them = collection()
    for part in REAL.split(50):
        all_of_them.update(part, real=True)
    for part in FAKE.split(50):
        all_of_them.update(part, real=False)
    torch.manual_seed(0)
    found = all_of_them.compute()
    net = features.load("digits")
    x, y = net(REAL)["features"], net(FAKE)["features"]
    drawn = kid(x, y, subsets=1, subset_size=60, draws="torch", seed=0)
    assert float(found["fid"]) == pytest.approx(distance(REAL, FAKE), rel=1e-5)
    assert float(found["kid"][0]) == pytest.approx(drawn.mean, rel=1e-4)
    assert float(found["mifid"]) == pytest.approx(mifid(x, y), rel=1e-5)
    scores = metrics.prdc(x, y)
    assert float(found["precision"]) == pytest.approx(scores.precision)
    # The three that keep features of one network run it once.
    assert sorted(map(len, all_of_them.compute_groups.values())) == [1, 3]


def test_equal_features_of_two_networks_are_not_shared():
    """A black batch gives both networks the same features."""
    nets = [nn.Flatten(), nn.Sequential(nn.Flatten(), nn.Threshold(100.0, 0.0))]
    found = torchmetrics.MetricCollection(
        {"one": FrechetInceptionDistance(nets[0]), "two": FrechetInceptionDistance(nets[1])}
    )
    black, images = torch.zeros(2, 1, 2, 2), REAL[:, :, 12:14, 12:14].float()
    for part, real in ((black, True), (images, True), (images / 2, False)):
        found.update(part, real=real)
    x, y = torch.cat([black, images]).flatten(1), (images / 2).flatten(1)
    scores = found.compute()
    assert float(scores["one"]) == pytest.approx(
        float(frechet_distance_from_features(x, y)), rel=1e-5
    )
    x, y = nets[1](x), nets[1](y)
    assert float(scores["two"]) == pytest.approx(
        float(frechet_distance_from_features(x, y)), rel=1e-5
    )


def _score_in_a_collection(rank, folder):
    scores = collection()
    shares = (REAL[:30], FAKE[:70]) if rank == 0 else (REAL[30:], FAKE[70:])
    for images, real in zip(shares, (True, False), strict=True):
        for part in images.split(25):
            scores.update(part, real=real)
    found = scores.compute()
    torch.save([float(found["fid"]), float(found["mifid"])], folder / f"{rank}.pt")


def test_collection_in_two_processes(tmp_path):
    processes.run(2, tmp_path, _score_in_a_collection, tmp_path)
    net = features.load("digits")
    expected = [distance(REAL, FAKE), mifid(net(REAL)["features"], net(FAKE)["features"])]
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("keep", [True, False])
def test_lightning_counts_real_images_once(keep, tmp_path):
    """Two epochs after Lightning's sanity check, which feeds images too."""
    lightning = pytest.importorskip("lightning")
    seen = []

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1)
            self.fid = FrechetInceptionDistance(
                features.load("digits"), reset_real_features=not keep
            )

        def training_step(self, batch, number):
            return self.layer(torch.ones(1, 1)).sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

        def validation_step(self, batch, number):
            real, fake = batch
            self.fid.update(real, real=True)
            self.fid.update(fake, real=False)
            self.log("fid", self.fid)

        def on_validation_epoch_end(self):
            seen.append(float(self.trainer.callback_metrics.get("fid", 0)))

    real, fake = REAL[:96], FAKE[:96]
    loader = DataLoader(TensorDataset(real, fake), batch_size=32)
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        num_sanity_val_steps=2,
    )  # fmt: skip
    model = Model()
    trainer.fit(model, DataLoader(TensorDataset(torch.ones(2, 1))), loader)
    assert float(trainer.callback_metrics["fid"]) == pytest.approx(distance(real, fake), rel=1e-5)
    assert set(model.state_dict()) == {"layer.weight", "layer.bias"}  # no network, no images


def test_ignite():
    engine = pytest.importorskip("ignite.engine")
    fid = FrechetInceptionDistance(features.load("digits"))
    evaluator = engine.Engine(lambda engine, batch: batch)

    @evaluator.on(engine.Events.ITERATION_COMPLETED)
    def add(running):
        real, fake = running.state.output
        fid.update(real, real=True)
        fid.update(fake, real=False)

    @evaluator.on(engine.Events.EPOCH_COMPLETED)
    def score(running):
        running.state.metrics["fid"] = float(fid.compute())
        fid.reset()

    real, fake = REAL[:100], FAKE
    evaluator.run(DataLoader(TensorDataset(real, fake), batch_size=30), max_epochs=2)
    assert evaluator.state.metrics["fid"] == pytest.approx(distance(real, fake), rel=1e-5)


def test_shared_network():
    net = features.load("digits")
    shared = wrappers.FeatureShare(
        [FrechetInceptionDistance(net), MemorizationInformedFrechetInceptionDistance(net)]
    )
    shared.update(REAL, real=True)
    shared.update(FAKE, real=False)
    found = shared.compute()
    assert float(found["FrechetInceptionDistance"]) == pytest.approx(distance(REAL, FAKE), rel=1e-5)
    cache = shared["FrechetInceptionDistance"].inception.network.forward.cache_info()
    assert (cache.hits, cache.misses) == (2, 2)


# torchmetrics' own published examples, with random weights.


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(public_inception.random_state(), path)
    return str(path)


def drawn(low, high, n=100, size=299):
    return torch.randint(low, high, (n, 3, size, size), dtype=torch.uint8)


def test_published_example_of_fid(weights):
    for antialias in (True, False):
        torch.manual_seed(42)
        fid = FrechetInceptionDistance(
            feature=64, feature_extractor_weights_path=weights, antialias=antialias
        )
        size = 299 if antialias else 80
        fid.update(drawn(0, 200, size=size), real=True)
        fid.update(drawn(100, 255, size=size), real=False)
        expected = PEER["fid" if antialias else "fid, not antialiased"]
        assert [float(fid.compute())] == pytest.approx(expected, rel=1e-5)


def test_published_example_of_mifid(weights):
    torch.manual_seed(42)
    score = MemorizationInformedFrechetInceptionDistance(
        feature=64, feature_extractor_weights_path=weights
    )
    score.update(drawn(0, 200), real=True)
    score.update(drawn(100, 255), real=False)
    assert [float(score.compute())] == pytest.approx(PEER["mifid"], rel=1e-5)


def test_resized_floats(weights):
    torch.manual_seed(42)
    fid = FrechetInceptionDistance(
        feature=192, feature_extractor_weights_path=weights, normalize=True
    )
    fid.update(torch.rand(220, 3, 40, 50), real=True)
    fid.update(torch.rand(220, 3, 40, 50) ** 1.1, real=False)
    assert [float(fid.compute())] == pytest.approx(PEER["fid, floats"], rel=1e-5)


@pytest.mark.slow
def test_published_example_of_kid(weights):
    torch.manual_seed(42)
    score = KernelInceptionDistance(subset_size=50, feature_extractor_weights_path=weights)
    score.update(drawn(0, 200), real=True)
    score.update(drawn(100, 255), real=False)
    # Differences of nearly equal kernels in float32, here and there.
    assert [float(x) for x in score.compute()] == pytest.approx(PEER["kid"], rel=5e-5)
    score.set_dtype(torch.float64)
    torch.manual_seed(0)
    found = [float(x) for x in score.compute()]
    assert found == pytest.approx(PEER["kid, in float64"], rel=1e-5)


@pytest.mark.slow
def test_published_example_of_the_inception_score(weights):
    torch.manual_seed(42)
    score = InceptionScore(feature_extractor_weights_path=weights)
    score.update(drawn(0, 255))
    assert [float(x) for x in score.compute()] == pytest.approx(PEER["is"], rel=1e-5, abs=1e-6)


@pytest.mark.slow
def test_published_example_of_a_shared_network(weights):
    shared = wrappers.FeatureShare(
        [
            FrechetInceptionDistance(feature_extractor_weights_path=weights),
            KernelInceptionDistance(
                subset_size=10, subsets=2, feature_extractor_weights_path=weights
            ),
        ]
    )
    for seed, real in ((42, True), (43, False)):
        images = torch.randint(
            255, (50, 3, 64, 64), dtype=torch.uint8, generator=torch.manual_seed(seed)
        )
        shared.update(images, real=real)
    found = shared.compute()
    fid = float(found["FrechetInceptionDistance"])
    assert [fid] == pytest.approx(PEER["shared fid"], rel=1e-5)
    pair = [float(x) for x in found["KernelInceptionDistance"]]
    # Small differences of sums in float32.
    assert pair == pytest.approx(PEER["shared kid"], rel=2e-3)
