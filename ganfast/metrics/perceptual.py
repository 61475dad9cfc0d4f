"""LPIPS and DISTS: distances of images by the features of networks for image recognition.

Both are metrics and losses: they are differentiable twice, and make no graph of images that do not
require gradients. Their parameters have the names of the projects, so that state dicts load.
"""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganfast._names import check_name
from ganfast.features import weight_files
from ganfast.features.backbones import Slices
from ganfast.reference import compute_dtype

Net = Literal["alex", "vgg", "squeeze"]


class _Lpips(NamedTuple):
    backbone: str  # torchvision's file, whose name ends with the first digits of its sha256
    linear: str  # sha256 of the lpips package's file
    ends: tuple[int, ...]
    channels: tuple[int, ...]
    smallest: int  # side of an image


_LPIPS = {
    "alex": _Lpips(
        "alexnet-owt-7be5be79.pth",
        "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        (2, 5, 8, 10, 12),
        (64, 192, 384, 256, 256),
        31,
    ),
    "vgg": _Lpips(
        "vgg16-397923af.pth",
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        (4, 9, 16, 23, 30),
        (64, 128, 256, 512, 512),
        16,
    ),
    "squeeze": _Lpips(
        "squeezenet1_1-b8a52dc0.pth",
        "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
        (2, 5, 8, 10, 11, 12, 13),
        (64, 128, 256, 384, 384, 512, 512),
        17,
    ),
}
_DISTS = "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218"


class LPIPS(nn.Module):
    r"""Learned perceptual distance of images (Zhang et al. 2018, arXiv:1801.03924), version 0.1.

    With x_l and y_l the features of layer l, normalized over channels at each pixel,

    .. math:: \sum_l m_{hw} \left[ \sum_c w_{lc} (\hat x_l - \hat y_l)^2_{chw} \right], \quad
        \hat x = \frac{x}{\|x\| + 10^{-10}}

    A pixel whose features are all 0 has a gradient of 0, where the lpips package's is NaN.

    The weights are the files that others use: torchvision's network in torch hub's folder or in
    ganfast's, and the layers w in the installed lpips package or in ganfast's folder. What is found
    there is checked by its sha256.

    Args:
        net: ``alex``, ``vgg`` (as in VQGAN and most losses) or ``squeeze``.
        backbone: state dict of torchvision's network, in place of the one that is looked for.
        linear: state dict with the layers w, likewise.

    Raises:
        FileNotFoundError: weights are missing; the message says what to put where.
        ValueError: the network is unknown, or a file is not what it should be.
    """

    def __init__(
        self,
        net: Net = "alex",
        *,
        backbone: str | Path | None = None,
        linear: str | Path | None = None,
    ) -> None:
        super().__init__()
        check_name("net", net, get_args(Net))
        self._kind = kind = _LPIPS[net]
        self.scaling_layer = _Scaling((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450))
        self.net = Slices(net, kind.ends)
        for k, channels in enumerate(kind.channels):
            self.add_module(f"lin{k}", _Linear(channels))
        _load_slices(self.net, kind.backbone, backbone)
        inside = f"weights/v0.1/{net}.pth"
        _load(self, f"lpips_{net}_v0.1.pth", kind.linear, inside, "lpips", linear, "linear")
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the distances of images from others, both (N, 3, H, W) in [-1, 1]; (N,).

        Raises:
            TypeError, ValueError: the images do not fit.
        """
        _check_images(x, y, self._kind.smallest)
        features = [self.net(self.scaling_layer(image)) for image in (x, y)]
        distances = []
        for k, (fx, fy) in enumerate(zip(*features, strict=True)):
            squares = (_normalized(fx) - _normalized(fy)).square()
            distances.append(self.get_submodule(f"lin{k}")(squares))
        return torch.stack(distances).sum(0)


class _Scaling(nn.Module):
    """(x - shift) / scale of each colour."""

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: Sequence[float], scale: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor(shift).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(self.shift.dtype) - self.shift) / self.scale


class _Linear(nn.Module):
    """The weighted sum over channels, averaged over pixels; the weight is ``model.1.weight``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential()
        self.model.add_module("1", nn.Conv2d(channels, 1, 1, bias=False))

    def forward(self, squares: Tensor) -> Tensor:
        weight = self.get_parameter("model.1.weight").to(squares.dtype)
        with torch.autocast(squares.device.type, enabled=False):
            return (weight.flatten(1) @ squares.flatten(2)).mean((1, 2))


