"""What the metrics of images call to get features: any of their ``feature`` as a module."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from ganfast.features import Encoder, load
from ganfast.features.registry import moved
from ganfast.features.weight_files import sha256_of

#: A layer of Inception, an `Encoder`, a module, or another callable from images to features.
Feature = int | str | Encoder | nn.Module | Callable[[Tensor], Tensor]
LOGITS = "logits_unbiased"


class EncoderNetwork(nn.Module):
    """A layer of an `Encoder` as a module, which moves between devices and keeps its dtype.

    Its weights come from a file and are no parameters: state dicts do not hold them, and those that
    do, of torchmetrics, are ignored when a state dict is loaded.
    """

    def __init__(self, encoder: Encoder, layer: str) -> None:
        super().__init__()
        if layer not in encoder.layers:
            raise ValueError(
                f"feature must have {layer}, got {encoder.label}, which has "
                f"{', '.join(encoder.layers)}"
            )
        self.encoder, self.layer = encoder, layer

    def forward(self, imgs: Tensor) -> Tensor:
        """Return features (N, D) of uint8 images."""
        return self.encoder(imgs, (self.layer,))[self.layer].clone()  # no tensor of inference mode

    def extra_repr(self) -> str:
        return f"{self.encoder.label}, {self.layer}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        here = torch.empty(0, device=self.encoder.device)
        device = fn(here).device
        if device != here.device:
            self.encoder = moved(self.encoder, device)
        return self

    def _load_from_state_dict(self, *arguments: Any) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> "EncoderNetwork":
        return EncoderNetwork(self.encoder, self.layer)  # its weights never change


class CallableNetwork(nn.Module):
    """A function of images as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, imgs: Tensor) -> Tensor:
        """Return what the function does."""
        return self.function(imgs)


def network(
    feature: Feature,
    weights: str | Path | None,
    antialias: bool,
    layers: tuple[int | str, ...],
    layer: str,
) -> nn.Module:
    """Return the module of a ``feature`` as the metrics take it.

    ``weights`` and ``antialias`` are for Inception, of which it may name some ``layers``; of an
    `Encoder` it is one ``layer``.
    """
    if isinstance(feature, int | str):
        if feature not in layers or isinstance(feature, bool):
            raise ValueError(f"feature must be one of {layers} for Inception, got {feature!r}")
        encoder = load(
            "inception",
            dims=2048 if isinstance(feature, str) else feature,
            resize="antialias" if antialias else "tf1",
            weights=weights,
            sha256=None if weights is None else sha256_of(Path(weights)),
        )
        return EncoderNetwork(encoder, "logits" if feature == LOGITS else "features")
    if weights is not None:
        raise ValueError(
            "feature_extractor_weights_path must be None unless feature is a layer of Inception, "
            f"got {str(weights)!r}"
        )
    if isinstance(feature, Encoder):
        return EncoderNetwork(feature, layer)
    if isinstance(feature, nn.Module):
        return feature
    if callable(feature):
        return CallableNetwork(feature)
    raise TypeError(
        f"feature must be an int, an Encoder, a module or a callable, got {type(feature).__name__}"
    )


def fingerprint(net: nn.Module, *settings: object) -> Tensor:
    """Return 8 numbers that tell a network, with the settings of its features, from others.

    The first is 1 if they say so between processes too, and 0 if they hold the module's identity.
    """
    known = isinstance(net, EncoderNetwork)
    what = [net.encoder.settings, net.layer] if isinstance(net, EncoderNetwork) else id(net)
    digest = hashlib.sha256(json.dumps([what, *map(str, settings)], sort_keys=True).encode())
    return torch.tensor([int(known), *digest.digest()[:7]])


def as_rows(found: object, n: int) -> Tensor:
    """Return a network's result for ``n`` images as features (n, D).

    (n, D, 1, 1) and other shapes are flattened, and the axis of a single image may be missing.
    """
    if not isinstance(found, Tensor):
        raise TypeError(f"features must be a tensor (N, D), got {type(found).__name__}")
    rows = found.unsqueeze(0) if found.ndim == 1 and n == 1 else found
    if rows.ndim < 2 or len(rows) != n:
        raise ValueError(f"features must be (N, D) for {n} images, got shape {tuple(found.shape)}")
    return rows.detach().flatten(1)
