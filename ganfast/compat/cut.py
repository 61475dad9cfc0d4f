"""Drop-in for ``GANLoss`` and ``cal_gradient_penalty`` of contrastive-unpaired-translation (CUT).

In ``models/networks.py``, remove ``class GANLoss`` and ``def cal_gradient_penalty``, and at the top
add ::

    from ganfast.compat.cut import GANLoss, cal_gradient_penalty

They are those of :mod:`ganfast.compat.pix2pix`, with one mode more.
"""

from torch import Tensor

from ganfast import ops
from ganfast.compat import pix2pix
from ganfast.compat.pix2pix import cal_gradient_penalty

__all__ = ["GANLoss", "cal_gradient_penalty"]


class GANLoss(pix2pix.GANLoss):
    """Adversarial loss of one side at a time.

    ================= ==========================================
    gan_mode          real, fake; the generator takes that of real
    ================= ==========================================
    ``lsgan``         m[(x - label)^2]
    ``vanilla``       cross-entropy of logits with the labels
    ``wgangp``        -m[x], m[x]
    ``nonsaturating`` m[softplus(-x)], m[softplus(x)], of each sample
    ================= ==========================================

    Args:
        gan_mode: one of the above.
        target_real_label: label of real outputs.
        target_fake_label: label of fake outputs.

    Raises:
        ValueError: the mode is unknown.
    """

    _modes = (*pix2pix.GANLoss._modes, "nonsaturating")

    def forward(self, prediction: Tensor, target_is_real: bool) -> Tensor:
        """Loss of outputs of any shape; scalar, or for ``nonsaturating`` (B,).

        Args:
            prediction: the discriminator's outputs, without a sigmoid.
            target_is_real: take the outputs to be real, or to be fake.
        """
        if self.gan_mode != "nonsaturating":
            return super().forward(prediction, target_is_real)
        sign = -1.0 if target_is_real else 1.0
        return ops.rows([prediction], "softplus", [1.0], [sign], [0.0], name=pix2pix.name)
