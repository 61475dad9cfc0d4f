"""oneDNN's convolution and ReLU in one call, with weights laid out for it once."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ganfast._precision import is_fast


def serves(dtype: torch.dtype) -> bool:
    """Whether torch has oneDNN and this CPU has its instructions for ``dtype``."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if dtype == torch.bfloat16:
        return is_fast("bf16", torch.device("cpu"))
    return dtype == torch.float32


class Fused:
    """max(w * x + b, 0) for all channels but the last ``linear``, which stay w * x + b.

    Weights (O, C, kh, kw) and biases (O,), float32 or bfloat16 on the CPU. The first images decide
    the layout of the weights; images of other sizes give the same numbers, more slowly. oneDNN's
    ReLU makes 0 of NaN, so images must be finite. No gradients pass through.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, stride: int, padding: tuple[int, int], linear: int
    ) -> None:
        self.weight, self.bias = weight, bias
        self.stride, self.padding, self.linear = stride, padding, linear
        self._laid_out: Tensor | None = None

    def __call__(self, x: Tensor, out: Tensor | None) -> Tensor:
        """Into ``out``, or into new memory, channels_last."""
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
        # torch can neither copy nor pickle what oneDNN has laid out.
        return self.__dict__ | {"_laid_out": None}
