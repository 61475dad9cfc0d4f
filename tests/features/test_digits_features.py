import hashlib
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from ganfast.data import digits as digits_data
from ganfast.data import idx_folder, to_float
from ganfast.features import DigitsFeatures, digits, extract
from ganfast.features.digit_network import WEIGHTS
from ganfast.metrics import frechet_distance_from_features

REPOSITORY = Path(__file__).parents[2]
MNIST = Path(os.environ.get("GANFAST_MNIST", REPOSITORY.parent / "shared" / "data" / "mnist"))
needs_mnist = pytest.mark.skipif(not MNIST.is_dir(), reason="needs the full MNIST (GANFAST_MNIST)")


@pytest.fixture(scope="module")
def net() -> DigitsFeatures:
    return digits()


@pytest.fixture(scope="module")
def features(net: DigitsFeatures) -> torch.Tensor:
    return extract(net, digits_data().images)


def metadata() -> dict[str, str]:
    with safe_open(WEIGHTS, framework="pt") as file:
        return file.metadata()


def test_the_embedded_digits_are_recognised(net: DigitsFeatures, features: torch.Tensor) -> None:
    found = net.head(features).argmax(dim=1)
    assert (found == digits_data().labels).double().mean() >= 0.99


@needs_mnist
def test_the_mnist_test_set_is_recognised_as_the_file_says(net: DigitsFeatures) -> None:
    data = idx_folder(MNIST, "test")
    found = torch.cat([net.classify(to_float(part)) for part in data.images.split(1000)])
    accuracy = (found.argmax(dim=1) == data.labels).double().mean().item()
    assert accuracy >= 0.99
    # Another machine may round a borderline image to the other side.
    assert accuracy == pytest.approx(float(metadata()["test_accuracy"]), abs=3e-4)


@needs_mnist
def test_the_file_names_the_data_it_was_trained_on() -> None:
    images = idx_folder(MNIST).images.numpy()
    assert metadata()["training_images_sha256"] == hashlib.sha256(images.tobytes()).hexdigest()
    assert {"seed", "epochs"} <= metadata().keys()


def test_features_are_well_spread(features: torch.Tensor) -> None:
    assert features.shape == (5000, 64)
    assert features.dtype == torch.float32
    covariance = torch.cov(features.double().T)
    assert covariance.diagonal().min() > 0.1  # no dead unit
    spectrum = torch.linalg.eigvalsh(covariance)
    assert spectrum[0] > 1e-3 * spectrum[-1]  # no direction collapsed
    assert spectrum.sum() ** 2 / spectrum.square().sum() > 9  # more than the ten class means span


def test_the_distance_on_them_grows_with_the_damage(
    net: DigitsFeatures, features: torch.Tensor
) -> None:
    images, labels = digits_data().images, digits_data().labels
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))

    def distance(level: float) -> float:
        noisy = (images + level * noise).clamp(0, 255).to(torch.uint8)
        return frechet_distance_from_features(features, extract(net, noisy))

    halves = torch.randperm(5000, generator=torch.Generator().manual_seed(0)).chunk(2)
    same = frechet_distance_from_features(features[halves[0]], features[halves[1]])
    assert same < distance(10) < distance(30) < distance(90)
    assert frechet_distance_from_features(features, features[labels != 3]) > 5 * same


def test_the_net_is_frozen_but_lets_gradients_reach_the_images(net: DigitsFeatures) -> None:
    assert (net.name, net.dim, net.training) == ("digits", 64, False)
    assert not any(parameter.requires_grad for parameter in net.parameters())
    images = to_float(digits_data().images[:2]).requires_grad_()
    net(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_logits_are_linear_in_the_features(net: DigitsFeatures) -> None:
    images = to_float(digits_data().images[:7])
    expected = net(images) @ net.head.weight.T + net.head.bias
    torch.testing.assert_close(net.classify(images), expected)
    assert net.classify(images).shape == (7, 10)


def test_other_images_are_refused(net: DigitsFeatures) -> None:
    with pytest.raises(TypeError, match=r"images must be torch\.float32, got torch\.uint8"):
        net(digits_data().images[:1])
    for shape in ((1, 1, 32, 32), (1, 3, 28, 28), (1, 28, 28)):
        with pytest.raises(ValueError, match=r"images must have shape \(N, 1, 28, 28\), got"):
            net(torch.zeros(shape))


def test_weights_that_were_changed_are_refused(tmp_path: Path) -> None:
    assert WEIGHTS.stat().st_size <= 500_000
    changed = tmp_path / "digits.safetensors"
    shutil.copy(WEIGHTS, changed)
    raw = bytearray(changed.read_bytes())
    raw[-1] ^= 1
    changed.write_bytes(raw)
    with pytest.raises(ValueError, match=r"digits\.safetensors must have sha256 .* got"):
        digits(changed)
    with pytest.raises(FileNotFoundError):
        digits(tmp_path / "none.safetensors")


def test_extract_does_not_depend_on_the_batch_size_or_the_form(
    net: DigitsFeatures, features: torch.Tensor
) -> None:
    images = digits_data().images[:130]
    for batch_size in (1, 64, 130, 1000):
        found = extract(net, images, batch_size=batch_size)
        torch.testing.assert_close(found, features[:130], rtol=0, atol=1e-5)
    torch.testing.assert_close(extract(net, to_float(images)), features[:130], rtol=0, atol=1e-5)
    assert not found.requires_grad


def test_extract_refuses_what_gives_no_features(net: DigitsFeatures) -> None:
    images = digits_data().images[:4]
    with pytest.raises(ValueError, match="net must be in eval mode"):
        extract(nn.Flatten(), images)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        extract(net, images, batch_size=0)
    with pytest.raises(ValueError, match="images must hold at least 1 image, got 0"):
        extract(net, images[:0])
