"""Classifiers: training with early stopping, measuring, saving and loading."""

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ganfast import data
from ganfast._files import atomic_write, parse_tensors
from ganfast._names import user_code
from ganfast._numbers import check_between, check_whole
from ganfast.features.user_models import import_callable
from ganfast.models.classifier import Classifier
from ganfast.train.loop import Descent

Labelled = tuple[Tensor, Tensor]  # uint8 images (N, C, H, W), labels (N,)


@dataclass(frozen=True)
class Fit:
    """How a classifier is trained.

    Attributes:
        steps: maximal number of optimizer steps.
        batch_size: images in a batch.
        lr: Adam's initial learning rate, which falls to 0 along half a cosine.
        check_every: steps between validations.
        patience: end training after so many validations without a lower loss. The best weights are
            kept.
    """

    steps: int = 200
    batch_size: int = 64
    lr: float = 3e-3
    check_every: int = 25
    patience: int = 4

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "check_every", "patience"):
            check_whole(name, getattr(self, name), minimum=1)
        check_between("lr", self.lr, math.inf, zero=False)


def fit(
    net: nn.Module,
    train: Labelled,
    validation: Labelled,
    settings: Fit,
    seed: int,
    other_domain: Tensor | None = None,
    name: str = "",
) -> int:
    """Train a classifier in place and return the number of steps.

    Args:
        net: maps floating-point images in [-1, 1] to logits.
        train, validation: uint8 images and labels.
        settings: how to train.
        seed: seed of the order of the images and of dropout.
        other_domain: images of another domain. Training then also makes their features
            (``net.body``) hard to tell from those of ``train`` (Ganin et al. 2016).
        name: of a progress bar on a terminal; empty shows none.

    Raises:
        TypeError: ``other_domain`` is given and ``net`` is not a ganfast ``Classifier``.
    """
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    adversary = _Domain(net) if other_domain is not None else None
    parameters = [*net.parameters(), *(adversary.parameters() if adversary else ())]
    descent = Descent(parameters, settings.lr, settings.steps)
    best, waited, weights = float("inf"), 0, copy.deepcopy(net.state_dict())
    bar = tqdm(total=settings.steps, desc=name, leave=False, disable=None if name else True)
    for step in range(1, settings.steps + 1):
        bar.update()
        net.train()
        chosen = torch.randint(len(train[0]), (settings.batch_size,), generator=order)
        images = data.to_float(train[0][chosen])
        loss = F.cross_entropy(net(images), train[1][chosen])
        if adversary is not None and other_domain is not None:
            places = torch.randint(len(other_domain), (len(images),), generator=order)
            other = data.to_float(other_domain[places])
            loss = loss + adversary(images, other, step / settings.steps)
        descent.step(loss)
        if step % settings.check_every == 0 or step == settings.steps:
            now = validation_loss(net, validation)
            waited = 0 if now < best else waited + 1
            if now < best:
                best, weights = now, copy.deepcopy(net.state_dict())
            if waited >= settings.patience:
                break
    bar.close()
    net.load_state_dict(weights)
    net.eval()
    return step


@torch.no_grad()
def probabilities(net: nn.Module, images: Tensor, batch_size: int = 500) -> Tensor:
    """Return float64 probabilities (N, classes) of uint8 images, with the net in eval mode."""
    net.eval()
    parts = [
        net(data.to_float(part)).double().softmax(1) for part in torch.split(images, batch_size)
    ]
    return torch.cat(parts)


def accuracy(net: nn.Module, test: Labelled) -> float:
    """Return the share of images whose most probable label is right."""
    return float((probabilities(net, test[0]).argmax(1) == test[1]).float().mean())


def accuracies(net: nn.Module, test: Labelled) -> dict[str, float]:
    """Return the accuracy, and by ``class N`` that of each class that has images."""
    right = probabilities(net, test[0]).argmax(1) == test[1]
    of_each = {
        f"class {y}": float(right[test[1] == y].double().mean())
        for y in torch.unique(test[1]).tolist()
    }
    return {"accuracy": float(right.float().mean()), **of_each}


def validation_loss(net: nn.Module, validation: Labelled) -> float:
    """Return the mean cross-entropy on the validation images."""
    p = probabilities(net, validation[0])
    return float(-p[torch.arange(len(p)), validation[1]].clamp_min(1e-300).log().mean())


def split(images: data.ImageData, test: int, seed: int) -> tuple[Labelled, Labelled]:
    """Split images into a pool and ``test`` held-out ones, stratified by class, in random order.

    Raises:
        ValueError: the data have no labels or too few images.
    """
    if images.labels is None:
        raise ValueError(f"data must have labels, got none in {images.name}")
    if not 0 < test < len(images):
        raise ValueError(f"test must be from 1 to {len(images) - 1} images, got {test}")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    # Ordered by rank within its class, any first n images have all classes in proportion.
    rank = torch.empty(len(images))
    for label in torch.unique(images.labels):
        mine = order[images.labels[order] == label]
        rank[mine] = (torch.arange(len(mine)) + 0.5) / len(mine)
    order = order[rank[order].argsort(stable=True)]
    held, pool = order[:test], order[test:]
    return (images.images[pool], images.labels[pool]), (images.images[held], images.labels[held])


