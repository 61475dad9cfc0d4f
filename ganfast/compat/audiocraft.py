"""Drop-in for the adversarial losses of AudioCraft and EnCodec, ``audiocraft.adversarial.losses``.

In ``audiocraft/adversarial/__init__.py``, change ``from .losses import (`` to::

    from ganfast.compat.audiocraft import (

With the losses of this module, all sub-discriminators take one launch, and so do all their
features. The adversary's step takes one pass over real and fake samples together
(:func:`ganfast.losses.one_pass`). In the generator's step the pass over real samples keeps no
graph, and the features get no scale, which the project computes and does not use. As in the
project, flashy exchanges the discriminator's gradients between processes.
"""

from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from ganfast._names import check_name
from ganfast.compat._criterion import formula_of, reduce_sides
from ganfast.distributed import process_count
from ganfast.losses import feature_matching, frozen
from ganfast.losses.features import FeatureDistance
from ganfast.losses.formulas import Formula
from ganfast.losses.one_pass import joined

ADVERSARIAL_LOSSES = ["mse", "hinge", "hinge2"]

AdvLossType = nn.Module | Callable[[Tensor], Tensor]
FeatLossType = nn.Module | Callable[[list[Tensor], list[Tensor]], Tensor]


def mse_real_loss(x: Tensor) -> Tensor:
    """m[(x - 1)^2]."""
    return _reduce(mse_real_loss, [x])


def mse_fake_loss(x: Tensor) -> Tensor:
    """m[x^2]."""
    return _reduce(mse_fake_loss, [x])


def hinge_real_loss(x: Tensor) -> Tensor:
    """m[relu(1 - x)]."""
    return _reduce(hinge_real_loss, [x])


def hinge_fake_loss(x: Tensor) -> Tensor:
    """m[relu(1 + x)]."""
    return _reduce(hinge_fake_loss, [x])


def mse_loss(x: Tensor) -> Tensor:
    """m[(x - 1)^2], or 0 of shape (1,) if x is empty."""
    return _reduce(mse_loss, [x]) if x.numel() else x.new_zeros(1)


def hinge_loss(x: Tensor) -> Tensor:
    """-m[x], or 0 of shape (1,) if x is empty."""
    return _reduce(hinge_loss, [x]) if x.numel() else x.new_zeros(1)


def hinge2_loss(x: Tensor) -> Tensor:
    """m[relu(1 - x)], or 0 of shape (1,) if x is empty."""
    return _reduce(hinge2_loss, [x]) if x.numel() else x.new_zeros(1)


# The losses that take one launch for a whole list.
_FORMULAS: dict[AdvLossType, Formula] = {
    mse_real_loss: formula_of("square", True),
    mse_fake_loss: formula_of("square", False),
    hinge_real_loss: formula_of("hinge", True),
    hinge_fake_loss: formula_of("hinge", False),
    mse_loss: formula_of("square", True),
    hinge_loss: formula_of("identity", True),
    hinge2_loss: formula_of("hinge", True),
}


def _reduce(loss: AdvLossType, logits: list[Tensor], scale: float = 1.0) -> Tensor:
    """The scaled sum of a loss over a list."""
    if loss in _FORMULAS:
        return reduce_sides(("logits", logits, _FORMULAS[loss]), scale=scale)
    return scale * torch.stack([loss(x) for x in logits]).sum()


def get_adv_criterion(loss_type: str) -> Callable[[Tensor], Tensor]:
    """Return the generator's loss: ``mse``, ``hinge`` or ``hinge2``."""
    return _criterion(loss_type, mse_loss, hinge_loss, hinge2_loss)


def get_fake_criterion(loss_type: str) -> Callable[[Tensor], Tensor]:
    """Return the discriminator's loss of fake samples: ``mse``, ``hinge`` or ``hinge2``."""
    return _criterion(loss_type, mse_fake_loss, hinge_fake_loss, hinge_fake_loss)


def get_real_criterion(loss_type: str) -> Callable[[Tensor], Tensor]:
    """Return the discriminator's loss of real samples: ``mse``, ``hinge`` or ``hinge2``."""
    return _criterion(loss_type, mse_real_loss, hinge_real_loss, hinge_real_loss)


