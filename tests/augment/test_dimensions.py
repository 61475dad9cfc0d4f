"""DiffAugment of waveforms, volumes and videos against loops over samples."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from numerics import generator
from torch import Tensor

from ganfast import reference
from ganfast.augment import augment_signals, augment_videos, augment_volumes

SHAPES: dict[Callable[..., Tensor], tuple[int, ...]] = {
    augment_signals: (4, 2, 19),
    augment_volumes: (4, 2, 7, 8, 9),
    augment_videos: (4, 3, 5, 16, 12),
}
FIRST = {augment_signals: "gain", augment_volumes: "color", augment_videos: "color"}
AXES = {augment_signals: (0,), augment_volumes: (0, 1, 2), augment_videos: (1, 2)}
each = pytest.mark.parametrize("augment", SHAPES, ids=lambda f: f.__name__)


def samples(augment: Callable[..., Tensor]) -> Tensor:
    return torch.randn(SHAPES[augment], dtype=torch.float64, generator=generator(0))


def moved(x: Tensor, dim: int, shift: int) -> Tensor:
    """The position i holds what was at i + shift, or 0."""
    y = torch.zeros_like(x)
    size = x.shape[dim]
    for i in range(size):
        if 0 <= i + shift < size:
            y.select(dim, i).copy_(x.select(dim, i + shift))
    return y


@each
def test_translation(augment: Any) -> None:
    x, axes = samples(augment), AXES[augment]
    u = torch.rand(4, len(axes), generator=generator(1))
    expected = []
    for sample, numbers in zip(x, u, strict=True):
        for axis, number in zip(axes, numbers.tolist(), strict=True):
            side = sample.shape[1 + axis]
            most = round(side / 8 + 1e-9)
            sample = moved(sample, 1 + axis, int(number * (2 * most + 1)) - most)
        expected.append(sample)
    found = augment(x, "translation", generator=generator(1))
    assert torch.equal(found, torch.stack(expected))


@each
def test_cutout(augment: Any) -> None:
    x, axes = samples(augment), AXES[augment]
    u = torch.rand(4, len(axes), generator=generator(1))
    expected = x.clone()
    for b, numbers in enumerate(u.tolist()):
        box: list[Any] = [b, slice(None)] + [slice(None)] * (x.dim() - 2)
        for axis, number in zip(axes, numbers, strict=True):
            side = x.shape[2 + axis]
            size = int(side / 2 + 0.5)
            begin = int(number * (side + 1 - size % 2)) - size // 2
            box[2 + axis] = slice(max(begin, 0), max(begin + size, 0))
        expected[tuple(box)] = 0
    assert torch.equal(augment(x, "cutout", generator=generator(1)), expected)


def test_gain() -> None:
    x = samples(augment_signals)
    u = torch.rand(4, 1, generator=generator(1)).double()
    found = augment_signals(x, "gain", generator=generator(1))
    torch.testing.assert_close(found, x * (u[:, :, None] + 0.5))


@pytest.mark.parametrize("augment", [augment_volumes, augment_videos])
def test_color(augment: Any) -> None:
    x = samples(augment)
    u = torch.rand(4, 3, generator=generator(1)).double()
    expected = []
    for sample, (b, s, c) in zip(x, u, strict=True):
        y = sample + b - 0.5
        y = torch.stack([2 * s * (channel - y.mean(0)) + y.mean(0) for channel in y])
        expected.append((c + 0.5) * (y - y.mean()) + y.mean())
    found = augment(x, "color", generator=generator(1))
    torch.testing.assert_close(found, torch.stack(expected))


def test_a_video_of_one_frame_is_augmented_as_an_image() -> None:
    x = samples(augment_videos)[:, :, :1]
    random = generator(1)
    u = torch.cat([torch.rand(4, n, generator=random) for n in (3, 2, 2)], 1)
    expected = reference.augment(x[:, :, 0], u, True, True, True)
    found = augment_videos(x, generator=generator(1))
    torch.testing.assert_close(found[:, :, 0], expected)


@each
def test_gradients_of_two_orders(augment: Any) -> None:
    x = samples(augment)[:2, :, :4].clone().requires_grad_()
    policy = f"{FIRST[augment]},translation,cutout"
    if augment is not augment_signals:
        x = x[..., :4, :4].detach().requires_grad_()

    def call(z: Tensor) -> Tensor:
        return augment(z.sin(), policy, generator=generator(1))

    assert torch.autograd.gradcheck(call, x)
    assert torch.autograd.gradgradcheck(call, x)


@each
def test_probability(augment: Any) -> None:
    x = torch.randn(64, *SHAPES[augment][1:], generator=generator(0))
    same = (augment(x, p=torch.tensor(0.5), generator=generator(1)) == x).flatten(1).all(1)
    assert 16 < same.sum() < 48
    assert torch.equal(augment(x, p=torch.tensor(0.0)), x)
    assert not (augment(x, p=torch.tensor(1.0)) == x).flatten(1).all(1).any()


@each
def test_dtypes_and_reproducibility(augment: Any) -> None:
    x = samples(augment).to(torch.bfloat16)
    found = augment(x, generator=generator(1))
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, augment(x.float(), generator=generator(1)).bfloat16())
    assert torch.equal(augment(x, ""), x)
    repeated = augment(x, "cutout,cutout", generator=generator(1))
    assert (repeated == 0).sum() >= (augment(x, "cutout", generator=generator(1)) == 0).sum()


@each
def test_what_does_not_fit_is_refused(augment: Any) -> None:
    x = samples(augment)
    with pytest.raises(TypeError, match=r"x must be a floating-point tensor, got torch.int64"):
        augment(x.long())
    with pytest.raises(ValueError, match=r"x must have shape \(N, C, .*\) without empty axes, got"):
        augment(x[0])
    with pytest.raises(ValueError, match=f"policy must be made of {FIRST[augment]}, tr.*'flip'"):
        augment(x, "flip")
