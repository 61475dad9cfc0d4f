"""The discriminator's outputs for real and for fake samples, from one pass over both."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.utils._pytree import tree_flatten, tree_unflatten


def one_pass(discriminator: nn.Module, real: Tensor, fake: Tensor) -> tuple[Any, Any]:
    """Return D(real) and D(fake), computed together where that changes no number.

    In the discriminator's step one pass over both batches takes half the launches, and computes
    what the weights need once, such as weight norms. Values and gradients are those of two passes,
    up to rounding; layers that draw random numbers draw others.

    Two passes are made where one would not be the same, or not cheaper: D has batch normalization
    or running averages of instance normalization in training, D has spectral normalization, which
    takes a step at every pass, the batches differ in more than their number of samples, or only one
    of them requires gradients, as in the generator's step. Other layers that mix samples, such as
    StyleGAN's standard deviation of a minibatch, are not recognized: call such a D twice.

    Args:
        discriminator: maps (B, ...) to tensors with the samples along dimension 0, in any nest of
            lists, tuples and dicts.
        real: real samples, (B, ...).
        fake: fake samples, (B', ...), detached in the discriminator's step.

    Raises:
        TypeError: the discriminator is no module, or a batch no tensor.
        ValueError: a tensor that the discriminator returns does not hold a row for each sample.

    Example:
        >>> D = nn.Sequential(nn.Conv1d(1, 4, 5), nn.ReLU(), nn.Conv1d(4, 1, 3))
        >>> d_real, d_fake = one_pass(D, torch.randn(2, 1, 16), torch.randn(3, 1, 16))
        >>> d_real.shape, d_fake.shape
        (torch.Size([2, 1, 10]), torch.Size([3, 1, 10]))
    """
    return joined(discriminator, discriminator, real, fake)


def joined(
    discriminator: nn.Module, call: Callable[[Tensor], Any], real: Tensor, fake: Tensor
) -> tuple[Any, Any]:
    """As :func:`one_pass`, of a function that calls the discriminator."""
    if not isinstance(discriminator, nn.Module):
        raise TypeError(f"discriminator must be a torch module, got {type(discriminator).__name__}")
    for name, batch in (("real", real), ("fake", fake)):
        if not isinstance(batch, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(batch).__name__}")
    if not _alike(real, fake) or not all(map(_keeps_samples_apart, discriminator.modules())):
        return call(real), call(fake)
    counts = [len(real), len(fake)]
    outputs, nest = tree_flatten(call(torch.cat([real, fake])))
    sides: tuple[list[Any], list[Any]] = ([], [])
    for output in outputs:
        if not isinstance(output, Tensor):
            parts: Any = (output, output)
        elif output.dim() == 0 or len(output) != sum(counts):
            raise ValueError(
                "discriminator must return tensors with the samples along dimension 0, "
                f"{sum(counts)} here, got shape {list(output.shape)}"
            )
        else:
            parts = torch.split(output, counts)
        for side, part in zip(sides, parts, strict=True):
            side.append(part)
    return tree_unflatten(sides[0], nest), tree_unflatten(sides[1], nest)


def _alike(real: Tensor, fake: Tensor) -> bool:
    """Whether the batches can be joined, and both or neither get gradients."""
    return (
        real.dim() > 0
        and real.shape[1:] == fake.shape[1:]
        and real.dtype == fake.dtype
        and real.device == fake.device
        and (real.requires_grad == fake.requires_grad or not torch.is_grad_enabled())
    )


def _keeps_samples_apart(layer: nn.Module) -> bool:
    """Whether a layer's outputs for a sample, and its buffers, are those of separate passes."""
    if isinstance(layer, _BatchNorm):
        return not layer.training and layer.running_mean is not None
    if isinstance(layer, _InstanceNorm):
        return not (layer.training and layer.track_running_stats)
    if isinstance(layer, _SpectralNorm):
        return not layer.training
    hooks = layer._forward_pre_hooks.values()
    return not (layer.training and any(isinstance(hook, SpectralNorm) for hook in hooks))
