"""Drop-in for the losses of HiFi-GAN, BigVGAN and vocoders that follow them.

In ``train.py``, after HiFi-GAN's ``from models import ...`` or BigVGAN's ``from loss import ...``,
add ::

    from ganfast.compat.hifigan import (
        MultiScaleMelSpectrogramLoss,  # BigVGAN alone
        discriminator_loss,
        feature_loss,
        generator_loss,
        mel_spectrogram,
    )

Each call takes one launch forward and one backward for all maps. Features of real samples are
detached, so the generator's step does not back-propagate through the discriminators' pass over
real samples; its gradients are those of the project. The terms for logging are detached 0-dim
tensors, some of which are Python floats in the project: they format, add and plot like floats, and
only reading one waits for the device. Lists of different lengths raise an error; all errors are
those of :mod:`ganfast.losses`. A stacked tensor counts as the list of its slices.

``mel_spectrogram`` makes the mel filters once, where HiFi-GAN's makes them in each call, does not
wait for the device to look for samples outside [-1, 1], and needs no librosa.
"""

from collections.abc import Callable, Sequence

from torch import Tensor

from ganfast.compat._spectral import MultiScale, padded, spectrogram
from ganfast.losses import AdversarialLoss, feature_matching

_LEAST_SQUARES = AdversarialLoss("least_squares")


def feature_loss(fmap_r: Sequence[Sequence[Tensor]], fmap_g: Sequence[Sequence[Tensor]]) -> Tensor:
    r"""Feature matching, twice the sum over all maps of m\|R - G\|; scalar.

    Features are a list for each discriminator, of the same structure and shapes on both sides.
    """
    maps_r, maps_g = ([list(maps) for maps in fmaps] for fmaps in (fmap_r, fmap_g))
    return feature_matching(maps_r, maps_g, weight=2.0)


def discriminator_loss(
    disc_real_outputs: Sequence[Tensor], disc_generated_outputs: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Least squares, the sum over all discriminators of m[(1 - r)^2] + m[g^2]; any shapes.

    Returns:
        The loss, scalar, and its terms for real and for generated samples, detached.
    """
    loss, stats = _LEAST_SQUARES.discriminator_with_stats(
        list(disc_real_outputs), list(disc_generated_outputs)
    )
    return loss, list(stats["real_loss"].unbind()), list(stats["fake_loss"].unbind())


def generator_loss(disc_outputs: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Least squares, the sum over all discriminators of m[(1 - g)^2]; any shapes.

    Returns:
        The loss, scalar, and its terms, detached.
    """
    loss, stats = _LEAST_SQUARES.generator_with_stats(list(disc_outputs))
    return loss, list(stats["fake_loss"].unbind())


def mel_spectrogram(
    y: Tensor,
    n_fft: int,
    num_mels: int,
    sampling_rate: int,
    hop_size: int,
    win_size: int,
    fmin: float,
    fmax: float | None = None,
    center: bool = False,
) -> Tensor:
    """Logarithm of a mel spectrogram: ln max(1e-5, B sqrt(|STFT(y)|^2 + 1e-9)).

    Args:
        y: signals (N, T).
        n_fft, num_mels, sampling_rate, hop_size, win_size, fmin, fmax: as in the project.
        center: pad once more, by n_fft / 2.

    Returns:
        (N, num_mels, frames), T / hop_size frames unless ``center``.
    """
    y, padding = padded(y, n_fft, hop_size, center)
    mel = spectrogram(
        y.device, n_fft, hop_size, win_size, padding, 1e-9, num_mels, sampling_rate, fmin, fmax
    )
    magnitudes: Tensor = mel(y)
    return magnitudes.clamp_min(1e-5).log()


class MultiScaleMelSpectrogramLoss(MultiScale):
    """BigVGAN's distance of mel spectrograms of signals.

    With a ``mag_weight`` other than its default, 0, the project compares the logarithms once more
    instead of the magnitudes.

    Args:
        sampling_rate: in Hz.
        match_stride: must be False; the project fails with True.
        n_mels, ..., window_type: as in :class:`ganfast.compat.dac.MelSpectrogramLoss`.

    Raises:
        ValueError: ``match_stride`` is True.
    """

    def __init__(
        self,
        sampling_rate: int,
        n_mels: Sequence[int] = (5, 10, 20, 40, 80, 160, 320),
        window_lengths: Sequence[int] = (32, 64, 128, 256, 512, 1024, 2048),
        loss_fn: Callable[[Tensor, Tensor], Tensor] | None = None,
        clamp_eps: float = 1e-5,
        mag_weight: float = 0.0,
        log_weight: float = 1.0,
        pow: float = 1.0,
        weight: float = 1.0,
        match_stride: bool = False,
        mel_fmin: Sequence[float] = (0, 0, 0, 0, 0, 0, 0),
        mel_fmax: Sequence[float | None] = (None, None, None, None, None, None, None),
        window_type: str = "hann",
    ) -> None:
        if match_stride:
            raise ValueError(f"match_stride must be False, got {match_stride}")
        super().__init__(loss_fn, clamp_eps, mag_weight, log_weight, pow, weight, window_type)
        # As many scales as the shortest list has, as in the project.
        self.scales = list(zip(n_mels, mel_fmin, mel_fmax, window_lengths, strict=False))
        self.sampling_rate = sampling_rate

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss of estimates x from references y, both (B, C, T); scalar.

        Raises:
            TypeError, ValueError: as :class:`ganfast.losses.SpectralLoss`.
        """
        return self.distance(x, y, self.sampling_rate)
