"""Exact gradient penalties of the drop-in modules, each (B,), in float32 or better."""

import math

import torch
from torch import Tensor

from ganfast.reference import compute_dtype


def gradients(outputs: Tensor, inputs: Tensor) -> Tensor:
    """Gradients of the sum of the outputs with respect to the inputs, differentiable."""
    (of_inputs,) = torch.autograd.grad(outputs.sum(), inputs, create_graph=True)
    return of_inputs


def squared_norms(outputs: Tensor, inputs: Tensor) -> Tensor:
    """Squared norm of each sample's gradient, what R1 and R2 are made of."""
    return compute_dtype(gradients(outputs, inputs)).square().flatten(1).sum(1)


def norms(outputs: Tensor, inputs: Tensor) -> Tensor:
    """Norm of each sample's gradient; where that is 0, so is its own gradient."""
    of_inputs = compute_dtype(gradients(outputs, inputs))
    result: Tensor = torch.linalg.vector_norm(of_inputs.flatten(1), dim=1)
    return result


def path_lengths(images: Tensor, ws: Tensor, average: Tensor, decay: float) -> Tensor:
    r"""StyleGAN2's squared deviations of path lengths from their average, which moves.

    .. math:: (a_b - \bar a)^2, \qquad a_b^2 = \frac{1}{L} \sum_l
        \|\partial \langle G(w), y \rangle / \partial w_{bl}\|^2

    Args:
        images: G(w), (B, C, H, W); y is noise of the standard deviation 1 / sqrt(H W).
        ws: w, (B, L, n).
        average: a scalar, changed in place.
        decay: of the average, as in :meth:`torch.Tensor.lerp`.
    """
    noise = torch.randn_like(images) / math.sqrt(images.shape[2] * images.shape[3])
    lengths = norms(images * noise, ws) / math.sqrt(ws.shape[1])
    mean = average.lerp(lengths.mean().to(average.dtype), decay)
    average.copy_(mean.detach())
    return (lengths - mean).square()
