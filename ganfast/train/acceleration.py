"""Networks under torch.compile."""

import warnings
from typing import Any

import torch
from torch import nn


class Compiled:
    """A compiled network, or the network itself if compilation fails.

    It shares the weights of the module and leaves the module uncompiled: penalties need second
    derivatives, and torch.compile has none.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        self._module, self._name = module, name
        self._call: Any = torch.compile(module, dynamic=False)
        self._tried = False

    def __call__(self, *inputs: Any) -> Any:
        if self._tried:
            return self._call(*inputs)
        self._tried = True
        try:
            return self._call(*inputs)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ImportError, OSError) as error:
            self._call = self._module
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(f"the {self._name} is not compiled: {reason}", stacklevel=2)
            return self._module(*inputs)
