"""Feature networks by name."""

import copy
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from ganfast._precision import warn_if_slow
from ganfast.features import transformer, user_models, weight_files
from ganfast.features.digit_network import SHA256, digits
from ganfast.features.encoder import Encoder
from ganfast.features.graphed import Graphed
from ganfast.features.inception import Inception
from ganfast.features.resize import Mode

NAMES = ("inception", "digits", *transformer.MODELS)
DIMS = (64, 192, 768, 2048)
_OWN = ("inception", "digits")
FEW = 6  # images that go through a network at once on the CPU: their maps stay in the cache
_DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


def load(
    name: str = "inception",
    *,
    device: str | torch.device = "cpu",
    resize: Mode | None = None,
    dims: int = 2048,
    weights: str | Path | None = None,
    sha256: str | None = None,
    dtype: str = "float32",
    compile: bool = False,
    graphs: bool = False,
    download: bool = False,
) -> Encoder:
    """Load a feature network that takes uint8 images.

    Args:
        name: ``inception`` (FID's, with logits and the layer of sFID), ``digits`` (28 x 28 grey,
            comes with the package), ``dinov2_*`` and ``clip_*`` (with the extra ``transformers``),
            ``module:callable`` (a module or function from uint8 images (N, 3, H, W) to features (N,
            D)), or the path of a TorchScript file with that signature.
        device: where it runs.
        resize: a mode of `ganfast.features.resize`, ``clean`` by default. For Inception ``torch``
            also scales as pytorch-fid does, x / 127.5 - 1, and all others (x - 128) / 128.
        dims: Inception's layer.
        weights: a file for Inception, in place of the public one in the cache.
        sha256: of ``weights``, needed unless they are the public ones. Others are not called FID.
        dtype: ``"float32"`` or ``"bf16"``, inside the network.
        compile: use `torch.compile`.
        graphs: use CUDA graphs, for the networks of this package.
        download: let DINOv2 and CLIP be downloaded.

    Raises:
        FileNotFoundError: weights are missing; the message says what to put where.
        ModuleNotFoundError: an extra is not installed.
        ValueError: another name or option, or weights with another hash.
    """
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be one of {sorted(_DTYPES)}, got {dtype!r}")
    if resize is not None and resize not in get_args(Mode):
        raise ValueError(f"resize must be one of {get_args(Mode)}, got {resize!r}")
    if dims != 2048 and (name != "inception" or dims not in DIMS):
        raise ValueError(f"dims must be one of {DIMS} for inception, else 2048, got {dims}")
    if weights is not None and name != "inception":
        raise ValueError(f"weights must be None unless name is 'inception', got {str(weights)!r}")
    if name == "inception":
        encoder = _inception(resize or "clean", dims, weights, sha256)
    elif name == "digits":
        encoder = _digits(resize or "clean")
    elif name in transformer.MODELS:
        encoder = transformer.load(name, resize or "clean", download)
    elif Path(name).suffix in (".pt", ".pth", ".ts") and Path(name).exists():
        encoder = user_models.torchscript(Path(name))
    elif ":" in name:
        encoder = user_models.imported(name)
    else:
        raise ValueError(
            f"features must be one of {', '.join(NAMES)}, module:callable or a TorchScript "
            f"file, got {name!r}"
        )
    if graphs and (torch.device(device).type != "cuda" or compile or name not in _OWN):
        raise ValueError(
            "graphs must be False unless device is cuda, compile is False and name is one of "
            f"{', '.join(_OWN)}, got {device}, {compile} and {name}"
        )
    encoder.device = torch.device(device)
    if encoder.size:
        encoder.dtype = _DTYPES[dtype]
        encoder.settings = encoder.settings | {"resize": encoder.mode, "dtype": dtype}
    elif dtype != "float32":
        raise ValueError(
            f"dtype must be float32 for {encoder.label}, which takes bytes, got {dtype!r}"
        )
    if dtype == "bf16":
        warn_if_slow(dtype, encoder.device)
    net: Any = encoder.net
    net = net.eval().requires_grad_(False).to(encoder.device)
    if encoder.size:
        net = net.to(encoder.dtype).to(memory_format=torch.channels_last)
    if isinstance(net, _InceptionNet) and encoder.device.type == "cpu" and not compile:
        net.net.pack()
    if compile:  # on a GPU this mode uses CUDA graphs
        gpu = encoder.device.type == "cuda"
        net = torch.compile(net, mode="reduce-overhead" if gpu else None)
    encoder.net = Graphed(net) if graphs else net
    return encoder


def _inception(mode: Mode, dims: int, weights: str | Path | None, sha256: str | None) -> Encoder:
    public = weight_files.INCEPTION
    path = weight_files.need(public) if weights is None else Path(weights)
    if not path.is_file():
        raise FileNotFoundError(f"weights must be a file, got {path}")
    wanted = public.sha256 if sha256 is None else sha256.lower()
    weight_files.check(path, wanted)
    net = Inception()
    net.load_public(weight_files.read(path))
    label = "FID"
    if wanted != public.sha256 or dims != 2048:
        other = "" if wanted == public.sha256 else f", weights {wanted[:8]}"
        label = f"FD (inception {dims}{other})"
    # pytorch-fid maps 0..255 to -1..1; the others divide by 128.
    half = 127.5 if mode == "torch" else 128.0
    return Encoder(
        net=_InceptionNet(net, str(dims)),
        label=label,
        layers=("features", "logits", "spatial"),
        channels=3,
        size=299,
        mode=mode,
        shift=(half,),
        scale=(half,),
        settings={"features": "inception", "dims": str(dims), "weights": wanted},
    )


class _InceptionNet(nn.Module):
    """`Inception` with its layers named as an `Encoder` names them."""

    def __init__(self, net: Inception, dims: str) -> None:
        super().__init__()
        self.net, self.dims = net, dims

    def forward(self, x: Tensor, layers: tuple[str, ...]) -> dict[str, Tensor]:
        wanted = tuple(self.dims if layer == "features" else layer for layer in layers)
        # A few at a time on a CPU: the output of a layer is still cached for the next one.
        parts = x.tensor_split(-(-len(x) // FEW)) if x.device.type == "cpu" else (x,)
        found = [self.net(part, wanted) for part in parts]
        return {
            layer: torch.cat([part[at] for part in found])
            for layer, at in zip(layers, wanted, strict=True)
        }


class _DigitsNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = digits()

    def forward(self, x: Tensor, layers: tuple[str, ...]) -> dict[str, Tensor]:
        features = self.net(x)
        return {"features": features, "logits": self.net.head(features)}


def _digits(mode: Mode) -> Encoder:
    return Encoder(
        net=_DigitsNet(),
        label="FD (digits)",
        layers=("features", "logits"),
        channels=1,
        size=28,
        mode=mode,
        shift=(127.5,),
        scale=(127.5,),
        settings={"features": "digits", "weights": SHA256},
    )


def moved(encoder: Encoder, device: torch.device) -> Encoder:
    """Return the encoder on another device; the one given stays where it is."""
    encoder = copy.copy(encoder)
    encoder.device = device
    if isinstance(encoder.net, nn.Module):
        net = copy.deepcopy(encoder.net).to(device)
        if isinstance(net, _InceptionNet):
            net.net.unpack()
            if device.type == "cpu":
                net.net.pack()
        encoder.net = net
    return encoder
