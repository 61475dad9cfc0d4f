"""Adversarial losses over a discriminator's outputs, one tensor or a list of maps."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import get_args

import torch
from torch import Tensor, nn

from ganfast._names import check_name
from ganfast.losses.formulas import CROSS_ENTROPIES, HINGES, LABELLED, Kind, formulas_of
from ganfast.losses.reduction import (
    MapReduction,
    Outputs,
    Reducer,
    Reduction,
    Stats,
    last_maps,
    pairs_of_maps,
    weights_of_sides,
)


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

    Outputs are a tensor of any shape, a list of maps, or a list of lists whose last maps count, as
    discriminators with features return them. The whole list takes one launch forward and one
    backward; with masks, one for all maps of one size. If the maps' dtypes differ, all are widened
    before the launch, to float32 or better; each gradient has its map's dtype.

    Args:
        kind: one of the above.
        from_probs: the discriminator ends in a sigmoid (``non_saturating``, ``minimax`` and
            ``bce``). Logarithms are clamped at -100 as in :class:`torch.nn.BCELoss` and computed in
            float32 or better, so that it works under autocast. Values outside [0, 1] give NaN.
        label_smoothing: s in [0, 1): the real target moves from 1 (b) to 1 - s (b - s (b - a)). For
            the cross-entropies and ``least_squares``, in the discriminator's loss.
        fake_label_smoothing: the same for the fake target, from 0 to s (a + s (b - a)).
        label_flips: probability in [0, 1) that a sample counts as one of the other side in the
            discriminator's loss, drawn per sample on the outputs' device.
        targets: (a, b, c) of ``least_squares``: the targets of fake samples, of real samples, and
            of the generator.
        margin: the 1 in the hinges, at least 0.
        scale: factor on each loss, 0.5 for the conventions that halve.
        reduction: of each map: the ``mean`` or the ``sum`` over its elements, or ``none``: (B,),
            the share of each sample, whose mean is the ``mean``.
        map_reduction: the ``sum`` or the ``mean`` of the maps' losses.
        map_weights: a weight for each map; all 1 if None.

    Raises:
        TypeError: an output is not a floating-point tensor or a list of them.
        ValueError: the kind is unknown; an option is out of range or not one of the kind's; outputs
            are empty, differ in their number of maps or are on different devices; weights do not
            fit; maps differ in their number of samples where samples matter.

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
        check_name("kind", kind, get_args(Kind))
        if from_probs and kind not in CROSS_ENTROPIES:
            raise ValueError(
                f"from_probs must be False for {kind!r}, got True: "
                f"it is for {', '.join(CROSS_ENTROPIES)}"
            )
        if len(targets) != 3:
            raise ValueError(f"targets must be the three numbers (a, b, c), got {targets}")
        if tuple(targets) != (0.0, 1.0, 1.0) and kind != "least_squares":
            raise ValueError(
                f"targets must be the default for {kind!r}, got {targets}: they are for "
                "least_squares"
            )
        if margin != 1 and kind not in HINGES:
            raise ValueError(f"margin must be 1 for {kind!r}, got {margin}: it is for the hinges")
        if not 0 <= margin < math.inf:
            raise ValueError(f"margin must be at least 0 and finite, got {margin}")
        smoothing = (label_smoothing, fake_label_smoothing)
        for name, share in zip(("label_smoothing", "fake_label_smoothing"), smoothing, strict=True):
            if not 0 <= share < 1:
                raise ValueError(f"{name} must be in [0, 1), got {share}")
            if share and kind not in LABELLED:
                raise ValueError(f"{name} must be 0 for {kind!r}, got {share}: it has no labels")
        if not 0 <= label_flips < 1:
            raise ValueError(f"label_flips must be in [0, 1), got {label_flips}")
        self.kind, self.from_probs = kind, from_probs
        self._label_flips = label_flips
        # Accuracies count which side of the threshold an output is on.
        threshold, below = 0.5 if from_probs else 0.0, "fake"
        if kind == "least_squares":
            threshold = (targets[0] + targets[1]) / 2
            below = "fake" if targets[1] >= targets[0] else "real"
        options = reduction, scale, map_reduction, map_weights, threshold, below
        real, fake, generator = formulas_of(kind, from_probs, smoothing, targets, margin)
        self._discriminator = Reducer((("real", real), ("fake", fake)), *options)
        self._generator = Reducer((("fake", generator),), *options)

    def discriminator(
        self,
        real: Outputs,
        fake: Outputs,
        *,
        real_weight: Outputs | None = None,
        fake_weight: Outputs | None = None,
        rng: torch.Generator | None = None,
    ) -> Tensor:
        """Loss of the discriminator on its outputs for real and for fake samples.

        Args:
            real: outputs for real samples.
            fake: outputs for fake samples, equally many maps; their shapes may differ from those
                of the real ones.
            real_weight: weights of the real samples: (B,), or a mask that broadcasts to each map,
                or one mask per map. A map's mean becomes the weighted mean sum(w l) / sum(w) over
                its elements l, or 0 if all weights are 0; its sum becomes sum(w l).
            fake_weight: the same for the fake samples.
            rng: draws ``label_flips``; the device's default generator if None.

        Returns:
            Scalar, or (B,) for ``reduction="none"``; float64 for float64 outputs, else float32.
        """
        maps = pairs_of_maps(real, fake)
        weights = weights_of_sides(real_weight, fake_weight)
        return self._discriminator.loss(maps, weights, self._label_flips, rng)

    def discriminator_with_stats(
        self,
        real: Outputs,
        fake: Outputs,
        *,
        real_weight: Outputs | None = None,
        fake_weight: Outputs | None = None,
        rng: torch.Generator | None = None,
    ) -> tuple[Tensor, Stats]:
        """Loss of the discriminator and statistics to log, from the same launch.

        With weights or flips, the statistics take launches of their own.

        Args:
            real, fake, real_weight, fake_weight, rng: see :meth:`discriminator`.

        Returns:
            The loss of :meth:`discriminator`, and a dict of (maps,) tensors on the device, not
            differentiable: ``real_logits`` and ``fake_logits``, the mean outputs;
            ``real_accuracy`` and ``fake_accuracy``, the shares of real outputs above and of fake
            outputs below 0 (below 0.5 for probabilities, below the middle of the targets for
            ``least_squares``); ``real_loss`` and ``fake_loss``, the terms that add up to the loss
            (for ``none``, to its mean). Weights and flips affect only these terms.
        """
        maps = pairs_of_maps(real, fake)
        weights = weights_of_sides(real_weight, fake_weight)
        return self._discriminator.loss_with_stats(maps, weights, self._label_flips, rng)

    def generator(
        self, fake: Outputs, *, fake_weight: Outputs | None = None, top_k: int | None = None
    ) -> Tensor:
        """Loss of the generator on the discriminator's outputs for fake samples.

        Args:
            fake: outputs for fake samples.
            fake_weight: weights of the samples, see :meth:`discriminator`.
            top_k: only the k highest outputs of each map count, in loss and statistics; see
                :func:`top_k_schedule`. Not with weights or ``reduction="none"``.

        Returns:
            Scalar, or (B,) for ``reduction="none"``; float64 for float64 outputs, else float32.
        """
        weights = None if fake_weight is None else (fake_weight,)
        return self._generator.loss((self._highest(fake, fake_weight, top_k),), weights)

    def generator_with_stats(
        self, fake: Outputs, *, fake_weight: Outputs | None = None, top_k: int | None = None
    ) -> tuple[Tensor, Stats]:
        """Loss of the generator and statistics to log, from the same launch.

        Args:
            fake, fake_weight, top_k: see :meth:`generator`.

        Returns:
            The loss of :meth:`generator`, and the ``fake_*`` statistics of
            :meth:`discriminator_with_stats`.
        """
        weights = None if fake_weight is None else (fake_weight,)
        return self._generator.loss_with_stats((self._highest(fake, fake_weight, top_k),), weights)

    def _highest(
        self, fake: Outputs, fake_weight: Outputs | None, top_k: int | None
    ) -> Sequence[Tensor]:
        """The maps of fake outputs, each reduced to its k highest elements."""
        maps = last_maps("fake", fake)
        if top_k is None:
            return maps
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}")
        if fake_weight is not None or self._generator.reduction == "none":
            raise ValueError(
                f"top_k must be None with fake_weight or reduction='none', got {top_k}"
            )
        return [x.flatten().topk(min(top_k, x.numel()), sorted=False).values for x in maps]


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Run a network without gradients of its parameters; gradients still reach its inputs.

    Around the discriminator in the generator's step, this saves the weight gradients that nobody
    uses, and the whole graph of D(real), whose input needs no gradients either. The backward pass
    may run after the context. If the discriminator recomputes its activations by
    ``torch.utils.checkpoint``, run it inside: the recomputation must meet frozen parameters too.

    On leaving, also by an exception, each parameter's ``requires_grad`` is what it was before.
    ``DistributedDataParallel`` may be frozen too. With ``static_graph=True`` it waits forever if it
    is frozen in its first step: call its ``module`` in the context.

    Args:
        module: the discriminator. For several write ``with frozen(mpd), frozen(msd):``.

    Raises:
        TypeError: it is no module.

    Example:
        >>> D = nn.Linear(2, 1)
        >>> fake = torch.randn(4, 2, requires_grad=True)
        >>> with frozen(D):
        ...     generator_loss(D(fake)).backward()
        >>> D.weight.grad is None
        True
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch module, got {type(module).__name__}")
    parameters = [p for p in module.parameters() if p.requires_grad]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)
