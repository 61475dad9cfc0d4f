"""What a run is asked for: the feature network, how images go through it, and its inputs."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from ganfast import features, ops
from ganfast.data.image_files import colour
from ganfast.data.image_source import Source
from ganfast.evaluation import inputs
from ganfast.evaluation.collect import OnError
from ganfast.evaluation.scores import FeatureSet, Options
from ganfast.features import Encoder
from ganfast.features.resize import Mode

Input = str | Source | FeatureSet


def check_device(device: str) -> None:
    """Raise ValueError unless this machine has such a device."""
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ValueError(f"device must be cpu, cuda, cuda:1 or mps, got {device!r}") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device must be cpu, as there is no CUDA device here, got {device!r}")
    if kind == "cuda" and (torch.device(device).index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device must be below cuda:{torch.cuda.device_count()} here, got {device!r}"
        )


# Images from which on the compiler is tried on a CPU: it takes minutes, these take an hour.
_MANY = 50_000


@dataclass(frozen=True)
class Settings:
    """The feature network, and how the images are run through it.

    Attributes:
        features, resize, dims, weights, sha256, dtype, graphs, download, device: as
            `ganfast.features.load` takes them.
        compile: use `torch.compile`; ``"auto"`` does where that saves more time than it takes.
        batch_size: images that go through the network at once.
        samples: images that a generator makes; as many as the other side has by default.
        background: colour on which transparency is composed, as ``ganfast train`` does, which also
            turns images upright. By default the stored pixels are taken, as other tools do.
        on_error: ``"stop"`` at images that cannot be used, or ``"skip"`` them.
        state: folder of finished features, to resume from and to use again.
        engine: ``"here"``, in this process or in those of torchrun, or ``"ray"``.
        workers: actors of Ray; as many as there are GPUs, or a quarter of the CPUs, by default.
        options: of the metrics.
    """

    features: str = "inception"
    resize: Mode | None = None
    dims: int = 2048
    weights: str | None = None
    sha256: str | None = None
    dtype: str = "float32"
    compile: bool | Literal["auto"] = False
    graphs: bool = False
    download: bool = False
    device: str = "cpu"
    batch_size: int = 32
    samples: int | None = None
    background: str | None = None
    on_error: OnError = "stop"
    state: Path | None = None
    engine: Literal["here", "ray"] = "here"
    workers: int | None = None
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")

    def encoder(self) -> Encoder:
        """Load the feature network.

        Raises:
            FileNotFoundError, ModuleNotFoundError, ValueError: as `ganfast.features.load`, and for
                a device that is not there.
        """
        check_device(self.device)
        encoder = features.load(
            self.features, device=self.device, resize=self.resize, dims=self.dims,
            weights=self.weights, sha256=self.sha256, dtype=self.dtype,
            compile=self.compile is True,
            graphs=self.graphs, download=self.download,
        )  # fmt: skip
        if self.background is not None:  # one of the settings that change the numbers
            colour(self.background)
            encoder.settings = encoder.settings | {"background": self.background}
        return encoder


def compiled_if_it_pays(encoder: Encoder, count: int, settings: Settings) -> Encoder:
    """Return the network compiled if ``compile`` is ``"auto"``, and that is faster for many images.

    Which of the two is faster differs from CPU to CPU, so both are tried on a batch. What is done
    is said on stderr.
    """
    own_kernels = settings.dtype == "float32" and ops.convolution_serves()  # which are faster
    plain = settings.features == "inception" and settings.device == "cpu"
    if settings.compile != "auto" or not plain or own_kernels or count < _MANY:
        return encoder
    _say(f"{count:,} images: the network is compiled, for minutes, unless with --compile no")
    try:
        compiled = replace(settings, compile=True).encoder()
        taken = [min(_seconds(one, settings) for _ in range(4)) for one in (encoder, compiled)]
    except Exception as error:  # the compiler's own, of which there are many
        words = (str(error) or type(error).__name__).partition("\n")[0]
        _say(f"it runs as it is, as it cannot be compiled: {words}")
        return encoder
    if taken[1] > 0.95 * taken[0]:
        _say("it runs as it is, since compiled it is no faster here")
        return encoder
    _say(f"it is {taken[0] / taken[1]:.1f} times as fast")
    return compiled


def _seconds(encoder: Encoder, settings: Settings) -> float:
    """Return how long a batch takes."""
    size = encoder.size
    batch = torch.zeros(settings.batch_size, encoder.channels, size, size, dtype=torch.uint8)
    start = time.perf_counter()
    encoder(batch)
    return time.perf_counter() - start


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def encoder_for(sides: Sequence[Input], settings: Settings) -> Encoder:
    """Load the feature network, or none if the inputs are features.

    Raises:
        ValueError: some are features and others images; or as `Settings.encoder`.
    """
    of_features = {_name(side) for side in sides if inputs.is_features(side)}
    if not of_features:
        return settings.encoder()
    images = [_name(side) for side in sides if inputs.is_images(side)]
    if images:
        raise ValueError(
            f"REAL and FAKE must both be images or both features, got images in {images[0]} and "
            f"features in {min(of_features)}"
        )
    return inputs.given_features()


def _name(side: Input) -> str:
    return side if isinstance(side, str) else side.name


def open_side(
    side: str | Source, encoder: Encoder, settings: Settings, samples: int | None
) -> Source:
    """Open images or features by name, and return others as they are.

    Raises:
        ValueError: there are fewer than two, or they do not fit the network.
    """
    if isinstance(side, str):
        device = torch.device(settings.device)
        background = None if settings.background is None else colour(settings.background)
        side = inputs.open_source(
            side, encoder.channels, samples, settings.options.seed, device, background
        )
    if side.is_features and encoder.settings.get("features") != inputs.GIVEN:
        raise ValueError(
            f"{side.name} must hold images, got features: to score these, name the files on both "
            "sides, such as 'folder/*.npy'"
        )
    if side.count is not None:
        need_two(side.name, side.count)
    return side


def need_two(name: str, n: int) -> None:
    if n < 2:
        raise ValueError(f"{name} must hold at least 2 images, got {n}")
