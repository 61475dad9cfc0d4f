"""Drop-in for the losses of contrastive-unpaired-translation (CUT).

In ``models/networks.py``, remove ``class GANLoss`` and ``def cal_gradient_penalty``, and at the top
add ::

    from ganfast.compat.cut import GANLoss, cal_gradient_penalty

They are those of :mod:`ganfast.compat.pix2pix`, with one mode more. In ``models/cut_model.py``,
``from .patchnce import PatchNCELoss`` becomes ::

    from ganfast.compat.cut import PatchNCELoss
"""

from typing import Any

from torch import Tensor, nn

from ganfast import ops
from ganfast.compat import pix2pix
from ganfast.compat.pix2pix import cal_gradient_penalty
from ganfast.losses.patches import patch_losses

__all__ = ["GANLoss", "PatchNCELoss", "cal_gradient_penalty"]


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

    Arguments and errors are those of :class:`ganfast.compat.pix2pix.GANLoss`.
    """

    _modes = (*pix2pix.GANLoss._modes, "nonsaturating")

    def forward(self, prediction: Tensor, target_is_real: bool) -> Tensor:
        """Loss of outputs of any shape; scalar, or for ``nonsaturating`` (B,)."""
        if self.gan_mode != "nonsaturating":
            return super().forward(prediction, target_is_real)
        sign = -1.0 if target_is_real else 1.0
        return ops.rows([prediction], "softplus", [1.0], [sign], [0.0], name=pix2pix.name)


class PatchNCELoss(nn.Module):
    """The loss of :func:`ganfast.losses.patch_nce`, of each patch.

    No mask and no copy of the logits is made. The project puts e^(-10 / nce_T) into each sum, 1e-62
    at its temperature of 0.07, which is left out here.

    Args:
        opt: the project's options. Each call reads ``nce_T``, ``batch_size`` and
            ``nce_includes_all_negatives_from_minibatch``.
    """

    def __init__(self, opt: Any) -> None:
        super().__init__()
        self.opt = opt

    def forward(self, feat_q: Tensor, feat_k: Tensor) -> Tensor:
        """Return the loss of each patch, (B P,), of features (B P, C); ``feat_k`` get no gradient.

        Raises:
            TypeError, ValueError: as :func:`ganfast.losses.patch_nce`.
        """
        whole = self.opt.nce_includes_all_negatives_from_minibatch
        groups = 1 if whole else self.opt.batch_size
        q, k = (x.reshape(groups, -1, x.shape[-1]) for x in (feat_q, feat_k))
        return patch_losses(q, k, self.opt.nce_T)
