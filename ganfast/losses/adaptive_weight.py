"""The adaptive weight of VQGAN's adversarial loss, with each network back-propagated once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ganfast.losses.surrogate import gradients_of, scale_of, surrogate
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
    usual formula, which walks back through the perceptual network and the discriminator twice. Here
    they are walked once, in this call, which also frees their graphs; ``loss.backward()`` then
    starts from the reconstruction. So parameters of the discriminator get no gradient, and those of
    ``nll_loss`` only where they are named.

    Args:
        nll_loss: scalar loss of the reconstruction. Beyond it, its graph shares nothing with that
            of ``g_loss``.
        g_loss: the generator's adversarial loss of the reconstruction, scalar. None before the
            discriminator starts: the loss is then ``nll_loss`` itself, and nothing else is done.
        reconstruction: the generator's output, of which both losses are taken.
        last_layer: W, a tensor of the generator's.
        weight: lambda.
        max_weight: bound on the quotient.
        eps: epsilon.
        parameters: what else ``nll_loss`` has to train, such as a learned variance.
        scaler: the scaler of the returned loss, if any; the walk in this call is scaled, too.

    Returns:
        The loss, once differentiable, and w, both scalars. Where no gradient is recorded, as in
        evaluation, ``nll_loss`` and 0.

    Raises:
        NotImplementedError: the loss is differentiated with ``create_graph=True``.
        ValueError: a loss does not depend on the reconstruction or a named parameter, or the
            reconstruction not on the last layer.

    Source: Esser et al. 2021, Taming transformers.
    """
    if g_loss is None or not (torch.is_grad_enabled() and reconstruction.requires_grad):
        return nll_loss, nll_loss.new_zeros(())
    scale = scale_of(scaler, nll_loss)
    output = {"reconstruction": reconstruction}
    others = {f"parameters[{k}]": parameter for k, parameter in enumerate(parameters)}
    nll, *nll_others = gradients_of("nll_loss", nll_loss * scale, output | others)
    (g,) = gradients_of("g_loss", g_loss * scale, output)

    def size(gradient: Tensor) -> Tensor:
        (of_layer,) = gradients_of(
            "reconstruction", reconstruction, {"last_layer": last_layer}, gradient, retain=True
        )
        norm: Tensor = torch.linalg.vector_norm(of_layer, dtype=scale.dtype)
        return norm / scale

    w = weight * (size(nll) / (size(g) + eps)).clamp(0, max_weight)
    combined = compute_dtype(nll) + w * compute_dtype(g)
    value = nll_loss.detach() + w * g_loss.detach()
    return surrogate(value, scale, [reconstruction, *parameters], [combined, *nll_others]), w
