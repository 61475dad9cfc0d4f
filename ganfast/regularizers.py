"""Regularizers of adversarial training other than gradient penalties."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from ganfast import ops
from ganfast.penalties._calls import Inputs, Output, output_maps, outputs_at
from ganfast.penalties.approximate import mean_squared_difference
from ganfast.reference import compute_dtype, powered


def consistency(outputs: Inputs, augmented: Inputs, *, weight: float = 10.0) -> Tensor:
    r"""Consistency of a discriminator under augmentation, CR (Zhang et al. 2020, arXiv:1910.12027).

    .. math:: \lambda \, m[(D(x) - D(T(x)))^2]

    For bCR (Zhao et al. 2021, arXiv:2002.04724), call it for the real and for the fake samples. For
    the discriminator's side of zCR, pass D(G(z)) and D(G(z + delta)).

    D(x), and D(T(x)) of the same shapes, are a tensor or a list of maps, whose terms add up to a
    scalar: logits, embeddings or class scores.
    """
    return mean_squared_difference(output_maps(outputs), output_maps(augmented), weight)


def latent_diversity(images: Tensor, moved: Tensor, *, weight: float = 0.5) -> Tensor:
    r"""The generator's side of zCR (Zhao et al. 2021, arXiv:2002.04724).

    .. math:: -\lambda \, m[(G(z) - G(z + \delta))^2]

    with G(z) the images and G(z + delta) the moved ones, of one shape.
    """
    return mean_squared_difference([images], [moved], -weight)


def disc_shift(real_logits: Inputs, *, weight: float = 0.001) -> Tensor:
    r"""Keep logits near zero: :math:`\lambda \, m[D(x)^2]` (Karras et al. 2018, arXiv:1710.10196).

    The logits are a tensor or a list of maps, whose terms add up to a scalar.
    """
    logits = output_maps(real_logits)
    zeros = [0.0] * len(logits)
    return ops.flat(logits, "square", [weight] * len(logits), zeros, zeros)


def path_lengths(
    images: Tensor, latents: Tensor, *, noise: Tensor | None = None, eps: float = 0.0
) -> Tensor:
    """The lengths :math:`a_b` of :class:`PathLength`, (N,), differentiable.

    Arguments and errors are those of :func:`path_length_deviations`.
    """
    if not latents.requires_grad:
        raise ValueError(
            "latents must require gradients when the images are made, got requires_grad=False"
        )
    y = torch.randn_like(images) if noise is None else noise
    pixels = images.shape[2] * images.shape[3]
    projected = (images * y).sum() / pixels**0.5
    (g,) = torch.autograd.grad(projected, latents, create_graph=True)
    layers = latents.shape[1] if latents.dim() == 3 else 1
    squared = compute_dtype(g).square().flatten(1).sum(1) / layers + eps
    return powered(squared, 0.5)


def path_length_deviations(
    images: Tensor,
    latents: Tensor,
    average: Tensor,
    decay: float = 0.01,
    *,
    noise: Tensor | None = None,
    eps: float = 0.0,
) -> Tensor:
    r"""The deviations whose mean :class:`PathLength` takes: :math:`(a_b - \bar a)^2`, (N,).

    Args:
        images: G(w), (N, C, H, W).
        latents: w, (N, D) or (N, L, D), which required gradients when the images were made.
        average: the moving mean, a scalar that is updated in place. As in StyleGAN2's code, it is
            updated before the lengths are compared with it, and their gradient flows through it.
        decay: share of a batch in the moving mean.
        noise: replaces the normal draw, before the division.
        eps: epsilon; with 0, a length of zero has a gradient of zero.

    Raises:
        ValueError: the latents do not require gradients.
    """
    lengths = path_lengths(images, latents, noise=noise, eps=eps)
    mean = average.lerp(lengths.mean().to(average.dtype), decay)
    average.copy_(mean.detach())
    return (lengths - mean).square()


class PathLength(nn.Module):
    r"""Path length regularization of a generator (Karras et al. 2020, arXiv:1912.04958).

    .. math:: \lambda \, m_b[(a_b - \bar a)^2], \quad
        a_b^2 = \epsilon + \frac{1}{L} \sum_{l,d} \left(
        \frac{\partial \langle G(w), y \rangle}{\partial w_{bld}} \right)^2,
        \quad y \sim N(0, 1) / \sqrt{H W}

    The moving mean :math:`\bar a` stays on the device and is in the state_dict. It is updated
    before a batch's lengths are compared with it.

    Args:
        weight: lambda.
        decay, eps: see :func:`path_length_deviations`.
    """

    mean: Tensor

    def __init__(self, weight: float = 2.0, decay: float = 0.01, eps: float = 0.0) -> None:
        super().__init__()
        self.weight = weight
        self.decay = decay
        self.eps = eps
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, images: Tensor, latents: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the penalty of images (N, C, H, W) made from latents (N, D) or (N, L, D).

        Arguments and errors are those of :func:`path_length_deviations`.
        """
        deviations = path_length_deviations(
            images, latents, self.mean, self.decay, noise=noise, eps=self.eps
        )
        return self.weight * deviations.mean()


