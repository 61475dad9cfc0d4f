"""Drop-in for ``GANLoss`` and ``cal_gradient_penalty`` of pytorch-CycleGAN-and-pix2pix.

In ``models/networks.py``, remove ``class GANLoss`` and ``def cal_gradient_penalty``, and at the top
add ::

    from ganfast.compat.pix2pix import GANLoss, cal_gradient_penalty

The labels are buffers as in the project: earlier checkpoints load, and a label that is changed
counts. Gradients of 0 have a norm of 0; the project adds 1e-16 to each component. Images are
constants of the penalty; in the project it has gradients in fake images that are not detached.
"""

from collections.abc import Callable
from typing import Any, get_args

import torch
from torch import Tensor, nn

from ganfast import ops
from ganfast._checks import loss_dtype
from ganfast._names import check_name
from ganfast.penalties import mixed_points
from ganfast.penalties._calls import Phi, gradients_at, reduced, refuse_compiled
from ganfast.penalties.exact import Mode

__all__ = ["GANLoss", "cal_gradient_penalty"]

_MODES = ("lsgan", "vanilla", "wgangp")
_ONE_TERM = [1.0], [0.0], [0.0]


class GANLoss(nn.Module):
    """Adversarial loss of one side at a time.

    ============ ==========================================
    gan_mode     real, fake; the generator takes that of real
    ============ ==========================================
    ``lsgan``    m[(x - label)^2]
    ``vanilla``  cross-entropy of logits with the labels
    ``wgangp``   -m[x], m[x]
    ============ ==========================================

    Raises:
        ValueError: the mode is unknown.
    """

    real_label: Tensor
    fake_label: Tensor
    _modes: tuple[str, ...] = _MODES

    def __init__(
        self, gan_mode: str, target_real_label: float = 1.0, target_fake_label: float = 0.0
    ) -> None:
        super().__init__()
        check_name("gan_mode", gan_mode, self._modes)
        self.register_buffer("real_label", torch.tensor(target_real_label))
        self.register_buffer("fake_label", torch.tensor(target_fake_label))
        self.gan_mode = gan_mode

    def get_target_tensor(self, prediction: Tensor, target_is_real: bool) -> Tensor:
        """Return the label in the shape of the outputs."""
        return (self.real_label if target_is_real else self.fake_label).expand_as(prediction)

    def forward(self, prediction: Tensor, target_is_real: bool) -> Tensor:
        """Loss of outputs of any shape, without a sigmoid, taken to be real or fake; scalar."""
        if not isinstance(prediction, Tensor):
            raise TypeError(f"prediction must be a tensor, got {type(prediction).__name__}")
        if self.gan_mode == "wgangp":
            sign = -1.0 if target_is_real else 1.0
            return ops.flat([prediction], "identity", [sign], [0.0], [0.0], name=name)
        label = self.real_label if target_is_real else self.fake_label
        label = label.to(prediction.device, loss_dtype(prediction))
        if self.gan_mode == "lsgan":
            return ops.flat([prediction], "square", *_ONE_TERM, [label], name=name)
        # All of the batch is one sample to this op, whose target may be a tensor.
        target = [label.reshape(1)]
        flat = prediction.reshape(1, -1)
        loss = ops.rows([flat], "bce_with_logits", *_ONE_TERM, sample_a=target, name=name)
        return loss.squeeze(0)


def name(argument: str, k: int) -> str:
    """Return the name of an op's tensor, for errors."""
    return "prediction" if argument == "x" else "label"


def cal_gradient_penalty(
    netD: Callable[[Tensor], Tensor],
    real_data: Tensor,
    fake_data: Tensor,
    device: Any,
    type: Mode = "mixed",
    constant: float = 1.0,
    lambda_gp: float = 10.0,
) -> tuple[Tensor | float, Tensor | None]:
    """lambda_gp m[(||grad|| - constant)^2], and the gradients.

    Args:
        netD, real_data, fake_data: the discriminator, and images (N, C, H, W).
        device: unused; random numbers are drawn on the images' device.
        type: the points: ``mixed``, ``real`` or ``fake``.
        constant: the target norm.
        lambda_gp: the weight; unless it is positive nothing is computed.

    Returns:
        The penalty, a scalar, and the gradients of each sample, (N, C H W); or 0 and None.

    Raises:
        ValueError: the type is unknown.
    """
    if lambda_gp <= 0:
        return 0.0, None
    check_name("type", type, get_args(Mode))
    refuse_compiled(netD)
    (point,) = mixed_points(real_data, fake_data, mode=type)
    g = gradients_at(lambda x: [netD(*x)], [point])
    return reduced(g, Phi("centred", lambda_gp, constant)), g[0].flatten(1)
