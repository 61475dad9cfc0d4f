"""A balance of losses by the norms of their gradients, with each network back-propagated once."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ganfast.distributed import mean_over_processes
from ganfast.losses.surrogate import gradients_of, scale_of, surrogate
from ganfast.reference import compute_dtype


class Balancer(nn.Module):
    r"""Balances losses by the norms of their gradients at the generator's output (EnCodec).

    With g_k the gradient of loss k with respect to the output, and <|g_k|> the moving average of
    its norm, the output's gradient is

    .. math:: \sum_k R \, \frac{\lambda_k}{\sum_j \lambda_j} \, \frac{g_k}{\langle |g_k| \rangle}

    so that the weights say what share of the gradient each loss has, whatever its scale. The
    averages are buffers: on the device, without a sync, and in ``state_dict``.

    Args:
        weights: lambda of each loss, by name.
        total_norm: R.
        decay: of the moving averages, which are corrected for their start.
        per_sample: the norm is the mean of the samples' norms; else, that of the whole output.
        rescale: with False the gradient is sum_k lambda_k g_k, and the averages only move.
        eps: added to the average norms.
        distributed: take the norms' means over all processes of torch.distributed, of equal
            batches.

    Raises:
        ValueError: an argument is out of range.

    Source: Défossez et al. 2022, High fidelity neural audio compression.
    """

    sums: Tensor
    mass: Tensor

    def __init__(
        self,
        weights: Mapping[str, float],
        *,
        total_norm: float = 1.0,
        decay: float = 0.999,
        per_sample: bool = True,
        rescale: bool = True,
        eps: float = 1e-12,
        distributed: bool = False,
    ) -> None:
        super().__init__()
        if not all(0 <= w < math.inf for w in weights.values()) or not any(weights.values()):
            raise ValueError(
                f"weights must be at least 0 and finite, and not all 0, got {dict(weights)}"
            )
        if not 0 <= total_norm < math.inf:
            raise ValueError(f"total_norm must be at least 0 and finite, got {total_norm}")
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.weights, self.total_norm, self.decay = dict(weights), total_norm, decay
        self.per_sample, self.rescale, self.eps = per_sample, rescale, eps
        self.distributed = distributed
        self.register_buffer("sums", torch.zeros(len(weights)))
        self.register_buffer("mass", torch.zeros(()))

    def forward(
        self,
        losses: Mapping[str, Tensor],
        output: Tensor,
        scaler: torch.amp.GradScaler | None = None,
    ) -> Tensor:
        """Return one loss of all, whose backward pass starts from the output; the averages move.

        The graphs between losses and output are walked in this call, and freed.

        Args:
            losses: a scalar for each of the weights, by name.
            output: the generator's output, (B, ...), of which the losses are taken.
            scaler: the scaler of the returned loss, if any; the walk in this call is scaled, too.

        Returns:
            The sum of the losses with the factors that balance them, once differentiable.

        Raises:
            NotImplementedError: the loss is differentiated with ``create_graph=True``.
            ValueError: a loss is missing, has no weight, or does not depend on the output.
        """
        if losses.keys() != self.weights.keys():
            raise ValueError(
                f"losses must have the names of the weights, {', '.join(self.weights)}; "
                f"got {', '.join(losses) or 'none'}"
            )
        scale = scale_of(scaler, output)
        *_, last = self.weights
        gradients = [
            gradients_of(name, losses[name] * scale, {"output": output}, retain=name != last)[0]
            for name in self.weights
        ]
        with torch.no_grad():
            norms = torch.stack([self._norm(gradient) for gradient in gradients]) / scale
            factors = self._factors(norms)
            combined = torch.zeros_like(compute_dtype(output))
            value = torch.zeros_like(scale)
            for name, factor, gradient in zip(self.weights, factors, gradients, strict=True):
                combined += factor * compute_dtype(gradient)
                value += factor * losses[name]
        return surrogate(value, scale, [output], [combined])

    def _norm(self, gradient: Tensor) -> Tensor:
        samples = compute_dtype(gradient)
        samples = samples.flatten(1) if self.per_sample else samples.reshape(1, -1)
        norms: Tensor = torch.linalg.vector_norm(samples, dim=1)
        return norms.mean()

    def _factors(self, norms: Tensor) -> list[Tensor | float]:
        """Move the averages, and return the factor of each loss."""
        if self.distributed:
            (norms,) = mean_over_processes([norms])
        if self.sums.device != norms.device:
            self.to(norms.device)
        self.sums.mul_(self.decay).add_(norms)
        self.mass.mul_(self.decay).add_(1)
        if not self.rescale:
            return list(self.weights.values())
        total = sum(self.weights.values())
        averages = (self.sums / self.mass).unbind()
        return [
            self.total_norm * weight / total / (average + self.eps)
            for weight, average in zip(self.weights.values(), averages, strict=True)
        ]
