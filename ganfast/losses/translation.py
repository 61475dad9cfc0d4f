"""Losses of image translation, and CycleGAN's pool of earlier images."""

from typing import Any

import torch
from torch import Tensor

from ganfast._names import check_name
from ganfast.losses.formulas import DISTANCES, Distance
from ganfast.losses.reduction import distances


def pixel_loss(real: Tensor, fake: Tensor, kind: Distance = "l1", weight: float = 1.0) -> Tensor:
    r"""Distance of images from their targets: weight * m\|fake - real\|, or m(fake - real)^2.

    Args:
        real: the targets, of any shape.
        fake: the generator's images, of the same shape. Its dtype may differ, as under autocast;
            the loss is then computed in the wider one.
        kind: ``l1`` or ``l2``.
        weight: factor on the loss; 100 in pix2pix.

    Returns:
        Scalar; float64 for float64 images, else float32. Differentiable twice.

    Raises:
        TypeError: an image is not a floating-point tensor.
        ValueError: the kind is unknown, images are empty, or shapes or devices differ.
    """
    return _distance({"fake": fake}, {"real": real}, [weight], kind)


def cycle_loss(
    real_a: Tensor,
    cycled_a: Tensor,
    real_b: Tensor,
    cycled_b: Tensor,
    kind: Distance = "l1",
    weight_a: float = 10.0,
    weight_b: float = 10.0,
) -> Tensor:
    r"""Cycle consistency of two generators, G from domain A to B and F back, in one launch.

    .. math:: \lambda_A \, m|F(G(a)) - a| + \lambda_B \, m|G(F(b)) - b|

    Args:
        real_a: a, images of domain A.
        cycled_a: F(G(a)), of the same shape.
        real_b: b, images of domain B.
        cycled_b: G(F(b)), of the same shape.
        kind: ``l1``, or ``l2`` with squares instead of absolute values.
        weight_a: \lambda_A.
        weight_b: \lambda_B.

    Result and errors are those of :func:`pixel_loss`.

    Source: Zhu et al. 2017, CycleGAN.
    """
    return _distance(
        {"cycled_a": cycled_a, "cycled_b": cycled_b},
        {"real_a": real_a, "real_b": real_b},
        [weight_a, weight_b],
        kind,
    )


def identity_loss(
    real_a: Tensor,
    same_a: Tensor,
    real_b: Tensor,
    same_b: Tensor,
    kind: Distance = "l1",
    weight_a: float = 5.0,
    weight_b: float = 5.0,
) -> Tensor:
    r"""Change that generators make to images already in their target domain, in one launch.

    .. math:: \lambda_A \, m|F(a) - a| + \lambda_B \, m|G(b) - b|

    Args:
        real_a: a, images of domain A.
        same_a: F(a), with the generator F to domain A; of the same shape.
        real_b: b, images of domain B.
        same_b: G(b), with the generator G to domain B; of the same shape.
        kind: ``l1``, or ``l2`` with squares instead of absolute values.
        weight_a: \lambda_A; CycleGAN uses half of its cycle weight.
        weight_b: \lambda_B.

    Result and errors are those of :func:`pixel_loss`.

    Source: Zhu et al. 2017, CycleGAN.
    """
    return _distance(
        {"same_a": same_a, "same_b": same_b},
        {"real_a": real_a, "real_b": real_b},
        [weight_a, weight_b],
        kind,
    )


def _distance(
    fake: dict[str, Tensor], real: dict[str, Tensor], weight: list[float], kind: Distance
) -> Tensor:
    if kind not in DISTANCES:
        check_name("kind", kind, DISTANCES)
    for images in (fake, real):
        for name, image in images.items():
            if not isinstance(image, Tensor):
                raise TypeError(f"{name} must be a tensor, got {type(image).__name__}")
    names = {"x": list(fake), "y": list(real)}
    x, y = list(fake.values()), list(real.values())
    return distances(x, y, kind, weight, lambda argument, k: names[argument][k])


class ImagePool:
    """A pool of earlier fake images, from which half of the discriminator's images are drawn.

    Until the pool is full, it stores and returns each image. From then on it exchanges each image,
    with probability 1/2, for a random one of the pool. Nothing waits for the device.

    Args:
        size: number of images in the pool; with 0, images are returned unchanged.
        seed: of the pool's own random numbers.

    Raises:
        ValueError: the size is negative.

    Source: Shrivastava et al. 2017; CycleGAN, with size 50.
    """

    def __init__(self, size: int = 50, seed: int = 0) -> None:
        if size < 0:
            raise ValueError(f"size must be at least 0, got {size}")
        self.size = size
        self._random = torch.Generator().manual_seed(seed)
        self._images: list[Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        """Exchange some images for earlier ones.

        Args:
            images: fakes, (B, ...).

        Returns:
            Equally many images, detached, (B, ...).

        Raises:
            ValueError: the images' shape differs from that in the pool.
        """
        images = images.detach()
        if self.size == 0:
            return images
        if self._images and self._images[0].shape != images.shape[1:]:
            expected, got = list(self._images[0].shape), list(images.shape[1:])
            raise ValueError(
                f"images must have the shape of those in the pool, {expected}, got {got}"
            )
        return torch.stack([self._exchange(image) for image in images])

    def _exchange(self, image: Tensor) -> Tensor:
        if len(self._images) < self.size:
            self._images.append(image.clone())
            return image
        if torch.rand((), generator=self._random) < 0.5:
            return image
        k = int(torch.randint(self.size, (), generator=self._random))
        earlier, self._images[k] = self._images[k], image.clone()
        return earlier.to(image)  # a loaded pool may be on another device

    def state_dict(self) -> dict[str, Any]:
        """Return the images, (n, ...), and the state of the random generator."""
        images = torch.stack(self._images) if self._images else torch.empty(0)
        return {"images": images, "random": self._random.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state.

        Raises:
            ValueError: it holds more images than the pool's size.
        """
        if len(state["images"]) > self.size:
            raise ValueError(
                f"state must hold at most {self.size} images, got {len(state['images'])}"
            )
        self._images = [image.clone() for image in state["images"]]
        self._random.set_state(state["random"].cpu())
