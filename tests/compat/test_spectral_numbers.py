"""Spectral losses give the numbers of the projects' own files, at the commits in drop-in.md.

The numbers come from float32 inputs and the projects' filters of librosa and windows of scipy.
"""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from compat.checks import arguments
from compat.peer_numbers import NUMBERS, noise, numbers_of, signals
from torch import Tensor, nn

from ganfast.compat import auraloss, dac, hifigan, stable_audio_tools, vits
from ganfast.losses import SpectralLoss, Spectrogram

HOPS = ([1024, 512], [256, 128], [1024, 512])
WEIGHED = {"perceptual_weighting": True, "sample_rate": 44100}
DAC = {
    "n_mels": [5, 10, 20, 40, 80, 160, 320],
    "window_lengths": [32, 64, 128, 256, 512, 1024, 2048],
    "mel_fmin": [0] * 7,
    "mel_fmax": [None] * 7,
    "pow": 1.0,
    "mag_weight": 0.0,
}


def hifigan_mel(center: bool) -> Any:
    def mel(x: Tensor) -> Tensor:
        return hifigan.mel_spectrogram(x[:, 0], 1024, 80, 22050, 256, 1024, 0, 8000, center)

    return lambda x, y: 45 * F.l1_loss(mel(x), mel(y))


def hifigan_by_parts(x: Tensor, y: Tensor) -> Tensor:
    mel = Spectrogram(1024, 256, padding=384, eps=1e-9, mels=80, sample_rate=22050, high=8000)
    return SpectralLoss([mel], log=45)(y, x)


def vits_mel(center: bool) -> Any:
    def mel(x: Tensor) -> Tensor:
        return vits.mel_spectrogram_torch(x[:, 0], 512, 40, 22050, 128, 400, 0, 8000, center)

    return lambda x, y: F.l1_loss(mel(x), mel(y))


def of_signals(loss: nn.Module) -> Any:
    return lambda *xs: loss(*(SimpleNamespace(audio_data=x, sample_rate=44100) for x in xs))


def ours(project: str) -> dict[str, Any]:
    """Losses of auraloss and of stable-audio-tools, whose names and arguments are the same."""
    of = auraloss if project == "auraloss" else stable_audio_tools
    bins = 40 if project == "auraloss" else [40, 50, 30]
    stft = {
        "default": {},
        "all terms": {"w_lin_mag": 0.5, "w_phs": 0.3},
        "l2": {"w_sc": 0.0, "mag_distance": "L2"},
        "sum": {"reduction": "sum"},
        "log_eps": {"log_eps": 1.0, "log_fac": 10.0},
        "mel": {"scale": "mel", "n_bins": 40, "sample_rate": 22050},
        "weighting": WEIGHED,
    }
    mel = {"scale": "mel", "n_bins": bins, "sample_rate": 22050}
    return {
        **{f"{project} {name}": of.STFTLoss(**options) for name, options in stft.items()},
        f"{project} resolutions": of.MultiResolutionSTFTLoss(),
        f"{project} resolutions, mel": of.MultiResolutionSTFTLoss(**mel),
        f"{project} stereo": of.SumAndDifferenceSTFTLoss(*HOPS, w_diff=0.5, **WEIGHED),
    }


CASES = {
    "hifigan": hifigan_mel(False),
    "hifigan center": hifigan_mel(True),
    "vits": vits_mel(False),
    "vits center": vits_mel(True),
    "bigvgan": hifigan.MultiScaleMelSpectrogramLoss(24000),
    "bigvgan l2": hifigan.MultiScaleMelSpectrogramLoss(
        24000, [10, 20], [256, 512], nn.MSELoss(), window_type="hamming"
    ),
    "dac mel": of_signals(dac.MelSpectrogramLoss(**DAC)),
    "dac mel default": of_signals(dac.MelSpectrogramLoss()),
    "dac stft": of_signals(dac.MultiScaleSTFTLoss()),
    "dac stft sqrt_hann": of_signals(dac.MultiScaleSTFTLoss(window_type="sqrt_hann")),
    **ours("auraloss"),
    "auraloss MelSTFTLoss": auraloss.MelSTFTLoss(22050),
    **ours("stable-audio-tools"),
    "stable-audio-tools retain": stable_audio_tools.STFTLoss(retain_batch_dim=True),
}


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_of_the_projects(name: str) -> None:
    inputs = signals(2 if "stereo" in name else 1)
    found, expected = (torch.tensor(n) for n in (numbers_of(CASES[name], *inputs), NUMBERS[name]))
    # Logarithms of faint bins and phases amplify rounding, which differs between processors: allow
    # for twice what a change of the inputs' last bits does.
    moved = torch.zeros_like(found)
    for seed in range(4):
        rounded = (x * (1 + 2**-23 * noise(*x.shape, seed=seed)) for x in inputs)
        others = torch.tensor(numbers_of(CASES[name], *rounded))
        moved = torch.maximum(moved, (others - found).abs())
    assert ((found - expected).abs() <= 2e-5 * expected.abs() + 1e-6 + 2 * moved).all()


def test_hifigans_loss_from_its_parts() -> None:
    found = numbers_of(hifigan_by_parts, *signals())
    assert found == pytest.approx(NUMBERS["hifigan"], rel=2e-5)


