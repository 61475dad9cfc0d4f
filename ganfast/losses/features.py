"""Feature matching over the nested lists of maps that discriminators return."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor

from ganfast import ops
from ganfast._names import check_name
from ganfast.losses.formulas import DISTANCES
from ganfast.losses.reduction import distances

FeatureDistance = Literal["l1", "l2", "relative_l1"]

_TINY = {dtype: torch.finfo(dtype).tiny for dtype in (torch.float32, torch.float64)}

#: A tensor, a list of tensors, or a list of such lists, to any depth.
Features: TypeAlias = "Tensor | Sequence[Features]"
#: None, a mask for all maps of a list, or a list with one of these for each of its entries.
Masks: TypeAlias = "Tensor | Sequence[Masks] | None"


def feature_matching(
    real: Features,
    fake: Features,
    kind: FeatureDistance = "l1",
    weight: float = 1.0,
    *,
    skip_last: bool = False,
    detach_real: bool = True,
    normalize: bool = False,
    mask: Masks = None,
) -> Tensor:
    r"""Distance between a discriminator's features of real and of fake samples.

    With R and G the features of real and of fake samples, m the mean over all elements of a map,
    and the sum over all maps, one launch forward and one backward compute:

    =============== =========================
    ``l1``          weight * sum m\|R - G\|
    ``l2``          weight * sum m(R - G)^2
    ``relative_l1`` weight * sum m\|R - G\| / m\|R\|
    =============== =========================

    The backward pass needs nothing but the features, whose dtypes may differ. With ``l1`` and
    ``relative_l1`` they may be complex, as of discriminators of spectra; then \|.\| is the modulus,
    and plain torch computes the loss. The conventions of some projects:

    ================================ ============================================================
    HiFi-GAN, BigVGAN                ``weight=2``
    Descript Audio Codec             ``skip_last=True``; times 2 in its trainer
    EnCodec, AudioCraft              ``normalize=True``, with ``kind="relative_l1"`` in the paper
    pix2pixHD                        ``skip_last=True``, weight 40 / ((n_layers + 1) num_D)
    SPADE                            ``skip_last=True``, weight lambda_feat / num_D, by default 10
                                     for lambda_feat
    ================================ ============================================================

    Args:
        real: features of real samples: a tensor, a list of maps, or a list of such lists to any
            depth, one for each discriminator.
        fake: features of fake samples, of the same structure and shapes.
        kind: one of the above. ``relative_l1`` is 0 for a map that is 0 on both sides.
        weight: factor on the loss.
        skip_last: leave out the last map of each innermost list, which holds the logits.
        detach_real: no gradient flows to the real features. The generator needs none, and the
            discriminator's pass over real samples is not back-propagated.
        normalize: take the mean over each list instead of the sum, at every level.
        mask: bool tensors that broadcast to the maps, True where they count, for sequences of
            unequal length; see :func:`length_masks`. m is then the mean over the elements that
            count, and 0 where none does.

    Returns:
        Scalar; float64 if a feature is, else float32. Differentiable twice.

    Raises:
        TypeError: a feature is not a floating-point tensor, a mask not a bool one, or structures
            differ.
        ValueError: the kind is unknown, a list is empty, or lengths or shapes differ.
    """
    if kind != "relative_l1" and kind not in DISTANCES:
        check_name("kind", kind, get_args(FeatureDistance))
    pairs = _Pairs([], [], [], [], [])
    _collect(real, fake, mask, weight, skip_last, normalize, "", pairs)
    if detach_real:
        pairs.real[:] = [r.detach() for r in pairs.real]
    shares = None if mask is None else _masked_shares(pairs)
    if kind == "relative_l1":
        return _relative(pairs)
    sides = pairs.fake, pairs.real, kind, pairs.weight, pairs.name
    if shares is None:
        return distances(*sides)
    terms = distances(*sides, per_term=True)
    return (terms / shares.to(terms.dtype)).sum()


def length_masks(features: Features, lengths: Tensor, total: int, *, dim: int = 2) -> Masks:
    """Masks of sequences that end early, for the maps that a discriminator makes of them.

    Of a map with n steps, a sequence fills n * length / total, rounded up.

    Args:
        features: a tensor, a list of maps, or a list of such lists to any depth.
        lengths: of the sequences, (B,), integers up to total.
        total: length to which all are padded.
        dim: the maps' axis of time. Where it differs, call this for each discriminator.

    Returns:
        The structure of the features, with bool masks that broadcast to the maps.

    Raises:
        TypeError: the lengths are no tensor of integers, or a feature is no tensor.
        ValueError: the lengths are not one for each sample, a map has no axis ``dim``, or total is
            not positive.

    Example:
        >>> real = [torch.randn(2, 4, 10), torch.randn(2, 8, 5, 2)]
        >>> masks = length_masks(real, torch.tensor([100, 35]), 100)
        >>> [mask.sum(2).flatten().tolist() for mask in masks]
        [[10, 4], [5, 2]]
    """
    if not isinstance(lengths, Tensor) or lengths.is_floating_point() or lengths.is_complex():
        got = lengths.dtype if isinstance(lengths, Tensor) else type(lengths).__name__
        raise TypeError(f"lengths must be a tensor of integers, got {got}")
    if total < 1:
        raise ValueError(f"total must be positive, got {total}")
    if isinstance(features, (list, tuple)):
        return [length_masks(part, lengths, total, dim=dim) for part in features]
    if not isinstance(features, Tensor):
        raise TypeError(f"features must hold tensors, got {type(features).__name__}")
    if not 1 <= dim < features.dim() or lengths.shape != features.shape[:1]:
        raise ValueError(
            f"features must have one sample for each of the lengths, {list(lengths.shape)}, and an "
            f"axis {dim}, got shape {list(features.shape)}"
        )
    steps = features.shape[dim]
    filled = (lengths.to(features.device).long() * steps + total - 1) // total
    mask = torch.arange(steps, device=features.device) < filled[:, None]
    return mask.reshape([len(mask)] + [steps if k == dim else 1 for k in range(1, features.dim())])


class _Pairs(NamedTuple):
    """The maps to compare, their masks, weights, and indices in the nested lists."""

    fake: list[Tensor]
    real: list[Tensor]
    mask: list[Tensor | None]
    weight: list[float]
    place: list[str]

    def name(self, argument: str, k: int) -> str:
        """The caller's name of an op's tensor: x are the fake features, y the real ones."""
        return f"{'fake' if argument == 'x' else 'real'}{self.place[k]}"


def _collect(
    real: Features,
    fake: Features,
    mask: Masks,
    weight: float,
    skip_last: bool,
    normalize: bool,
    place: str,
    pairs: _Pairs,
) -> None:
    if isinstance(real, Tensor) and isinstance(fake, Tensor):
        pairs.fake.append(fake)
        pairs.real.append(real)
        pairs.mask.append(_checked_mask(mask, fake, place))
        pairs.weight.append(weight)
        pairs.place.append(place)
        return
    if not isinstance(real, (list, tuple)) or not isinstance(fake, (list, tuple)):
        raise TypeError(
            f"real{place} and fake{place} must both be tensors or both lists, "
            f"got {type(real).__name__} and {type(fake).__name__}"
        )
    if len(real) != len(fake):
        raise ValueError(
            f"real{place} and fake{place} must have the same length, "
            f"got {len(real)} and {len(fake)}"
        )
    skipped = skip_last and isinstance(real[-1] if real else None, Tensor)
    kept = len(real) - skipped
    if kept == 0:
        needed = "one map besides the last" if skipped else "one map"
        raise ValueError(f"real{place} must hold at least {needed}, got {len(real)}")
    part = weight / kept if normalize else weight
    if isinstance(mask, (list, tuple)) and len(mask) != len(real):
        raise ValueError(
            f"mask{place} must have the length of real{place}, {len(real)}, got {len(mask)}"
        )
    for k in range(kept):
        of_entry = mask[k] if isinstance(mask, (list, tuple)) else mask
        _collect(real[k], fake[k], of_entry, part, skip_last, normalize, f"{place}[{k}]", pairs)


def _checked_mask(mask: Masks, fake: Tensor, place: str) -> Tensor | None:
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask{place} must be a bool tensor, got {got}")
    sizes = zip(reversed(mask.shape), reversed(fake.shape), strict=False)
    if mask.dim() > fake.dim() or any(m not in (1, n) for m, n in sizes):
        raise ValueError(
            f"mask{place} must broadcast to the shape of fake{place}, {list(fake.shape)}, "
            f"got {list(mask.shape)}"
        )
    return mask


def _masked_shares(pairs: _Pairs) -> Tensor:
    """Set what does not count to 0 on both sides; return the shares of elements that count."""
    shares = []
    for k, mask in enumerate(pairs.mask):
        x, y = pairs.fake[k], pairs.real[k]
        if mask is None:
            shares.append(torch.ones((), device=x.device))
            continue
        pairs.fake[k], pairs.real[k] = (torch.where(mask, z, z.new_zeros(())) for z in (x, y))
        # Where nothing counts the sum is 0, and so is its quotient by any positive number.
        shares.append(mask.float().mean().clamp_min(1 / x.numel()))
    return torch.stack(shares)


def _relative(pairs: _Pairs) -> Tensor:
    """sum_k w_k sum|x_k - y_k| / sum|y_k|."""
    elements = [float(x.numel()) for x in pairs.fake]
    weight = [w * n for w, n in zip(pairs.weight, elements, strict=True)]
    sums = distances(pairs.fake, pairs.real, "l1", weight, pairs.name, per_term=True)
    zeros = [0.0] * len(elements)
    sizes = ops.flat(pairs.real, "l1", elements, zeros, zeros, per_term=True)
    return (sums / sizes.clamp_min(_TINY[sizes.dtype])).sum()
