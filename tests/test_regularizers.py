"""Regularizers against formulas in plain torch."""

import copy

import pytest
import torch
from numerics import generator
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.nn.utils import parametrize

from ganfast import regularizers


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=generator(seed))


def test_consistency_of_tensors_and_maps() -> None:
    x, y = randn(4, 3), randn(4, 3, seed=1)
    expected = 10 * ((x - y) ** 2).mean()
    torch.testing.assert_close(regularizers.consistency(x, y), expected)
    both = regularizers.consistency([x, 2 * x[:2]], [y, 2 * y[:2]], weight=10.0)
    torch.testing.assert_close(both, expected + 40 * ((x[:2] - y[:2]) ** 2).mean())
    with pytest.raises(ValueError, match="same number of maps, got 2 and 1"):
        regularizers.consistency([x, x], [y])


def test_gradients_of_consistency_reach_both_sides() -> None:
    x, y = randn(4, 3).requires_grad_(), randn(4, 3, seed=1).requires_grad_()
    assert gradcheck(lambda x, y: regularizers.consistency(x, y), (x, y))


def test_latent_diversity_is_rewarded() -> None:
    x, y = randn(4, 3), randn(4, 3, seed=1)
    got = regularizers.latent_diversity(x, y, weight=0.5)
    torch.testing.assert_close(got, -0.5 * ((x - y) ** 2).mean())


def test_disc_shift() -> None:
    x = randn(4, 1)
    torch.testing.assert_close(regularizers.disc_shift(x), 0.001 * (x**2).mean())
    torch.testing.assert_close(
        regularizers.disc_shift([x, x[:2]], weight=1.0), (x**2).mean() + (x[:2] ** 2).mean()
    )


@pytest.mark.parametrize("layers", [None, 3])
@pytest.mark.parametrize("eps", [0.0, 1e-2])
def test_path_length_of_a_linear_generator(layers: int | None, eps: float) -> None:
    """G(w) = A w has the gradient A^T y for any w; gradients flow through the moving mean."""
    a, noise = randn(2 * 4 * 4, 5).requires_grad_(), randn(6, 2, 4, 4, seed=1)
    w = randn(6, 5, seed=2) if layers is None else randn(6, layers, 5, seed=2)
    w.requires_grad_()
    flat = w if layers is None else w.sum(1)
    regularizer = regularizers.PathLength(weight=2.0, decay=0.25, eps=eps)
    got = regularizer((flat @ a.T).view(6, 2, 4, 4), w, noise)
    g = noise.view(6, -1) / 4 @ a  # of each layer
    lengths = ((g**2).sum(1) + eps).sqrt().float()
    mean = 0.25 * lengths.mean()
    expected = 2 * ((lengths - mean) ** 2).mean()
    torch.testing.assert_close(regularizer.mean, mean.detach())
    torch.testing.assert_close(got.float(), expected)
    torch.testing.assert_close(
        torch.autograd.grad(got, a), torch.autograd.grad(expected, a), rtol=1e-5, atol=1e-6
    )


def test_path_length_keeps_its_mean() -> None:
    regularizer = regularizers.PathLength(decay=0.5)
    lengths = []
    for seed in range(3):
        w = randn(4, 5, seed=seed).float().requires_grad_()
        scale = torch.tensor(2.0 + seed, requires_grad=True)
        images = (scale * w).view(4, 5, 1, 1)
        regularizer(images, w, torch.ones(4, 5, 1, 1)).backward()
        assert scale.grad.isfinite()
        lengths.append((2.0 + seed) * 5**0.5)
    mean = 0.0
    for length in lengths:
        mean = 0.5 * mean + 0.5 * length
    assert regularizer.mean.item() == pytest.approx(mean)
    other = regularizers.PathLength()
    other.load_state_dict(regularizer.state_dict())
    assert other.mean == regularizer.mean


def test_a_path_of_no_length_has_no_nan() -> None:
    w = randn(4, 5).requires_grad_()
    scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
    penalty = regularizers.PathLength()((scale * w).view(4, 5, 1, 1), w)
    penalty.backward()
    assert scale.grad == 0


def test_path_length_refuses_latents_without_gradients() -> None:
    with pytest.raises(ValueError, match="latents must require gradients"):
        regularizers.PathLength()(torch.ones(1, 1, 2, 2), torch.ones(1, 3))


