"""Drop-in for ``GANLoss`` of pytorch-CycleGAN-and-pix2pix.

``models/networks.py``: remove ``class GANLoss``, and at the top add ::

    from ganfast.compat.pix2pix import GANLoss

Its labels are buffers as in the original, so that earlier checkpoints load.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ganfast.compat._criterion import reduce_sides, side_of

_FUNCTIONS = {"lsgan": "square", "vanilla": "bce_with_logits", "wgangp": "identity"}


class GANLoss(nn.Module):
    """Adversarial loss of one side at a time.

    ============ ==========================================
    gan_mode     real, fake; the generator's is that of real
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
        ValueError: an unknown mode.
    """

    real_label: Tensor
    fake_label: Tensor

    def __init__(
        self, gan_mode: str, target_real_label: float = 1.0, target_fake_label: float = 0.0
    ) -> None:
        super().__init__()
        if gan_mode not in _FUNCTIONS:
            raise ValueError(f"gan_mode must be one of {', '.join(_FUNCTIONS)}, got {gan_mode!r}")
        self.register_buffer("real_label", torch.tensor(target_real_label))
        self.register_buffer("fake_label", torch.tensor(target_fake_label))
        self.gan_mode = gan_mode
        # The numbers themselves: reading the buffers in each step would wait for the device.
        self._labels = (float(target_fake_label), float(target_real_label))
        self.register_load_state_dict_post_hook(_read_labels)  # type: ignore[no-untyped-call]

    def get_target_tensor(self, prediction: Tensor, target_is_real: bool) -> Tensor:
        """Return the label in the shape of the outputs."""
        return (self.real_label if target_is_real else self.fake_label).expand_as(prediction)

    def forward(self, prediction: Tensor, target_is_real: bool) -> Tensor:
        """Loss of outputs of any shape; scalar.

        Args:
            prediction: the discriminator's outputs, without a sigmoid.
            target_is_real: take them to be real, or to be fake.
        """
        side = side_of(_FUNCTIONS[self.gan_mode], target_is_real, self._labels)
        return reduce_sides(("prediction", prediction, side))


def _read_labels(loss: nn.Module, incompatible_keys: Any) -> None:
    assert isinstance(loss, GANLoss)
    loss._labels = (float(loss.fake_label), float(loss.real_label))
