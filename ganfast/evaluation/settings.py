"""What a run is asked for: the feature network, how images go through it, and its inputs."""

import sys
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


# Images from which on the compiler pays on a CPU: it takes one to two minutes, and Inception on
# oneDNN is then 1.2 (float32) to 1.5 times (bf16) as fast.
_MANY = 20_000


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
    """Return the network compiled if ``compile`` is ``"auto"`` and there are many images.

    A network that cannot be compiled runs as it is. Both are said in one line on stderr.
    """
    own_kernels = settings.dtype == "float32" and ops.convolution_serves()  # which are faster
    plain = settings.features == "inception" and settings.device == "cpu"
    if settings.compile != "auto" or not plain or own_kernels or count < _MANY:
        return encoder
    say = f"{count:,} images: the network is compiled, which takes one to two minutes"
    print(f"{say}; --compile no leaves it", file=sys.stderr, flush=True)
    try:
        compiled = replace(settings, compile=True).encoder()
        size = compiled.size
        compiled(torch.zeros(settings.batch_size, 3, size, size, dtype=torch.uint8))
    except Exception as error:  # the compiler's own, of which there are many
        words = (str(error) or type(error).__name__).partition("\n")[0]
        print(f"it runs as it is, as it cannot be compiled: {words}", file=sys.stderr, flush=True)
        return encoder
    return compiled


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
