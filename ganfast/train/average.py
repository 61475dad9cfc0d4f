"""The generator's moving average."""

import torch
from torch import Tensor, nn


class MovingAverage:
    """ema <- decay * ema + (1 - decay) * weights, of a copy of a module.

    Floating buffers too: batch norm's statistics of the averaged weights are not those of the last.
    """

    def __init__(self, ema: nn.Module, module: nn.Module, decay: float) -> None:
        self._ema, self._module, self._decay = ema, module, decay

    @torch.no_grad()
    def update(self) -> None:
        averages: list[Tensor] = []
        values: list[Tensor] = []
        for average, value in (
            *zip(self._ema.parameters(), self._module.parameters(), strict=True),
            *zip(self._ema.buffers(), self._module.buffers(), strict=True),
        ):
            if value.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        torch._foreach_lerp_(averages, values, 1 - self._decay)
