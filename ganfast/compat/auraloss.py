"""Drop-in for the spectral losses of auraloss, ``auraloss/freq.py``.

In place of ``import auraloss`` ::

    from ganfast.compat import auraloss

with ``auraloss.STFTLoss`` for both ``auraloss.freq.STFTLoss`` and ``auraloss.STFTLoss``. It needs
no librosa, and scipy alone for the A-weighting of ``perceptual_weighting=True``. State dicts load.

The chroma scale and the random resolutions are left to the project. ``scale_invariance`` takes one
factor for each signal; the project's factors fit batches of one signal alone.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganfast._names import check_name
from ganfast.losses import Spectrogram, mel_filters
from ganfast.losses.spectral import convergence

__all__ = [
    "FIRFilter",
    "MelSTFTLoss",
    "MultiResolutionSTFTLoss",
    "STFTLoss",
    "STFTMagnitudeLoss",
    "SpectralConvergenceLoss",
    "SumAndDifferenceSTFTLoss",
]

_DISTANCES: dict[str, Callable[..., Tensor]] = {"L1": F.l1_loss, "L2": F.mse_loss}
_REDUCTIONS = ("mean", "sum", "none")


def window_by_name(name: str) -> Callable[[int], Tensor]:
    """Return a window of torch, such as ``hann_window``, or of scipy, such as ``hann``."""

    def window(length: int) -> Tensor:
        if hasattr(torch, name):
            of_torch: Tensor = getattr(torch, name)(length)
            return of_torch
        from scipy.signal import get_window

        return torch.from_numpy(get_window(name, length))

    return window


class SpectralConvergenceLoss(nn.Module):
    """The norm of the difference of magnitudes, divided by that of the target; scalar."""

    def forward(self, x_mag: Tensor, y_mag: Tensor) -> Tensor:
        """Return the loss of magnitudes x from targets y, of any equal shape."""
        return convergence(y_mag, x_mag)


class STFTMagnitudeLoss(nn.Module):
    """Distance of magnitudes, or of log(log_fac * magnitude + log_eps).

    Args:
        log: compare logarithms.
        log_eps, log_fac: as above.
        distance: ``L1``, or ``L2`` with squares.
        reduction: ``mean``, ``sum`` or ``none``.

    Raises:
        ValueError: ``distance`` or ``reduction`` is unknown.
    """

    def __init__(
        self,
        log: bool = True,
        log_eps: float = 0.0,
        log_fac: float = 1.0,
        distance: str = "L1",
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        check_name("distance", distance, _DISTANCES)
        check_name("reduction", reduction, _REDUCTIONS)
        self.log, self.log_eps, self.log_fac = log, log_eps, log_fac
        self.distance, self.reduction = distance, reduction

    def forward(self, x_mag: Tensor, y_mag: Tensor) -> Tensor:
        """Return the distance of magnitudes x from targets y."""
        if self.log:
            x_mag, y_mag = ((self.log_fac * m + self.log_eps).log() for m in (x_mag, y_mag))
        return _DISTANCES[self.distance](x_mag, y_mag, reduction=self.reduction)


class FIRFilter(nn.Module):
    """Pre-emphasis of both signals by one filter.

    Args:
        filter_type: ``hp`` (first-order high pass), ``fd`` (folded differentiator) or ``aw``
            (A-weighting, IEC 61672, as an FIR filter by least squares; needs scipy).
        coef: of ``hp`` and ``fd``.
        fs: sample rate, in Hz.
        ntaps: odd number of taps of ``aw``.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self, filter_type: str = "hp", coef: float = 0.85, fs: float = 44100, ntaps: int = 101
    ) -> None:
        super().__init__()
        check_name("filter_type", filter_type, ("hp", "fd", "aw"))
        if ntaps % 2 == 0:
            raise ValueError(f"ntaps must be odd, got {ntaps}")
        taps = {"hp": [1.0, -coef, 0.0], "fd": [1.0, 0.0, -coef]}.get(filter_type)
        weight = _a_weighting(fs, ntaps) if taps is None else torch.tensor(taps)
        self.fir = nn.Conv1d(1, 1, len(weight), bias=False, padding=len(weight) // 2)
        self.fir.weight = nn.Parameter(weight.float()[None, None], requires_grad=False)
        # As in the project, whose short filters are padded by half of ntaps too.
        self.ntaps = ntaps

    def forward(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return both filtered signals, (B, 1, T)."""
        weight = self.fir.weight.to(input)
        filtered = (F.conv1d(x, weight, padding=self.ntaps // 2) for x in (input, target))
        return next(filtered), next(filtered)


def _a_weighting(sample_rate: float, taps: int) -> Tensor:
    """A-weighting, with double poles at f1 and f4, one at f2 and f3, and a gain of 1 at 1 kHz."""
    try:
        from scipy import signal
    except ImportError as error:
        raise ModuleNotFoundError(
            "perceptual_weighting needs scipy: pip install scipy", name="scipy"
        ) from error
    omega = [2 * torch.pi * f for f in (20.598997, 107.65265, 737.86223, 12194.217)]
    poles = [-omega[k] for k in (0, 0, 1, 2, 3, 3)]
    gain = omega[3] ** 2 * 10 ** (1.9997 / 20)
    # Through polynomials, whose rounding in the lowest bins is the project's.
    digital = signal.bilinear(*signal.zpk2tf([0.0] * 4, poles, gain), fs=sample_rate)
    frequencies, response = signal.freqz(*digital, worN=512, fs=sample_rate)
    return torch.from_numpy(signal.firls(taps, frequencies, abs(response), fs=sample_rate))


class STFTLoss(nn.Module):
    r"""Distance of the magnitudes X of an STFT from those of a target, Y.

    .. math:: w_{sc} \frac{\|Y - X\|}{\|Y\|} + w_{log} m|\ln X - \ln Y| + w_{lin} m|X - Y|
        + w_{phs} m(\angle X - \angle Y)^2

    Args:
        fft_size, hop_size, win_length: in samples.
        window: of torch, such as ``hann_window``, or of scipy.
        w_sc, w_log_mag, w_lin_mag, w_phs: weights.
        sample_rate: in Hz, for ``scale`` and ``perceptual_weighting``.
        scale: None, or ``mel`` with Slaney's scale.
        n_bins: number of mel filters.
        perceptual_weighting: filter both signals by A-weighting.
        scale_invariance: scale the target's magnitudes to fit.
        eps: smallest power of a bin; the gradient below it is 0.
        output: ``loss``, or ``full`` with all terms.
        reduction: ``mean``, ``sum`` or ``none``, over the elements.
        mag_distance: ``L1``, or ``L2`` with squares.
        device: unused: the module follows its inputs.
        log_eps, log_fac: of the logarithms, log(log_fac X + log_eps).

    Raises:
        ValueError: an argument does not fit.
    """

    fb: Tensor

    def __init__(
        self,
        fft_size: int = 1024,
        hop_size: int = 256,
        win_length: int = 1024,
        window: str = "hann_window",
        w_sc: float = 1.0,
        w_log_mag: float = 1.0,
        w_lin_mag: float = 0.0,
        w_phs: float = 0.0,
        sample_rate: float | None = None,
        scale: str | None = None,
        n_bins: int | None = None,
        perceptual_weighting: bool = False,
        scale_invariance: bool = False,
        eps: float = 1e-8,
        output: str = "loss",
        reduction: str = "mean",
        mag_distance: str = "L1",
        device: Any = None,
        log_eps: float = 0.0,
        log_fac: float = 1.0,
    ) -> None:
        super().__init__()
        check_name("output", output, ("loss", "full"))
        if scale is not None:
            check_name("scale", scale, ("mel",))
        if sample_rate is None and (perceptual_weighting or scale is not None):
            raise ValueError(
                "sample_rate must be a number with scale or perceptual_weighting, got None"
            )
        self.w_sc, self.w_log_mag, self.w_lin_mag, self.w_phs = w_sc, w_log_mag, w_lin_mag, w_phs
        self.scale, self.scale_invariance, self.eps = scale, scale_invariance, eps
        self.output, self.reduction = output, reduction
        self.spectrogram = Spectrogram(
            fft_size, hop_size, win_length, window=window_by_name(window)
        )
        self.spectralconv: nn.Module = SpectralConvergenceLoss()
        self.logstft = STFTMagnitudeLoss(True, log_eps, log_fac, mag_distance, reduction)
        self.linstft = STFTMagnitudeLoss(False, log_eps, log_fac, mag_distance, reduction)
        self.prefilter = None
        if sample_rate is not None and scale is not None:
            if n_bins is None:
                raise ValueError("n_bins must be a number with scale, got None")
            self.register_buffer("fb", mel_filters(sample_rate, fft_size, n_bins).float()[None])
        if sample_rate is not None and perceptual_weighting:
            self.prefilter = FIRFilter("aw", fs=sample_rate)

    def forward(self, input: Tensor, target: Tensor) -> Any:
        """Return the loss of signals from targets, (B, C, T).

        Returns:
            Scalar; with ``output="full"`` also the terms of convergence, logarithms, magnitudes
            and phases. A term with weight 0 is 0.0.

        Raises:
            TypeError, ValueError: the signals do not fit.
        """
        with torch.autocast(input.device.type, enabled=False):
            if self.prefilter is not None:
                shape = input.shape
                flat = (x.reshape(-1, 1, x.shape[-1]) for x in (input, target))
                input, target = (x.reshape(shape) for x in self.prefilter(*flat))
            x, y = (self.spectrogram.stft(signals) for signals in (input, target))
            x_mag, y_mag = self._magnitudes(x), self._magnitudes(y)
            if self.scale_invariance:
                alpha = (x_mag * y_mag).sum([-2, -1], True) / y_mag.square().sum([-2, -1], True)
                y_mag = y_mag * alpha
            return self._combined(x_mag, y_mag, x, y)

    def _magnitudes(self, spectrum: Tensor) -> Tensor:
        power = spectrum.real.square() + spectrum.imag.square()
        magnitudes = power.clamp_min(self.eps).sqrt()
        return magnitudes if self.scale is None else self.fb.to(magnitudes) @ magnitudes

    def _combined(self, x_mag: Tensor, y_mag: Tensor, x: Tensor, y: Tensor) -> Any:
        sc = self.spectralconv(x_mag, y_mag) if self.w_sc else 0.0
        log = self.logstft(x_mag, y_mag) if self.w_log_mag else 0.0
        lin = self.linstft(x_mag, y_mag) if self.w_lin_mag else 0.0
        phs = self._phases(x, y) if self.w_phs else 0.0
        weighted = self.w_sc * sc + self.w_log_mag * log + self.w_lin_mag * lin + self.w_phs * phs
        loss = self._reduced(torch.as_tensor(weighted))
        return loss if self.output == "loss" else (loss, sc, log, lin, phs)

    def _phases(self, x: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(x.angle(), y.angle())

    def _reduced(self, loss: Tensor) -> Tensor:
        if self.reduction == "none":
            return loss
        return loss.mean() if self.reduction == "mean" else loss.sum()


class MelSTFTLoss(STFTLoss):
    """:class:`STFTLoss` on the mel scale; further arguments are those of STFTLoss."""

    def __init__(
        self,
        sample_rate: float,
        fft_size: int = 1024,
        hop_size: int = 256,
        win_length: int = 1024,
        window: str = "hann_window",
        w_sc: float = 1.0,
        w_log_mag: float = 1.0,
        w_lin_mag: float = 0.0,
        w_phs: float = 0.0,
        n_mels: int = 128,
        perceptual_weighting: bool = False,
        scale_invariance: bool = False,
        eps: float = 1e-8,
        output: str = "loss",
        reduction: str = "mean",
        mag_distance: str = "L1",
        device: Any = None,
        log_eps: float = 0.0,
        log_fac: float = 1.0,
    ) -> None:
        super().__init__(
            fft_size, hop_size, win_length, window, w_sc, w_log_mag, w_lin_mag, w_phs,
            sample_rate, "mel", n_mels, perceptual_weighting, scale_invariance, eps, output,
            reduction, mag_distance, device, log_eps, log_fac,
        )  # fmt: skip


class MeanOverResolutions(nn.Module):
    """The mean of losses of several resolutions."""

    def __init__(self, losses: Iterable[nn.Module]) -> None:
        super().__init__()
        self.stft_losses = nn.ModuleList(losses)

    def forward(self, x: Tensor, y: Tensor) -> Any:
        """Return the loss of signals x from targets y, (B, C, T).

        Returns:
            Scalar, or (B C,) with ``retain_batch_dim``; with ``output="full"`` also a list of each
            term.
        """
        found = [loss(x, y) for loss in self.stft_losses]
        if not isinstance(found[0], tuple):
            return sum(found) / len(found)
        losses, *terms = ([term[k] for term in found] for k in range(len(found[0])))
        return sum(losses) / len(losses), *terms


class MultiResolutionSTFTLoss(MeanOverResolutions):
    """The mean of :class:`STFTLoss` over resolutions; further arguments are those of STFTLoss.

    Raises:
        ValueError: the lists have different lengths, or an argument does not fit.
    """

    def __init__(
        self,
        fft_sizes: Sequence[int] = (1024, 2048, 512),
        hop_sizes: Sequence[int] = (120, 240, 50),
        win_lengths: Sequence[int] = (600, 1200, 240),
        window: str = "hann_window",
        w_sc: float = 1.0,
        w_log_mag: float = 1.0,
        w_lin_mag: float = 0.0,
        w_phs: float = 0.0,
        sample_rate: float | None = None,
        scale: str | None = None,
        n_bins: int | None = None,
        perceptual_weighting: bool = False,
        scale_invariance: bool = False,
        eps: float = 1e-8,
        output: str = "loss",
        reduction: str = "mean",
        mag_distance: str = "L1",
        device: Any = None,
        log_eps: float = 0.0,
        log_fac: float = 1.0,
    ) -> None:
        super().__init__(
            STFTLoss(
                fft_size, hop_size, win_length, window, w_sc, w_log_mag, w_lin_mag, w_phs,
                sample_rate, scale, n_bins, perceptual_weighting, scale_invariance, eps, output,
                reduction, mag_distance, device, log_eps, log_fac,
            )
            for fft_size, hop_size, win_length in resolutions_of(fft_sizes, hop_sizes, win_lengths)
        )  # fmt: skip


def resolutions_of(
    fft_sizes: Sequence[int], hop_sizes: Sequence[int], win_lengths: Sequence[int]
) -> list[tuple[int, int, int]]:
    """Return FFT size, hop and window of each resolution."""
    if not len(fft_sizes) == len(hop_sizes) == len(win_lengths) > 0:
        raise ValueError(
            "fft_sizes, hop_sizes and win_lengths must have the same length of at least 1, "
            f"got {len(fft_sizes)}, {len(hop_sizes)} and {len(win_lengths)}"
        )
    return list(zip(fft_sizes, hop_sizes, win_lengths, strict=True))


class SumAndDifference(nn.Module):
    """Half the weighted sum of a loss of left + right and of left - right."""

    def __init__(self, mrstft: nn.Module, w_sum: float, w_diff: float, output: str) -> None:
        super().__init__()
        check_name("output", output, ("loss", "full"))
        self.mrstft, self.w_sum, self.w_diff, self.output = mrstft, w_sum, w_diff, output

    def forward(self, input: Tensor, target: Tensor) -> Any:
        """Return the loss of stereo signals from targets, (B, 2, T).

        Raises:
            ValueError: the signals are not stereo.
        """
        for name, x in (("input", input), ("target", target)):
            if x.dim() != 3 or x.shape[1] != 2:
                raise ValueError(f"{name} must be stereo, (B, 2, T), got shape {list(x.shape)}")
        added, subtracted = (
            self.mrstft(*(x[:, :1] + sign * x[:, 1:] for x in (input, target))) for sign in (1, -1)
        )
        combined = (self.w_sum * added + self.w_diff * subtracted) / 2
        return combined if self.output == "loss" else (combined, added, subtracted)


class SumAndDifferenceSTFTLoss(SumAndDifference):
    """Multi-resolution losses of the sum and of the difference of two channels.

    Args:
        fft_sizes, ..., log_fac: as in :class:`MultiResolutionSTFTLoss`.
        w_sum, w_diff: weights of both, whose sum is halved.
        output: ``loss``, or ``full`` with both losses.

    Raises:
        ValueError: an argument does not fit.
    """

    def __init__(
        self,
        fft_sizes: Sequence[int],
        hop_sizes: Sequence[int],
        win_lengths: Sequence[int],
        window: str = "hann_window",
        w_sum: float = 1.0,
        w_diff: float = 1.0,
        output: str = "loss",
        w_sc: float = 1.0,
        w_log_mag: float = 1.0,
        w_lin_mag: float = 0.0,
        w_phs: float = 0.0,
        sample_rate: float | None = None,
        scale: str | None = None,
        n_bins: int | None = None,
        perceptual_weighting: bool = False,
        scale_invariance: bool = False,
        eps: float = 1e-8,
        reduction: str = "mean",
        mag_distance: str = "L1",
        device: Any = None,
        log_eps: float = 0.0,
        log_fac: float = 1.0,
    ) -> None:
        mrstft = MultiResolutionSTFTLoss(
            fft_sizes, hop_sizes, win_lengths, window, w_sc, w_log_mag, w_lin_mag, w_phs,
            sample_rate, scale, n_bins, perceptual_weighting, scale_invariance, eps, "loss",
            reduction, mag_distance, device, log_eps, log_fac,
        )  # fmt: skip
        super().__init__(mrstft, w_sum, w_diff, output)
