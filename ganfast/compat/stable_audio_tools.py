r"""Drop-in for the spectral losses of stable-audio-tools, ``training/losses/auraloss.py``.

In ``stable_audio_tools/training/autoencoders.py``, ``from .losses import auraloss as auraloss``
becomes ::

    from ganfast.compat import stable_audio_tools as auraloss

Unlike in :mod:`ganfast.compat.auraloss`, the convergence is that of each signal, whose mean is
taken; there are as many numbers of mel filters as resolutions; phases are compared by
2 \|x - y\| / (\|x\| + \|y\|) of the complex spectra; and with ``retain_batch_dim`` there is one
loss for each signal. ``SISDRLoss`` and ``MelSTFTLoss`` are left to the project.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ganfast.compat import auraloss
from ganfast.compat.auraloss import MeanOverResolutions, SumAndDifference, resolutions_of


class SpectralConvergenceLoss(nn.Module):
    """The norm of the difference of magnitudes, divided by that of the target, of each signal."""

    def forward(self, x_mag: Tensor, y_mag: Tensor) -> Tensor:
        """Return the ratios of magnitudes x and targets y, (B, F, T); (B, 1, 1)."""
        top, bottom = (
            torch.linalg.vector_norm(m, dim=(-2, -1), keepdim=True) for m in (y_mag - x_mag, y_mag)
        )
        ratios: Tensor = top / bottom
        return ratios


class STFTLoss(auraloss.STFTLoss):
    """Distance of the magnitudes of an STFT from those of a target.

    Args:
        fft_size, ..., log_fac: as in :class:`ganfast.compat.auraloss.STFTLoss`.
        retain_batch_dim: return one loss for each signal; its reduction is over the elements.

    Raises:
        ValueError: an argument does not fit.
    """

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
        retain_batch_dim: bool = False,
        log_eps: float = 0.0,
        log_fac: float = 1.0,
    ) -> None:
        super().__init__(
            fft_size, hop_size, win_length, window, w_sc, w_log_mag, w_lin_mag, w_phs,
            sample_rate, scale, n_bins, perceptual_weighting, scale_invariance, eps, output,
            reduction, mag_distance, device, log_eps, log_fac,
        )  # fmt: skip
        self.spectralconv = SpectralConvergenceLoss()
        self.retain_batch_dim = retain_batch_dim
        if retain_batch_dim:
            self.logstft.reduction = self.linstft.reduction = "none"

    def _phases(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - y).abs() / (0.5 * (x.abs() + y.abs()) + 1e-7)

    def _reduced(self, loss: Tensor) -> Tensor:
        if self.retain_batch_dim and self.reduction != "none":
            return loss.mean([-2, -1]) if self.reduction == "mean" else loss.sum([-2, -1])
        return super()._reduced(loss)


class MultiResolutionSTFTLoss(MeanOverResolutions):
    """The mean of :class:`STFTLoss` over resolutions; further arguments are those of STFTLoss.

    Args:
        n_bins: numbers of mel filters, one for each resolution.

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
        n_bins: Sequence[int] | None = None,
        perceptual_weighting: bool = False,
        scale_invariance: bool = False,
        eps: float = 1e-8,
        output: str = "loss",
        reduction: str = "mean",
        mag_distance: str = "L1",
        device: Any = None,
        retain_batch_dim: bool = False,
        log_eps: float = 0.0,
        log_fac: float = 1.0,
    ) -> None:
        resolutions = resolutions_of(fft_sizes, hop_sizes, win_lengths)
        bins = [None] * len(resolutions) if n_bins is None or scale != "mel" else list(n_bins)
        if len(bins) < len(resolutions):
            raise ValueError(
                f"n_bins must have one number for each of the {len(resolutions)} resolutions, "
                f"got {len(bins)}"
            )
        super().__init__(
            STFTLoss(
                fft_size, hop_size, win_length, window, w_sc, w_log_mag, w_lin_mag, w_phs,
                sample_rate, scale, count, perceptual_weighting, scale_invariance, eps, output,
                reduction, mag_distance, device, retain_batch_dim, log_eps, log_fac,
            )
            for (fft_size, hop_size, win_length), count in zip(resolutions, bins, strict=False)
        )  # fmt: skip


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
        n_bins: Sequence[int] | None = None,
        perceptual_weighting: bool = False,
        scale_invariance: bool = False,
        eps: float = 1e-8,
        reduction: str = "mean",
        mag_distance: str = "L1",
        device: Any = None,
        retain_batch_dim: bool = False,
        log_eps: float = 0.0,
        log_fac: float = 1.0,
    ) -> None:
        mrstft = MultiResolutionSTFTLoss(
            fft_sizes, hop_sizes, win_lengths, window, w_sc, w_log_mag, w_lin_mag, w_phs,
            sample_rate, scale, n_bins, perceptual_weighting, scale_invariance, eps, "loss",
            reduction, mag_distance, device, retain_batch_dim, log_eps, log_fac,
        )  # fmt: skip
        super().__init__(mrstft, w_sum, w_diff, output)
