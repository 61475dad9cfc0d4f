"""DINOv2 and CLIP image towers from the ``transformers`` package (an optional extra)."""

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from ganfast.features import open_clip
from ganfast.features.encoder import Encoder
from ganfast.features.resize import Mode

# The repository, and the side of the images, of each published model.
MODELS = {
    "dinov2_vits14": ("facebook/dinov2-small", 224),
    "dinov2_vitb14": ("facebook/dinov2-base", 224),
    "dinov2_vitl14": ("facebook/dinov2-large", 224),  # the one of dgm-eval and EDM2
    "dinov2_vitg14": ("facebook/dinov2-giant", 224),
    "clip_vitb32": ("openai/clip-vit-base-patch32", 224),  # clean-fid's CLIP-FID
    "clip_vitl14_336": ("openai/clip-vit-large-patch14-336", 336),  # CMMD's
}
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class _Tower(nn.Module):
    def __init__(self, net: nn.Module, clip: bool) -> None:
        super().__init__()
        self.net, self.clip = net, clip

    def forward(self, x: Tensor, layers: tuple[str, ...]) -> dict[str, Tensor]:
        out: Any = self.net(pixel_values=x)
        # CLIP's projected embedding; DINOv2's class token after the last norm.
        return {"features": out.image_embeds if self.clip else out.last_hidden_state[:, 0]}


def load(name: str, mode: Mode, download: bool) -> Encoder:
    """Load one of `MODELS` from Hugging Face's cache, or download it.

    CLIP comes from ``open_clip`` if ``transformers`` is not installed.
    """
    clip = name.startswith("clip")
    if clip and not _installed("transformers") and _installed("open_clip"):
        net, weights = open_clip.load(name, download)
    else:
        net, weights = _by_transformers(name, clip, download)
    mean, deviation = _CLIP if clip else _IMAGENET
    return Encoder(
        net=net,
        label=f"FD ({name})",
        layers=("features",),
        channels=3,
        size=MODELS[name][1],
        mode=mode,
        shift=tuple(255 * m for m in mean),
        scale=tuple(255 * s for s in deviation),
        settings={"features": name, "weights": weights},
    )


def _installed(package: str) -> bool:
    try:
        importlib.import_module(package)
    except ModuleNotFoundError:
        return False
    return True


def _by_transformers(name: str, clip: bool, download: bool) -> tuple[nn.Module, str]:
    try:
        import transformers
    except ModuleNotFoundError as error:
        other = " or 'ganfast[open_clip]'" if clip else ""
        raise ModuleNotFoundError(
            f"{name} needs the transformers package; "
            f"install it with pip install 'ganfast[transformers]'{other}"
        ) from error
    repository = MODELS[name][0]
    kind = transformers.CLIPVisionModelWithProjection if clip else transformers.Dinov2Model
    try:
        net = kind.from_pretrained(repository, local_files_only=not download, use_safetensors=True)
    except OSError as error:
        raise FileNotFoundError(
            f"{name}: the model {repository} is not in the cache of Hugging Face; "
            f"`hf download {repository}` or --download puts it there"
        ) from error
    weights = str(getattr(net.config, "_commit_hash", "local"))
    return _Tower(net.to(torch.float32), clip), weights
