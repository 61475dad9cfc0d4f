"""The fused loss against plain PyTorch, side by side."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ganfast.losses import AdversarialLoss


def loss_times(batch: int, device: str, repeats: int = 1000) -> tuple[float, float]:
    """Median microseconds of a discriminator's loss, forward and backward: fused, plain.

    Plain is what tutorials write: two calls of BCE with logits on label tensors made for them. The
    two take turns, so that whatever else the machine does falls on both.
    """
    loss = AdversarialLoss("non_saturating")
    real = torch.randn(batch, device=device, requires_grad=True)
    fake = torch.randn(batch, device=device, requires_grad=True)

    def plain(real: Tensor, fake: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(
            real, torch.ones_like(real)
        ) + binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))

    def seconds(function: Callable[[Tensor, Tensor], Tensor]) -> float:
        real.grad = fake.grad = None
        start = time.perf_counter()
        torch.autograd.backward(function(real, fake))
        if real.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    pairs = [(seconds(loss.discriminator), seconds(plain)) for _ in range(repeats)]
    fused, other = (1e6 * statistics.median(times) for times in zip(*pairs, strict=True))
    return fused, other