def test_orthogonal() -> None:
    """Its gradient is 4 (W W^T without diagonal) W: twice what BigGAN's code adds."""
    module = nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Linear(4, 5)).double()
    penalty = regularizers.orthogonal(module, weight=0.5)
    expected = 0.0
    for layer in (module[0], module[2]):
        rows = layer.weight.detach().reshape(layer.weight.shape[0], -1)
        for i in range(len(rows)):
            expected += sum((rows[i] @ rows[j]) ** 2 for j in range(len(rows)) if j != i)
    torch.testing.assert_close(penalty.detach(), 0.5 * expected)
    penalty.backward()
    w = module[2].weight.detach()
    products = w @ w.T
    products.fill_diagonal_(0)
    torch.testing.assert_close(module[2].weight.grad, 0.5 * 4 * products @ w)
    assert module[1].weight.grad is None


def test_orthogonal_skips_by_name() -> None:
    module = nn.ModuleDict({"embed": nn.Embedding(3, 2), "linear": nn.Linear(2, 2)})
    penalty = regularizers.orthogonal(module, weight=1.0, skip=lambda name: "embed" in name)
    torch.testing.assert_close(penalty, regularizers.orthogonal(module["linear"], weight=1.0))
    assert regularizers.orthogonal(nn.Linear(1, 1)) == 0
    with pytest.raises(ValueError, match="not skipped"):
        regularizers.orthogonal(nn.BatchNorm2d(3))


def quadratic(x: Tensor) -> Tensor:
    """D(x) = -|x|^2 / 2, whose gradient is -x."""
    return -x.square().sum(1) / 2


@pytest.mark.parametrize("steps", [1, 3])
def test_optimised_latents(steps: int) -> None:
    z = 0.4 * randn(5, 4)
    got = regularizers.optimised_latents(
        lambda z: 2 * z, quadratic, z, alpha=0.3, beta=2.0, steps=steps, clip=(-0.5, 0.5)
    )
    expected = z
    for _ in range(steps):
        g = -4 * expected
        expected = expected + 0.3 * g / (2.0 + (g**2).sum(1, keepdim=True))
        expected = expected.clamp(-0.5, 0.5)
    torch.testing.assert_close(got.detach(), expected)


def test_gradients_flow_through_optimised_latents() -> None:
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    z = 0.1 * randn(5, 4)

    def moved(scale: Tensor) -> Tensor:
        return regularizers.optimised_latents(lambda z: scale * z, quadratic, z, clip=None)

    assert gradcheck(moved, scale)
    constant = regularizers.optimised_latents(
        lambda z: scale * z, quadratic, z, clip=None, create_graph=False
    )
    assert not constant.requires_grad
    torch.testing.assert_close(constant, moved(scale).detach())


def test_a_share_of_the_latents_moves() -> None:
    z = 0.1 * randn(100, 40)
    got = regularizers.optimised_latents(
        lambda z: z, quadratic, z, rate=0.3, random=generator(0), create_graph=False
    )
    share = (got != z).double().mean().item()
    assert share == pytest.approx(0.3, abs=0.04)


def test_spectral_norm_on_a_whole_model() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 3, 3), nn.Flatten(),
        nn.Linear(12, 2),
    )  # fmt: skip
    assert regularizers.spectral_normalise(module, power_iterations=50) is module
    module.train()
    for index in (0, 2, 4):
        layer = module[index]
        weight = layer.weight.detach()
        rows = weight.transpose(0, 1) if index == 2 else weight
        largest = torch.linalg.matrix_norm(rows.reshape(rows.shape[0], -1), 2)
        assert largest.item() == pytest.approx(1, abs=1e-3)
    assert not parametrize.is_parametrized(module[1])


def test_spectral_norm_twice_is_once() -> None:
    module = regularizers.spectral_normalise(nn.Sequential(nn.Linear(3, 2)))
    state = copy.deepcopy(module.state_dict())
    regularizers.spectral_normalise(module)
    assert module.state_dict().keys() == state.keys()
    with pytest.raises(ValueError, match="must hold a layer of the types Linear"):
        regularizers.spectral_normalise(nn.ReLU(), types=(nn.Linear,))
