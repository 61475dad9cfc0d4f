"""Feature networks of the user: callables that can be imported, and TorchScript files."""

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganfast._names import UserCodeError, user_code
from ganfast.features import weight_files
from ganfast.features.encoder import Encoder


class _FeaturesOnly(nn.Module):
    """A network or function that returns features alone."""

    def __init__(
        self, name: str, function: Callable[..., Any], options: Mapping[str, bool]
    ) -> None:
        super().__init__()
        self.name, self.function, self.options = name, function, options

    def forward(self, x: Tensor, layers: tuple[str, ...]) -> Mapping[str, Tensor]:
        with user_code(self.name):
            features = self.function(x, **self.options)
        if not isinstance(features, Tensor) or features.shape[:1] != x.shape[:1]:
            got = tuple(features.shape) if isinstance(features, Tensor) else type(features)
            raise ValueError(
                f"the feature network must return (N, D) for {len(x)} images, got {got}"
            )
        flat = features.flatten(1)
        if flat.is_complex() or not flat.shape[1]:
            raise ValueError(
                "the feature network must return real features (N, D) with D >= 1, "
                f"got {features.dtype} {tuple(features.shape)}"
            )
        return {"features": flat}


UNKNOWN = "unknown"  # weights that may change unseen, so that features are not stored


def imported(name: str) -> Encoder:
    """Return the encoder of ``module:callable``: a function, a module, or a class of modules."""
    function = import_callable(name)
    if isinstance(function, type):
        with user_code(name):
            function = function()
    if isinstance(function, nn.Module):
        function = function.eval()
    # What a function depends on is not known.
    return _bytes_encoder(name, function, UNKNOWN)


def given(features: Encoder | Callable[[Tensor], Tensor], device: str) -> Encoder:
    """Return the encoder of a module or a callable, or one that is there already."""
    if isinstance(features, Encoder):
        return features
    if not callable(features):
        raise TypeError(
            "features must be a name, an Encoder, a module or a callable, "
            f"got {type(features).__name__}"
        )
    name = getattr(features, "__name__", type(features).__name__)
    encoder = _bytes_encoder(name, features, UNKNOWN)
    encoder.device = torch.device(device)
    encoder.net.eval().to(encoder.device)  # type: ignore[attr-defined]
    return encoder


def import_callable(name: str) -> Callable[..., Any]:
    """Import ``module:callable``, also from the working folder, or raise ValueError."""
    module_name, _, attribute = name.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        with user_code(name):
            module = importlib.import_module(module_name)
        found = getattr(module, attribute)
    except UserCodeError as error:
        if isinstance(error.__cause__, ModuleNotFoundError) and error.__cause__.name in (
            module_name,
            module_name.partition(".")[0],
        ):
            words = error.__cause__
            raise ValueError(f"{name}: this module:callable cannot be imported: {words}") from words
        raise
    except AttributeError as error:
        raise ValueError(f"{name}: this module:callable cannot be imported: {error}") from error
    if not callable(found):
        raise ValueError(f"{name} must be callable, got {type(found).__name__}")
    function: Callable[..., Any] = found
    return function


def torchscript(path: Path) -> Encoder:
    """Return the encoder of a TorchScript file; ValueError for another file."""
    try:
        net = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise ValueError(f"{path} must be a TorchScript file: {error!s:.200}") from error
    # NVIDIA's files return probabilities unless asked for features.
    takes = {argument.name for argument in net.forward.schema.arguments}
    options = {"return_features": True} if "return_features" in takes else {}
    return _bytes_encoder(path.name, net, weight_files.sha256_of(path), options)


def _bytes_encoder(
    name: str, function: Callable[..., Any], sha256: str, options: Mapping[str, bool] | None = None
) -> Encoder:
    return Encoder(
        net=_FeaturesOnly(name, function, options or {}),
        label=f"FD ({name})",
        layers=("features",),
        channels=3,
        size=0,
        mode="none",
        settings={"features": name, "weights": sha256},
    )
