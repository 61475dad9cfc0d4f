"""Classifiers that the user gives: files, or Python."""

from pathlib import Path

import torch
from torch import nn

from ganfast._files import atomic_write
from ganfast.features.user_models import import_callable
from ganfast.models.classifier import Classifier


def classifier(name: str) -> nn.Module:
    """A classifier by ``module:callable``, or from a file, in eval mode.

    The callable returns a module that maps floating images (N, C, H, W) in [-1, 1] to logits
    (N, classes); the working directory is looked in, too. Files are those of
    :func:`save_classifier`, with a name that ends in ``.safetensors``, or TorchScript.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read or called, or gives no module.
    """
    if Path(name).suffix in (".safetensors", ".pt", ".pth", ".ts"):
        net = _from_file(Path(name))
    elif ":" in name:
        net = _from_python(name)
    else:
        raise ValueError(f"expected module:callable, or a .safetensors or .pt file, got {name!r}")
    return net.eval()


def save_classifier(net: Classifier, path: Path) -> None:
    """Write a classifier's weights and its shape, whole or not at all."""
    from safetensors.torch import save

    channels, size, _ = net.shape
    shape = {"classes": net.classes, "width": net.body[0].out_channels}
    shape.update(channels=channels, size=size)
    facts = {"classifier": ",".join(f"{k}={v}" for k, v in shape.items())}
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
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            facts = (file.metadata() or {}).get("classifier", "")
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        shape = {k: int(v) for k, _, v in (part.partition("=") for part in facts.split(","))}
        net = Classifier(shape["classes"], shape["width"], shape["channels"], shape["size"])
        net.load_state_dict(weights)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path} is no classifier of ganfast finetune: {error}") from error
    return net


def _from_python(name: str) -> nn.Module:
    found = import_callable(name)
    net = found if isinstance(found, nn.Module) else found()
    if not isinstance(net, nn.Module):
        raise ValueError(f"{name!r} must give a torch module, got {type(net).__name__}")
    return net
