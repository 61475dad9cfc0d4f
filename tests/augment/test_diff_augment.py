"""DiffAugment and AdaptiveAugment as users call them."""

import inspect
from pathlib import Path

import processes
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from numerics import generator
from ops.augmented import augment_plainly
from torch import Tensor, nn

import ganfast
from ganfast import penalties
from ganfast.augment import PIECES, AdaptiveAugment, DiffAugment, draw

POLICY = "color,translation,cutout"


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape or (5, 3, 16, 12), dtype=torch.float64, generator=generator(seed))


def test_the_well_known_signature() -> None:
    assert ganfast.DiffAugment is DiffAugment
    signature = inspect.signature(DiffAugment).parameters
    assert list(signature)[:3] == ["x", "policy", "channels_first"]
    assert signature["policy"].default == ""
    assert signature["channels_first"].default is True


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=5), st.booleans())
def test_pieces_are_applied_in_the_order_of_the_policy(policy: list[str], some: bool) -> None:
    """Apply the pieces one by one, with new numbers for each run in the usual order."""
    x, p = images(), torch.tensor(0.5) if some else None
    y = DiffAugment(x, ", ".join(policy), generator=generator(1), p=p)
    random, expected, u, last = generator(1), x, Tensor(), 3
    unchanged = torch.zeros(5, dtype=torch.bool)
    for piece in policy:
        if PIECES.index(piece) <= last:
            u = draw(5, generator=random, p=p)
            if some and last == 3:
                unchanged = u[:, 7] >= 0
        last = PIECES.index(piece)
        step = augment_plainly(expected, u[:, :7], *(piece == name for name in PIECES))
        expected = torch.where(unchanged.view(-1, 1, 1, 1), x, step)
    torch.testing.assert_close(y, expected)


