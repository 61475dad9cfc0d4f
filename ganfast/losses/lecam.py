"""LeCam regularization, with its moving averages on the device."""

from typing import Literal

import torch
from torch import Tensor, nn

from ganfast._checks import loss_dtype
from ganfast._names import check_name
from ganfast.distributed import mean_over_processes
from ganfast.losses.formulas import Formula
from ganfast.losses.reduction import Outputs, Reducer, means_of_maps, pairs_of_maps


class LeCam(nn.Module):
    r"""Pulls the discriminator's outputs to the moving averages of the opposite side.

    With r and f the outputs for real and fake samples, and R and F the moving averages of their
    means:

    ============ ========================================== ================
    on           regularization                             averages updated
    ============ ========================================== ================
    ``elements`` m[relu(r - F)^2] + m[relu(R - f)^2]        before the loss
    ``means``    relu(m[r] - F)^2 + relu(R - m[f])^2        after the loss
    ============ ========================================== ================

    ``elements`` is the form of google/lecam-gan and PyTorch-StudioGAN, ``means`` that of
    1d-tokenizer. The relu is in the code of both, not in the paper. The averages are buffers: on
    the device, without a sync, and in ``state_dict``, so a resumed run continues exactly. They are
    updated in training mode only.

    Args:
        on: one of the above.
        decay: of the averages, R <- decay R + (1 - decay) m[r]; 0.9 in StudioGAN, 0.99 in
            google/lecam-gan, 0.999 in 1d-tokenizer.
        start_step: number of first calls in which the averages equal the current means, as in
            google/lecam-gan and StudioGAN; with 0 they start at 0, as in 1d-tokenizer.
        maps: number of the discriminator's maps. Each has averages of its own, and the losses add.
        distributed: average over all processes of torch.distributed, with equal batches.

    Raises:
        ValueError: an argument is out of range.

    Source: Tseng et al. 2021, Regularizing GANs under limited data.
    """

    ema_real: Tensor
    ema_fake: Tensor
    updates: Tensor

    def __init__(
        self,
        on: Literal["elements", "means"] = "elements",
        *,
        decay: float = 0.99,
        start_step: int = 0,
        maps: int = 1,
        distributed: bool = False,
    ) -> None:
        super().__init__()
        check_name("on", on, ("elements", "means"))
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        if start_step < 0:
            raise ValueError(f"start_step must be at least 0, got {start_step}")
        if maps < 1:
            raise ValueError(f"maps must be at least 1, got {maps}")
        self.on, self.decay, self.start_step = on, decay, start_step
        self.maps, self.distributed = maps, distributed
        real, fake = (Formula("squared_hinge", 1.0, sign) for sign in (1.0, -1.0))
        self._reducer = Reducer((("real", real), ("fake", fake)))
        self.register_buffer("ema_real", torch.zeros(maps))
        self.register_buffer("ema_fake", torch.zeros(maps))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, real: Outputs, fake: Outputs) -> Tensor:
        """Return the regularization of the discriminator; in training mode, update the averages.

        Outputs are a tensor, a list of maps, or a list of lists whose last maps count, equally many
        for real and fake samples.

        Returns:
            Scalar; float64 for float64 outputs, else float32. Differentiable twice.

        Raises:
            TypeError: an output is not a floating-point tensor or a list of them.
            ValueError: outputs are empty, or not ``maps`` in number.
        """
        real, fake = pairs_of_maps(real, fake)
        if len(real) != self.maps:
            raise ValueError(f"real and fake must have {self.maps} maps, got {len(real)}")
        terms = self._reducer.terms((real, fake))
        x = terms.x
        # Modules look up buffers last, which is slow: do it once.
        ema_real, ema_fake = self.ema_real, self.ema_fake
        means = None
        if self.on == "means":
            means = means_of_maps(x, terms.name)
            x = [*means.unbind()]
        elif self.training:
            self._update(means_of_maps([xk.detach() for xk in x], terms.name), ema_real, ema_fake)
        # Copies, since a graph may still need the values when the averages are updated.
        opposite = [ema_fake.clone(), ema_real.clone()]
        if opposite[0].dtype != loss_dtype(x[0]):
            opposite = [average.to(loss_dtype(x[0])) for average in opposite]
        if self.maps > 1:
            opposite = [average for side in opposite for average in side.unbind()]
        loss = terms._replace(x=x).reduce(opposite)
        if means is not None and self.training:
            self._update(means.detach(), ema_real, ema_fake)
        return loss

    def _update(self, means: Tensor, ema_real: Tensor, ema_fake: Tensor) -> None:
        """Update the averages with the means of the maps, (2 maps,), real ones first."""
        real, fake = means.chunk(2)
        if self.distributed:
            real, fake = mean_over_processes([real, fake])
        if real.dtype != ema_real.dtype:
            real, fake = real.to(ema_real.dtype), fake.to(ema_real.dtype)
        move: Tensor | float = 1 - self.decay
        if self.start_step > 0:
            move = torch.where(self.updates < self.start_step, 1.0, move)
        ema_real.lerp_(real, move)
        ema_fake.lerp_(fake, move)
        self.updates.add_(1)
