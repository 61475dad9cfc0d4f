"""Drop-in for ``GANLoss`` and ``cal_gradient_penalty`` of pytorch-CycleGAN-and-pix2pix.

In ``models/networks.py``, remove ``class GANLoss`` and ``def cal_gradient_penalty``, and at the top
add ::

    from ganfast.compat.pix2pix import GANLoss, cal_gradient_penalty

The labels are buffers as in the project, so earlier checkpoints load. Gradients of 0 have a norm of
0; the project adds 1e-16 to each component. Images are constants of the penalty; in the project it
has gradients in fake images that are not detached.
"""

from collections.abc import Callable
from typing import Any, get_args

import torch
from torch import Tensor, nn

from ganfast._names import check_name
from ganfast.compat._criterion import formula_of, reduce_sides
from ganfast.penalties import mixed_points
from ganfast.penalties._calls import Phi, gradients_at, reduced, refuse_compiled
from ganfast.penalties.exact import Mode

__all__ = ["GANLoss", "cal_gradient_penalty"]

_FUNCTIONS = {"lsgan": "square", "vanilla": "bce_with_logits", "wgangp": "identity"}


class GANLoss(nn.Module):
    """Adversarial loss of one side at a time.

    ============ ==========================================
    gan_mode     real, fake; the generator takes that of real
    ============ ==========================================
    ``lsgan``    m[(x - label)^2]
    ``vanilla``  cross-entropy of logits with the labels
    ``wgangp``   -m[x], m[x]
    ============ ==========================================

    Args:
        gan_mode: one of the above.
        target_real_label: label of real outputs.
        target_fake_label: label of fake outputs.

    Raises:
        ValueError: the mode is unknown.
    """

    real_label: Tensor
    fake_label: Tensor

    def __init__(
        self, gan_mode: str, target_real_label: float = 1.0, target_fake_label: float = 0.0
    ) -> None:
        super().__init__()
        check_name("gan_mode", gan_mode, _FUNCTIONS)
        self.register_buffer("real_label", torch.tensor(target_real_label))
        self.register_buffer("fake_label", torch.tensor(target_fake_label))
        self.gan_mode = gan_mode
        # Python numbers, since reading the buffers in each step would wait for the device.
        self._labels = (float(target_fake_label), float(target_real_label))
        self.register_load_state_dict_post_hook(_read_labels)  # type: ignore[no-untyped-call]

    def get_target_tensor(self, prediction: Tensor, target_is_real: bool) -> Tensor:
        """Return the label in the shape of the outputs."""
        return (self.real_label if target_is_real else self.fake_label).expand_as(prediction)

    def forward(self, prediction: Tensor, target_is_real: bool) -> Tensor:
        """Loss of outputs of any shape; scalar.

        Args:
            prediction: the discriminator's outputs, without a sigmoid.
            target_is_real: take the outputs to be real, or to be fake.
        """
        formula = formula_of(_FUNCTIONS[self.gan_mode], target_is_real, self._labels)
        return reduce_sides(("prediction", prediction, formula))


def _read_labels(loss: nn.Module, incompatible_keys: Any) -> None:
    assert isinstance(loss, GANLoss)
    loss._labels = (float(loss.fake_label), float(loss.real_label))


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
        netD: the discriminator.
        real_data: real images, (N, C, H, W).
        fake_data: fake images of the same shape.
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