def orthogonal(
    module: nn.Module,
    *,
    weight: float = 1e-4,
    skip: Callable[[str], bool] = lambda name: False,
) -> Tensor:
    r"""Orthogonal regularization without the diagonal (Brock et al. 2019, arXiv:1809.11096).

    .. math:: \lambda \sum_W \| W W^T \odot (1 - I) \|_F^2

    over all parameters of two or more dimensions, each as a matrix with one row per output.
    BigGAN's code adds the gradient of half of it.

    Args:
        module: the model.
        weight: lambda.
        skip: returns True for the names of parameters to leave out, such as class embeddings.

    Raises:
        ValueError: all parameters are skipped, or there is none.
    """
    matrices = [
        p.flatten(1) for name, p in module.named_parameters() if p.dim() > 1 and not skip(name)
    ]
    if not matrices:
        raise ValueError(
            "module must have parameters of two or more dimensions that are not skipped, got none"
        )
    terms = []
    for matrix in matrices:
        products = matrix @ matrix.T
        terms.append((products - products.diag().diag()).square().sum())
    return weight * torch.stack(terms).sum()


def optimised_latents(
    generator: Callable[[Tensor], Any],
    discriminator: Callable[..., Any],
    latents: Tensor,
    *,
    alpha: float = 0.9,
    beta: float = 5.0,
    steps: int = 1,
    rate: float = 1.0,
    clip: tuple[float, float] | None = (-1.0, 1.0),
    output: Output = None,
    create_graph: bool = True,
    random: torch.Generator | None = None,
) -> Tensor:
    r"""Latents that the discriminator prefers, as in LOGAN (Wu et al. 2020, arXiv:1912.00953).

    .. math:: z \leftarrow z + \alpha \frac{g}{\beta + \|g\|^2}, \quad g = \nabla_z D(G(z))

    Args:
        generator: maps latents to samples.
        discriminator: maps samples to logits.
        latents: z (N, D).
        alpha: step size.
        beta: damping.
        steps: number of steps.
        rate: share of the elements of z that move, drawn anew for each step.
        clip: bounds of the latents.
        output: index, key or function that picks the logits from a tuple or dict.
        create_graph: let gradients flow through the steps, as in the paper; else the result is a
            constant.
        random: draws the elements that move.

    Returns:
        The moved latents, (N, D).
    """
    z = latents if latents.requires_grad else latents.detach().requires_grad_()
    for _ in range(steps):
        with torch.enable_grad():
            logits = outputs_at(discriminator, [generator(z)], output=output)
            ones = [torch.ones_like(x) for x in logits]
            (g,) = torch.autograd.grad(logits, z, ones, create_graph=create_graph)
            step = alpha * g / (beta + g.square().flatten(1).sum(1, keepdim=True))
            if rate < 1:
                drawn = torch.rand(z.shape, device=z.device, generator=random)
                step = step * (drawn < rate)
            z = z + step
            if clip is not None:
                z = z.clamp(*clip)
        if not create_graph:
            z = z.detach().requires_grad_()
    return z if create_graph else z.detach()


def spectral_normalise(
    module: nn.Module,
    *,
    types: Sequence[type[nn.Module]] = (
        nn.Linear,
        nn.Conv1d,
        nn.Conv2d,
        nn.Conv3d,
        nn.ConvTranspose1d,
        nn.ConvTranspose2d,
        nn.ConvTranspose3d,
        nn.Embedding,
    ),
    power_iterations: int = 1,
    eps: float = 1e-12,
) -> nn.Module:
    """Apply torch's spectral normalization (Miyato et al. 2018, arXiv:1802.05957) to a whole model.

    Args:
        module: changed in place; layers whose weight is already parametrized are left alone.
        types: the types of layers to normalize.
        power_iterations: number per forward pass in training.
        eps: keeps norms above zero.

    Returns:
        The module itself.

    Raises:
        ValueError: the module has no such layer.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, tuple(types))]
    if not layers:
        names = ", ".join(t.__name__ for t in types)
        raise ValueError(f"module must hold a layer of the types {names}, got none")
    for layer in layers:
        if not parametrize.is_parametrized(layer, "weight"):
            parametrizations.spectral_norm(layer, "weight", power_iterations, eps)
    return module