def _normalized(features: Tensor) -> Tensor:
    x = compute_dtype(features)
    # Not vector_norm, which is slow over the second dimension. The root of 0 has no derivative.
    norms = x.square().sum(1, keepdim=True).clamp_min(1e-24).sqrt()
    return x / (norms + 1e-10)


class DISTS(nn.Module):
    r"""Distance of structure and texture (Ding et al. 2020, arXiv:2004.07728).

    Over the channels c of the image and of five layers of VGG16 with smooth pooling,

    .. math:: 1 - \sum_c \left( \alpha_c
        \frac{2 \mu_x \mu_y + 10^{-6}}{\mu_x^2 + \mu_y^2 + 10^{-6}} + \beta_c
        \frac{2 \sigma_{xy} + 10^{-6}}{\sigma_x^2 + \sigma_y^2 + 10^{-6}} \right)

    with the weights' sum divided out. Files are looked for as by :class:`LPIPS`, alpha and beta in
    the installed DISTS_pytorch package.

    Args:
        backbone: state dict of torchvision's VGG16, in place of the one that is looked for.
        weights: the file with alpha and beta, likewise.

    Raises:
        FileNotFoundError, ValueError: as :class:`LPIPS`.
    """

    alpha: Tensor
    beta: Tensor
    mean: Tensor
    std: Tensor
    _CHANNELS = (3, 64, 128, 256, 512, 512)

    def __init__(
        self, *, backbone: str | Path | None = None, weights: str | Path | None = None
    ) -> None:
        super().__init__()
        slices = Slices("vgg", _LPIPS["vgg"].ends)
        _load_slices(slices, _LPIPS["vgg"].backbone, backbone)
        for k, part in enumerate(slices.children(), 1):
            stage = nn.Sequential()
            for index, layer in part.named_children():
                pool = isinstance(layer, nn.MaxPool2d)
                stage.add_module(index, _SmoothPool(self._CHANNELS[k - 1]) if pool else layer)
            self.add_module(f"stage{k}", stage)
        self.register_buffer("mean", torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1))
        for name in ("alpha", "beta"):
            empty = torch.empty(1, sum(self._CHANNELS), 1, 1)
            self.register_parameter(name, nn.Parameter(empty))
        _load(self, "dists_weights.pt", _DISTS, "weights.pt", "DISTS_pytorch", weights, "weights")
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the distances of images from others, both (N, 3, H, W) in [0, 1]; (N,).

        Raises:
            TypeError, ValueError: the images do not fit.
        """
        _check_images(x, y, 1)
        total = compute_dtype((self.alpha + self.beta).sum())
        weights = [
            torch.split(compute_dtype(w / total).flatten(), list(self._CHANNELS))
            for w in (self.alpha, self.beta)
        ]
        similarity = []
        for fx, fy, alpha, beta in zip(self._features(x), self._features(y), *weights, strict=True):
            fx, fy = compute_dtype(fx).flatten(2), compute_dtype(fy).flatten(2)
            mx, my = fx.mean(2), fy.mean(2)
            dx, dy = fx - mx[..., None], fy - my[..., None]
            vx, vy, cov = dx.square().mean(2), dy.square().mean(2), (dx * dy).mean(2)
            texture = (2 * mx * my + 1e-6) / (mx.square() + my.square() + 1e-6)
            structure = (2 * cov + 1e-6) / (vx + vy + 1e-6)
            similarity.append((alpha * texture + beta * structure).sum(1))
        return 1 - torch.stack(similarity).sum(0)

    def _features(self, images: Tensor) -> list[Tensor]:
        x = images.to(self.mean.dtype)
        features = [x]
        x = (x - self.mean) / self.std
        for k in range(1, len(self._CHANNELS)):
            x = self.get_submodule(f"stage{k}")(x)
            features.append(x)
        return features


class _SmoothPool(nn.Module):
    """The root of squares that are averaged by a 3 x 3 Hann window, with stride 2."""

    filter: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        window = torch.tensor([0.5, 1.0, 0.5])
        kernel = torch.outer(window, window)
        repeated = (kernel / kernel.sum()).repeat(channels, 1, 1, 1)
        self.register_buffer("filter", repeated)

    def forward(self, x: Tensor) -> Tensor:
        squares = F.conv2d(x.square(), self.filter, stride=2, padding=1, groups=x.shape[1])
        return (squares + 1e-12).sqrt()


def _check_images(x: Tensor, y: Tensor, smallest: int) -> None:
    for name, images in (("x", x), ("y", y)):
        if not isinstance(images, Tensor) or not images.is_floating_point():
            got = images.dtype if isinstance(images, Tensor) else type(images).__name__
            raise TypeError(f"{name} must be a floating-point tensor of images, got {got}")
    shape = list(x.shape)
    if x.shape != y.shape or x.dim() != 4 or shape[1] != 3 or min(shape[2:]) < smallest:
        raise ValueError(
            f"x and y must have the same shape (N, 3, H, W), with H and W at least {smallest}, "
            f"got {shape} and {list(y.shape)}"
        )


def _read(
    name: str, sha256: str, origin: str, more: list[Path], given: str | Path | None, argument: str
) -> dict[str, Tensor]:
    """The state dict of a given file, or of the one that is found and has the public sha256."""
    if given is not None:
        path = Path(given)
        if not path.is_file():
            raise FileNotFoundError(f"{argument} must be a file, got {path}")
        return weight_files.read(path)
    folders = weight_files.folders()
    found = next((p for p in [*(f / name for f in folders), *more] if p.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"the weights {name} are missing: get {origin}, put it into "
            f"{folders[0]} under this name, or give its path as {argument}"
        )
    weight_files.check(found, sha256)
    return weight_files.read(found)


def _load_slices(slices: Slices, name: str, given: str | Path | None) -> None:
    """Load torchvision's state dict of the whole network."""
    sha256 = name.rpartition("-")[2].removesuffix(".pth")
    origin = f"https://download.pytorch.org/models/{name}"
    state = _read(name, sha256, origin, [], given, "backbone")
    found = {}
    for name in slices.state_dict():
        of_torchvision = f"features.{name.partition('.')[2]}"
        if of_torchvision not in state:
            raise ValueError(
                f"backbone must hold {of_torchvision}, got {', '.join(list(state)[:3])}, ..."
            )
        found[name] = state[of_torchvision]
    slices.load_state_dict(found)


def _load(
    module: nn.Module, file: str, sha256: str, inside: str, package: str,
    given: str | Path | None, argument: str,
) -> None:  # fmt: skip
    """Load what a package's file should have of a module's parameters; it must be there and fit."""
    # An import would import torchvision.
    spec = None if given is not None else importlib.util.find_spec(package)
    more = []
    if spec is not None and spec.origin is not None:
        more = [Path(spec.origin).parent / inside, Path(sys.prefix) / inside]
    state = _read(file, sha256, f"{inside} of the {package} package", more, given, argument)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.startswith(("net.", "stage")):
                continue
            if name not in state or state[name].shape != parameter.shape:
                got = list(state[name].shape) if name in state else "nothing of that name"
                raise ValueError(
                    f"the file of weights must hold {name} of shape {list(parameter.shape)}, "
                    f"got {got}"
                )
            parameter.copy_(state[name])
