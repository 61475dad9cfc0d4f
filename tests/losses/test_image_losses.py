"""Losses of image translation against their formulas; the pool against its rule."""

import inspect
from typing import Any

import pytest
import torch
from numerics import generator
from torch import Tensor

from ganfast.losses import ImagePool, cycle_loss, identity_loss, pixel_loss


def images(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*(shape or (2, 3, 4, 5)), generator=generator(seed)).to(dtype)


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_the_losses(kind: Any) -> None:
    a, b = images(0), images(1, 3, 3, 6, 6)
    fake_a, fake_b = images(2).requires_grad_(), images(3, 3, 3, 6, 6).requires_grad_()

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return (x - y).abs().mean() if kind == "l1" else (x - y).square().mean()

    of_a, of_b = distance(fake_a, a), distance(fake_b, b)
    for loss, expected in (
        (pixel_loss(a, fake_a, kind, 100.0), 100 * of_a),
        (cycle_loss(a, fake_a, b, fake_b, kind), 10 * of_a + 10 * of_b),
        (cycle_loss(a, fake_a, b, fake_b, kind, 2.0, 3.0), 2 * of_a + 3 * of_b),
        (identity_loss(a, fake_a, b, fake_b, kind), 5 * of_a + 5 * of_b),
    ):
        torch.testing.assert_close(loss, expected)
        fakes = (fake_a, fake_b)
        got = torch.autograd.grad(loss, fakes, retain_graph=True, allow_unused=True)
        wanted = torch.autograd.grad(expected, fakes, retain_graph=True, allow_unused=True)
        for g, w in zip(got, wanted, strict=True):
            assert (g is None) == (w is None)
            if g is not None:
                torch.testing.assert_close(g, w)


def test_fakes_of_autocast_meet_targets_of_float32() -> None:
    real, fake = images(0), images(1, dtype=torch.bfloat16).requires_grad_()
    loss = pixel_loss(real, fake)
    torch.testing.assert_close(loss, (fake.float() - real).abs().mean())
    assert torch.autograd.grad(loss, fake)[0].dtype == torch.bfloat16


def test_refusals() -> None:
    x, y = torch.ones(2), torch.ones(3)
    with pytest.raises(ValueError, match="kind must be one of l1, l2, got 'l3'"):
        pixel_loss(x, x, "l3")
    with pytest.raises(ValueError, match=r"^real must have the shape of fake, \[3\], got \[2\]"):
        pixel_loss(x, y)
    with pytest.raises(ValueError, match=r"^real must have the shape of fake, \[3\], got \[1\]"):
        pixel_loss(x[:1], y)
    with pytest.raises(ValueError, match=r"^real_b must have the shape of cycled_b"):
        cycle_loss(x, x, x, y)
    with pytest.raises(ValueError, match=r"^real_a must have the shape of same_a"):
        identity_loss(y, x, x, x)
    with pytest.raises(ValueError, match="size must be at least 0, got -1"):
        ImagePool(-1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.ones(2, dtype=torch.uint8), "have dtype .*, got torch.uint8"),
        (torch.ones(2, dtype=torch.bool), "have dtype .*, got torch.bool"),
        ([1.0, 1.0], "be a tensor, got list"),
    ],
)
def test_images_must_be_floating_point_tensors(wrong: Any, message: str) -> None:
    """The error names the argument, even if the others would promote it to floating point."""
    for loss in (pixel_loss, cycle_loss, identity_loss):
        names = [x for x in inspect.signature(loss).parameters if x.startswith(("real", "fake"))]
        names += [x for x in inspect.signature(loss).parameters if x.startswith(("cycl", "same"))]
        for name in names:
            given = {other: torch.ones(2) for other in names} | {name: wrong}
            with pytest.raises(TypeError, match=f"^{name} must {message}"):
                loss(**given)


def numbered(*numbers: int) -> Tensor:
    """Images whose values are their numbers."""
    return torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)


def numbers_of(images: Tensor) -> list[int]:
    return [int(image.mean()) for image in images]


def test_a_pool_that_is_not_full_keeps_and_returns() -> None:
    pool = ImagePool(4)
    assert numbers_of(pool(numbered(0, 1))) == [0, 1]
    assert numbers_of(pool(numbered(2, 3))) == [2, 3]
    assert numbers_of(pool.state_dict()["images"]) == [0, 1, 2, 3]


def test_a_pool_of_size_zero_returns_everything() -> None:
    assert numbers_of(ImagePool(0)(numbered(5, 6))) == [5, 6]


def test_a_full_pool_returns_or_exchanges_every_image() -> None:
    """Every image comes out, now or later, half of them at once."""
    size, steps, batch = 10, 400, 3
    pool = ImagePool(size, seed=1)
    came: list[int] = []
    now = 0
    for step in range(steps):
        new = list(range(step * batch, (step + 1) * batch))
        out = numbers_of(pool(numbered(*new)))
        assert len(out) == batch
        now += sum(o == n for o, n in zip(out, new, strict=True))
        came += out
    kept = numbers_of(pool.state_dict()["images"])
    assert len(kept) == size
    # the first ten were both returned and kept
    assert sorted(came + kept) == sorted([*range(steps * batch), *range(size)])
    share = (now - size) / (steps * batch - size)
    assert abs(share - 0.5) < 5 * 0.5 / (steps * batch) ** 0.5


def test_returned_images_are_detached_copies() -> None:
    pool = ImagePool(2)
    fakes = images(0).requires_grad_()
    out = pool(fakes * 1)
    assert not out.requires_grad
    before = pool.state_dict()["images"].clone()
    out.zero_()
    assert torch.equal(pool.state_dict()["images"], before)


def test_a_pool_resumes() -> None:
    def run(pool: ImagePool, steps: range) -> list[int]:
        return [n for k in steps for n in numbers_of(pool(numbered(2 * k, 2 * k + 1)))]

    whole = run(ImagePool(5, seed=3), range(40))
    pool = ImagePool(5, seed=3)
    first = run(pool, range(20))
    state = pool.state_dict()
    run(pool, range(20, 30))  # the state is a copy
    resumed = ImagePool(5, seed=7)
    resumed.load_state_dict(state)
    assert first + run(resumed, range(20, 40)) == whole


def test_a_state_or_images_that_do_not_fit() -> None:
    pool = ImagePool(3)
    pool(numbered(0, 1, 2))
    with pytest.raises(ValueError, match="state must hold at most 2 images, got 3"):
        ImagePool(2).load_state_dict(pool.state_dict())
    with pytest.raises(
        ValueError, match=r"shape of those in the pool, \[3, 2, 2\], got \[3, 4, 5\]"
    ):
        pool(images(0))