def _criterion(loss_type: str, *losses: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    check_name("loss_type", loss_type, ADVERSARIAL_LOSSES)
    return losses[ADVERSARIAL_LOSSES.index(loss_type)]


class FeatureMatchingLoss(nn.Module):
    """Feature matching of one sub-discriminator; no gradient flows to the real features.

    Args:
        loss: ``nn.L1Loss()`` or ``nn.MSELoss()``, which are fused, or any function of two tensors.
        normalize: the mean over the maps instead of the sum.
    """

    def __init__(self, loss: nn.Module | None = None, normalize: bool = True) -> None:
        super().__init__()
        self.loss = nn.L1Loss() if loss is None else loss
        self.normalize = normalize

    def forward(self, fmap_fake: list[Tensor], fmap_real: list[Tensor]) -> Tensor:
        """Return the loss of the maps of fake and of real samples, of the same shapes; scalar.

        Raises:
            TypeError, ValueError: as :func:`ganfast.losses.feature_matching`.
        """
        kind = self._kind()
        if kind is not None:
            # The project iterates over both, which may be stacked tensors.
            return feature_matching(
                list(fmap_real), list(fmap_fake), kind, normalize=self.normalize
            )
        losses = [self.loss(g, r.detach()) for g, r in zip(fmap_fake, fmap_real, strict=True)]
        total = torch.stack(losses).sum()
        return total / len(losses) if self.normalize else total

    def _kind(self) -> FeatureDistance | None:
        """The fused distance that equals the loss, or None."""
        if getattr(self.loss, "reduction", None) != "mean":
            return None
        kinds: dict[type, FeatureDistance] = {nn.L1Loss: "l1", nn.MSELoss: "l2"}
        return kinds.get(type(self.loss))


class AdversarialLoss(nn.Module):
    """A discriminator with its optimizer and losses.

    Args:
        adversary: maps a signal to a list of logits and a list of lists of features.
        optimizer: the adversary's; its state is part of the state dict.
        loss: the generator's loss of logits.
        loss_real: the discriminator's loss of logits of real samples.
        loss_fake: the discriminator's loss of logits of fake samples.
        loss_feat: the generator's loss of the features of fake and of real samples, or None.
        normalize: the mean over the sub-discriminators instead of the sum.
    """

    def __init__(
        self,
        adversary: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: AdvLossType,
        loss_real: AdvLossType,
        loss_fake: AdvLossType,
        loss_feat: FeatLossType | None = None,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self.adversary = adversary
        if process_count() > 1:
            import_module("flashy").distrib.broadcast_model(self.adversary)
        self.optimizer = optimizer
        self.loss = loss
        self.loss_real = loss_real
        self.loss_fake = loss_fake
        self.loss_feat = loss_feat
        self.normalize = normalize

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "optimizer"] = self.optimizer.state_dict()

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        self.optimizer.load_state_dict(state_dict.pop(prefix + "optimizer"))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def get_adversary_pred(self, x: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Return the adversary's logits and features, a list each.

        Raises:
            TypeError: the adversary returns something else.
        """
        logits, fmaps = self.adversary(x)
        for name, got in (("logits", logits), ("features", fmaps)):
            if not isinstance(got, list):
                raise TypeError(f"adversary must return a list of {name}, got {type(got).__name__}")
        return logits, fmaps

    def train_adv(self, fake: Tensor, real: Tensor) -> Tensor:
        """Take one step of the adversary's optimizer; return the loss, scalar."""
        (logits_real, _), (logits_fake, _) = joined(
            self.adversary, self.get_adversary_pred, real.detach(), fake.detach()
        )
        scale = 1 / len(logits_fake) if self.normalize else 1.0
        loss = _reduce(self.loss_fake, logits_fake, scale) + _reduce(
            self.loss_real, logits_real, scale
        )
        self.optimizer.zero_grad()
        together: Any = nullcontext()
        if process_count() > 1:
            together = import_module("flashy").distrib.eager_sync_model(self.adversary)
        with together:
            torch.autograd.backward(loss)
        self.optimizer.step()
        return loss

    def forward(self, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return the generator's loss and the feature matching loss, or 0 without one; scalars."""
        with frozen(self.adversary):
            logits, fmaps_fake = self.get_adversary_pred(fake)
            if self.loss_feat is not None:
                with torch.no_grad():
                    _, fmaps_real = self.get_adversary_pred(real)
        n = len(logits)
        adv = _reduce(self.loss, logits, 1 / n if self.normalize else 1.0)
        if self.loss_feat is None:
            return adv, torch.zeros_like(adv)
        if isinstance(self.loss_feat, FeatureMatchingLoss) and (kind := self.loss_feat._kind()):
            # The flag normalizes both levels; the weight corrects the outer one.
            inner = self.loss_feat.normalize
            weight = float(n) ** (inner - self.normalize)
            return adv, feature_matching(fmaps_real, fmaps_fake, kind, weight, normalize=inner)
        pairs = zip(fmaps_fake, fmaps_real, strict=True)
        feat = torch.stack([self.loss_feat(f, r) for f, r in pairs]).sum()
        return adv, feat / n if self.normalize else feat
