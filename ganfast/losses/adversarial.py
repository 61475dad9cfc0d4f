"""Losses over a discriminator's outputs, one tensor or a list of maps."""

import math
from collections.abc import Sequence
from typing import Literal, TypedDict, get_args, overload

import torch
from torch import Tensor
from typing_extensions import Unpack

from ganfast.losses.maps import MapReduction, MapWeights, Outputs, last_maps, pairs_of_maps
from ganfast.losses.reduction import Reducer, Reduction, Stats
from ganfast.losses.sides import CROSS_ENTROPIES, HINGES, LABELLED, Kind, sides_of


class Options(TypedDict, total=False):
    """The options of :class:`AdversarialLoss`."""

    from_probs: bool
    label_smoothing: float
    fake_label_smoothing: float
    label_flips: float
    targets: tuple[float, float, float]
    margin: float
    scale: float
    reduction: Reduction
    map_reduction: MapReduction
    map_weights: Sequence[float] | None


class DiscriminatorInputs(TypedDict, total=False):
    """What :meth:`AdversarialLoss.discriminator` takes besides the outputs."""

    real_weight: Outputs | None
    fake_weight: Outputs | None
    rng: torch.Generator | None


class GeneratorInputs(TypedDict, total=False):
    """What :meth:`AdversarialLoss.generator` takes besides the outputs."""

    fake_weight: Outputs | None
    top_k: int | None


