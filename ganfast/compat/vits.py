"""Drop-in for the losses and spectrograms of VITS, RVC and others that follow VITS.

In ``train.py``, the imports from ``mel_processing`` and ``losses`` become::

    from ganfast.compat.vits import (
        discriminator_loss,
        feature_loss,
        generator_loss,
        kl_loss,
        mel_spectrogram_torch,
        spec_to_mel_torch,
    )

The three adversarial losses are those of :mod:`ganfast.compat.hifigan`. The spectrograms do not
wait for the device to look for samples outside [-1, 1], and need no librosa. ``kl_loss`` is left in
plain torch.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ganfast.compat._spectral import padded, spectrogram
from ganfast.compat.hifigan import discriminator_loss, feature_loss, generator_loss
from ganfast.losses import mel_filters
from ganfast.reference import compute_dtype

__all__ = [
    "discriminator_loss",
    "feature_loss",
    "generator_loss",
    "kl_loss",
    "mel_spectrogram_torch",
    "spec_to_mel_torch",
    "spectrogram_torch",
]


def spectrogram_torch(
    y: Tensor,
    n_fft: int,
    sampling_rate: int,
    hop_size: int,
    win_size: int,
    center: bool = False,
) -> Tensor:
    """Magnitudes sqrt(|STFT(y)|^2 + 1e-6), (N, n_fft / 2 + 1, T / hop_size).

    Args:
        y: signals (N, T).
        n_fft, hop_size, win_size: as in the project; ``sampling_rate`` has no effect.
        center: pad once more, by n_fft / 2.
    """
    y, padding = padded(y, n_fft, hop_size, center)
    magnitudes: Tensor = spectrogram(y.device, n_fft, hop_size, win_size, padding, eps=1e-6)(y)
    return magnitudes


def spec_to_mel_torch(
    spec: Tensor,
    n_fft: int,
    num_mels: int,
    sampling_rate: int,
    fmin: float,
    fmax: float | None,
) -> Tensor:
    """Logarithm of the mel spectrogram of magnitudes: ln max(1e-5, B spec).

    Args:
        spec: magnitudes (..., n_fft / 2 + 1, frames).
        n_fft, num_mels, sampling_rate, fmin, fmax: as in the project.

    Returns:
        (..., num_mels, frames); float64 for float64 magnitudes, else float32.

    Raises:
        ValueError: as :func:`ganfast.losses.mel_filters`.
    """
    with torch.autocast(spec.device.type, enabled=False):
        magnitudes = compute_dtype(spec)
        filters = _filters(spec.device, sampling_rate, n_fft, num_mels, fmin, fmax)
        mels = filters.to(magnitudes.dtype) @ magnitudes
        return mels.clamp_min(1e-5).log()


def mel_spectrogram_torch(
    y: Tensor,
    n_fft: int,
    num_mels: int,
    sampling_rate: int,
    hop_size: int,
    win_size: int,
    fmin: float,
    fmax: float | None,
    center: bool = False,
) -> Tensor:
    """Logarithm of the mel spectrogram of signals (N, T): both functions above."""
    spec = spectrogram_torch(y, n_fft, sampling_rate, hop_size, win_size, center)
    return spec_to_mel_torch(spec, n_fft, num_mels, sampling_rate, fmin, fmax)


@lru_cache(maxsize=64)
def _filters(device: torch.device, *options: Any) -> Tensor:
    return mel_filters(*options).float().to(device)


def kl_loss(z_p: Tensor, logs_q: Tensor, m_p: Tensor, logs_p: Tensor, z_mask: Tensor) -> Tensor:
    r"""KL divergence of the prior N(m_p, exp(logs_p)) from the posterior, at samples z_p.

    .. math:: \frac{\sum z_{mask} \left(\log s_p - \log s_q - \frac12
        + \frac12 (z_p - m_p)^2 e^{-2 \log s_p}\right)}{\sum z_{mask}}

    Args:
        z_p, logs_q, m_p, logs_p: (B, H, T).
        z_mask: (B, 1, T).

    Returns:
        Scalar; float64 for float64 samples, else float32.
    """
    z_p, logs_q, m_p, logs_p, mask = map(compute_dtype, (z_p, logs_q, m_p, logs_p, z_mask))
    kl = logs_p - logs_q - 0.5 + 0.5 * (z_p - m_p).square() * (-2 * logs_p).exp()
    return (kl * mask).sum() / mask.sum()
