"""oneDNN's convolution and ReLU in one call, with weights laid out once."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ganfast._precision import is_fast


def serves(dtype: torch.dtype) -> bool:
    """Say whether torch has oneDNN and this CPU has its instructions for ``dtype``."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if dtype == torch.bfloat16:
        return is_fast("bf16", torch.device("cpu"))
    return dtype == torch.float32


class Fused:
    """Computes max(w * x + b, 0); the last ``linear`` channels stay w * x + b.

    The weights (O, C, kh, kw) and biases (O,) are float32 or bfloat16 on the CPU. The first images
    decide the layout of the weights; images of other sizes give the same numbers, more slowly. The
    images must be finite, since oneDNN's ReLU turns NaN into 0. There are no gradients.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, stride: int, padding: tuple[int, int], linear: int
    ) -> None:
        self.weight, self.bias = weight, bias
        self.stride, self.padding, self.linear = stride, padding, linear
        self._laid_out: Tensor | None = None

    def __call__(self, x: Tensor, out: Tensor | None) -> Tensor:
        """Write into ``out``, or into new channels_last memory."""
        stride, dilation, groups = (self.stride, self.stride), (1, 1), 1
        if self._laid_out is None:
            self._laid_out = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, self.padding, stride, dilation, groups, x.shape
            )
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._laid_out, self.bias, self.padding, stride, dilation, groups,
            "none" if self.linear else "relu", [], "",
        )  # fmt: skip
        if self.linear:
            F.relu_(y.narrow(1, 0, y.shape[1] - self.linear))
        return y if out is None else out.copy_(y)

    def __getstate__(self) -> dict[str, Any]:
        # torch can neither copy nor pickle weights in oneDNN's layout.
        return self.__dict__ | {"_laid_out": None}
