"""Feature matching over the nested lists of maps that discriminators return."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor

from ganfast import ops
from ganfast._names import check_name
from ganfast.losses.formulas import DISTANCES

FeatureDistance = Literal["l1", "l2", "relative_l1"]

_TINY = {dtype: torch.finfo(dtype).tiny for dtype in (torch.float32, torch.float64)}

#: A tensor, a list of tensors, or a list of such lists, to any depth.
Features: TypeAlias = "Tensor | Sequence[Features]"


def feature_matching(
    real: Features,
    fake: Features,
    kind: FeatureDistance = "l1",
    weight: float = 1.0,
    *,
    skip_last: bool = False,
    detach_real: bool = True,
    normalize: bool = False,
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

    Returns:
        Scalar; float64 if a feature is, else float32. Differentiable twice.

    Raises:
        TypeError: a feature is not a floating-point tensor, or structures differ.
        ValueError: the kind is unknown, a list is empty, or lengths or shapes differ.
    """
    if kind != "relative_l1" and kind not in DISTANCES:
        check_name("kind", kind, get_args(FeatureDistance))
    pairs = _Pairs([], [], [], [])
    _collect(real, fake, weight, skip_last, normalize, "", pairs)
    if detach_real:
        pairs.real[:] = [r.detach() for r in pairs.real]
    if kind == "relative_l1":
        return _relative(pairs)
    return pairs.reduce(DISTANCES[kind], pairs.weight)


class _Pairs(NamedTuple):
    """The maps to compare, their weights, and their indices in the nested lists."""

    fake: list[Tensor]
    real: list[Tensor]
    weight: list[float]
    place: list[str]

    def name(self, argument: str, k: int) -> str:
        """The caller's name of an op's tensor: x are the fake features, y the real ones."""
        return f"{'fake' if argument == 'x' else 'real'}{self.place[k]}"

    def reduce(self, f: str, weight: list[float], per_term: bool = False) -> Tensor:
        zeros = [0.0] * len(weight)
        return ops.flat(
            self.fake,
            f,
            weight,
            zeros,
            zeros,
            self.real,
            per_term=per_term,
            broadcast=False,
            name=self.name,
        )


def _collect(
    real: Features,
    fake: Features,
    weight: float,
    skip_last: bool,
    normalize: bool,
    place: str,
    pairs: _Pairs,
) -> None:
    if isinstance(real, Tensor) and isinstance(fake, Tensor):
        pairs.fake.append(fake)
        pairs.real.append(real)
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
    for k in range(kept):
        _collect(real[k], fake[k], part, skip_last, normalize, f"{place}[{k}]", pairs)


def _relative(pairs: _Pairs) -> Tensor:
    """sum_k w_k sum|x_k - y_k| / sum|y_k|."""
    elements = [float(x.numel()) for x in pairs.fake]
    weight = [w * n for w, n in zip(pairs.weight, elements, strict=True)]
    sums = pairs.reduce("l1", weight, per_term=True)
    zeros = [0.0] * len(elements)
    sizes = ops.flat(pairs.real, "l1", elements, zeros, zeros, per_term=True)
    return (sums / sizes.clamp_min(_TINY[sizes.dtype])).sum()
