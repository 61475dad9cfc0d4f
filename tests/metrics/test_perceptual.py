"""LPIPS and DISTS give the numbers of the projects' own packages, from random weights.

perceptual_numbers.json is what lpips 0.1.4 and DISTS_pytorch 0.1 gave for these weights, which were
loaded into torchvision's networks, and these images.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganfast.features.backbones import Slices
from ganfast.metrics import DISTS, LPIPS

NUMBERS = json.loads(Path(__file__).with_name("perceptual_numbers.json").read_text())
CHANNELS = {
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
    "squeeze": (64, 128, 256, 384, 384, 512, 512),
}
ENDS = {"alex": (12,), "vgg": (30,), "squeeze": (13,)}


def backbone(net: str) -> dict[str, Tensor]:
    """A state dict with torchvision's names: ``features.0.weight``, ..."""
    random = torch.Generator().manual_seed(0)
    state = {}
    for name, parameter in Slices(net, ENDS[net]).named_parameters():
        scale = (2 / parameter[0].numel()) ** 0.5 if parameter.dim() > 1 else 0.1
        x = torch.randn(parameter.shape, generator=random, dtype=torch.float64)
        state[name.replace("slice1", "features")] = (scale * x).float()
    return state


def linear(net: str) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    return {
        f"lin{k}.model.1.weight": torch.rand(1, n, 1, 1, generator=random)
        for k, n in enumerate(CHANNELS[net])
    }


def dists_weights() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(2)
    return {name: torch.rand(1, 1475, 1, 1, generator=random) for name in ("alpha", "beta")}


def images(low: float) -> list[Tensor]:
    """Two batches (2, 3, 33, 35) between ``low`` and 1, float64."""
    random = torch.Generator().manual_seed(3)
    size = (2, 3, 33, 35)
    return [low + (1 - low) * torch.rand(size, generator=random, dtype=torch.float64) for _ in "xy"]


def numbers_of(metric: Callable[[Tensor, Tensor], Tensor], low: float) -> list[float]:
    """The distances, then the norm of the gradient and its product with a wave."""
    x, y = images(low)
    x.requires_grad_()
    distances = metric(x, y)
    (g,) = torch.autograd.grad(distances.sum(), x)
    wave = torch.arange(g.numel(), dtype=torch.float64).sin()
    return [*distances.flatten().tolist(), g.norm().item(), (g.flatten() @ wave).item()]


