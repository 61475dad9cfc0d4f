"""Distances of spectrograms: mel, multi-resolution STFT and multi-scale spectral losses."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganfast._names import check_name
from ganfast.losses.formulas import DISTANCES, Distance
from ganfast.losses.mel import MelScale, mel_filters
from ganfast.losses.reduction import distances
from ganfast.reference import compute_dtype


class Spectrogram(nn.Module):
    r"""Magnitudes of the short-time Fourier transform S, on a linear or on a mel scale.

    .. math:: M = \sqrt{\max(|S|^2, \mathrm{floor}) + \mathrm{eps}},
        \quad \text{or its mel filters } \sum_f B_{mf} M_f

    With ``eps`` the magnitude is differentiable twice everywhere. Without it, the derivatives of a
    silent bin count as 0, as do those of powers below ``floor``.

    Args:
        n_fft: length of the Fourier transform, in samples.
        hop: distance of the frames; n_fft // 4 if None.
        win: length of the window, which is centred in the transform; n_fft if None.
        padding: samples of reflection on both sides, at most one less than the signal has. None
            is n_fft // 2, which centres frames on multiples of ``hop``; (n_fft - hop) // 2, as in
            vocoders, gives T / hop frames.
        window: maps a length to a window, (win,).
        floor: smallest power.
        eps: added to the power.
        mels: number of mel filters; None for a linear scale.
        sample_rate, low, high, scale, normalize: of :func:`mel_filters`.

    Raises:
        ValueError: a number is out of range, or there are mel filters without a sample rate.
    """

    window: Tensor
    filters: Tensor | None

    def __init__(
        self,
        n_fft: int,
        hop: int | None = None,
        win: int | None = None,
        *,
        padding: int | None = None,
        window: Callable[[int], Tensor] = torch.hann_window,
        floor: float = 0.0,
        eps: float = 0.0,
        mels: int | None = None,
        sample_rate: float | None = None,
        low: float = 0.0,
        high: float | None = None,
        scale: MelScale = "slaney",
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop = max(n_fft // 4, 1) if hop is None else hop
        self.win = n_fft if win is None else win
        self.padding = n_fft // 2 if padding is None else padding
        self.floor, self.eps = floor, eps
        if not 1 <= self.win <= n_fft:
            raise ValueError(f"win must be in [1, n_fft], got {self.win} with n_fft {n_fft}")
        if self.hop < 1:
            raise ValueError(f"hop must be at least 1, got {self.hop}")
        if floor < 0 or eps < 0 or self.padding < 0:
            raise ValueError(
                "padding, floor and eps must be at least 0, "
                f"got {self.padding}, {floor:g} and {eps:g}"
            )
        # Not in state_dict: they follow from the arguments.
        self.register_buffer("window", window(self.win).float(), persistent=False)
        filters = None
        if mels is not None:
            if sample_rate is None:
                raise ValueError("sample_rate must be a number with mels, got None")
            filters = mel_filters(
                sample_rate, n_fft, mels, low, high, scale=scale, normalize=normalize
            ).float()
        self.register_buffer("filters", filters, persistent=False)

    def stft(self, signals: Tensor) -> Tensor:
        """Return S, complex, (N, n_fft // 2 + 1, frames), of all signals of (..., T).

        Raises:
            TypeError: the signals are no real floating-point tensor.
            ValueError: they are too short.
        """
        if not isinstance(signals, Tensor) or not signals.is_floating_point():
            got = signals.dtype if isinstance(signals, Tensor) else type(signals).__name__
            raise TypeError(f"signals must be a floating-point tensor, got {got}")
        shortest = max(self.padding + 1, self.n_fft - 2 * self.padding)
        if signals.dim() < 1 or signals.numel() == 0 or signals.shape[-1] < shortest:
            raise ValueError(
                f"signals must have shape (..., T) with T at least {shortest}, "
                f"got {list(signals.shape)}"
            )
        if self.window.device != signals.device:
            self.to(signals.device)
        x = compute_dtype(signals).reshape(-1, signals.shape[-1])
        x = F.pad(x, (self.padding, self.padding), "reflect")
        return torch.stft(
            x,
            self.n_fft,
            self.hop,
            self.win,
            self.window.to(x.dtype),
            center=False,
            return_complex=True,
        )

    def forward(self, signals: Tensor) -> Tensor:
        """Return the magnitudes (..., bins, frames) of signals (..., T).

        Half-precision signals are computed in float32, also under autocast.

        Raises:
            TypeError, ValueError: the signals do not fit.
        """
        with torch.autocast(signals.device.type, enabled=False):
            spectrum = self.stft(signals)
            if self.floor == 0 and self.eps == 0:
                magnitudes = spectrum.abs()
            else:
                power = spectrum.real.square() + spectrum.imag.square()
                if self.floor > 0:
                    power = power.clamp_min(self.floor)
                magnitudes = (power + self.eps).sqrt()
            if self.filters is not None:
                magnitudes = self.filters.to(magnitudes.dtype) @ magnitudes
        return magnitudes.reshape(signals.shape[:-1] + magnitudes.shape[1:])


def convergence(real: Tensor, fake: Tensor) -> Tensor:
    """Spectral convergence, |real - fake| / |real| with the norms over all elements; scalar."""
    norms: Tensor = torch.linalg.vector_norm(real - fake) / torch.linalg.vector_norm(real)
    return norms


class SpectralLoss(nn.Module):
    r"""Distance of signals by their spectrograms, of one or of several resolutions.

    With R and F the spectrograms of real and of fake signals, m the mean over all elements, and
    the sum over resolutions,

    .. math:: \sum \lambda_{log} m|\ln \max(R, c) - \ln \max(F, c)| + \lambda_{lin} m|R - F|
        + \lambda_{conv} \frac{\|R - F\|}{\|R\|}

    One launch computes the distances of all resolutions. The conventions of some projects:

    ===================== =================================================================
    HiFi-GAN, BigVGAN     one resolution, n_fft 1024, hop 256, ``mels=80``, ``eps=1e-9``,
                          ``padding=(n_fft - hop) // 2``, ``log=45``
    Descript Audio Codec  n_fft 32, 64, ..., 2048, ``mels`` 5, 10, ..., 320;
                          ``log=15 / math.log(10)``
    auraloss              n_fft 1024, 2048, 512; hop 120, 240, 50; win 600, 1200, 240;
                          ``floor=1e-8``; ``log=1/3, convergence=1/3``
    ===================== =================================================================

    Args:
        spectrograms: one for each resolution.
        log: \lambda_{log}.
        linear: \lambda_{lin}.
        convergence: \lambda_{conv}.
        log_floor: c; 0 where the spectrograms are positive by their ``floor`` or ``eps``.
        kind: ``l1``, or ``l2`` with squares instead of absolute values.

    Raises:
        TypeError: the spectrograms are no list.
        ValueError: there is no spectrogram, a weight or the floor is negative or not finite, all
            weights are 0, or the kind is unknown.

    Source: Kong et al. 2020, HiFi-GAN; Yamamoto et al. 2020, Parallel WaveGAN; Kumar et al. 2023,
    Descript Audio Codec.

    Example:
        >>> mel = Spectrogram(256, 64, mels=20, sample_rate=8000, eps=1e-9)
        >>> loss = SpectralLoss([mel], log=45)
        >>> loss(torch.randn(2, 1, 512), torch.randn(2, 1, 512)).shape
        torch.Size([])
    """

    def __init__(
        self,
        spectrograms: Sequence[Spectrogram],
        *,
        log: float = 0.0,
        linear: float = 0.0,
        convergence: float = 0.0,
        log_floor: float = 1e-5,
        kind: Distance = "l1",
    ) -> None:
        super().__init__()
        check_name("kind", kind, DISTANCES)
        if not isinstance(spectrograms, Sequence):
            raise TypeError(f"spectrograms must be a list, got {type(spectrograms).__name__}")
        if not spectrograms:
            raise ValueError("spectrograms must hold at least one, got none")
        given = {"log": log, "linear": linear, "convergence": convergence, "log_floor": log_floor}
        for name, value in given.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {value}")
        if log == linear == convergence == 0:
            raise ValueError("log, linear and convergence must not all be 0, got 0")
        self.spectrograms = nn.ModuleList(spectrograms)
        self.log, self.linear, self.convergence = log, linear, convergence
        self.log_floor, self.kind = log_floor, kind

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the loss of fake signals (..., T), scalar; real ones have the same shape.

        No graph is made of the real signals if they do not require gradients.

        Returns:
            float64 for float64 signals, else float32. Differentiable twice, see Spectrogram.

        Raises:
            TypeError, ValueError: the signals do not fit.
        """
        for name, signals in (("real", real), ("fake", fake)):
            if not isinstance(signals, Tensor):
                raise TypeError(f"{name} must be a tensor, got {type(signals).__name__}")
        if real.shape != fake.shape:
            raise ValueError(
                f"fake must have the shape of real, {list(real.shape)}, got {list(fake.shape)}"
            )
        x: list[Tensor] = []
        y: list[Tensor] = []
        weights: list[float] = []
        ratios: list[Tensor] = []
        for spectrogram in self.spectrograms:
            r, f = spectrogram(real), spectrogram(fake)
            if self.log:
                x.append(self._logarithm(f))
                y.append(self._logarithm(r))
                weights.append(self.log)
            if self.linear:
                x.append(f)
                y.append(r)
                weights.append(self.linear)
            if self.convergence:
                ratios.append(convergence(r, f))
        loss = self.convergence * torch.stack(ratios).sum() if ratios else None
        if x:
            of_spectra = distances(x, y, self.kind, weights)
            loss = of_spectra if loss is None else loss + of_spectra
        assert loss is not None
        return loss

    def _logarithm(self, magnitudes: Tensor) -> Tensor:
        return (magnitudes.clamp_min(self.log_floor) if self.log_floor else magnitudes).log()