def test_vits_in_two_steps_and_its_divergence() -> None:
    x = signals()[0][:, 0]
    spec = vits.spectrogram_torch(x, 512, 22050, 128, 400)
    assert spec.shape == (2, 257, 6000 // 128)
    mel = vits.spec_to_mel_torch(spec, 512, 40, 22050, 0, 8000)
    assert torch.equal(mel, vits.mel_spectrogram_torch(x, 512, 40, 22050, 128, 400, 0, 8000))
    assert vits.spec_to_mel_torch(spec.half(), 512, 40, 22050, 0, None).dtype == torch.float32
    z, logs_q, m, logs_p = (noise(2, 3, 5, seed=k).double() for k in range(4))
    mask = torch.tensor([[1.0] * 5, [1, 1, 0, 0, 0]]).double()[:, None]
    found = vits.kl_loss(z, logs_q, m, logs_p, mask)
    terms = [
        p - q - 0.5 + (a - b) ** 2 / (2 * math.exp(2 * p))
        for b_, t in [(0, 5), (1, 2)]
        for a, q, b, p in zip(
            *(v[b_, :, :t].flatten().tolist() for v in (z, logs_q, m, logs_p)), strict=True
        )
    ]
    assert found.item() == pytest.approx(sum(terms) / 7)  # the mask has one channel


def test_full_output() -> None:
    x, y = signals()
    for project in (auraloss, stable_audio_tools):
        loss, sc, log, lin, phs = project.STFTLoss(output="full")(x, y)
        assert loss == project.STFTLoss()(x, y)
        assert lin == phs == 0.0
        assert (sc + log).mean() == pytest.approx(loss.item())
        total, *terms = project.MultiResolutionSTFTLoss(output="full")(x, y)
        assert total == project.MultiResolutionSTFTLoss()(x, y)
        assert [len(term) for term in terms] == [3] * 4
        stereo = noise(2, 2, 2000), noise(2, 2, 2000, seed=1)
        loss, added, subtracted = project.SumAndDifferenceSTFTLoss(*HOPS, output="full")(*stereo)
        assert loss == pytest.approx((added + subtracted).item() / 2)


def test_each_signal_is_scaled_by_its_own_factor() -> None:
    """The project's scale_invariance fits one signal alone."""
    x, y = signals()
    loss = auraloss.STFTLoss(w_sc=0.0, w_lin_mag=1.0, w_log_mag=0.0, scale_invariance=True)
    alone = sum(loss(x[k : k + 1], y[k : k + 1]).item() for k in range(2)) / 2
    assert loss(x, y).item() == pytest.approx(alone, rel=1e-5)
    assert loss(x, 7 * x).item() == pytest.approx(0, abs=1e-5)


def test_state_dicts_have_the_projects_names() -> None:
    pytest.importorskip("scipy")
    mel = auraloss.STFTLoss(scale="mel", n_bins=8, **WEIGHED)
    assert list(mel.state_dict()) == ["fb", "prefilter.fir.weight"]
    assert not any(p.requires_grad for p in mel.parameters())


def test_signatures() -> None:
    assert arguments(hifigan.mel_spectrogram) == (
        "y, n_fft, num_mels, sampling_rate, hop_size, win_size, fmin, fmax=None, center=False"
    )
    shared = (
        "loss_fn=None, clamp_eps=1e-05, mag_weight=1.0, log_weight=1.0, pow=2.0, weight=1.0, "
        "match_stride=False, "
    )
    assert arguments(dac.MelSpectrogramLoss) == (
        f"n_mels=(150, 80), window_lengths=(2048, 512), {shared}mel_fmin=(0.0, 0.0), "
        "mel_fmax=(None, None), window_type=None"
    )
    assert arguments(dac.MultiScaleSTFTLoss) == (
        f"window_lengths=(2048, 512), {shared}window_type=None"
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: auraloss.STFTLoss(scale="mel", n_bins=4), "sample_rate must be a number"),
        (lambda: auraloss.STFTLoss(scale="mel", sample_rate=8000), "n_bins must be a number"),
        (lambda: auraloss.STFTLoss(scale="chroma"), "scale must be one of mel, got 'chroma'"),
        (lambda: auraloss.STFTLoss(mag_distance="l1"), "distance must be one of L1, L2"),
        (lambda: auraloss.STFTLoss(reduction="max"), "reduction must be one of mean, sum, none"),
        (lambda: auraloss.MultiResolutionSTFTLoss([8], [2], []), "same length of at least 1"),
        (
            lambda: stable_audio_tools.MultiResolutionSTFTLoss(
                scale="mel", n_bins=[8], sample_rate=8000
            ),
            "n_bins must have one number for each of the 3 resolutions, got 1",
        ),
        (
            lambda: auraloss.SumAndDifferenceSTFTLoss(*HOPS)(*signals()),
            "input must be stereo, .* got shape",
        ),
        (
            lambda: hifigan.MultiScaleMelSpectrogramLoss(8000, match_stride=True),
            "match_stride must be False",
        ),
        (
            lambda: hifigan.MultiScaleMelSpectrogramLoss(8000, window_type="han")(*signals()),
            "window_type must be one of hann",
        ),
        (lambda: auraloss.FIRFilter("aw", ntaps=100), "ntaps must be odd, got 100"),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
