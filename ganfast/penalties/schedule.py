"""How often and how strongly to penalize."""

import math

import torch
from torch import Tensor, nn


def lazy_gain(step: int, every: int = 16) -> float:
    """The factor of a lazy penalty in a step: ``every`` in every ``every``-th step, else 0.

    The mean over steps is that of a penalty in each step (Karras et al. 2020, arXiv:1912.04958).
    Skip the penalty when the factor is 0.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}")
    return float(every) if step % every == 0 else 0.0


def lazy_adam(
    lr: float, betas: tuple[float, float], every: int = 16
) -> tuple[float, tuple[float, float]]:
    r"""Learning rate and betas of Adam if a lazy penalty takes an optimizer step of its own.

    With :math:`c = k / (k + 1)` they are :math:`c \, lr` and :math:`\beta^c`: k steps of the loss
    and one of the penalty move the weights as far as k steps (Karras et al. 2020,
    arXiv:1912.04958).
    """
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}")
    c = every / (every + 1)
    return lr * c, (betas[0] ** c, betas[1] ** c)


def stylegan_gamma(resolution: int, batch: int) -> float:
    """A first guess at gamma for images: 0.0002 resolution^2 / batch.

    StyleGAN2-ADA's automatic configuration uses it (Karras et al. 2020, arXiv:2006.06676, and its
    code), with the half and the sum over all pixels, as in :func:`r1`.
    """
    return 0.0002 * resolution**2 / batch


class AdaptiveGamma(nn.Module):
    r"""A strength that drives a penalty to a target, on the device.

    After each call :math:`\gamma \leftarrow \gamma \, e^{\pm \eta}`, up if the penalty before
    scaling is above the target and down if it is below, within bounds. The rule is this project's
    own; a fixed step by the sign of a statistic also drives StyleGAN2-ADA's augmentation strength
    (Karras et al. 2020, arXiv:2006.06676). Nothing is read from the device, and gamma is in the
    state_dict.

    Args:
        target: value to reach, such as a mean squared gradient norm.
        gamma: first value.
        rate: eta.
        bounds: smallest and largest gamma.

    Raises:
        ValueError: an argument is out of range.
    """

    gamma: Tensor

    def __init__(
        self,
        target: float,
        gamma: float = 10.0,
        rate: float = 0.01,
        bounds: tuple[float, float] = (1e-4, 1e4),
    ) -> None:
        super().__init__()
        for name, value in (("target", target), ("gamma", gamma), ("rate", rate)):
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        if not 0 < bounds[0] <= gamma <= bounds[1]:
            raise ValueError(f"bounds must be positive and hold gamma, {gamma}, got {bounds}")
        self.target = target
        self.rate = rate
        self.bounds = bounds
        self.register_buffer("gamma", torch.tensor(gamma))

    def forward(self, penalty: Tensor) -> Tensor:
        """Scale the penalty by gamma / 2, then update gamma if the penalty is finite."""
        scaled = self.gamma.to(penalty.device, copy=True) / 2 * penalty
        with torch.no_grad():
            move = torch.sign(penalty.detach() - self.target).nan_to_num(0) * penalty.isfinite()
            factor = torch.exp(self.rate * move).to(self.gamma)
            self.gamma.copy_((self.gamma * factor).clamp(*self.bounds))
        return scaled