class AdversarialLoss:
    r"""The two losses of adversarial training, fused over all maps of a discriminator.

    With r and f the discriminator's outputs for real and fake samples, m the mean over all elements
    of a map, and sp(t) = log(1 + exp(t)):

    ================== ============================================ =====================
    kind               discriminator                                generator
    ================== ============================================ =====================
    ``non_saturating`` m[sp(-r)] + m[sp(f)]                         m[sp(-f)]
    ``minimax``        m[sp(-r)] + m[sp(f)]                         -m[sp(f)]
    ``bce``            the same sums, as cross-entropies of logits with targets 1 and 0
    ``least_squares``  m[(r - b)^2] + m[(f - a)^2]                  m[(f - c)^2]
    ``wasserstein``    m[f] - m[r]                                  -m[f]
    ``hinge``          m[relu(1 - r)] + m[relu(1 + f)]              -m[f]
    ``hinge2``         m[relu(1 - r)] + m[relu(1 + f)]              m[relu(1 - f)]
    ================== ============================================ =====================

    Outputs are a tensor of any shape, a list of maps, or a list of lists of which the last map
    counts, as discriminators with features return them. The losses are one launch forward and one
    backward for the whole list; with masks of elements, for all maps of one size. Masks together
    with flips, statistics, sums or ``reduction="none"`` are plain torch.

    Args:
        kind: one of the above.
        from_probs: the discriminator ends in a sigmoid (``non_saturating``, ``minimax`` and
            ``bce``). Logarithms are clamped at -100 as in :class:`torch.nn.BCELoss` and computed in
            float32 or better, so that it works under autocast. Values outside [0, 1] give NaN.
        label_smoothing: s in [0, 1): the real target moves from 1 (b) to 1 - s (b - s (b - a)). For
            the cross-entropies and ``least_squares``, in the discriminator's loss.
        fake_label_smoothing: the same for the fake target, from 0 to s (a + s (b - a)).
        label_flips: probability in [0, 1) with which a sample counts as one of the other side in
            the discriminator's loss, drawn for each sample on the outputs' device.
        targets: (a, b, c) of ``least_squares``, the targets of fake samples, of real ones, and of
            the generator.
        margin: what stands for the 1 in the hinges, at least 0.
        scale: factor on each loss, 0.5 for the conventions that halve.
        reduction: of each map: the ``mean`` or the ``sum`` over its elements, or ``none``: (B,),
            for each sample its share, whose mean is the ``mean``.
        map_reduction: the ``sum`` or the ``mean`` of the maps' losses.
        map_weights: a weight for each map, 1 where not given.

    Raises:
        TypeError: an output is not a floating-point tensor or a list of such, or dtypes differ.
        ValueError: an unknown kind, an option that the kind does not have or out of range, empty
            outputs, real and fake with different numbers of maps, or on different devices; weights
            that do not fit; where samples matter, maps with different numbers of samples.

    Example:
        >>> import torch
        >>> loss = AdversarialLoss("hinge")
        >>> loss.discriminator(torch.tensor([2.0, 0.5]), torch.tensor([-0.5, -2.0]))
        tensor(0.5000)

    Sources: Goodfellow et al. 2014 (minimax, non-saturating), Mao et al. 2017 (least squares),
    Arjovsky et al. 2017 (Wasserstein), Lim and Ye 2017 (hinge), audiocraft (hinge2), Salimans et
    al. 2016 (label smoothing), Sinha et al. 2020 (top-k).
    """

    def __init__(
        self,
        kind: Kind = "non_saturating",
        *,
        from_probs: bool = False,
        label_smoothing: float = 0.0,
        fake_label_smoothing: float = 0.0,
        label_flips: float = 0.0,
        targets: tuple[float, float, float] = (0.0, 1.0, 1.0),
        margin: float = 1.0,
        scale: float = 1.0,
        reduction: Reduction = "mean",
        map_reduction: MapReduction = "sum",
        map_weights: Sequence[float] | None = None,
    ) -> None:
        if kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {kind!r}")
        if from_probs and kind not in CROSS_ENTROPIES:
            raise ValueError(
                f"from_probs must be False for {kind!r}: it is for {', '.join(CROSS_ENTROPIES)}"
            )
        if len(targets) != 3:
            raise ValueError(f"targets must be the three numbers (a, b, c), got {targets}")
        if tuple(targets) != (0.0, 1.0, 1.0) and kind != "least_squares":
            raise ValueError(f"targets must not be given for {kind!r}: they are for least_squares")
        if margin != 1 and kind not in HINGES:
            raise ValueError(f"margin must not be given for {kind!r}: it is for the hinges")
        if not 0 <= margin < math.inf:
            raise ValueError(f"margin must be at least 0 and finite, got {margin}")
        smoothing = (label_smoothing, fake_label_smoothing)
        for name, share in zip(("label_smoothing", "fake_label_smoothing"), smoothing, strict=True):
            if not 0 <= share < 1:
                raise ValueError(f"{name} must be in [0, 1), got {share}")
            if share and kind not in LABELLED:
                raise ValueError(f"{name} must be 0 for {kind!r}, which has no labels")
        if not 0 <= label_flips < 1:
            raise ValueError(f"label_flips must be in [0, 1), got {label_flips}")
        self.kind, self.from_probs = kind, from_probs
        self._label_flips = label_flips
        # What a discriminator that is right says of fake samples: below or above the threshold.
        threshold, below = 0.5 if from_probs else 0.0, "fake"
        if kind == "least_squares":
            threshold = (targets[0] + targets[1]) / 2
            below = "fake" if targets[1] >= targets[0] else "real"
        weights = MapWeights(scale, map_reduction, map_weights)
        sides = sides_of(kind, from_probs, smoothing, targets, margin)
        both = (("real", sides.real), ("fake", sides.fake))
        self._discriminator = Reducer(both, weights, reduction, threshold, below)
        self._generator = Reducer(
            (("fake", sides.generator),), weights, reduction, threshold, below
        )

    @overload
    def discriminator(
        self,
        real: Outputs,
        fake: Outputs,
        *,
        stats: Literal[False] = ...,
        **inputs: Unpack[DiscriminatorInputs],
    ) -> Tensor: ...
    @overload
    def discriminator(
        self,
        real: Outputs,
        fake: Outputs,
        *,
        stats: Literal[True],
        **inputs: Unpack[DiscriminatorInputs],
    ) -> tuple[Tensor, Stats]: ...
    def discriminator(
        self,
        real: Outputs,
        fake: Outputs,
        *,
        stats: bool = False,
        real_weight: Outputs | None = None,
        fake_weight: Outputs | None = None,
        rng: torch.Generator | None = None,
    ) -> Tensor | tuple[Tensor, Stats]:
        """Loss of the discriminator on its outputs for real and for fake samples.

        Args:
            real: outputs for real samples.
            fake: outputs for fake samples, as many maps; their shapes may differ from the real
                ones'.
            stats: return statistics too, from the same launch; those of masks from one of their
                own.
            real_weight: weights of the real samples: (B,), or a mask that broadcasts to each map,
                or one for each map. A map's mean becomes the weighted mean sum(w l) / sum(w) over
                its elements l, 0 where all weights are; its sum sum(w l).
            fake_weight: the same for the fake samples.
            rng: draws ``label_flips``; the default one of the device where not given.

        Returns:
            Scalar, or (B,) for ``reduction="none"``; float64 for float64 outputs, else float32.
            With ``stats`` also a dict of (maps,) tensors on the device, not differentiable:
            ``real_logits`` and ``fake_logits``, the mean outputs; ``real_accuracy`` and
            ``fake_accuracy``, the shares of real outputs above and of fake outputs below 0 (0.5 for
            probabilities, the middle of the targets of ``least_squares``); ``real_loss`` and
            ``fake_loss``, the terms that add up to the loss (for ``none`` to its mean). Weights and
            flips count in these alone.
        """
        maps = pairs_of_maps(real, fake)
        weights = None
        if real_weight is not None or fake_weight is not None:
            weights = real_weight, fake_weight
        return self._discriminator(maps, stats, weights, self._label_flips, rng)

    @overload
    def generator(
        self, fake: Outputs, *, stats: Literal[False] = ..., **inputs: Unpack[GeneratorInputs]
    ) -> Tensor: ...
    @overload
    def generator(
        self, fake: Outputs, *, stats: Literal[True], **inputs: Unpack[GeneratorInputs]
    ) -> tuple[Tensor, Stats]: ...
    def generator(
        self,
        fake: Outputs,
        *,
        stats: bool = False,
        fake_weight: Outputs | None = None,
        top_k: int | None = None,
    ) -> Tensor | tuple[Tensor, Stats]:
        """Loss of the generator on the discriminator's outputs for fake samples.

        Args:
            fake: outputs for fake samples.
            stats: return statistics too, see :meth:`discriminator`.
            fake_weight: weights of the samples, see :meth:`discriminator`.
            top_k: only the k highest outputs of each map count, in loss and statistics; see
                :func:`top_k_schedule`. Not with weights or ``reduction="none"``.

        Returns:
            Scalar, or (B,) for ``reduction="none"``; float64 for float64 outputs, else float32.
            With ``stats`` also the ``fake_*`` statistics of :meth:`discriminator`.
        """
        fake = last_maps("fake", fake)
        if top_k is not None:
            if top_k < 1:
                raise ValueError(f"top_k must be at least 1, got {top_k}")
            if fake_weight is not None or self._generator.reduction == "none":
                raise ValueError("top_k must not be given with fake_weight or reduction='none'")
            fake = [x.flatten().topk(min(top_k, x.numel()), sorted=False).values for x in fake]
        weights = None if fake_weight is None else (fake_weight,)
        return self._generator((fake,), stats, weights)