def small_classifier(classes: int, images: Tensor, seed: int, width: int = 16) -> Classifier:
    """Make the classifier of the workflows: the tutorials' one with half the channels."""
    torch.manual_seed(seed)
    return Classifier(classes, width, images.shape[1], images.shape[2])


class _Domain(nn.Module):
    """A classifier of domains whose gradient to the features is reversed."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        if not isinstance(net, Classifier):
            raise TypeError(
                f"classifier must be a ganfast Classifier to be adapted, got {type(net).__name__}"
            )
        self._body = [net.body]  # in a list, so that it is not a submodule
        self.head = nn.Linear(net.head.in_features, 1)

    def forward(self, images: Tensor, other: Tensor, progress: float) -> Tensor:
        strength = float(2 / (1 + torch.exp(torch.tensor(-10 * progress))) - 1)
        features = self._body[0](torch.cat([images, other]))
        if features.requires_grad:
            features = features.view_as(features)
            features.register_hook(lambda gradient: -strength * gradient)
        logits = self.head(features).squeeze(1)
        target = torch.arange(len(logits), device=logits.device) < len(images)
        return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype))


def classifier(name: str) -> nn.Module:
    """Load a classifier, in eval mode, from a file or as ``module:callable``.

    The callable returns a module that maps floating-point images (N, C, H, W) in [-1, 1] to logits
    (N, classes). Its module may lie in the working directory. A file is one of
    :func:`save_classifier` (``.safetensors``) or TorchScript (``.pt``, ``.pth``, ``.ts``).

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the name has another form, the file or the callable fails, or the callable
            returns something other than a module.
    """
    if Path(name).suffix in (".safetensors", ".pt", ".pth", ".ts"):
        net = _from_file(Path(name))
    elif ":" in name:
        found = import_callable(name)
        with user_code(name):
            net = found if isinstance(found, nn.Module) else found()
        if not isinstance(net, nn.Module):
            raise ValueError(f"{name!r} must return a torch module, got {type(net).__name__}")
    else:
        raise ValueError(
            f"classifier must be module:callable, or a .safetensors or .pt file, got {name!r}"
        )
    return net.eval()


def is_library_model(name: str) -> bool:
    """Say whether a name is an architecture of timm or torchvision."""
    return name.startswith(("timm/", "torchvision/"))


def library_model(name: str, classes: int, channels: int) -> nn.Module:
    """Make an untrained network of timm or torchvision; nothing is downloaded.

    Raises:
        ModuleNotFoundError: the library is not installed.
        ValueError: it has no such architecture.
    """
    library, _, architecture = name.partition("/")
    try:
        if library == "timm":
            import timm

            kinds = {"num_classes": classes, "in_chans": channels}
            return cast(nn.Module, timm.create_model(architecture, pretrained=False, **kinds))
        import torchvision

        net = cast(nn.Module, torchvision.models.get_model(architecture, num_classes=classes))
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{name} needs {library}: pip install {library}") from error
    except (RuntimeError, ValueError) as error:  # timm's and torchvision's for an unknown name
        raise ValueError(f"models: {library} has no {architecture!r}: {error}") from error
    return net if channels == 3 else nn.Sequential(_Colour(), net)


class _Colour(nn.Module):
    """Repeat grey images (N, 1, H, W) as colour ones, which torchvision's networks take."""

    def forward(self, images: Tensor) -> Tensor:
        return images.expand(-1, 3, -1, -1)


def save_classifier(net: nn.Module, path: Path) -> None:
    """Write a network's weights, and the shape of a ganfast ``Classifier``, atomically."""
    from safetensors.torch import save

    facts: dict[str, str] = {}
    if isinstance(net, Classifier):
        channels, size, _ = net.shape
        shape = {"classes": net.classes, "width": net.body[0].out_channels}
        shape.update(channels=channels, size=size)
        facts["classifier"] = ",".join(f"{k}={v}" for k, v in shape.items())
    with atomic_write(path) as file:
        file.write(save(net.state_dict(), facts))


def _from_file(path: Path) -> nn.Module:
    if not path.is_file():
        raise FileNotFoundError(f"there is no classifier {path}")
    if path.suffix != ".safetensors":
        try:
            module: nn.Module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise ValueError(f"{path} is not TorchScript: {error}") from error
        return module
    try:
        weights, facts = parse_tensors(path.read_bytes())
        parts = (part.partition("=") for part in facts.get("classifier", "").split(","))
        shape = {k: int(v) for k, _, v in parts}
        net = Classifier(shape["classes"], shape["width"], shape["channels"], shape["size"])
        net.load_state_dict(weights)
    except (ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path} is not a classifier of ganfast finetune: {error}") from error
    return net
