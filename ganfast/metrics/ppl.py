"""The perceptual path length of a generator."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ganfast.metrics.sampling import Spread

Interpolation = Literal["lerp", "slerp", "slerp_unit"]


def perceptual_path_length(
    generator: Callable[[Tensor], Tensor],
    distance: Callable[[Tensor, Tensor], Tensor],
    starts: Tensor,
    ends: Tensor,
    *,
    eps: float = 1e-4,
    interpolation: Interpolation = "lerp",
    discard: tuple[float, float] | None = (1.0, 99.0),
    batch_size: int = 64,
) -> Spread:
    """Mean and standard deviation (ddof 0) of d(G(z0), G(z_eps)) / eps^2 (Karras et al. 2019).

    z_eps lies ``eps`` of the way from z0 to z1. The defaults are those of torch-fidelity and
    torchmetrics, whose images are uint8.

    Args:
        generator: from latents (B, Z) to images.
        distance: from two batches of images to (B,); in the papers LPIPS with VGG-16.
        starts, ends: the latents z0 and z1, (N, Z).
        eps: the step.
        interpolation: ``"lerp"``, ``"slerp"`` or ``"slerp_unit"``, see `interpolate`.
        discard: percentiles outside which values are left out. The lower one is rounded down, and
            the higher one up, to a value that occurs.
        batch_size: latents at a time.

    Raises:
        ValueError: the latents do not fit each other, eps is not positive, the interpolation is
            unknown, or the distance has another shape.
    """
    for latents, name in ((starts, "starts"), (ends, "ends")):
        if not isinstance(latents, Tensor):
            raise TypeError(f"{name} must be a torch tensor, got {type(latents)}")
    if starts.shape != ends.shape or starts.ndim != 2 or len(starts) == 0:
        raise ValueError(
            "starts and ends must have one shape (N, Z), "
            f"got {tuple(starts.shape)} and {tuple(ends.shape)}"
        )
    if not eps > 0:
        raise ValueError(f"eps must be above 0, got {eps}")
    parts = []
    with torch.no_grad():
        for a, b in zip(
            torch.split(starts, batch_size), torch.split(ends, batch_size), strict=True
        ):
            found = distance(generator(a), generator(interpolate(a, b, eps, interpolation)))
            if found.shape != (len(a),):
                raise ValueError(
                    f"distance must return shape ({len(a)},), got {tuple(found.shape)}"
                )
            parts.append(found.double().cpu() / eps**2)
    values = torch.cat(parts).numpy()
    if not np.isfinite(values).all():
        raise ValueError("distance must return finite values, got NaN or infinity")
    if discard is not None:
        low = np.percentile(values, discard[0], method="lower")
        high = np.percentile(values, discard[1], method="higher")
        values = values[(low <= values) & (values <= high)]
    return Spread(float(values.mean()), float(values.std()))


def interpolate(a: Tensor, b: Tensor, t: float, how: Interpolation = "lerp") -> Tensor:
    """Return the latents (N, Z) at ``t`` from a to b: on the line, the arc, or the unit arc.

    ``"slerp"`` is sin((1 - t) w) / sin(w) a + sin(t w) / sin(w) b with w the angle of a and b, and
    the line where the two have one direction. ``"slerp_unit"``, StyleGAN's, first divides both by
    their norms.
    """
    if how == "lerp":
        return torch.lerp(a, b, t)
    if how not in ("slerp", "slerp_unit"):
        raise ValueError(f"interpolation must be 'lerp', 'slerp' or 'slerp_unit', got {how!r}")
    unit_a, unit_b = (x / torch.linalg.vector_norm(x, dim=1, keepdim=True) for x in (a, b))
    if how == "slerp_unit":
        a, b = unit_a, unit_b
    angle = (unit_a * unit_b).sum(1, keepdim=True).clamp(-1, 1).acos()
    sine = angle.sin()
    arc = (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / sine
    line = torch.lerp(a, b, t)
    there = torch.where(sine > 1e-6, arc, line)
    if how == "slerp_unit":
        there = there / torch.linalg.vector_norm(there, dim=1, keepdim=True)
    return there
