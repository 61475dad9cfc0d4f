"""Losses weighted by the norms of their gradients: VQGAN's adaptive weight, EnCodec's balancer.

The networks behind the losses are back-propagated once, when the loss is made. Their gradients are
combined at the generator's output, and the loss's own backward pass starts there.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ganfast.distributed import mean_over_processes
from ganfast.reference import compute_dtype


def adaptive_weight_loss(
    nll_loss: Tensor,
    g_loss: Tensor | None,
    reconstruction: Tensor,
    last_layer: Tensor,
    *,
    weight: float = 1.0,
    max_weight: float = 1e4,
    eps: float = 1e-4,
    parameters: Sequence[Tensor] = (),
    scaler: torch.amp.GradScaler | None = None,
) -> tuple[Tensor, Tensor]:
    r"""VQGAN's reconstruction loss plus the generator's, weighted by their gradients.

    .. math:: L = L_{nll} + w L_g, \qquad w = \lambda \, \mathrm{clamp}\left(
        \frac{\|\partial L_{nll} / \partial W\|}{\|\partial L_g / \partial W\| + \epsilon},
        0, w_{max}\right)

    W is the generator's last layer. Value, weight and the generator's gradients are those of the
    usual formula, which back-propagates the perceptual network and the discriminator twice. This
    call back-propagates them once and frees their graphs; ``loss.backward()`` then starts at the
    reconstruction. So the discriminator's parameters get no gradient, and those of ``nll_loss``
    only if they are listed.

    Args:
        nll_loss: scalar loss of the reconstruction. Behind the reconstruction, its graph shares
            nothing with that of ``g_loss``.
        g_loss: the generator's adversarial loss of the reconstruction, scalar. With None, before
            the discriminator starts, the loss is ``nll_loss`` itself.
        reconstruction: the generator's output, on which both losses depend.
        last_layer: W, one of the generator's parameters.
        weight: lambda.
        max_weight: the largest quotient.
        eps: epsilon.
        parameters: other parameters that ``nll_loss`` trains, such as a learned variance.
        scaler: the scaler of the returned loss, if any; it also scales the backward pass in this
            call.

    Returns:
        The loss, once differentiable, and w, both scalars. If no gradient is recorded, as in
        evaluation, ``nll_loss`` and 0.

    Raises:
        NotImplementedError: the loss is differentiated with ``create_graph=True``.
        ValueError: a loss does not depend on the reconstruction or a listed parameter, or the
            reconstruction does not depend on the last layer.

    Source: Esser et al. 2021, Taming transformers.
    """
    if g_loss is None or not (torch.is_grad_enabled() and reconstruction.requires_grad):
        return nll_loss, nll_loss.new_zeros(())
    scale = _scale(scaler, nll_loss)
    output = {"reconstruction": reconstruction}
    others = {f"parameters[{k}]": parameter for k, parameter in enumerate(parameters)}
    nll, *nll_others = _required_gradients("nll_loss", nll_loss * scale, output | others)
    (g,) = _required_gradients("g_loss", g_loss * scale, output)

    def norm_at_layer(gradient: Tensor) -> Tensor:
        (of_layer,) = _required_gradients(
            "reconstruction", reconstruction, {"last_layer": last_layer}, gradient, retain=True
        )
        norm: Tensor = torch.linalg.vector_norm(of_layer, dtype=scale.dtype)
        return norm / scale

    w = weight * (norm_at_layer(nll) / (norm_at_layer(g) + eps)).clamp(0, max_weight)
    combined = compute_dtype(nll) + w * compute_dtype(g)
    value = nll_loss.detach() + w * g_loss.detach()
    tensors = reconstruction, *parameters, combined, *nll_others
    return _with_gradients(value, scale, *tensors), w


class Balancer(nn.Module):
    r"""Balances losses by the norms of their gradients at the generator's output (EnCodec).

    With g_k the gradient of loss k with respect to the output, and <|g_k|> the moving average of
    its norm, the output's gradient is

    .. math:: \sum_k R \, \frac{\lambda_k}{\sum_j \lambda_j} \, \frac{g_k}{\langle |g_k| \rangle}

    so that the weights are the losses' shares of the gradient, whatever their scales. The averages
    are buffers: on the device, without a sync, and in ``state_dict``.

    Args:
        weights: lambda of each loss, by name.
        total_norm: R.
        decay: of the moving averages, which are corrected for their start.
        per_sample: take the mean of the samples' norms; else the norm of the whole output.
        rescale: with False the gradient is sum_k lambda_k g_k, and only the averages are updated.
        eps: added to the average norms.
        distributed: average the norms over all processes of torch.distributed, with equal batches.

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
        """Return one loss for all, whose backward pass starts at the output; update the averages.

        This call back-propagates from the losses to the output, and frees their graphs.

        Args:
            losses: a scalar for each of the weights, by name.
            output: the generator's output, (B, ...), on which the losses depend.
            scaler: the scaler of the returned loss, if any; it also scales the backward pass in
                this call.

        Returns:
            The sum of the losses with the factors that balance them, once differentiable.

        Raises:
            NotImplementedError: the loss is differentiated with ``create_graph=True``.
            ValueError: a loss is missing, has no weight, or does not depend on the output.
        """
        if losses.keys() != self.weights.keys():
            raise ValueError(
                f"losses must have the names of the weights, {', '.join(self.weights)}, "
                f"got {', '.join(losses) or 'none'}"
            )
        scale = _scale(scaler, output)
        *_, last = self.weights
        gradients = [
            _required_gradients(
                name, losses[name] * scale, {"output": output}, retain=name != last
            )[0]
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
        return _with_gradients(value, scale, output, combined)

    def _norm(self, gradient: Tensor) -> Tensor:
        samples = compute_dtype(gradient)
        samples = samples.flatten(1) if self.per_sample else samples.reshape(1, -1)
        norms: Tensor = torch.linalg.vector_norm(samples, dim=1)
        return norms.mean()

    def _factors(self, norms: Tensor) -> list[Tensor | float]:
        """Update the averages, and return the factor of each loss."""
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


def _scale(scaler: torch.amp.GradScaler | None, like: Tensor) -> Tensor:
    """The scaler's factor as a tensor on the device, read without a sync; 1 without a scaler."""
    one = torch.ones((), device=like.device, dtype=compute_dtype(like.detach()).dtype)
    return one if scaler is None else scaler.scale(one)


def _required_gradients(
    name: str,
    output: Tensor,
    inputs: Mapping[str, Tensor],
    of_output: Tensor | None = None,
    retain: bool = False,
) -> list[Tensor]:
    """Gradients of an output with respect to inputs, by name, all of which it must depend on."""
    gradients: Sequence[Tensor | None] = [None] * len(inputs)
    if output.requires_grad and all(x.requires_grad for x in inputs.values()):
        gradients = torch.autograd.grad(
            output, list(inputs.values()), of_output, retain_graph=retain, allow_unused=True
        )
    found = []
    for gradient, of in zip(gradients, inputs, strict=True):
        if gradient is None:
            raise ValueError(f"{name} must depend on {of}, got no gradient for it")
        found.append(gradient)
    return found


class _PrecomputedGradient(torch.autograd.Function):
    """A value whose gradients in inputs are given gradients / scale; both follow as tensors."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, scale: Tensor, *tensors: Tensor) -> Tensor:
        inputs, gradients = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        ctx.dtypes = [x.dtype for x in inputs]
        ctx.save_for_backward(scale, *gradients)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True: the gradients have no graph
            raise NotImplementedError(
                "adaptive_weight_loss and Balancer: derivatives of the second order are not "
                "implemented; use the sum of the weighted losses"
            )
        scale, *gradients = ctx.saved_tensors
        factor = grad / scale
        scaled = [
            (factor * compute_dtype(g)).to(dtype)
            for g, dtype in zip(gradients, ctx.dtypes, strict=True)
        ]
        return None, None, *scaled, *(None for _ in scaled)


_with_gradients: Callable[..., Tensor] = _PrecomputedGradient.apply
