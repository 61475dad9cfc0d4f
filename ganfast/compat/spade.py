"""Drop-ins for ``GANLoss`` of SPADE and of pix2pixHD, with one launch for all scales.

For SPADE, in ``models/networks/__init__.py`` after ``from models.networks.loss import *``, add ::

    from ganfast.compat.spade import GANLoss

For pix2pixHD, in ``models/networks.py``, remove ``class GANLoss``, and at the top add ::

    from ganfast.compat.spade import Pix2PixHDGANLoss as GANLoss

Both models match features in a loop of their own. :mod:`ganfast.losses` replaces the loop by one
launch::

    feature_matching(pred_real, pred_fake, weight=lambda_feat / num_D, skip_last=True)

For pix2pixHD, multiply the weight by 4 / (n_layers_D + 1).
"""

from typing import Any

import torch
from torch import Tensor, nn

from ganfast._names import check_name
from ganfast.compat._criterion import formula_of, reduce_sides
from ganfast.losses.reduction import Outputs, last_maps

_FUNCTIONS = {"ls": "square", "original": "bce_with_logits", "w": "identity", "hinge": "hinge"}


class GANLoss(nn.Module):
    """Adversarial loss of one side at a time, the mean over the scales.

    ============ ========================================== =================
    gan_mode     real, fake                                 generator
    ============ ========================================== =================
    ``ls``       m[(x - label)^2]                           real
    ``original`` cross-entropy of logits with the labels    real
    ``w``        -m[x], m[x]                                real
    ``hinge``    m[relu(1 - x)], m[relu(1 + x)]             -m[x]
    ============ ========================================== =================

    Args:
        gan_mode, target_real_label, target_fake_label: one of the above, and its labels.
        tensor, opt: accepted as in the project; no label tensors are made.

    Raises:
        ValueError: the mode is unknown.
    """

    def __init__(
        self,
        gan_mode: str,
        target_real_label: float = 1.0,
        target_fake_label: float = 0.0,
        tensor: Any = torch.FloatTensor,
        opt: Any = None,
    ) -> None:
        super().__init__()
        check_name("gan_mode", gan_mode, _FUNCTIONS)
        self.real_label = target_real_label
        self.fake_label = target_fake_label
        self.gan_mode = gan_mode
        self.opt = opt

    def forward(
        self, input: Outputs, target_is_real: bool, for_discriminator: bool = True
    ) -> Tensor:
        """Loss of a tensor, a list of maps, or a list of lists whose last maps count.

        Returns:
            Scalar for a tensor, shape (1,) for a list, as in the project.

        Raises:
            ValueError: the generator's hinge loss is asked for fake targets.
        """
        labels = self.fake_label, self.real_label
        formula = formula_of(_FUNCTIONS[self.gan_mode], target_is_real, labels)
        if self.gan_mode == "hinge" and not for_discriminator:
            if not target_is_real:
                raise ValueError(
                    "target_is_real must be True for the generator's hinge loss, got False"
                )
            formula = formula_of("identity", True)
        loss = reduce_sides(("input", input, formula), map_reduction="mean")
        return loss if isinstance(input, Tensor) else loss.reshape(1)


class Pix2PixHDGANLoss(nn.Module):
    """``GANLoss`` of pix2pixHD: one side at a time, the sum over the scales.

    m[(x - label)^2], or with ``use_lsgan=False`` the cross-entropy of probabilities with the
    labels. It is computed in float32 or better, so it works under autocast, unlike the project's.

    Args:
        use_lsgan, target_real_label, target_fake_label: as above.
        tensor: accepted as in the project; no label tensors are made.
    """

    def __init__(
        self,
        use_lsgan: bool = True,
        target_real_label: float = 1.0,
        target_fake_label: float = 0.0,
        tensor: Any = torch.FloatTensor,
    ) -> None:
        super().__init__()
        self.real_label = target_real_label
        self.fake_label = target_fake_label
        self._f = "square" if use_lsgan else "bce"

    def forward(self, input: Outputs, target_is_real: bool) -> Tensor:
        """Loss of a discriminator's list of features, or of a list of such lists; scalar.

        The last entry of a list is the output, also of a tensor, as in the project.
        """
        formula = formula_of(self._f, target_is_real, (self.fake_label, self.real_label))
        outputs = last_maps("input", [input[-1]] if isinstance(input, Tensor) else input)
        if isinstance(input[0], Tensor):  # one discriminator
            outputs = outputs[-1:]
        return reduce_sides(("input", outputs, formula))
