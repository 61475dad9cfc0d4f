"""Triangular filters on the mel scale, from their formulas."""

import math
from typing import Literal

import torch
from torch import Tensor

from ganfast._names import check_name

MelScale = Literal["slaney", "htk"]

# Slaney's scale (Auditory Toolbox, 1998): linear below 1 kHz, then 27 steps to a factor of 6.4.
_LINEAR_STEP = 200 / 3  # Hz
_BREAK = 1000.0  # Hz
_LOG_STEP = math.log(6.4) / 27


def _mels(hertz: float, scale: MelScale) -> float:
    if scale == "htk":
        return 2595 * math.log10(1 + hertz / 700)
    if hertz < _BREAK:
        return hertz / _LINEAR_STEP
    return _BREAK / _LINEAR_STEP + math.log(hertz / _BREAK) / _LOG_STEP


def _hertz(mels: Tensor, scale: MelScale) -> Tensor:
    if scale == "htk":
        return 700 * (10 ** (mels / 2595) - 1)
    middle = _BREAK / _LINEAR_STEP
    return torch.where(
        mels < middle, mels * _LINEAR_STEP, _BREAK * (_LOG_STEP * (mels - middle)).exp()
    )


def mel_filters(
    sample_rate: float,
    n_fft: int,
    mels: int,
    low: float = 0.0,
    high: float | None = None,
    *,
    scale: MelScale = "slaney",
    normalize: bool = True,
) -> Tensor:
    r"""Triangular filters whose corners are equally spaced on the mel scale.

    With corners f_0 < ... < f_{M+1} from ``low`` to ``high``, filter m is, at frequency f,

    .. math:: \max\left(0, \min\left(\frac{f - f_m}{f_{m+1} - f_m},
        \frac{f_{m+2} - f}{f_{m+2} - f_{m+1}}\right)\right) \cdot \frac{2}{f_{m+2} - f_m}

    where the last factor gives all filters the same area, and is 1 without ``normalize``. The
    defaults are those of librosa.filters.mel; ``scale="htk", normalize=False`` are torchaudio's.

    =========== ============================================================
    ``slaney``  3 f / 200 below 1 kHz; 15 + 27 ln(f / 1000) / ln 6.4 above it
    ``htk``     2595 log10(1 + f / 700)
    =========== ============================================================

    Args:
        sample_rate: in Hz.
        n_fft: length of the Fourier transform, in samples.
        mels: number M of filters.
        low: lowest corner, in Hz.
        high: highest corner, in Hz; half the sample rate if None.
        scale: one of the above.
        normalize: divide each filter by its area.

    Returns:
        (M, n_fft // 2 + 1), float64. A filter between two frequencies of the transform is 0.

    Raises:
        ValueError: the scale is unknown, or a number is out of range.

    Source: Slaney 1998, Auditory Toolbox; Young et al., The HTK Book.
    """
    check_name("scale", scale, ("slaney", "htk"))
    high = sample_rate / 2 if high is None else high
    if mels < 1 or n_fft < 2:
        raise ValueError(f"mels must be at least 1 and n_fft at least 2, got {mels} and {n_fft}")
    if not 0 <= low < high <= sample_rate / 2:
        raise ValueError(
            f"low and high must satisfy 0 <= low < high <= {sample_rate / 2:g}, half the sample "
            f"rate, got {low:g} and {high:g}"
        )
    ends = (_mels(low, scale), _mels(high, scale))
    corners = _hertz(torch.linspace(*ends, mels + 2, dtype=torch.float64), scale)
    left, middle, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    f = torch.linspace(0, n_fft // 2, n_fft // 2 + 1, dtype=torch.float64) * (sample_rate / n_fft)
    rising, falling = (f - left) / (middle - left), (right - f) / (right - middle)
    filters = torch.minimum(rising, falling).clamp_min(0)
    return filters * 2 / (right - left) if normalize else filters
