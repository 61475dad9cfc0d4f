import pytest
import torch
from torch import Tensor, nn

from ganfast import data, features
from ganfast.metrics import (
    FrechetLoss,
    FrechetStatistics,
    Moments,
    frechet_distance_from_features,
)
from ganfast.models import dcgan


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def of(x: Tensor) -> FrechetStatistics:
    statistics = FrechetStatistics(x.shape[1])
    statistics.update(x)
    return statistics


@pytest.mark.parametrize("batch", [2, 5, 8, 9, 40])
@pytest.mark.parametrize("real", [60, 4])  # 4: a singular reference
def test_value_and_gradient(batch: int, real: int) -> None:
    reference, x = randn(real, 8, seed=0) * 2 + 1, randn(batch, 8, seed=1).requires_grad_()
    loss = FrechetLoss(of(reference))
    want = float(frechet_distance_from_features(reference, x.detach()))
    assert float(loss(x)) == pytest.approx(want, rel=1e-9)
    assert torch.autograd.gradcheck(loss, (x,))


@pytest.mark.parametrize("batch", [3, 20])
def test_gradient_where_all_is_singular(batch: int) -> None:
    # Features on a line: nothing is inverted, so nothing is large.
    line = randn(1, 6, seed=0)
    x = (randn(batch, 1, seed=1) * line).requires_grad_()
    value = frechet_distance_from_features(x, randn(30, 1, seed=2) * line)
    value.backward()
    assert x.grad.isfinite().all()
    size = float(x.detach().square().sum().sqrt())
    assert float(x.grad.norm()) <= 4 * (size + 30)


def test_float32_features_get_the_gradient_of_float64() -> None:
    x, y = randn(30, 50, seed=0), randn(200, 50, seed=1)
    loss = FrechetLoss(of(y))
    grads = []
    for dtype in (torch.float64, torch.float32):
        leaf = x.to(dtype, copy=True).requires_grad_()
        loss(leaf).backward()
        assert leaf.grad.dtype == dtype
        grads.append(leaf.grad.double())
    torch.testing.assert_close(grads[1], grads[0], rtol=0, atol=1e-6 * float(grads[0].abs().max()))


def test_no_distance_no_gradient() -> None:
    x = randn(30, 4, seed=0).requires_grad_()
    value = frechet_distance_from_features(x, x.detach())
    value.backward()
    assert value == 0
    assert x.grad.abs().max() < 1e-12


def test_queue() -> None:
    loss = FrechetLoss(of(randn(60, 4, seed=0)), queue=5)
    batches = [randn(3, 4, seed=s).requires_grad_() for s in range(1, 4)]
    for k, batch in enumerate(batches):
        # The latest five before this batch.
        before = torch.cat([b.detach() for b in reversed(batches[:k])] + [randn(0, 4, seed=0)])[:5]
        want = FrechetLoss(of(randn(60, 4, seed=0)))(torch.cat([batch, before]))
        found = loss(batch)
        assert float(found) == pytest.approx(float(want), rel=1e-12)
        (gradient,) = torch.autograd.grad(found, batch)
        torch.testing.assert_close(gradient, torch.autograd.grad(want, batch)[0])
    alone = float(frechet_distance_from_features(randn(60, 4, seed=0), batches[0].detach()))
    assert float(loss.eval()(batches[0])) == pytest.approx(alone, rel=1e-9)
    assert len(loss.kept) == 5


def test_a_module_like_any_other() -> None:
    loss = FrechetLoss(Moments(torch.zeros(3), torch.eye(3)))
    assert set(loss.state_dict()) == {"mean", "root"}
    x = randn(7, 3, seed=0)
    want = loss(x)
    other = FrechetLoss(Moments(torch.ones(3), 2 * torch.eye(3)))
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other(x), want)
    assert loss.half()(x).dtype == torch.float64
    with pytest.raises(ValueError, match=r"features must have shape \(N, 3\), got \(7, 2\)"):
        loss(x[:, :2])
    with pytest.raises(ValueError, match="features must hold at least 2 samples, got 1"):
        loss(x[:1])
    with pytest.raises(ValueError, match="queue must be at least 0, got -1"):
        FrechetLoss(Moments(torch.zeros(3), torch.eye(3)), queue=-1)
    with pytest.raises(ValueError, match="reference must be a positive semi-definite"):
        FrechetLoss(Moments(torch.zeros(3), -torch.eye(3)))
    with pytest.raises(TypeError, match="reference must be FrechetStatistics or Moments"):
        FrechetLoss(nn.Identity())


def test_a_generator_learns_from_the_distance_alone() -> None:
    # Batches of 48 in 64 dimensions, no discriminator.
    torch.manual_seed(0)
    net = features.digits()
    real = features.extract(net, data.digits().images[:2000])
    loss = FrechetLoss(of(real))
    generator = dcgan.Generator(latent_dim=16, width=8)
    optimizer = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.9))
    latents = torch.randn(500, 16)

    @torch.no_grad()
    def distance() -> float:
        fake = net(generator.eval()(latents))
        generator.train()
        return float(frechet_distance_from_features(real, fake))

    before = distance()
    for _ in range(90):
        optimizer.zero_grad()
        loss(net(generator(torch.randn(48, 16)))).backward()
        optimizer.step()
    assert distance() < before / 4
