"""Drop-in for the losses of Descript Audio Codec, ``dac.nn.loss``.

In ``scripts/train.py``, after the line of ``losses``, which still provides its other losses, add ::

    from ganfast.compat.dac import GANLoss, MelSpectrogramLoss, MultiScaleSTFTLoss

and remove ``losses.`` before these names.

The discriminator's step takes one pass over real and fake samples together, if the discriminator
allows it (:func:`ganfast.losses.one_pass`; the project's does). In the generator's step the pass
over real samples keeps no graph, and the discriminator's parameters get no gradients; the project
computes both and discards them. A stacked tensor of features counts as the list of its slices.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ganfast.compat._spectral import MultiScale
from ganfast.losses import AdversarialLoss, feature_matching, frozen
from ganfast.losses.one_pass import joined

_LEAST_SQUARES = AdversarialLoss("least_squares")

Features = list[list[Tensor]]


def _lists(features: Any) -> Features:
    return [list(maps) for maps in features]


class GANLoss(nn.Module):
    """Least squares and feature matching of a discriminator that the loss owns.

    Args:
        discriminator: maps (B, 1, T) to a list of features per sub-discriminator, whose last
            entry is the logits.
    """

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, fake: Any, real: Any) -> tuple[Features, Features]:
        """Return the features of fake and of real signals with ``audio_data`` (B, 1, T)."""
        return self.discriminator(fake.audio_data), self.discriminator(real.audio_data)

    def discriminator_loss(self, fake: Any, real: Any) -> Tensor:
        """The sum over all discriminators of m[f^2] + m[(1 - r)^2] of detached signals; scalar."""
        d_real, d_fake = joined(
            self.discriminator,
            lambda x: _lists(self.discriminator(x)),
            real.audio_data,
            fake.audio_data.detach(),
        )
        return _LEAST_SQUARES.discriminator(d_real, d_fake)

    def generator_loss(self, fake: Any, real: Any) -> tuple[Tensor, Tensor]:
        r"""The sum of m[(1 - f)^2] over the logits, and that of m\|G - R\| over all other features.

        Returns:
            The adversarial and the feature matching loss, unweighted scalars.
        """
        network = self.discriminator
        # With a static graph, the wrapper would wait forever for gradients of frozen parameters.
        if isinstance(network, DistributedDataParallel):
            network = network.module
        with frozen(network):
            d_fake = _lists(network(fake.audio_data))
            with torch.no_grad():
                d_real = _lists(network(real.audio_data))
        return _LEAST_SQUARES.generator(d_fake), feature_matching(d_real, d_fake, skip_last=True)


class _OfSignals(MultiScale):
    """A loss of signals with ``audio_data`` and ``sample_rate``, which plain spectra ignore."""

    def forward(self, x: Any, y: Any) -> Tensor:
        """Return the loss of estimated from reference signals with ``audio_data`` (B, C, T).

        Raises:
            TypeError, ValueError: as :class:`ganfast.losses.SpectralLoss`.
        """
        return self.distance(x.audio_data, y.audio_data, getattr(x, "sample_rate", None))


class MultiScaleSTFTLoss(_OfSignals):
    r"""Distance of magnitudes of spectrograms of several window lengths w, with hop w / 4.

    .. math:: \sum \lambda_{log} m|\log_{10} X^p - \log_{10} Y^p| + \lambda_{mag} m|X - Y|

    with X and Y clamped below at ``clamp_eps`` in the logarithms.

    Args:
        window_lengths: of each scale.
        loss_fn: replaces the mean absolute difference.
        clamp_eps: as above.
        mag_weight, log_weight: lambda_mag, lambda_log.
        pow: p.
        weight, match_stride: unused, as in the project.
        window_type: ``hann`` if None; ``sqrt_hann``, ``hamming``, ``blackman``, ``bartlett`` or
            ``average``.
    """

    def __init__(
        self,
        window_lengths: Sequence[int] = (2048, 512),
        loss_fn: Callable[[Tensor, Tensor], Tensor] | None = None,
        clamp_eps: float = 1e-5,
        mag_weight: float = 1.0,
        log_weight: float = 1.0,
        pow: float = 2.0,
        weight: float = 1.0,
        match_stride: bool = False,
        window_type: str | None = None,
    ) -> None:
        super().__init__(loss_fn, clamp_eps, mag_weight, log_weight, pow, weight, window_type)
        self.scales = [(None, 0.0, None, length) for length in window_lengths]


class MelSpectrogramLoss(_OfSignals):
    """The distance of :class:`MultiScaleSTFTLoss`, of mel spectrograms (Slaney's scale).

    Args:
        n_mels, mel_fmin, mel_fmax: of each scale.
        window_lengths, ..., window_type: as in :class:`MultiScaleSTFTLoss`.
    """

    def __init__(
        self,
        n_mels: Sequence[int] = (150, 80),
        window_lengths: Sequence[int] = (2048, 512),
        loss_fn: Callable[[Tensor, Tensor], Tensor] | None = None,
        clamp_eps: float = 1e-5,
        mag_weight: float = 1.0,
        log_weight: float = 1.0,
        pow: float = 2.0,
        weight: float = 1.0,
        match_stride: bool = False,
        mel_fmin: Sequence[float] = (0.0, 0.0),
        mel_fmax: Sequence[float | None] = (None, None),
        window_type: str | None = None,
    ) -> None:
        super().__init__(loss_fn, clamp_eps, mag_weight, log_weight, pow, weight, window_type)
        # As many scales as the shortest list has, as in the project.
        self.scales = list(zip(n_mels, mel_fmin, mel_fmax, window_lengths, strict=False))
