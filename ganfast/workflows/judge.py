"""The network that scores a data set's images: given, or trained on the images themselves."""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ganfast import data, features
from ganfast.data.squares import square
from ganfast.features import Encoder
from ganfast.features.resize import Mode
from ganfast.models.classifier import Classifier
from ganfast.workflows import classifiers
from ganfast.workflows.classifiers import Fit
from ganfast.workflows.pretext import fit_to_task, two_views
from ganfast.workflows.training_scores import encode

_WIDTH = 16  # of the networks that are trained here
_HELD = 0.2  # share of the images that says when to stop, and how good the classifier is
_FIT = Fit(steps=600, check_every=50)
_STEPS = 300  # without labels
_FEATURES = 64
_MOST, _SIDE = 20_000, 32  # images, and their size in pixels


@dataclass(frozen=True)
class Judge:
    """A feature network, and what it is.

    Attributes:
        encoder: takes uint8 images; with ``classes`` it also has the layer ``logits``.
        words: what it is, for reports.
        classes: number of classes that it tells apart, or 0.
    """

    encoder: Encoder
    words: str
    classes: int

    def probabilities(self, images: Tensor) -> Tensor:
        """Return the probabilities (N, classes) of uint8 images."""
        return encode(self.encoder, images, ("logits",))["logits"].softmax(1)


def judge_of(
    real: data.ImageData, folder: Path, classifier: str = "", overwrite: bool = False
) -> Judge:
    """Return the judge of images: for the embedded digits their classifier, else one of their own.

    Images with labels get a small classifier, images without labels a small network that was
    trained to recognize two views of one image. It sees up to 20,000 images at up to 32 pixels, is
    trained once and kept in ``folder``.

    With ``overwrite`` it is trained again. ``classifier`` names a file or ``module:callable`` of a
    classifier to take instead.

    Raises:
        ValueError: the classifier does not take these images, or tells fewer classes apart.
    """
    if classifier:
        return _users(classifier, real)
    if real.name == "digits":
        words = "the classifier of digits that comes with ganfast"
        return Judge(features.load("digits"), words, 10)
    real = _shrunk(real)
    path = folder / "judge.safetensors"
    if path.exists() and not overwrite:
        try:
            found = classifiers.classifier(str(path))
            if not isinstance(found, Classifier) or found.shape != real.images.shape[1:]:
                raise ValueError(f"it must take images of {tuple(real.images.shape[1:])}")
            return _own(found, real)
        except ValueError as error:
            warnings.warn(f"{path} is damaged and trained again: {error}", stacklevel=2)
    if real.classes > 1:
        pool, held = _split(real)
        net = classifiers.small_classifier(real.classes, real.images, seed=0, width=_WIDTH)
        classifiers.fit(net, pool, held, _FIT, seed=0, name="training a classifier")
    else:  # a network that recognizes two views of one image (Chen et al. 2020)
        net = classifiers.small_classifier(_FEATURES, real.images, seed=0, width=_WIDTH)
        fit_to_task(net, real, _STEPS, 0, two_views(net, seed=0), "training on views")
        net.eval()
    classifiers.save_classifier(net, path)
    return _own(net, real)


def _shrunk(real: data.ImageData) -> data.ImageData:
    """Return a random subset of the images, at a size that small networks learn from quickly."""
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))
    chosen = order[:_MOST].sort().values
    size = min(_SIDE, real.images.shape[2])
    images = torch.stack([square(image, size) for image in real.images[chosen]])
    return replace(real, images=images, labels=None if real.labels is None else real.labels[chosen])


def _own(net: nn.Module, real: data.ImageData) -> Judge:
    """Describe a network that was trained on the images."""
    short = Path(real.name).name
    if real.classes < 2:
        words = f"a small network trained on {short} to recognize two views of one image"
        return Judge(_encoder(net, real, f"FD (views of {short})", ("features",)), words, 0)
    right = classifiers.accuracy(net, _split(real)[1])
    words = f"a small classifier trained on {short}, right on {right:.1%} of held-out images"
    label = f"FD (classifier of {short})"
    return Judge(_encoder(net, real, label, ("features", "logits")), words, real.classes)


def _users(name: str, real: data.ImageData) -> Judge:
    net = classifiers.classifier(name)
    try:
        classes = classifiers.probabilities(net, real.images[:2]).shape[1]
    except RuntimeError as error:
        raise ValueError(
            f"classifier {name} must take images {tuple(real.images.shape[1:])} in [-1, 1]: {error}"
        ) from error
    if classes < real.classes:
        raise ValueError(
            f"classifier must tell {real.classes} classes apart, as {real.name} has, got {classes}"
        )
    label = f"FD ({name})"
    layers = ("features", "logits")
    return Judge(_encoder(net, real, label, layers, "none"), f"the classifier {name}", classes)


def _encoder(
    net: nn.Module,
    real: data.ImageData,
    label: str,
    layers: tuple[str, ...],
    mode: Mode = "clean",
) -> Encoder:
    channels, size = real.images.shape[1:3]
    half = (127.5,)
    return Encoder(_Layers(net).eval(), label, layers, channels, size, mode, half, half)


class _Layers(nn.Module):
    """A classifier's hidden layer as features; of a foreign classifier, its logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, layers: tuple[str, ...]) -> dict[str, Tensor]:
        if not isinstance(self.net, Classifier):
            logits = self.net(x)
            return {"features": logits, "logits": logits}
        features = self.net.body(x)
        return {"features": features, "logits": self.net.head(features)}


def _split(real: data.ImageData) -> tuple[classifiers.Labelled, classifiers.Labelled]:
    return classifiers.split(real, max(1, round(_HELD * len(real))), seed=0)
