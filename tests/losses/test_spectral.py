"""Mel filters, spectrograms and their distances against their formulas in float64."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numerics import generator
from torch import Tensor

from ganfast.losses import SpectralLoss, Spectrogram, mel_filters


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def to_mels(f: float, scale: str) -> float:
    if scale == "htk":
        return 2595 * math.log10(1 + f / 700)
    return 3 * f / 200 if f < 1000 else 15 + 27 * math.log(f / 1000) / math.log(6.4)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize(("low", "high"), [(0.0, None), (20.0, 3000.0), (1500.0, 4000.0)])
def test_mel_filters_are_triangles_between_equal_steps(
    scale: Any, low: float, high: float | None
) -> None:
    filters = mel_filters(8000, 512, 12, low, high, scale=scale).numpy()
    shapes = mel_filters(8000, 512, 12, low, high, scale=scale, normalize=False).numpy()
    grid = np.linspace(0, 4000, 400_001)
    mels = np.array([to_mels(f, scale) for f in grid])
    ends = to_mels(low, scale), to_mels(high or 4000, scale)
    corners = np.interp(np.linspace(*ends, 14), mels, grid)
    frequencies = np.arange(257) * 8000 / 512
    for m in range(12):
        left, middle, right = corners[m : m + 3]
        triangle = np.interp(frequencies, [left, middle, right], [0, 1, 0], 0, 0)
        np.testing.assert_allclose(shapes[m], triangle, atol=1e-5)
        np.testing.assert_allclose(filters[m] * (right - left) / 2, triangle, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8000, 512, 0), "mels must be at least 1"),
        ((8000, 512, 4, 10, 5), "0 <= low < high <= 4000"),
        ((8000, 512, 4, 0, 5000), "got 0 and 5000"),
        ((8000, 512, 4, -1), "got -1 and 4000"),
    ],
)
def test_mel_filters_out_of_range(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mel_filters(*arguments)
    with pytest.raises(ValueError, match="scale must be one of slaney, htk, got 'bark'"):
        mel_filters(8000, 512, 4, scale="bark")  # type: ignore[arg-type]


def directly(x: Tensor, n: int, hop: int, win: int, padding: int) -> Tensor:
    """The power of the transform of a signal (T,), by its definition: (bins, frames)."""
    left = [x[i] for i in range(padding, 0, -1)]
    right = [x[-2 - i] for i in range(padding)]
    padded = torch.stack([*left, *x, *right])
    window = torch.zeros(n, dtype=x.dtype)
    start = (n - win) // 2
    steps = torch.arange(win, dtype=x.dtype)
    # Windows are stored in float32.
    window[start : start + win] = (0.5 - 0.5 * (2 * math.pi * steps / win).cos()).float()
    angles = torch.outer(torch.arange(n // 2 + 1.0), torch.arange(float(n))).double()
    waves = torch.polar(torch.ones_like(angles), -2 * math.pi * angles / n)
    frames = [
        waves @ (window * padded[s : s + n]).to(waves.dtype)
        for s in range(0, len(padded) - n + 1, hop)
    ]
    return torch.stack(frames, 1).abs().square()


@pytest.mark.parametrize(
    ("hop", "win", "padding"), [(None, None, None), (5, 12, None), (4, 16, 6), (8, 15, 0)]
)
def test_spectrogram(hop: int | None, win: int | None, padding: int | None) -> None:
    x = draw(2, 3, 40)
    options = {"hop": hop, "win": win, "padding": padding}
    power = torch.stack(
        [
            directly(one, 16, hop or 4, win or 16, 8 if padding is None else padding)
            for one in x.flatten(0, 1)
        ]
    ).unflatten(0, (2, 3))
    torch.testing.assert_close(Spectrogram(16, **options)(x), power.sqrt(), rtol=1e-6, atol=1e-6)
    with_floor = Spectrogram(16, **options, floor=0.5, eps=0.1)(x)
    torch.testing.assert_close(with_floor, (power.clamp(0.5) + 0.1).sqrt(), rtol=1e-6, atol=1e-6)
    mels = Spectrogram(16, **options, mels=3, sample_rate=8000)(x)
    filtered = torch.einsum("mf,bcft->bcmt", mel_filters(8000, 16, 3), power.sqrt())
    torch.testing.assert_close(mels, filtered, rtol=1e-6, atol=1e-6)
    assert Spectrogram(16, **options)(x[0, 0]).shape == power.shape[2:]


def resolutions(**options: Any) -> list[Spectrogram]:
    return [
        Spectrogram(16, **options),
        Spectrogram(32, 8, mels=4, sample_rate=8000, scale="htk", normalize=False, **options),
    ]


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_loss(kind: Any, route: str) -> None:
    real, fake = draw(2, 1, 80), draw(2, 1, 80, seed=1)
    weights = {"log": 0.7, "linear": 1.3, "convergence": 2.0}
    terms: dict[str, list[Tensor]] = {name: [] for name in weights}
    for spectrogram in resolutions():
        r, f = spectrogram(real), spectrogram(fake)
        distance = torch.nn.L1Loss() if kind == "l1" else torch.nn.MSELoss()
        terms["log"].append(distance(r.clamp(0.2).log(), f.clamp(0.2).log()))
        terms["linear"].append(distance(r, f))
        terms["convergence"].append((r - f).square().sum().sqrt() / r.square().sum().sqrt())
    for name, weight in weights.items():
        loss = SpectralLoss(resolutions(), **{name: weight}, log_floor=0.2, kind=kind)
        torch.testing.assert_close(loss(real, fake), weight * sum(terms[name]))
    both = SpectralLoss(resolutions(), **weights, log_floor=0.2, kind=kind)(real, fake)
    torch.testing.assert_close(both, sum(w * sum(terms[name]) for name, w in weights.items()))


def test_twice_differentiable() -> None:
    real, fake = draw(1, 30), draw(1, 30, seed=1).requires_grad_()
    for options in ({"log": 1.0, "kind": "l2"}, {"linear": 1.0, "convergence": 0.5, "kind": "l2"}):
        loss = SpectralLoss(resolutions(eps=1e-3)[:1], **options, log_floor=0.0)
        assert torch.autograd.gradcheck(loss, (real, fake))
        assert torch.autograd.gradgradcheck(loss, (real, fake))


def test_silence_has_finite_derivatives() -> None:
    silence = torch.zeros(1, 64, requires_grad=True)
    for options in ({}, {"eps": 1e-9}, {"floor": 1e-8}):
        loss = SpectralLoss(resolutions(**options), log=1.0, linear=1.0)(draw(1, 64), silence)
        (g,) = torch.autograd.grad(loss, silence, create_graph=True)
        assert g.isfinite().all()
        (g2,) = torch.autograd.grad(g.square().sum(), silence)
        assert g2.isfinite().all()


def test_real_signals_make_no_graph() -> None:
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        resolutions()[1](draw(1, 64))
        assert not saved
        resolutions()[1](draw(1, 64).requires_grad_())
        assert saved


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    real, fake = draw(2, 80).to(dtype), draw(2, 80, seed=1).to(dtype).requires_grad_()
    loss = SpectralLoss(resolutions(), log=1.0, linear=1.0)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(real, fake)
    expected = loss(real.float(), fake.float())
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    assert torch.autograd.grad(found, fake)[0].dtype == dtype


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Spectrogram(16, win=17), ValueError, "win must be in .*, got 17 with n_fft 16"),
        (lambda: Spectrogram(16, 0), ValueError, "hop must be at least 1, got 0"),
        (lambda: Spectrogram(16, eps=-1), ValueError, "must be at least 0, got 8, 0 and -1"),
        (lambda: Spectrogram(16, mels=4), ValueError, "sample_rate must be a number with mels"),
        (lambda: Spectrogram(16)(torch.zeros(1, 8)), ValueError, "T at least 9, got .1, 8."),
        (lambda: Spectrogram(16, padding=0)(torch.zeros(15)), ValueError, "T at least 16"),
        (lambda: Spectrogram(16)(torch.zeros(1, 8).int()), TypeError, "got torch.int32"),
        (lambda: SpectralLoss([], log=1), ValueError, "spectrograms must hold at least one"),
        (lambda: SpectralLoss(resolutions()), ValueError, "must not all be 0"),
        (lambda: SpectralLoss(resolutions(), log=-1), ValueError, "log must be at least 0.*got -1"),
        (lambda: SpectralLoss(resolutions(), linear=math.nan), ValueError, "linear must be .*nan"),
        (lambda: SpectralLoss(resolutions(), log=1, kind="l3"), ValueError, "kind must be one of"),
        (
            lambda: SpectralLoss(resolutions(), log=1)(torch.zeros(1, 64), torch.zeros(64)),
            ValueError,
            "fake must have the shape of real",
        ),
        (
            lambda: SpectralLoss(resolutions()[0], log=1),
            TypeError,
            "spectrograms must be a list, got Spectrogram",
        ),
        (
            lambda: SpectralLoss(resolutions(), log=1)(torch.zeros(1, 64), [0.0]),
            TypeError,
            "fake must be a tensor, got list",
        ),
    ],
)
def test_errors(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
