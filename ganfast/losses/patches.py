"""Contrastive loss of patches, as in CUT: an image keeps what its translation shows."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ganfast._checks import FLOATING
from ganfast.reference import compute_dtype


def patch_nce(
    query: Tensor | Sequence[Tensor],
    key: Tensor | Sequence[Tensor],
    *,
    temperature: float = 0.07,
) -> Tensor:
    r"""PatchNCE: each patch of a translation finds its own patch among those of the source.

    With q_i and k_j the features of patches i and j of one image,

    .. math:: m_i \left[ -\ln \frac{e^{q_i \cdot k_i / \tau}}{\sum_j e^{q_i \cdot k_j / \tau}}
        \right]

    and the mean over layers. No gradient flows to the keys, as in CUT.

    Args:
        query: features of the translated images, (N, P, C), of unit norm; or one such tensor for
            each layer. To take negatives from the whole batch, pass (1, N P, C).
        key: features of the source images at the same places, of the same shapes.
        temperature: tau.

    Returns:
        Scalar; float64 for float64 features, else float32. Differentiable twice.

    Raises:
        TypeError: a feature is not a floating-point tensor.
        ValueError: the temperature is not positive, lists are empty, or shapes differ.

    Source: Park et al. 2020, Contrastive learning for unpaired image-to-image translation.

    Example:
        >>> F.normalize(torch.randn(2, 64, 256), dim=-1).shape  # 64 patches of each image
        torch.Size([2, 64, 256])
    """
    queries = [query] if isinstance(query, Tensor) else list(query)
    keys = [key] if isinstance(key, Tensor) else list(key)
    if not queries or len(queries) != len(keys):
        raise ValueError(
            "query and key must hold equally many layers, at least one, "
            f"got {len(queries)} and {len(keys)}"
        )
    layers = [patch_losses(q, k, temperature).mean() for q, k in zip(queries, keys, strict=True)]
    return torch.stack(layers).mean()


def patch_losses(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """The losses of :func:`patch_nce` of each patch of one layer, (N P,)."""
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    for name, x in (("query", query), ("key", key)):
        if not isinstance(x, Tensor) or x.dtype not in FLOATING:
            got = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"{name} must be a floating-point tensor, got {got}")
    if query.dim() != 3 or query.numel() == 0 or query.shape != key.shape:
        raise ValueError(
            "query and key must have the same shape (N, P, C), "
            f"got {list(query.shape)} and {list(key.shape)}"
        )
    with torch.autocast(query.device.type, enabled=False):
        q, k = compute_dtype(query), compute_dtype(key.detach())
        logits = q @ k.transpose(1, 2) / temperature
        own = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[:2])
        return F.cross_entropy(logits.flatten(0, 1), own.flatten(), reduction="none")
