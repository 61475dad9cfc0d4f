"""Shared by the audio modules: spectrograms that are made once, and DAC's multi-scale losses."""

import math
from collections.abc import Callable
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganfast._names import check_name
from ganfast.losses import SpectralLoss, Spectrogram

# In float64, as scipy makes them; Spectrogram rounds them to float32.
_WINDOWS: dict[str, Callable[[int], Tensor]] = {
    "hann": partial(torch.hann_window, dtype=torch.float64),
    "sqrt_hann": lambda n: torch.hann_window(n, dtype=torch.float64).sqrt(),
    "hamming": partial(torch.hamming_window, dtype=torch.float64),
    "blackman": partial(torch.blackman_window, dtype=torch.float64),
    "bartlett": partial(torch.bartlett_window, dtype=torch.float64),
    "average": lambda n: torch.ones(n, dtype=torch.float64) / n,
}


@lru_cache(maxsize=64)
def spectrogram(
    device: torch.device,
    n_fft: int,
    hop: int,
    win: int,
    padding: int,
    eps: float = 0.0,
    mels: int | None = None,
    sample_rate: float | None = None,
    low: float = 0.0,
    high: float | None = None,
    window: str = "hann",
) -> Spectrogram:
    """One spectrogram for equal options, on its device."""
    check_name("window_type", window, _WINDOWS)
    return Spectrogram(
        n_fft,
        hop,
        win,
        padding=padding,
        window=_WINDOWS[window],
        eps=eps,
        mels=mels,
        sample_rate=sample_rate,
        low=low,
        high=high,
    ).to(device)


def padded(y: Tensor, n_fft: int, hop: int, center: bool) -> tuple[Tensor, int]:
    """Signals (N, T), which HiFi-GAN's ``center`` pads once more, and the spectrogram's padding."""
    padding = (n_fft - hop) // 2
    if not center:
        return y, padding
    return F.pad(y.unsqueeze(1), (padding, padding), "reflect").squeeze(1), n_fft // 2


class MultiScale(nn.Module):
    """The sum over scales of distances of magnitudes and of their logarithms to base 10."""

    #: Mel filters (None for none), lowest and highest frequency, and length of each window.
    scales: list[tuple[int | None, float, float | None, int]]

    def __init__(
        self,
        loss_fn: Callable[[Tensor, Tensor], Tensor] | None,
        clamp_eps: float,
        mag_weight: float,
        log_weight: float,
        pow: float,
        weight: float,
        window_type: str | None,
    ) -> None:
        super().__init__()
        self.loss_fn = loss_fn
        self.clamp_eps, self.mag_weight, self.log_weight = clamp_eps, mag_weight, log_weight
        self.pow, self.weight, self.window_type = pow, weight, window_type

    def distance(self, x: Tensor, y: Tensor, sample_rate: float | None) -> Tensor:
        """Distance of estimates from references, (..., T), of one sample rate; scalar."""
        window = self.window_type or "hann"
        spectrograms = [
            spectrogram(y.device, n, n // 4, n, n // 2, 0.0, mels, sample_rate, low, high, window)
            for mels, low, high, n in self.scales
        ]
        log = self.log_weight * self.pow
        of = self.loss_fn
        is_l1 = of is None or (type(of) is nn.L1Loss and of.reduction == "mean")
        if is_l1 and (log or self.mag_weight):
            fused = SpectralLoss(
                spectrograms,
                log=log / math.log(10),
                linear=self.mag_weight,
                log_floor=self.clamp_eps,
            )
            distance: Tensor = fused(y, x)
            return distance
        loss = x.new_zeros(())
        for s in spectrograms:
            of_x, of_y = s(x), s(y)
            logs = [self.pow * z.clamp_min(self.clamp_eps).log10() for z in (of_x, of_y)]
            loss = loss + self.log_weight * self._compare(*logs)
            loss = loss + self.mag_weight * self._compare(of_x, of_y)
        return loss

    def _compare(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - y).abs().mean() if self.loss_fn is None else self.loss_fn(x, y)
