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
    """Mean and std (ddof 0) of d(G(z0), G(z_eps)) / eps^2, where z_eps is ``eps`` on to z1.

    ``starts`` and ``ends`` (N, Z) are the latents z0 and z1; ``distance`` gives (B,) for two
    batches of images, LPIPS with VGG-16 in the papers (Karras et al. 2019). Values outside the
    percentiles ``discard`` are left out, the lower one rounded down and the higher one up to a
    value that is there. torch-fidelity and torchmetrics: the defaults, their images as uint8.

    Raises ValueError for latents that do not fit each other, an eps that is not positive, unknown
    interpolation, or a distance of another shape.
    """
    if starts.shape != ends.shape or starts.ndim != 2 or len(starts) == 0:
        raise ValueError(
            "expected starts and ends of one shape (N, Z), "
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
    if discard is not None:
        low = np.percentile(values, discard[0], method="lower")
        high = np.percentile(values, discard[1], method="higher")
        values = values[(low <= values) & (values <= high)]
    return Spread(float(values.mean()), float(values.std()))


def interpolate(a: Tensor, b: Tensor, t: float, how: Interpolation = "lerp") -> Tensor:
    """The latents (N, Z) at ``t`` from a to b: on the line, on the arc, or on the unit arc.

    ``"slerp"``: sin((1 - t) w) / sin(w) a + sin(t w) / sin(w) b with w the angle of a and b;
    ``"slerp_unit"`` does so with both divided by their norms (StyleGAN's). Where the two point
    alike the line is taken.
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
