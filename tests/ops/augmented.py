"""DiffAugment by its definition, step by step on one image after the other."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from numerics import LAYOUTS, SEEDS, generator
from torch import Tensor

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
PIECES = [tuple(bool(bits >> k & 1) for k in range(3)) for bits in range(8)]
ALL = (True, True, True)


def drawn(u: float, n: int) -> int:
    """One of n whole numbers, from 0."""
    return math.floor(u * n)


def augment_plainly(x: Tensor, u: Tensor, color: bool, translation: bool, cutout: bool) -> Tensor:
    """In the dtype of x; half types in float32, as what is returned."""
    height, width = x.shape[2:]
    wide = x if x.dtype == torch.float64 else x.float()
    images = []
    for image, numbers in zip(wide, u.tolist(), strict=True):
        y = image
        if color:
            y = y + (numbers[0] - 0.5)
            y = (y - y.mean(0)) * (2 * numbers[1]) + y.mean(0)
            y = (y - y.mean()) * (numbers[2] + 0.5) + y.mean()
        if translation:
            most_h, most_w = int(height * 0.125 + 0.5), int(width * 0.125 + 0.5)
            h, w = drawn(numbers[3], 2 * most_h + 1), drawn(numbers[4], 2 * most_w + 1)
            y = F.pad(y, (most_w, most_w, most_h, most_h))[:, h : h + height, w : w + width]
        if cutout:
            size_h, size_w = int(height * 0.5 + 0.5), int(width * 0.5 + 0.5)
            top = drawn(numbers[5], height + 1 - size_h % 2) - size_h // 2
            left = drawn(numbers[6], width + 1 - size_w % 2) - size_w // 2
            mask = torch.ones(height, width, dtype=y.dtype)
            mask[max(top, 0) : top + size_h, max(left, 0) : left + size_w] = 0
            y = y * mask.to(y.device)
        images.append(image if len(numbers) > 7 and numbers[7] >= 0 else y)
    return torch.stack(images)


class Problem(NamedTuple):
    x: Tensor
    u: Tensor
    grad: Tensor


@st.composite
def problems(draw: st.DrawFn, dtype: torch.dtype, device: str = "cpu") -> Problem:
    """Images of any size and layout, what is drawn for them, and a gradient that comes back."""
    random = generator(draw(SEEDS))
    sizes = (st.integers(1, 4), st.integers(1, 5), st.integers(1, 40), st.integers(1, 40))
    shape = tuple(draw(size) for size in sizes)

    def images() -> Tensor:
        layout = LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS.keys() - {"expanded"})))]
        return layout(torch.randn(shape, generator=random).to(device, dtype))

    u = torch.rand(shape[0], draw(st.sampled_from([7, 8])), generator=random)
    u[:, 7:] -= 0.7
    return Problem(images().detach().requires_grad_(), u.to(device), images())


def check(problem: Problem, got: Tensor, pieces: tuple[bool, ...]) -> None:
    """Value and gradient within a few roundings of float64's, by the scale of what is summed."""
    x, u, grad = problem
    (dx,) = torch.autograd.grad(got, x, grad)
    exact_x = x.detach().double().requires_grad_()
    expected = augment_plainly(exact_x, u, *pieces)
    (expected_dx,) = torch.autograd.grad(expected, exact_x, grad.double())
    assert got.dtype == dx.dtype == x.dtype
    for result, wanted, scale in ((got, expected, exact_x), (dx, expected_dx, grad.double())):
        arithmetic = torch.finfo(torch.float64 if x.dtype == torch.float64 else torch.float32).eps
        stored = torch.finfo(x.dtype).eps / 2 * wanted.abs()
        allowed = 8 * arithmetic * (1 + scale.abs().amax()) + stored
        assert ((result.double() - wanted).abs() <= allowed).all()