Save = Callable[[str, dict[str, Tensor]], Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def save(name: str, state: dict[str, Tensor]) -> Path:
        torch.save(state, tmp_path / name)
        return tmp_path / name

    return save


def lpips(net: Any, save: Save) -> LPIPS:
    return LPIPS(net, backbone=save("b.pth", backbone(net)), linear=save("l.pth", linear(net)))


@pytest.mark.parametrize("net", CHANNELS)
def test_lpips(net: str, save: Save) -> None:
    metric = lpips(net, save).double()
    assert numbers_of(metric, -1.0) == pytest.approx(NUMBERS[f"lpips {net}"], rel=1e-9)
    x, y = images(-1.0)
    assert torch.equal(metric(x, x), torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(metric(x, y), metric(y, x))


def test_dists(save: Save) -> None:
    metric = DISTS(
        backbone=save("b.pth", backbone("vgg")), weights=save("w.pt", dists_weights())
    ).double()
    # The package takes a covariance as a difference, which cancels digits.
    assert numbers_of(metric, 0.0) == pytest.approx(NUMBERS["dists"], rel=1e-8)
    x, _ = images(0.0)
    assert metric(x, x).abs().max() < 1e-12


@pytest.mark.parametrize("name", ["lpips", "dists"])
def test_twice_differentiable(name: str, save: Save) -> None:
    """Along a direction, the slope of |gradient|^2 is that of its differences."""
    if name == "lpips":
        metric: nn.Module = lpips("squeeze", save).double()
    else:
        weights = save("w.pt", dists_weights())
        metric = DISTS(backbone=save("b.pth", backbone("vgg")), weights=weights).double()
    x, y = (image[:1, :, :17, :17].clone() for image in images(0.0))
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(4)).double()

    def squared_norm(step: Tensor) -> Tensor:
        z = x + step * direction
        (g,) = torch.autograd.grad(metric(z, y).sum(), z, create_graph=True)
        return g.square().sum()

    zero = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(squared_norm(zero), zero)
    step = torch.tensor(1e-6, dtype=torch.float64, requires_grad=True)
    differences = (squared_norm(step) - squared_norm(-step)) / (2 * step)
    torch.testing.assert_close(slope, differences.detach(), rtol=1e-4, atol=1e-9)


def test_parameters_have_the_projects_names(save: Save) -> None:
    names = list(lpips("alex", save).state_dict())
    assert names[:2] == ["scaling_layer.shift", "scaling_layer.scale"]
    assert {"net.slice1.0.weight", "net.slice5.10.bias", "lin4.model.1.weight"} <= set(names)
    assert len(names) == 2 + 10 + 5
    metric = DISTS(backbone=save("b.pth", backbone("vgg")), weights=save("w.pt", dists_weights()))
    wanted = {"stage1.0.weight", "stage2.4.filter", "stage5.28.bias", "alpha", "beta", "mean"}
    assert wanted <= set(metric.state_dict())
    assert not any(p.requires_grad for p in metric.parameters())
    assert not metric.training


def test_images_without_gradients_make_no_graph(save: Save) -> None:
    metric = lpips("squeeze", save)
    x, y = (image.float() for image in images(-1.0))
    assert metric(x, y).grad_fn is None
    assert torch.autograd.grad(metric(x, y.requires_grad_()).sum(), y)[0].isfinite().all()


def test_a_pixel_without_features_has_a_finite_gradient(save: Save) -> None:
    """The package's gradient is NaN there."""
    state = backbone("alex")
    for name in state:
        if name.endswith("bias"):
            state[name] = torch.full_like(state[name], -1e3)  # all features are 0
    metric = LPIPS("alex", backbone=save("b.pth", state), linear=save("l.pth", linear("alex")))
    x, y = (image.float() for image in images(-1.0))
    distance = metric(x.requires_grad_(), y)
    assert torch.equal(distance, torch.zeros(2))
    assert torch.equal(torch.autograd.grad(distance.sum(), x)[0], torch.zeros_like(x))


def test_half_precision_images(save: Save) -> None:
    metric = lpips("squeeze", save)
    x, y = (image.bfloat16() for image in images(-1.0))
    found = metric(x, y)
    assert found.dtype == torch.float32
    assert torch.equal(found, metric(x.float(), y.float()))


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Empty folders in place of those where weights are looked for."""
    found = [tmp_path / "ours", tmp_path / "hub"]
    for folder in found:
        folder.mkdir()
    monkeypatch.setattr("ganfast.features.weight_files.folders", lambda: found)
    monkeypatch.setattr("ganfast.metrics.perceptual.sys.prefix", str(tmp_path))
    monkeypatch.setattr("ganfast.metrics.perceptual.importlib.util.find_spec", lambda name: None)
    return found


def test_missing_files_are_named(folders: list[Path], save: Save) -> None:
    message = (
        "vgg16-397923af.pth are missing: get https://download.pytorch.org/models/vgg16-397923af"
        f".pth, put it into {folders[0]} under this name, or give its path as backbone"
    )
    for metric in (DISTS, lambda: LPIPS("vgg")):
        with pytest.raises(FileNotFoundError, match=message):
            metric()
    path = save("b.pth", backbone("vgg"))
    with pytest.raises(FileNotFoundError, match=r"lpips_vgg_v0.1.pth are missing: get weights/"):
        LPIPS("vgg", backbone=path)
    with pytest.raises(FileNotFoundError, match=r"get weights.pt of the DISTS_pytorch package"):
        DISTS(backbone=path)


def test_what_is_found_is_checked(folders: list[Path], save: Save) -> None:
    torch.save(backbone("squeeze"), folders[1] / "squeezenet1_1-b8a52dc0.pth")
    with pytest.raises(ValueError, match="must have sha256 b8a52dc0, got "):
        LPIPS("squeeze")


@pytest.mark.parametrize("package", ["lpips", "DISTS_pytorch"])
def test_installed_packages_are_searched(
    package: str, folders: list[Path], save: Save, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = type("Spec", (), {"origin": str(tmp_path / package / "__init__.py")})
    monkeypatch.setattr(
        "ganfast.metrics.perceptual.importlib.util.find_spec",
        lambda name: spec if name == package else None,
    )
    inside = "weights/v0.1/alex.pth" if package == "lpips" else "weights.pt"
    (tmp_path / package / inside).parent.mkdir(parents=True)
    torch.save(linear("alex"), tmp_path / package / inside)
    make = partial(LPIPS, "alex") if package == "lpips" else DISTS
    weights = save("b.pth", backbone("alex" if package == "lpips" else "vgg"))
    with pytest.raises(ValueError, match=f"{package}/{inside} must have sha256"):
        make(backbone=weights)


def test_other_files_are_refused(save: Save) -> None:
    good = save("b.pth", backbone("alex"))
    with pytest.raises(FileNotFoundError, match=r"backbone must be a file, got nothing.pth"):
        LPIPS("alex", backbone="nothing.pth")
    with pytest.raises(ValueError, match=r"backbone must hold features.0.weight, got lin0"):
        LPIPS("alex", backbone=save("l.pth", linear("alex")), linear=good)
    with pytest.raises(ValueError, match=r"must hold lin0.model.1.weight .* got nothing of that"):
        LPIPS("alex", backbone=good, linear=good)
    with pytest.raises(ValueError, match=r"lin1.model.1.weight of shape \[1, 192, 1, 1\], got \[1"):
        LPIPS("alex", backbone=good, linear=save("l.pth", linear("vgg")))
    with pytest.raises(ValueError, match="net must be one of alex, vgg, squeeze, got 'vgg16'"):
        LPIPS("vgg16")  # type: ignore[arg-type]


def test_unfit_images_are_refused(save: Save) -> None:
    metric: nn.Module = lpips("alex", save)
    x = torch.zeros(1, 3, 31, 31)
    metric(x, x)
    for bad in (torch.zeros(1, 3, 30, 40), torch.zeros(3, 40, 40), torch.zeros(1, 1, 40, 40)):
        with pytest.raises(ValueError, match=r"\(N, 3, H, W\), with H and W at least 31, got"):
            metric(bad, bad)
    with pytest.raises(ValueError, match="must have the same shape"):
        metric(x, x[:, :, :, 1:])
    with pytest.raises(TypeError, match=r"y must be a floating-point tensor of images, got"):
        metric(x, x.byte())
