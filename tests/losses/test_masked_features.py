"""Feature matching of sequences of unequal length."""

from typing import Any

import pytest
import torch
from numerics import generator
from torch import Tensor

from ganfast.losses import feature_matching, length_masks

#: Valid steps of each sample, of 8 and of 4 steps: the second map has half the rate.
STEPS = ([8, 5, 0], [4, 3, 0])
LENGTHS = torch.tensor([80, 50, 0])


def maps(seed: int, padding: float) -> list[list[Tensor]]:
    """Maps (3, C, 8) and (3, C, 4, 2), whose steps after the end hold some number."""
    random = generator(seed)
    found = [
        torch.randn(3, 2, 8, dtype=torch.float64, generator=random),
        torch.randn(3, 4, 4, 2, dtype=torch.float64, generator=random),
    ]
    for x, steps in zip(found, STEPS, strict=True):
        for b, end in enumerate(steps):
            x[b, :, end:] = padding
    return [[x.requires_grad_() for x in found]]


@pytest.mark.parametrize("kind", ["l1", "l2", "relative_l1"])
@pytest.mark.parametrize("padding", [0.0, 7.0, float("nan")])
def test_only_the_valid_steps_count(kind: Any, padding: float, route: str) -> None:
    real, fake = maps(0, padding), maps(1, padding)
    masks = length_masks(real, LENGTHS, 80)
    loss = feature_matching(real, fake, kind, 3.0, mask=masks)
    expected = torch.zeros((), dtype=torch.float64)
    for r, f, steps in zip(real[0], fake[0], STEPS, strict=True):
        valid = [
            torch.cat([x[b, :, :end].flatten() for b, end in enumerate(steps)]) for x in (r, f)
        ]
        d = valid[0].detach() - valid[1]
        term = d.square().mean() if kind == "l2" else d.abs().mean()
        expected = expected + 3 * (term / valid[0].abs().mean() if "rel" in kind else term)
    torch.testing.assert_close(loss, expected)
    got = torch.autograd.grad(loss, fake[0])
    wanted = torch.autograd.grad(expected, fake[0])
    torch.testing.assert_close(got, wanted)


def test_one_mask_for_several_maps_and_none() -> None:
    real, fake = torch.ones(2, 3, 4), torch.zeros(2, 3, 4)
    fake[1] = 3
    first = torch.tensor([True, False])[:, None, None]
    assert feature_matching(real, fake, mask=first) == 1
    assert feature_matching([real, [real]], [fake, [fake]], mask=first) == 2
    assert feature_matching([real, [real]], [fake, [fake]], mask=[first, None]) == 1 + 1.5
    assert feature_matching(real, fake, mask=~first) == 2


def test_where_nothing_counts_the_loss_is_zero() -> None:
    real, fake = torch.ones(2, 3), torch.zeros(2, 3, requires_grad=True)
    for kind in ("l1", "l2", "relative_l1"):
        loss = feature_matching(real, fake, kind, mask=torch.zeros(2, 1, dtype=torch.bool))
        assert loss == 0
        assert torch.equal(torch.autograd.grad(loss, fake)[0], torch.zeros(2, 3))


@pytest.mark.parametrize("total", [1, 7, 1000, 48_000])
def test_masks_have_whole_numbers_of_steps(total: int) -> None:
    lengths = torch.arange(0, total + 1, max(1, total // 100))
    for steps in (1, 3, total, total // 2 + 1):
        mask = length_masks(torch.zeros(len(lengths), 1, steps, 3), lengths, total)
        assert mask.shape == (len(lengths), 1, steps, 1)
        filled = [-(-n * steps // total) for n in lengths.tolist()]
        assert mask.sum((1, 2, 3)).tolist() == filled


X = torch.ones(2, 3, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: feature_matching(X, X, mask=X), TypeError, "mask must be a bool tensor, got tor"),
        (lambda: feature_matching([X], [X], mask=["m"]), TypeError, r"mask\[0\] must be .* str"),
        (
            lambda: feature_matching([X], [X], mask=[None, None]),
            ValueError,
            "mask must have the length of real, 1, got 2",
        ),
        (
            lambda: feature_matching([X], [X], mask=[X[:, :2].bool()]),
            ValueError,
            r"mask\[0\] must broadcast to the shape of fake\[0\], \[2, 3, 4\], got \[2, 2, 4\]",
        ),
        (lambda: length_masks(X, torch.arange(2), 0), ValueError, "total must be positive, got 0"),
        (lambda: length_masks(X, torch.ones(2), 4), TypeError, "integers, got torch.float32"),
        (lambda: length_masks(X, torch.arange(3), 4), ValueError, r"lengths, \[3\], and an axis 2"),
        (lambda: length_masks(X, torch.arange(2), 4, dim=3), ValueError, "an axis 3"),
        (lambda: length_masks(["x"], torch.arange(2), 4), TypeError, "tensors, got str"),
    ],
)
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