def test_a_generator_makes_it_reproducible() -> None:
    x = images()
    first, again = (DiffAugment(x, POLICY, generator=generator(2)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, DiffAugment(x, POLICY, generator=generator(3)))
    torch.manual_seed(4)
    first = DiffAugment(x, POLICY)
    torch.manual_seed(4)
    assert torch.equal(first, DiffAugment(x, POLICY))


def test_channels_last_images_keep_their_layout() -> None:
    x = images()
    y = DiffAugment(x.permute(0, 2, 3, 1).contiguous(), POLICY, False, generator(2))
    assert y.is_contiguous()
    torch.testing.assert_close(y.permute(0, 3, 1, 2), DiffAugment(x, POLICY, True, generator(2)))


@pytest.mark.parametrize("policy", ["color", "color,translation,cutout", "cutout,color"])
def test_contiguous_images_can_be_viewed(policy: str, route: str) -> None:
    """As the paper's code can; those in channels_last can be flattened."""
    x = torch.randn(3, 4, 6, 5)
    for images in (x, x[:, :, :, ::2], x.permute(0, 1, 3, 2)):
        assert DiffAugment(images, policy).view(3, -1).shape == (3, images[0].numel())
    assert (
        DiffAugment(x.permute(0, 2, 3, 1).contiguous(), policy, False).view(3, -1).shape[1] == 120
    )
    last = DiffAugment(x.contiguous(memory_format=torch.channels_last), policy)
    assert last.flatten(1).shape == (3, 120)


def test_an_empty_policy_changes_nothing() -> None:
    x = images()
    assert DiffAugment(x) is x
    assert torch.equal(DiffAugment(x, "", channels_first=False), x)


def test_no_policy_and_no_images_change_nothing() -> None:
    x = images(2, 3, 4, 4)
    assert DiffAugment(x, None) is x
    assert DiffAugment(x[:0], "color,translation,cutout").shape == (0, 3, 4, 4)


@pytest.mark.parametrize("policy", ["colour", "color;cutout", "color,flip"])
def test_an_unknown_piece_is_refused(policy: str) -> None:
    with pytest.raises(ValueError, match=r"policy must be made of color, translation, cutout, got"):
        DiffAugment(images(), policy)


def test_the_ranges_of_what_is_drawn() -> None:
    n = 4000
    gray = DiffAugment(torch.full((n, 1, 1, 1), 2.0), "color", generator=generator(0)) - 2
    assert -0.5 <= gray.min() < -0.49
    assert 0.49 < gray.max() < 0.5
    ones = torch.ones(n, 1, 32, 24)
    rows = DiffAugment(ones, "translation", generator=generator(0)).amax((1, 3)).sum(1)
    columns = DiffAugment(ones, "translation", generator=generator(0)).amax((1, 2)).sum(1)
    assert rows.unique().tolist() == [28, 29, 30, 31, 32]
    assert columns.unique().tolist() == [21, 22, 23, 24]
    cut = (DiffAugment(ones, "cutout", generator=generator(0)) == 0).sum((1, 2, 3))
    assert cut.min() == 8 * 6  # the centre at a corner
    assert cut.max() == 16 * 12
    # Two pixels, or one of two channels: contrast and saturation separately.
    x = torch.tensor([[-1.0, 1.0]]).view(1, 1, 1, 2).expand(n, 1, 1, 2)
    contrast = DiffAugment(x, "color", generator=generator(0)).diff(dim=3) / 2
    assert 0.5 <= contrast.min() < 0.51
    assert 1.49 < contrast.max() < 1.5
    color = DiffAugment(x.permute(0, 3, 1, 2), "color", generator=generator(0)).diff(dim=1) / 2
    saturation = color.flatten() / contrast.flatten()
    assert 0 <= saturation.min() < 0.01
    assert 1.99 < saturation.max() < 2


def test_r1_through_the_augmentation(route: str) -> None:
    weight = images(1, 3, 16, 12, seed=1).requires_grad_()

    def discriminator(x: Tensor) -> Tensor:
        return torch.tanh((x * weight).sum((1, 2, 3)) / 10)

    real, u = images(), draw(5, generator=generator(6))
    penalty = penalties.r1(
        lambda x: discriminator(DiffAugment(x, POLICY, generator=generator(6))), real, gamma=3.0
    )
    leaf = real.clone().requires_grad_()
    logits = discriminator(augment_plainly(leaf, u, True, True, True))
    (g,) = torch.autograd.grad(logits.sum(), leaf, create_graph=True)
    expected = 1.5 * g.square().sum((1, 2, 3)).mean()
    torch.testing.assert_close(penalty, expected)
    torch.testing.assert_close(
        torch.autograd.grad(penalty, weight), torch.autograd.grad(expected, weight)
    )


def test_compiled_as_a_trainer_does() -> None:
    torch.compiler.reset()
    compiled = torch.compile(
        lambda x: DiffAugment(x, POLICY).square().sum(), fullgraph=True, backend="aot_eager"
    )
    x = images().requires_grad_()
    torch.manual_seed(3)
    (got,) = torch.autograd.grad(compiled(x), x)
    torch.manual_seed(3)
    (expected,) = torch.autograd.grad(DiffAugment(x, POLICY).square().sum(), x)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("policy", [POLICY, "cutout,translation,color"])
def test_each_image_is_augmented_with_probability_p(policy: str) -> None:
    x = images(4000, 1, 4, 4)
    for p in (0.0, 0.3, 1.0):
        y = DiffAugment(x, policy, generator=generator(0), p=torch.tensor(p))
        share = (y != x).flatten(1).any(1).double().mean()
        assert abs(share - p) < 4 * (p * (1 - p) / 4000) ** 0.5 + 1e-12
    adaptive = AdaptiveAugment(policy, p=0.3)
    y = DiffAugment(x, policy, generator=generator(5), p=torch.tensor(0.3))
    assert torch.equal(adaptive(x, generator=generator(5)), y)


def test_p_follows_the_signs_of_real_logits() -> None:
    adaptive = AdaptiveAugment(target=0.5, kimg=0.1, interval=2, p=0.25, limit=0.5)
    confident, unsure = torch.tensor([[2.0], [0.1], [3.0], [1.0]]), torch.tensor([1.0, -1.0] * 2)
    expected = [0.25, 0.33, 0.33, 0.41, 0.41, 0.49, 0.49, 0.5]
    for p in expected:
        adaptive.update(confident)
        assert adaptive.p.item() == pytest.approx(p)
    # The mean over two updates is on the target: the sign of zero.
    for p in (0.5, 0.5):
        adaptive.update(confident if adaptive.updates == 0 else unsure)
        assert adaptive.p.item() == p
    for p in [0.5, 0.42, 0.42, 0.34, 0.34, 0.26, 0.26, 0.18, 0.18, 0.1, 0.1, 0.02, 0.02, 0, 0, 0]:
        adaptive.update(unsure)
        assert adaptive.p.item() == pytest.approx(p, abs=1e-7)


def test_a_step_between_forward_and_backward() -> None:
    """p changes between forward and backward; the gradient is that of the forward."""
    adaptive, d = AdaptiveAugment(interval=1, kimg=0.001, p=0.5), nn.Linear(16 * 12 * 3, 1).double()
    x = images().requires_grad_()
    y = adaptive(x, generator=generator(0))
    logits = d(y.flatten(1))
    adaptive.update(logits)
    (dx,) = torch.autograd.grad(logits.sum(), x)
    expected = DiffAugment(x, POLICY, generator=generator(0), p=torch.tensor(0.5))
    torch.testing.assert_close(dx, torch.autograd.grad(d(expected.flatten(1)).sum(), x)[0])


def test_it_resumes() -> None:
    first, second = (AdaptiveAugment(kimg=0.1, interval=3, p=0.5) for _ in range(2))
    first.update(torch.ones(4))
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        for adaptive in (first, second):
            adaptive.update(torch.ones(4))
    assert first.p == second.p != 0.5


@pytest.mark.parametrize(
    "wrong",
    [{"target": 2}, {"kimg": 0}, {"interval": 0}, {"p": 1.5}, {"p": 0.5, "limit": 0.4},
     {"policy": "crop"}],
)  # fmt: skip
def test_arguments_out_of_range(wrong: dict[str, float | str]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.* must be"):
        AdaptiveAugment(**wrong)


def _process(rank: int, folder: Path) -> None:
    adaptive = AdaptiveAugment(target=0.2, kimg=0.1, interval=1, p=0.5, distributed=True)
    adaptive.update(torch.ones(4) if rank == 0 else torch.tensor([1.0, -1.0, -1.0, -1.0]))
    torch.save(adaptive.p, folder / f"{rank}.pt")


@pytest.mark.skipif(not dist.is_gloo_available(), reason="needs gloo")
def test_processes_share_p(tmp_path: Path) -> None:
    processes.run(2, tmp_path, _process, tmp_path)
    for rank in range(2):  # the mean sign is 1 / 4, of 8 images
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True).item() == pytest.approx(0.58)
