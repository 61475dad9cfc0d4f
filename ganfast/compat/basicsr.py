"""Drop-in for the adversarial losses of BasicSR: ESRGAN, Real-ESRGAN, GFPGAN and others.

At the top of the training script, with the configuration unchanged (``type: GANLoss``), add ::

    import ganfast.compat.basicsr

If basicsr is installed, importing this module replaces the classes of the same names in basicsr's
registry of losses. ``MultiScaleGANLoss`` takes one launch for all scales.

Models import the penalties as functions from ``basicsr.losses.gan_loss``; import them from here.
``gradient_penalty_loss`` takes the norm of each pixel's gradient, as the project does, not of each
sample's, as the paper does. A path length of 0 has the gradient 0; the project's is NaN.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

from torch import Tensor, nn

from ganfast._names import check_name
from ganfast.compat._criterion import formula_of, reduce_sides
from ganfast.losses.reduction import Outputs
from ganfast.penalties import r1_from_logits, wgan_gp
from ganfast.regularizers import path_lengths

__all__ = [
    "GANLoss",
    "MultiScaleGANLoss",
    "g_path_regularize",
    "gradient_penalty_loss",
    "r1_penalty",
]

_FUNCTIONS = {
    "vanilla": "bce_with_logits",
    "lsgan": "square",
    "wgan": "identity",
    "wgan_softplus": "softplus",
    "hinge": "hinge",
}


class GANLoss(nn.Module):
    """Adversarial loss of one side at a time.

    ================= ========================================== ===========================
    gan_type          real, fake                                 generator
    ================= ========================================== ===========================
    ``vanilla``       cross-entropy of logits with the labels    real
    ``lsgan``         m[(x - label)^2]                           real
    ``wgan``          -m[x], m[x]                                real
    ``wgan_softplus`` m[softplus(-x)], m[softplus(x)]            real
    ``hinge``         m[relu(1 - x)], m[relu(1 + x)]             -m[x], for both targets
    ================= ========================================== ===========================

    Args:
        gan_type, real_label_val, fake_label_val: one of the above, and its labels.
        loss_weight: factor on the generator's loss only.

    Raises:
        ValueError: the type is unknown.
    """

    def __init__(
        self,
        gan_type: str,
        real_label_val: float = 1.0,
        fake_label_val: float = 0.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_name("gan_type", gan_type, _FUNCTIONS)
        self.gan_type = gan_type
        self.loss_weight = loss_weight
        self.real_label_val = real_label_val
        self.fake_label_val = fake_label_val

    def forward(self, input: Outputs, target_is_real: bool, is_disc: bool = False) -> Tensor:
        """Loss of outputs of any shape, the discriminator's or the generator's; scalar."""
        labels = self.fake_label_val, self.real_label_val
        formula = formula_of(_FUNCTIONS[self.gan_type], target_is_real, labels)
        if self.gan_type == "hinge" and not is_disc:
            formula = formula_of("identity", True)
        scale = 1.0 if is_disc else self.loss_weight
        return reduce_sides(("input", input, formula), scale=scale, map_reduction="mean")


class MultiScaleGANLoss(GANLoss):
    """:class:`GANLoss` of a discriminator with several scales: the mean of the scales' losses.

    Its input is a tensor, a list of maps, or a list of lists whose last maps count.
    """


def r1_penalty(real_pred: Tensor, real_img: Tensor) -> Tensor:
    """R1 without a half: the mean over samples of ||grad||^2; scalar.

    ``real_img`` required gradients when the outputs ``real_pred`` were made.
    """
    return r1_from_logits(real_pred, real_img, gamma=1.0, half=False)


def gradient_penalty_loss(
    discriminator: Callable[[Tensor], Tensor],
    real_data: Tensor,
    fake_data: Tensor,
    weight: Tensor | None = None,
) -> Tensor:
    """The mean over pixels of (||grad|| - 1)^2 between real and fake images (N, C, H, W); scalar.

    ``weight`` multiplies the gradients, and the loss is divided by its mean.
    """
    return wgan_gp(discriminator, real_data, fake_data, weight=1.0, norm="pixel", mask=weight)


def g_path_regularize(
    fake_img: Tensor, latents: Tensor, mean_path_length: Tensor | float, decay: float = 0.01
) -> tuple[Tensor, Tensor, Tensor]:
    """StyleGAN2's path length regularization: m[(a - average of a)^2] with the path lengths a.

    Args:
        fake_img: the generator's images, (N, C, H, W).
        latents: their latents, (N, L, D), which required gradients when the images were made.
        mean_path_length: the moving average, 0 at first.
        decay: share of this batch in the moving average.

    Returns:
        The penalty; the batch's mean length, and the moving average with it, both detached.
    """
    lengths = path_lengths(fake_img, latents)
    average = mean_path_length + decay * (lengths.mean() - mean_path_length)
    return (lengths - average).square().mean(), lengths.detach().mean(), average.detach()


def _register() -> None:
    if find_spec("basicsr") is None:
        return
    # Importing the package registers basicsr's own classes, which are then replaced.
    registry = import_module("basicsr.losses").LOSS_REGISTRY
    for loss in (GANLoss, MultiScaleGANLoss):
        registry._obj_map[loss.__name__] = loss


_register()
