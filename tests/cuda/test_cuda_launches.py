"""How many kernels the losses on the list ops start, and what they wait for: nothing."""

from collections.abc import Callable

import pytest
import torch
from launches import launches, launches_of
from numerics import generator
from torch import Tensor

from ganfast import ops
from ganfast.losses import (
    AdversarialLoss,
    Balancer,
    adaptive_weight_loss,
    feature_matching,
)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed)).cuda().requires_grad_()


def two_hundred(side: int) -> list[Tensor]:
    return [randn(1000 + 37 * k, seed=2 * k + side) for k in range(200)]


def features(discriminators: int, layers: int, seed: int = 0) -> list[list[Tensor]]:
    return [
        [randn(2, 32 + k, 50 + d, seed=seed + k * d) for k in range(layers)]
        for d in range(discriminators)
    ]


@pytest.mark.parametrize("kind", ["non_saturating", "least_squares", "wasserstein", "hinge"])
def test_one_launch_each_way_for_a_discriminator_loss(kind: str) -> None:
    real, fake, loss = randn(64, 1), randn(64, 1, seed=1), AdversarialLoss(kind)
    forward, backward = launches_of(lambda: loss.discriminator(real, fake), [real, fake])
    assert len(forward) == 1, forward
    assert len(backward) == 1, backward


@pytest.mark.parametrize("y", [randn, lambda *shape, seed: torch.tensor(0.5, device="cuda")])
def test_one_launch_each_way_for_small_differences(y: Callable[..., Tensor]) -> None:
    x, y = randn(64, 1), y(64, 1, seed=1)
    inputs = [t for t in (x, y) if t.requires_grad]
    forward, backward = launches_of(
        lambda: ops.flat([x], "softplus", [1.0], [-1.0], [0.0], [y]), inputs
    )
    assert len(forward) == 1, forward
    assert len(backward) == 1, backward


@pytest.mark.parametrize("per_term", [False, True])
@pytest.mark.parametrize("differences", [False, True])
def test_few_launches_for_two_hundred_tensors(differences: bool, per_term: bool) -> None:
    x, y = two_hundred(0), two_hundred(1) if differences else []
    ones = [1.0] * 200
    forward, backward = launches_of(
        lambda: ops.flat(x, "l1", ones, ones, ones, y, per_term=per_term), [*x, *y]
    )
    assert len(forward) <= 2, forward
    assert len(backward) == 1, backward


def test_the_gradient_of_numbers_takes_one_more() -> None:
    x, ones = two_hundred(0), [1.0] * 200
    y = [randn(1, seed=k) for k in range(200)]
    forward, backward = launches_of(lambda: ops.flat(x, "l1", ones, ones, ones, y), [*x, *y])
    assert len(forward) <= 2, forward
    assert len(backward) == 2, backward


def test_two_launches_forward_and_one_back_for_54_maps() -> None:
    real, fake = features(9, 6), features(9, 6, seed=1)
    inputs = [x for maps in fake for x in maps]
    forward, backward = launches_of(lambda: feature_matching(real, fake, weight=2.0), inputs)
    assert len(forward) <= 2, forward
    assert len(backward) == 1, backward


def test_statistics_cost_nothing_on_the_way_back() -> None:
    real, fake = randn(64, 1), randn(64, 1, seed=1)
    loss, _ = AdversarialLoss().discriminator_with_stats(real, fake)
    one = torch.ones((), device="cuda")
    backward = launches(lambda: torch.autograd.grad(loss, [real, fake], one, retain_graph=True))
    assert len(backward) == 1, backward


@pytest.mark.parametrize(("phi", "pixel"), [("centred", False), ("power", False), ("square", True)])
def test_two_launches_forward_and_one_backward_for_norms(phi: str, pixel: bool) -> None:
    """And a third forward for the sum over many pixels."""
    g = randn(64, 3, 64, 64)
    forward, backward = launches_of(lambda: ops.norms([g], phi, 10.0, 1.0, 0.0, pixel), [g])
    assert len(forward) <= 2 + pixel, forward
    assert len(backward) == 1, backward


@pytest.mark.parametrize("maps", [1, 8])
def test_launches_of_a_loss_of_samples(maps: int) -> None:
    """Of rows one each way; one more each way for the sums of the weights."""
    real, fake = ([randn(16, 100 + k, seed=k) for k in range(maps)] for _ in range(2))
    s = torch.rand(16, generator=generator(1)).cuda()
    rows, mean = AdversarialLoss(reduction="none"), AdversarialLoss()
    for loss, count in (
        (lambda: rows.discriminator(real, fake), 1),
        (lambda: mean.discriminator(real, fake, real_weight=s, fake_weight=s), 2),
    ):
        for of_one_way in launches_of(loss, real + fake):
            assert sum("rows_" in name for name in of_one_way) == count, of_one_way


def test_the_host_waits_for_nothing() -> None:
    real, fake = features(2, 3), features(2, 3, seed=1)
    flat = [x for maps in fake for x in maps]
    layer = torch.eye(8, device="cuda", requires_grad=True)
    x, g = randn(4, 8).detach(), randn(64, 3, 64, 64)
    logits, numbers = [randn(100_000), randn(64, seed=1)], [randn(()), randn(1)]
    s = torch.rand(4, generator=generator(2)).cuda()
    ones, hinge = [1.0, 1.0], AdversarialLoss("hinge")
    balancer = Balancer({"a": 1.0, "b": 2.0}).cuda()
    scaler = torch.amp.GradScaler("cuda")
    scaler.scale(torch.ones((), device="cuda"))  # makes its factor on the device
    torch.cuda.set_sync_debug_mode("error")
    try:
        for y in ([], numbers):
            loss = ops.flat(logits, "softplus", ones, ones, ones, y)
            dx = torch.autograd.grad(loss, [*logits, *y], create_graph=True)
            torch.autograd.grad([d.square().sum() for d in dx], logits)
        hinge.generator(logits).backward()
        hinge.discriminator(x @ layer, x @ layer, real_weight=s, fake_weight=s).backward()
        torch.autograd.grad(ops.norms([g], "centred", 10.0, 1.0), g)
        for kind in ("l1", "l2", "relative_l1"):
            dx = torch.autograd.grad(feature_matching(real, fake, kind), flat, create_graph=True)
            torch.autograd.grad([d.square().sum() for d in dx], flat, allow_unused=True)
        output = x @ layer
        nll, of_g = output.abs().mean(), output.square().mean()
        adaptive_weight_loss(nll, of_g, output, layer, scaler=scaler)[0].backward()
        output = x @ layer
        balancer({"a": output.abs().mean(), "b": output.sin().mean()}, output, scaler).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_scaled_float16_step() -> None:
    x = torch.full((2**15,), -8.0, dtype=torch.float16, device="cuda", requires_grad=True)
    with torch.autocast("cuda", dtype=torch.float16):
        loss = AdversarialLoss("bce").discriminator([x], [x.detach()])
    scaler = torch.amp.GradScaler("cuda", init_scale=65536.0)
    (dx,) = torch.autograd.grad(scaler.scale(loss), x)
    expected = -torch.sigmoid(-x.detach().double()) * 65536 / x.numel()
    assert dx.dtype == torch.float16
    torch.testing.assert_close(dx, expected.half(), rtol=2**-10, atol=0)


def test_probabilities_under_autocast() -> None:
    p = randn(64).sigmoid().detach().half().requires_grad_()
    loss = AdversarialLoss("bce", from_probs=True)
    outside = loss.generator(p)
    with torch.autocast("cuda", dtype=torch.float16):
        assert torch.equal(loss.generator(p), outside)
